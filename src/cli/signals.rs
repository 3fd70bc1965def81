//! The signals that stop a command, and the one that makes the gateway take over its configuration.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{api::reload::Reload, shutdown::Trigger};

/// Who asked for a reload, in the audit.
const ACTOR: &str = "SIGHUP";

/// SIGINT and SIGTERM.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Each signal is one step of the stop.
    pub(super) async fn escalate(mut self, trigger: Trigger) {
        while self.next().await {
            tracing::info!("a signal to stop was received");
            trigger.escalate();
        }
    }

    /// Waits for the next one; `false` when none can come any more.
    pub(super) async fn next(&mut self) -> bool {
        tokio::select! {
            received = self.interrupt.recv() => received.is_some(),
            received = self.terminate.recv() => received.is_some(),
        }
    }
}

/// SIGHUP.
pub(super) struct Hangup(Signal);

impl Hangup {
    /// Listens from now on.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Each signal is one reload; what came of it is in the log.
    pub(super) async fn reload(mut self, reloader: Arc<dyn Reload>) {
        while self.0.recv().await.is_some() {
            // the reasons are in the log already, and nobody waits for an answer
            let _ = reloader.reload(ACTOR).await;
        }
    }
}
