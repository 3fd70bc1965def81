//! What the service manager is told (sd_notify(3)): that the gateway is ready, reloads, stops, and still lives. Without
//! `NOTIFY_SOCKET` nothing is told to anybody.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::store::Store;

/// Everything is up, or a reload is over.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload has begun; [`ready`] ends it. systemd compares the time with its own clock.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now, NotifyState::Status("reloading the configuration")]),
        Err(error) => tracing::debug!(%error, "the monotonic clock cannot be read"),
    }
}

/// The drain has begun; it may take so long.
pub(super) fn stopping(limit: Duration) {
    let status = NotifyState::Status("draining: calls in flight are finished");
    tell(&[NotifyState::Stopping, extended(limit), status]);
}

/// Something goes on that may take so long before the next word.
pub(super) fn busy(status: &str, limit: Duration) {
    tell(&[NotifyState::Status(status), extended(limit)]);
}

/// Tells that the gateway lives, as often as the service manager wants to hear it, as long as the runtime takes up new
/// work and the database answers. Ends at once when nobody wants to hear it.
pub(super) async fn watchdog(store: Store) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let third = limit / 3;
    let mut ticks = interval(third);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let store = store.clone();
        let lives = tokio::spawn(async move { store.ping().await });
        match timeout(third, lives).await {
            Ok(Ok(Ok(()))) => tell(&[NotifyState::Watchdog]),
            Ok(Ok(Err(error))) => {
                tracing::error!(%error, "the database does not answer; the watchdog is not told");
            }
            Ok(Err(error)) => tracing::error!(%error, "the check for the watchdog broke off"),
            Err(_) => {
                tracing::error!(waited = ?third, "the database does not answer in time; the watchdog is not told");
            }
        }
    }
}

fn extended(limit: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(limit.as_micros()).unwrap_or(u32::MAX))
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
