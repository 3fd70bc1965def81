//! `leqi-gateway serve`: the gateway until it is told to stop.

use anyhow::Context;

use super::{ConfigFile, block_on_with, output, signals::Signals};
use crate::{
    app::App,
    clock::Clock,
    config::Loaded,
    shutdown,
    telemetry::{self, logging},
};

/// Run the gateway
///
/// Prints `ready` with the addresses on standard output once every port is open. SIGTERM or SIGINT drains: calls in
/// flight are finished and the request log is flushed; a second signal ends at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: leqi-gateway serve --config /etc/leqi-gateway/gateway.toml")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
}

/// Runs until the drain has ended.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let loaded = args.config.load()?;
    block_on_with(loaded.config.workers, serve(loaded))
}

async fn serve(Loaded { config, warnings }: Loaded) -> anyhow::Result<()> {
    logging::start(config.log.format, &config.log.filter).map_err(anyhow::Error::msg)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    // before anything is opened, so that no signal is lost in between
    let stop = Signals::listen().context("signals cannot be listened to")?;
    let app = Box::pin(App::start(config, Clock::system())).await?;
    let addresses = app.addresses().to_string();
    tracing::info!(version = telemetry::VERSION, "ready: {addresses}");
    output::line(&format!("ready {addresses}"));
    let (trigger, shutdown) = shutdown::channel();
    let watching = tokio::spawn(stop.escalate(trigger));
    app.run(shutdown).await;
    watching.abort();
    Ok(())
}
