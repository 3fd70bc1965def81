//! What the ledger shows of itself.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use crate::telemetry::metrics::{self, MetricError};

/// Counters of the credit ledger.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) reserved: IntCounter,
    pub(super) refused: IntCounterVec,
    pub(super) issued: IntCounter,
    pub(super) released: IntCounter,
    pub(super) overdrawn: IntCounter,
    pub(super) late: IntCounter,
    pub(super) contradicted: IntCounter,
    pub(super) abandoned: IntCounterVec,
    pub(super) transfers: IntCounterVec,
    pub(super) resolved: IntCounterVec,
    pub(super) overdue: IntGauge,
    pub(super) syncs: IntCounterVec,
    pub(super) overtaken: IntCounter,
    pub(super) seconds: Histogram,
}

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(to: &metrics::Metrics) -> Result<Self, MetricError> {
        Ok(Self {
            reserved: to
                .counter("quota_reserved_invoices_total", "Invoices whose credit was held for an upload")?,
            refused: to.counters(
                "quota_refused_uploads_total",
                "Uploads that were not forwarded, by the gate's reason",
                &["code"],
            )?,
            issued: to.counter("quota_issued_invoices_total", "Invoices that the platform has issued")?,
            released: to.counter("quota_released_invoices_total", "Invoices whose credit was given free")?,
            overdrawn: to.counter(
                "quota_overdrawn_invoices_total",
                "Invoices that were issued after their credit had been given free and used otherwise",
            )?,
            late: to.counter(
                "quota_late_invoices_total",
                "Invoices that were issued after their credit had been given free",
            )?,
            contradicted: to.counter(
                "quota_contradicted_invoices_total",
                "Results that say of an invoice which counts as issued that it failed",
            )?,
            transfers: to.counters(
                "quota_transfers_total",
                "The gateway's own downloads and returns of credit, by how a sending ended",
                &["direction", "result"],
            )?,
            resolved: to.counters(
                "quota_reconciled_invoices_total",
                "Invoices of unknown outcome that the gateway itself resolved, by means and outcome",
                &["by", "outcome"],
            )?,
            overdue: to.gauge(
                "quota_overdue_invoices",
                "Invoices whose outcome is still unknown 48 hours after they were last sent",
            )?,
            abandoned: to.counters(
                "quota_abandoned_reservations_total",
                "Reservations that nobody settled: released when nothing was sent, else held",
                &["outcome"],
            )?,
            syncs: to.counters(
                "quota_balance_queries_total",
                "Balances that the gateway asked the platform for",
                &["result"],
            )?,
            overtaken: to.counter(
                "quota_overtaken_answers_total",
                "Balances and transfers seen whose figures something else had changed meanwhile",
            )?,
            seconds: to
                .seconds("quota_reserve_seconds", "Time to reserve an upload, with any balance query")?,
        })
    }
}
