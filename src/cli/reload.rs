//! `leqi-gateway reload`: a running gateway takes over its configuration as it is now.

use serde_json::Value;

use super::{api_client::ApiArgs, output};

/// Make the running gateway take over its configuration, certificates included
///
/// It is taken over as a whole and no call is interrupted; when something is wrong with it, every reason is printed, the
/// old one stays in force, and the exit code is 1. Needs an administrator's token. `kill -HUP` does the same, with the
/// reasons in the log.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: leqi-gateway reload --token-file /root/leqi-admin.token")]
pub(super) struct Args {
    #[command(flatten)]
    api: ApiArgs,
}

/// Asks, and prints what has changed.
pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let done = args.api.client()?.post("/reload").await?;
    let texts = |key: &str| -> Vec<String> {
        done[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    for warning in texts("warnings") {
        output::note(&format!("warning: {warning}"));
    }
    let changed = texts("changed");
    let what = if changed.is_empty() { "nothing has changed".to_owned() } else { changed.join(", ") };
    output::line(&format!("the configuration is in force: {what}"));
    Ok(())
}
