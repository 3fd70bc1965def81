//! `leqi-gateway status`: what runs there.

use serde_json::Value;

use super::{api_client::ApiArgs, output};

/// Show what a running gateway says of itself
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: LEQI_GATEWAY_TOKEN=… leqi-gateway status --url http://127.0.0.1:9080 --output json"
)]
pub(super) struct Args {
    /// How it is written
    #[arg(long, value_enum, default_value_t)]
    output: output::Form,
    #[command(flatten)]
    api: ApiArgs,
}

/// Asks and prints.
pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let status = args.api.client()?.get("/status").await?;
    output::line(&match args.output {
        output::Form::Json => serde_json::to_string_pretty(&status)?,
        output::Form::Table => {
            let fields = status.as_object().into_iter().flatten();
            let row = |(key, value): (&String, &Value)| {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                vec![key.clone(), value]
            };
            output::table(&["FIELD", "VALUE"], &fields.map(row).collect::<Vec<_>>())
        }
    });
    Ok(())
}
