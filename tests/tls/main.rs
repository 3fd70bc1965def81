//! The wire on both sides of the gateway: how the platform is trusted and called, how clients are listened to.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod calls;
mod certificates;
mod egress;
mod exactness;
mod floods;
mod listening;
mod names;
mod platform;
mod pool;
mod resting;
mod trust;

use std::{future::Future, time::Duration};

/// Waits until a condition holds; fails after ten seconds.
async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(std::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
