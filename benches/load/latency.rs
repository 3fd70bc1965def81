//! Times of many calls, and what is said of them.

use std::time::Duration;

use serde_json::{Value, json};

/// Times in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    /// Adds one.
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Mean, percentiles and the largest, in microseconds.
    pub(crate) fn summary(&mut self) -> Value {
        self.0.sort_unstable();
        let sum: u64 = self.0.iter().map(|us| u64::from(*us)).sum();
        let count = self.0.len().max(1) as u64;
        let at = |per_mille: usize| {
            let place = (self.0.len() * per_mille).div_ceil(1000).saturating_sub(1);
            self.0.get(place).copied().unwrap_or_default()
        };
        json!({
            "mean": sum / count, "p50": at(500), "p90": at(900), "p99": at(990), "p999": at(999), "max": at(1000),
        })
    }
}
