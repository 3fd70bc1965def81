//! The signals that stop a command.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::shutdown::Trigger;

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
