//! `leqi-gateway serve`: the gateway until it is told to stop.

use anyhow::Context;

use tokio::task::JoinHandle;

use super::{
    ConfigFile, block_on_with, output,
    signals::{Hangup, Signals},
};
use crate::{
    app::{App, Ended, Surroundings},
    clock::Clock,
    config::{Config, Loaded, Source},
    listener::Inherited,
    shutdown,
    telemetry::{self, logging},
};

/// Run the gateway
///
/// Prints `ready` with the addresses on standard output once every port is open. SIGTERM or SIGINT drains: calls in
/// flight are finished and the request log is flushed; a second signal ends at once, with exit code 1. SIGHUP takes over the
/// configuration as it is now, or says in the log why not. Sockets and notifications of systemd are used when given.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: leqi-gateway serve --config /etc/leqi-gateway/gateway.toml")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
}

/// Runs until the drain has ended.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    // before there are other threads and other files
    let sockets = Inherited::from_env()?;
    let source = args.config.source();
    let loaded = source.load()?;
    block_on_with(loaded.config.workers, serve(source, loaded, sockets))
}

async fn serve(source: Source, loaded: Loaded, sockets: Inherited) -> anyhow::Result<()> {
    let log = &loaded.config.log;
    let log_filter = logging::start(log.format, &log.filter).map_err(anyhow::Error::msg)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    raise_open_files(&loaded.config);
    // before anything is opened, so that no signal is lost in between
    let mut stop = Signals::listen().context("signals cannot be listened to")?;
    let hangup = Hangup::listen().context("SIGHUP cannot be listened to")?;
    let around = Surroundings { source: Some(source), log_filter: Some(log_filter), sockets };
    let app = tokio::select! {
        started = Box::pin(App::start(loaded, Clock::system(), around)) => started?,
        _ = stop.next() => {
            tracing::info!("a signal to stop was received before the start was complete");
            return Ok(());
        }
    };
    let addresses = app.addresses().to_string();
    tracing::info!(version = telemetry::VERSION, "ready: {addresses}");
    output::line(&format!("ready {addresses}"));
    let (trigger, shutdown) = shutdown::channel();
    let watching = [tokio::spawn(stop.escalate(trigger)), tokio::spawn(hangup.reload(app.reloader()))];
    let ended = app.run(shutdown).await;
    watching.iter().for_each(JoinHandle::abort);
    match ended {
        Ended::Drained => Ok(()),
        Ended::Forced => anyhow::bail!(
            "ended at once by a second signal; calls that were in flight are marked interrupted at the next start"
        ),
    }
}

/// Lets the process open as many files as it is allowed to: its clients' connections, and those to the platform.
fn raise_open_files(config: &Config) {
    const BESIDES: usize = 200;
    let clients: usize = config.listen.iter().map(|listen| listen.listener.max_connections).sum();
    let platform: usize = config.upstreams.iter().map(|upstream| upstream.max_connections).sum();
    let wanted = clients.saturating_add(platform).saturating_add(BESIDES);
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    match rlimit::increase_nofile_limit(rlimit::INFINITY) {
        Ok(limit) if limit < wanted => {
            tracing::warn!(
                limit,
                wanted,
                "the limit of open files is too low for max_connections; raise it (LimitNOFILE= in the unit, or ulimit -Hn)"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
}
