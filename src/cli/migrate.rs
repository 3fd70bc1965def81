//! `leqi-gateway migrate`: the database's tables, made or brought up to date.

use std::path::Path;

use super::{ConfigFile, open_store, output};

/// Create the database or bring its tables up to date
///
/// `serve` does the same when it starts; use this to do it beforehand. Make a backup before an upgrade.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: leqi-gateway migrate --config config/gateway.toml")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
}

/// Opens the database, which does the work, and says what became of it.
pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let config = args.config.load()?.config.store;
    let existed = config.url.strip_prefix("sqlite://").is_some_and(|path| Path::new(path).exists());
    let store = open_store(&config).await?;
    store.close().await;
    let done = if existed { "its tables are up to date" } else { "created with all tables" };
    output::line(&format!("{}: {done}", config.url));
    Ok(())
}
