//! What the pool and its calls count.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::telemetry::metrics::{MetricError, Metrics};

use super::Phase;

/// The counters of all upstreams; the label `upstream` is a name of the configuration.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    failures: IntCounterVec,
    idle: IntGaugeVec,
    open: IntGaugeVec,
    opened: IntCounterVec,
    retries: IntCounterVec,
    unverified: IntGaugeVec,
}

impl UpstreamMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a name is taken: a bug.
    pub fn register(metrics: &Metrics) -> Result<Self, MetricError> {
        let by_name = ["upstream"];
        Ok(Self {
            failures: metrics.counters(
                "upstream_failures_total",
                "Calls that got no answer from the upstream, by the step that failed",
                &["upstream", "phase"],
            )?,
            idle: metrics.gauges(
                "upstream_connections_idle",
                "Connections to the upstream that are kept for the next call",
                &by_name,
            )?,
            open: metrics.gauges(
                "upstream_connections_open",
                "Connections to the upstream, idle or in use",
                &by_name,
            )?,
            opened: metrics.counters(
                "upstream_connections_total",
                "Connections to the upstream that were opened since the start",
                &by_name,
            )?,
            retries: metrics.counters(
                "upstream_stale_retries_total",
                "Calls that a kept connection gave back untouched and that went out on another one",
                &by_name,
            )?,
            unverified: metrics.gauges(
                "upstream_verify_off",
                "1 when the certificate of the upstream is not verified at all (verify = off)",
                &by_name,
            )?,
        })
    }

    pub(super) fn of_upstream(&self, name: &str) -> OfUpstream {
        let label = [name];
        self.unverified.with_label_values(&label).set(0);
        OfUpstream {
            failures: Phase::ALL
                .map(|phase| (phase, self.failures.with_label_values(&[name, phase.as_str()]))),
            idle: self.idle.with_label_values(&label),
            open: self.open.with_label_values(&label),
            opened: self.opened.with_label_values(&label),
            retries: self.retries.with_label_values(&label),
            unverified: self.unverified.with_label_values(&label),
        }
    }
}

/// The counters of one upstream, looked up once.
#[derive(Clone, Debug)]
pub(super) struct OfUpstream {
    failures: [(Phase, IntCounter); Phase::ALL.len()],
    pub(super) idle: IntGauge,
    open: IntGauge,
    opened: IntCounter,
    pub(super) retries: IntCounter,
    unverified: IntGauge,
}

impl OfUpstream {
    pub(super) fn failed(&self, phase: Phase) {
        for (_, counter) in self.failures.iter().filter(|(of, _)| *of == phase) {
            counter.inc();
        }
    }

    /// Counts a connection for as long as the guard lives.
    pub(super) fn opened(&self) -> OpenGuard {
        self.opened.inc();
        self.open.inc();
        OpenGuard(self.open.clone())
    }

    pub(super) fn unverified(&self) {
        self.unverified.set(1);
    }
}

/// One open connection.
#[derive(Debug)]
pub(super) struct OpenGuard(IntGauge);

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
