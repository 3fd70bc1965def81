//! Evidence that the database could not take when it was seen, and that the ledger applies later. Every rule behind it
//! may be applied twice without counting twice.

use serde::{Deserialize, Serialize};

use super::{Ledger, Settlement};
use crate::{
    domain::{ExchangeId, InvoiceNo, TaxNo},
    leqi::messages::InvoiceResult,
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
}

impl Ledger {
    /// Applies evidence that was kept while the database was away.
    ///
    /// # Errors
    /// When it cannot be read, or the database failed.
    pub async fn apply_kept(&self, kept: &[u8]) -> Result<(), StoreError> {
        let evidence = serde_json::from_slice(kept).map_err(|error| StoreError::value("evidence", error))?;
        match evidence {
            Evidence::Results { issuer, acceptance_no, results } => {
                self.0.results(issuer.as_ref(), &acceptance_no, &results).await.map(drop)
            }
            Evidence::Settlement { issuer, exchange, invoices, settlement } => {
                self.0.settle(issuer, exchange, invoices, settlement).await.map(drop)
            }
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
