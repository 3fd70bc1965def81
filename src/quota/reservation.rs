//! Credit that is held for an upload, in the hands of whoever sends it.

use std::sync::Arc;

use super::{ledger::Inner, rules::Settlement};
use crate::domain::{ExchangeId, InvoiceNo, Money, TaxNo};

/// Credit held for one upload. Say [`Reservation::sending`] before the first byte goes out, and settle it with
/// `Ledger::settle` once the outcome is known. Dropped before sending, it gives the credit free; dropped after,
/// the credit stays held until a result is seen.
pub struct Reservation {
    pub(super) ledger: Arc<Inner>,
    pub(super) issuer: TaxNo,
    pub(super) exchange: ExchangeId,
    pub(super) invoices: Vec<InvoiceNo>,
    pub(super) held: Money,
    pub(super) left: Option<Money>,
    pub(super) sending: bool,
    pub(super) settled: bool,
}

impl Reservation {
    /// The issuing party.
    #[must_use]
    pub fn issuer(&self) -> &TaxNo {
        &self.issuer
    }

    /// The exchange it is held for.
    #[must_use]
    pub fn exchange(&self) -> ExchangeId {
        self.exchange
    }

    /// The invoices that wait for the outcome; without those that are issued already.
    #[must_use]
    pub fn invoices(&self) -> &[InvoiceNo] {
        &self.invoices
    }

    /// Credit newly held; nothing for a retry.
    #[must_use]
    pub fn held(&self) -> Money {
        self.held
    }

    /// What was left in the latest of its months; unknown when nothing was reserved.
    #[must_use]
    pub fn left(&self) -> Option<Money> {
        self.left
    }

    /// From now on bytes may leave: without proof of the contrary the credit stays held.
    pub fn sending(&mut self) {
        self.sending = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.settled || self.invoices.is_empty() {
            return;
        }
        if self.sending {
            self.ledger.metrics.abandoned.with_label_values(&["held"]).inc();
            return;
        }
        self.ledger.metrics.abandoned.with_label_values(&["released"]).inc();
        // without a runtime the process is ending; the credit stays held, which is safe
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (ledger, issuer, exchange) = (Arc::clone(&self.ledger), self.issuer.clone(), self.exchange);
        let invoices = std::mem::take(&mut self.invoices);
        runtime.spawn(async move {
            if let Err(error) = ledger.settle(issuer, exchange, invoices, Settlement::NotSent).await {
                tracing::error!(%error, %exchange, "credit of an upload that was never sent stays held");
            }
        });
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reservation")
            .field("issuer", &self.issuer)
            .field("exchange", &self.exchange)
            .field("invoices", &self.invoices.len())
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}
