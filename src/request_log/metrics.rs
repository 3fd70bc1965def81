//! What the request log tells Prometheus.

use prometheus::{IntCounter, IntGauge};

use crate::telemetry::metrics::{MetricError, Metrics as Registry};

/// The request log's metrics; the doc of each field is its help text.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Records committed to the request log.
    pub(super) committed: IntCounter,
    /// Times that a caller had to wait because the queue of the request log was full.
    pub(super) waits: IntCounter,
    /// Callers waiting for room in the queue of the request log.
    pub(super) waiting: IntGauge,
    /// Bytes of records in the queue of the request log, rounded up to KiB.
    pub(super) queued_bytes: IntGauge,
    /// Writes to the request log that failed and are tried again.
    pub(super) retries: IntCounter,
    /// Records that could not be written to the request log. Anything but 0 needs somebody.
    pub(super) lost: IntCounter,
}

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When one of the names is taken.
    pub fn register(registry: &Registry) -> Result<Self, MetricError> {
        Ok(Self {
            committed: registry
                .counter("request_log_records_total", "Records committed to the request log.")?,
            waits: registry.counter(
                "request_log_waits_total",
                "Times that a caller had to wait because the queue of the request log was full.",
            )?,
            waiting: registry
                .gauge("request_log_waiting", "Callers waiting for room in the queue of the request log.")?,
            queued_bytes: registry.gauge(
                "request_log_queued_bytes",
                "Bytes of records in the queue of the request log, rounded up to KiB.",
            )?,
            retries: registry.counter(
                "request_log_retries_total",
                "Writes to the request log that failed and are tried again.",
            )?,
            lost: registry.counter(
                "request_log_lost_total",
                "Records that could not be written to the request log. Anything but 0 needs somebody.",
            )?,
        })
    }
}
