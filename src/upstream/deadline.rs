//! The time that a whole call may take (`total_timeout`).

use std::{future::Future, time::Duration};

use tokio::time::Instant;

use super::{Phase, error::Failure};

/// When a call must be over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    /// The instant.
    pub(super) at: Instant,
    /// How long that was from the start.
    pub(super) limit: Duration,
}

impl Deadline {
    /// So long from now.
    pub(super) fn after(limit: Duration) -> Self {
        Self { at: Instant::now() + limit, limit }
    }

    /// Waits for it; gives the failure of a call of which nothing was sent.
    pub(super) async fn missed(self) -> Failure {
        tokio::time::sleep_until(self.at).await;
        Failure::too_slow(Phase::Total, self.limit)
    }
}

/// Waits for a step before the request is sent, at most until the deadline.
pub(super) async fn within<T>(
    deadline: Option<Deadline>,
    step: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Some(deadline) = deadline else { return step.await };
    tokio::select! {
        outcome = step => outcome,
        failure = deadline.missed() => Err(failure),
    }
}
