//! How often something may happen: a token bucket as one number (the generic cell rate algorithm).

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// So many times a second, and so many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Times a second in the long run.
    pub per_second: NonZeroU32,
    /// Times at once.
    pub burst: NonZeroU32,
}

impl Rate {
    /// Nanoseconds that one time costs.
    fn interval(self) -> u64 {
        1_000_000_000 / u64::from(self.per_second.get())
    }

    /// Nanoseconds that may be spent ahead.
    fn ahead(self) -> u64 {
        self.interval().saturating_mul(u64::from(self.burst.get()))
    }
}

/// What is left of a [`Rate`]: the time at which the bucket will be full again, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Bucket(AtomicU64);

impl Bucket {
    /// Takes one at this time, counted from any fixed beginning.
    ///
    /// # Errors
    /// Nothing is left; how long until there is.
    pub(super) fn take(&self, rate: Rate, now: Duration) -> Result<(), Duration> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full| {
            let full = full.max(now).saturating_add(rate.interval());
            (full - now <= rate.ahead()).then_some(full)
        });
        taken.map(drop).map_err(|full| {
            let full = full.max(now).saturating_add(rate.interval());
            Duration::from_nanos(full.saturating_sub(rate.ahead()).saturating_sub(now))
        })
    }

    /// Whether nothing has been taken, or all of it came back.
    pub(super) fn is_full(&self, now: Duration) -> bool {
        u128::from(self.0.load(Ordering::Relaxed)) <= now.as_nanos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let number = |n| NonZeroU32::new(n).unwrap();
        let rate = Rate { per_second: number(10), burst: number(3) };
        let bucket = Bucket::default();
        let at = Duration::from_millis;
        for _ in 0..3 {
            bucket.take(rate, at(1000)).unwrap();
        }
        assert_eq!(bucket.take(rate, at(1000)), Err(at(100)));
        assert_eq!(bucket.take(rate, at(1060)), Err(at(40)));
        bucket.take(rate, at(1100)).unwrap();
        bucket.take(rate, at(1100)).unwrap_err();
        assert!(!bucket.is_full(at(1399)));
        assert!(bucket.is_full(at(1400)));
        let after_a_pause = (0..10).filter(|_| bucket.take(rate, at(60_000)).is_ok()).count();
        assert_eq!(after_a_pause, 3);
    }
}
