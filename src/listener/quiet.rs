//! Warnings that strangers can cause: so many a second, the rest is counted and told with the next.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use super::rate::{Bucket, Rate};

/// Lines a second in the long run, and at once. The metrics count everything.
const LINES: Rate =
    Rate { per_second: NonZeroU32::MIN.saturating_add(4), burst: NonZeroU32::MIN.saturating_add(49) };

/// Keeps the log readable.
#[derive(Debug)]
pub(super) struct Quiet {
    began: Instant,
    lines: Bucket,
    suppressed: AtomicU64,
}

impl Default for Quiet {
    fn default() -> Self {
        Self { began: Instant::now(), lines: Bucket::default(), suppressed: AtomicU64::new(0) }
    }
}

impl Quiet {
    /// Writes the line, which tells how many were left out before it, or leaves it out.
    pub(super) fn warn(&self, line: impl FnOnce(u64)) {
        if self.lines.take(LINES, self.began.elapsed()).is_ok() {
            line(self.suppressed.swap(0, Ordering::Relaxed));
        } else {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_a_few_lines() {
        let quiet = Quiet::default();
        let mut lines = 0;
        for _ in 0..1000 {
            quiet.warn(|suppressed| {
                lines += 1;
                assert_eq!(suppressed, 0);
            });
        }
        assert!((50..60).contains(&lines), "{lines}");
        assert_eq!(quiet.suppressed.load(Ordering::Relaxed), 1000 - lines);
    }
}
