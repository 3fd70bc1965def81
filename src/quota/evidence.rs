//! Evidence that the database could not take when it was seen, and that the ledger applies later. Every rule behind it
//! may be applied twice without counting twice.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Ledger, Mark, Settlement};
use crate::{
    domain::{ExchangeId, InvoiceNo, TaxNo},
    leqi::messages::{InvoiceResult, QuotaTransfer, QuotaTransferAnswer, QuotaValidity, QuotaValidityAnswer},
    store::StoreError,
};

/// What was seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Evidence {
    /// Results of an acceptance.
    Results {
        /// Who asked, where it is known.
        issuer: Option<TaxNo>,
        /// `sllsh`.
        acceptance_no: String,
        /// What the platform said.
        results: Vec<InvoiceResult>,
    },
    /// What became of an upload.
    Settlement {
        /// The issuing party.
        issuer: TaxNo,
        /// The upload.
        exchange: ExchangeId,
        /// Its invoices.
        invoices: Vec<InvoiceNo>,
        /// What became of it.
        settlement: Settlement,
    },
    /// A download or return that was carried out.
    Transfer {
        /// What was asked for.
        request: QuotaTransfer,
        /// What the platform said.
        answer: QuotaTransferAnswer,
        /// What the books said before.
        mark: Mark,
    },
    /// A download or return that was refused, or never left.
    TransferRefused {
        /// What was asked for.
        request: QuotaTransfer,
        /// The code.
        code: String,
        /// The words.
        text: String,
    },
    /// A download or return of which nobody knows what became.
    TransferUnclear {
        /// What was asked for.
        request: QuotaTransfer,
        /// What the books said before.
        mark: Mark,
        /// Why it is not known.
        reason: String,
    },
    /// Another interval of the month's credit.
    Validity {
        /// What was asked for.
        request: QuotaValidity,
        /// What the platform said.
        answer: QuotaValidityAnswer,
        /// When.
        seen_at: Timestamp,
    },
}

impl Ledger {
    /// Applies evidence that was kept while the database was away.
    ///
    /// # Errors
    /// When it cannot be read, or the database failed.
    pub async fn apply_kept(&self, kept: &[u8]) -> Result<(), StoreError> {
        let evidence = serde_json::from_slice(kept).map_err(|error| StoreError::value("evidence", error))?;
        self.apply(evidence).await
    }

    async fn apply(&self, evidence: Evidence) -> Result<(), StoreError> {
        match evidence {
            Evidence::Results { issuer, acceptance_no, results } => {
                self.0.results(issuer.as_ref(), &acceptance_no, &results).await.map(drop)
            }
            Evidence::Settlement { issuer, exchange, invoices, settlement } => {
                self.0.settle(issuer, exchange, invoices, settlement).await.map(drop)
            }
            Evidence::Transfer { request, answer, mark } => {
                self.0.transfer(request, answer, mark).await.map(drop)
            }
            Evidence::TransferRefused { request, code, text } => {
                self.0.transfer_refused(request, code, text).await
            }
            Evidence::TransferUnclear { request, mark, reason } => {
                self.0.transfer_unclear(request, mark, reason).await
            }
            Evidence::Validity { request, answer, seen_at } => {
                self.0.validity(&request, &answer, seen_at).await
            }
        }
    }

    /// Applies the evidence, or keeps it while the database is away.
    pub(super) async fn apply_or_keep(&self, evidence: Evidence) -> Result<(), StoreError> {
        match self.apply(evidence.clone()).await {
            Err(error) => self.keep(evidence, error).await,
            Ok(()) => Ok(()),
        }
    }

    /// Keeps the evidence when the database is away; else the error stays.
    pub(super) async fn keep(&self, evidence: Evidence, error: StoreError) -> Result<(), StoreError> {
        if !error.is_outage() {
            return Err(error);
        }
        let Ok(kept) = serde_json::to_vec(&evidence) else { return Err(error) };
        if self.0.table.keep_evidence(kept).await { Ok(()) } else { Err(error) }
    }
}
