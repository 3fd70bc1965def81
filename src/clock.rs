//! Where time comes from. Nothing else in the project asks the machine for the date.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::{sync::watch, time::timeout};

use crate::domain::{Day, Period, beijing_day};

/// A clock: the machine's, or the machine's moved by an offset that tests and the simulator set.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    offset_us: AtomicI64,
    /// Tells whoever waits for an instant that the clock was set.
    moved: watch::Sender<()>,
}

/// How long a wait for an instant may sleep before it looks at the clock again: the machine's own clock may be set,
/// and the timers of a process stand still while the machine does.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that shows this instant now and runs on from there.
    #[must_use]
    pub fn starting_at(instant: Timestamp) -> Self {
        let clock = Self::default();
        clock.set(instant);
        clock
    }

    /// Sets the clock, for everyone who holds a copy of it.
    pub fn set(&self, instant: Timestamp) {
        self.0.offset_us.store(instant.as_microsecond() - machine_us(), Ordering::SeqCst);
        self.0.moved.send_replace(());
    }

    /// The instant, to the microsecond.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let us = machine_us().saturating_add(self.0.offset_us.load(Ordering::SeqCst));
        Timestamp::from_microsecond(us).unwrap_or(Timestamp::MAX)
    }

    /// Today in Beijing.
    #[must_use]
    pub fn today(&self) -> Day {
        beijing_day(self.now())
    }

    /// This month in Beijing.
    #[must_use]
    pub fn period(&self) -> Period {
        Period::at(self.now())
    }

    /// Waits until the clock shows this instant, however it comes there: by running on or by being set.
    pub async fn reaches(&self, instant: Timestamp) {
        let mut moved = self.0.moved.subscribe();
        loop {
            let left = instant.as_microsecond().saturating_sub(self.now().as_microsecond());
            let Ok(left @ 1..) = u64::try_from(left) else { return };
            // an elapsed time-out is the usual end of the wait; the sender lives as long as this clock
            let _ = timeout(Duration::from_micros(left).min(LOOK_AGAIN), moved.changed()).await;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
fn machine_us() -> i64 {
    Timestamp::now().as_microsecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_when_the_clock_is_set_or_runs_on_to_the_instant() {
        let clock = Clock::starting_at("2026-11-30T15:00:00Z".parse().unwrap());
        let month: Timestamp = "2026-11-30T16:00:00Z".parse().unwrap();
        let waiting = tokio::spawn({
            let clock = clock.clone();
            async move { clock.reaches(month).await }
        });
        tokio::task::yield_now().await;
        clock.set("2026-11-30T15:30:00Z".parse().unwrap());
        assert!(!waiting.is_finished());
        clock.set(month);
        timeout(Duration::from_secs(10), waiting).await.expect("the wait ended").unwrap();
        clock.reaches(month).await;
        let soon = clock.now().checked_add(Duration::from_millis(30)).unwrap();
        timeout(Duration::from_secs(10), clock.reaches(soon)).await.expect("the clock runs on");
        assert!(clock.now() >= soon);
    }
}
