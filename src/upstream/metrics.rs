//! Figures of the upstream side. Labels: names of upstreams from the configuration, and phases.

use prometheus::{IntCounterVec, IntGaugeVec};

use super::Phase;
use crate::telemetry::metrics::{MetricError, Metrics};

/// What is counted for all upstreams together.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    connections: IntCounterVec,
    failures: IntCounterVec,
    insecure: IntGaugeVec,
}

impl UpstreamMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When one is registered already.
    pub fn register(metrics: &Metrics) -> Result<Self, MetricError> {
        Ok(Self {
            connections: metrics.counters(
                "upstream_connections_total",
                "Connections opened to upstreams.",
                &["upstream"],
            )?,
            failures: metrics.counters(
                "upstream_failures_total",
                "Calls that got no answer, by the phase that failed.",
                &["upstream", "phase"],
            )?,
            insecure: metrics.gauges(
                "upstream_verify_off",
                "1 while the upstream's certificate is not verified at all (verify = \"off\").",
                &["upstream"],
            )?,
        })
    }

    pub(super) fn connected(&self, upstream: &str) {
        self.connections.with_label_values(&[upstream]).inc();
    }

    pub(super) fn failed(&self, upstream: &str, phase: Phase) {
        self.failures.with_label_values(&[upstream, phase.as_str()]).inc();
    }

    pub(super) fn insecure(&self, upstream: &str, off: bool) {
        self.insecure.with_label_values(&[upstream]).set(i64::from(off));
    }
}
