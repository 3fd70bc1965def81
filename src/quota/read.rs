//! Looking at the books.

use jiff::Timestamp;

use super::Ledger;
use crate::{
    domain::{InvoiceNo, Period, PlatformId, TaxNo, Totals},
    store::{
        StoreError,
        ledger::{
            Account, AccountFilter, AccountKey, Entry, EntryFilter, EntryKey, Event, Mismatch, OpenCursor,
            Transfer, TransferFilter,
        },
    },
};

impl Ledger {
    /// One account.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn balance(&self, issuer: &TaxNo, period: Period) -> Result<Option<Account>, StoreError> {
        self.0.table.account(&AccountKey { issuer: issuer.clone(), period }).await
    }

    /// Accounts in the order of tax number and month.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn accounts(&self, filter: &AccountFilter) -> Result<Vec<Account>, StoreError> {
        self.0.table.accounts(filter).await
    }

    /// One invoice.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn entry(&self, issuer: &TaxNo, invoice_no: &InvoiceNo) -> Result<Option<Entry>, StoreError> {
        self.0.table.entry(&EntryKey { issuer: issuer.clone(), invoice_no: invoice_no.clone() }).await
    }

    /// Invoices of an account in the order of their numbers.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn entries(&self, filter: &EntryFilter) -> Result<Vec<Entry>, StoreError> {
        self.0.table.entries(filter).await
    }

    /// Invoices whose latest acceptance is this one (`sllsh`).
    ///
    /// # Errors
    /// When the database failed.
    pub async fn entries_by_acceptance(&self, acceptance_no: &str) -> Result<Vec<Entry>, StoreError> {
        self.0.table.entries_by_acceptance(acceptance_no).await
    }

    /// Reserved invoices that nothing happened to since the instant, the oldest first: what to ask the platform about.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn open_entries(
        &self,
        unchanged_since: Timestamp,
        after: Option<OpenCursor>,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        self.0.table.open_entries(unchanged_since, after, limit).await
    }

    /// Downloads and returns, the newest first.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn transfers(&self, filter: &TransferFilter) -> Result<Vec<Transfer>, StoreError> {
        self.0.table.transfers(filter).await
    }

    /// What changed an account, the newest first.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn events(
        &self,
        key: &AccountKey,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        self.0.table.events(key, before, limit).await
    }

    /// The six totals over the issued invoices of the month on the platform.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn totals(
        &self,
        issuer: &TaxNo,
        platform_id: &PlatformId,
        period: Period,
    ) -> Result<Totals, StoreError> {
        self.0.table.totals(&AccountKey { issuer: issuer.clone(), period }, platform_id).await
    }

    /// Accounts of the month whose figures are not what their entries and events add up to; empty when all is well.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn verify(&self, period: Period) -> Result<Vec<Mismatch>, StoreError> {
        self.0.table.verify(period).await
    }
}
