//! What the store shows of itself.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use crate::telemetry::metrics::{self, MetricError};

/// Counters of the one writer.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) waiting: IntGauge,
    pub(super) commands: IntCounterVec,
    pub(super) transactions: IntCounter,
    pub(super) failures: IntCounterVec,
    pub(super) seconds: Histogram,
    pub(super) outages: IntCounter,
    pub(super) spool_bytes: IntGauge,
    pub(super) spool_rejected: IntCounter,
    pub(super) spooled: IntCounter,
    pub(super) replayed: IntCounter,
}

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(to: &metrics::Metrics) -> Result<Self, MetricError> {
        Ok(Self {
            waiting: to.gauge(
                "store_commands_waiting",
                "Commands handed to the database writer and not answered yet",
            )?,
            commands: to.counters(
                "store_commands_total",
                "Commands that the database writer has carried out",
                &["kind"],
            )?,
            transactions: to
                .counter("store_transactions_total", "Transactions that the database writer has committed")?,
            failures: to.counters(
                "store_failures_total",
                "Commands that the database writer could not carry out",
                &["kind"],
            )?,
            seconds: to.seconds(
                "store_transaction_seconds",
                "Duration of the database writer's transactions with their commit",
            )?,
            spool_bytes: to.gauge(
                "store_spool_bytes",
                "Bytes in the spool, which are handed over once the database is back",
            )?,
            spool_rejected: to.counter(
                "store_spool_rejected_total",
                "Files of the spool that hold something which the database refuses, kept as *.rejected",
            )?,
            spooled: to.counter(
                "store_spooled_total",
                "Records and evidence put into the spool because the database was away",
            )?,
            replayed: to.counter(
                "store_spool_replayed_total",
                "Records and evidence of the spool handed over to the database",
            )?,
            outages: to.counter(
                "store_outages_total",
                "Times that a database writer lost its connection and could not make it again at once",
            )?,
        })
    }
}
