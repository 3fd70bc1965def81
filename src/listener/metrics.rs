//! Figures of the listeners.

use prometheus::{IntCounterVec, IntGaugeVec};

use crate::telemetry::metrics::{MetricError, Metrics};

/// Figures of all listeners together.
#[derive(Clone, Debug)]
pub struct ListenerMetrics {
    pub(super) connections: IntGaugeVec,
    pub(super) rejected: IntCounterVec,
}

impl ListenerMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When one is registered already.
    pub fn register(metrics: &Metrics) -> Result<Self, MetricError> {
        Ok(Self {
            connections: metrics.gauges("connections", "Open connections of clients.", &["listener"])?,
            rejected: metrics.counters(
                "connections_failed_total",
                "Connections that ended before their first request, by reason (accept, handshake, timeout).",
                &["listener", "reason"],
            )?,
        })
    }
}

/// A gauge that is one higher while this lives.
pub(super) struct Gauge(prometheus::IntGauge);

impl Gauge {
    pub(super) fn up(gauge: prometheus::IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.0.dec();
    }
}
