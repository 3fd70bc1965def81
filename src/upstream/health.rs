//! The active check of the platform's health: connections without a call, so that calls find out which addresses work.

use std::{sync::Weak, time::Duration};

use super::Upstream;

/// Checks every address once per interval, until the upstream is gone.
pub(super) async fn watch(upstream: Weak<Upstream>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(upstream) = upstream.upgrade() else { return };
        upstream.connector.check().await;
    }
}
