//! The tables of the credit ledger: accounts, invoices, events, transfers; and how rules change them.
//!
//! A change is a [`LedgerJob`]. The engine loads every row that the waiting jobs name into [`Books`], lets each job
//! decide in turn, writes what they changed, commits, and tells each. What may be changed is `quota::rules`' business.

mod books;
mod rows;
mod transfer;

use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use self::{
    books::{Books, Cause, LedgerKeys},
    rows::{Account, AccountKey, Entry, EntryKey, EntryState, Event, EventKind, Figures, Send},
    transfer::{OwnTransfers, Transfer, TransferFilter, TransferState, Way},
};
use super::StoreError;
/// The record of a call, committed with the change that lets it leave.
pub use super::exchanges::Record as Intent;
use jiff::Timestamp;

use crate::domain::{ExchangeId, InvoiceNo, Period, PlatformId, TaxNo, Totals};

/// One change of the ledger: decided on loaded rows, committed with others.
pub trait LedgerJob: std::marker::Send {
    /// The rows that the decision needs. Accounts of the named entries are loaded with them.
    fn keys(&self) -> LedgerKeys;

    /// Decides and changes the books. Called again, on freshly loaded rows, when the transaction failed: it must not
    /// keep anything of the first time.
    fn decide(&mut self, books: &mut Books);

    /// The exchange of the record that may come with the decision.
    fn announces(&self) -> Option<ExchangeId> {
        None
    }

    /// What is to be committed to the request log together with what was decided, if anything.
    fn record(&self) -> Option<Arc<Intent>> {
        None
    }

    /// Called once, after the commit or when it failed for good. Not called when the store is closed.
    fn finish(self: Box<Self>, result: Result<(), StoreError>);
}

/// Which entries to list.
#[derive(Clone, Debug)]
pub struct EntryFilter {
    /// Whose.
    pub issuer: TaxNo,
    /// Of which month; all when `None`.
    pub period: Option<Period>,
    /// In which state; all when `None`.
    pub state: Option<EntryState>,
    /// Only this number.
    pub invoice_no: Option<InvoiceNo>,
    /// Only those that this exchange was the latest upload of.
    pub exchange: Option<ExchangeId>,
    /// Only those that were first to be sent at this time or later.
    pub from: Option<Timestamp>,
    /// Only those that were first to be sent before this time.
    pub to: Option<Timestamp>,
    /// Only numbers after this one.
    pub after: Option<InvoiceNo>,
    /// At most so many.
    pub limit: u32,
}

/// Where a list of open entries goes on: when the last one was written, and which it was.
pub type OpenCursor = (Timestamp, EntryKey);

/// Which accounts to list.
#[derive(Clone, Debug, Default)]
pub struct AccountFilter {
    /// Of which month; all when `None`.
    pub period: Option<Period>,
    /// Only accounts after this one, in the order of tax number and month.
    pub after: Option<AccountKey>,
    /// At most so many.
    pub limit: u32,
}

/// An account whose figures are not the sums that they should be. Never happens unless the rows were changed by
/// something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Which account.
    pub key: AccountKey,
    /// What the account says.
    pub account: Figures,
    /// What the entries add up to: `issued` and `reserved` only.
    pub entries: Figures,
    /// What the events add up to.
    pub events: Figures,
}

/// The ledger's tables.
pub trait LedgerTable: std::marker::Send + Sync {
    /// Hands in a change, waiting only for room in the queue.
    fn submit(&self, job: Box<dyn LedgerJob>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Keeps evidence that the database cannot take now, to be handed over by [`super::Store::hand_over`] later;
    /// `false` when this engine keeps nothing, or there is no room.
    fn keep_evidence(&self, evidence: Vec<u8>) -> BoxFuture<'_, bool>;

    /// One account.
    fn account<'a>(&'a self, key: &'a AccountKey) -> BoxFuture<'a, Result<Option<Account>, StoreError>>;

    /// Accounts in the order of tax number and month.
    fn accounts<'a>(&'a self, filter: &'a AccountFilter) -> BoxFuture<'a, Result<Vec<Account>, StoreError>>;

    /// One invoice.
    fn entry<'a>(&'a self, key: &'a EntryKey) -> BoxFuture<'a, Result<Option<Entry>, StoreError>>;

    /// Invoices in the order of their numbers.
    fn entries<'a>(&'a self, filter: &'a EntryFilter) -> BoxFuture<'a, Result<Vec<Entry>, StoreError>>;

    /// Invoices whose latest acceptance is this one (`sllsh`).
    fn entries_by_acceptance<'a>(
        &'a self,
        acceptance_no: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Entry>, StoreError>>;

    /// Reserved invoices that nothing happened to since the instant, the oldest first: what a reconciler asks about.
    fn open_entries(
        &self,
        unchanged_since: Timestamp,
        after: Option<OpenCursor>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>>;

    /// Reserved invoices of this month and earlier ones, in no order.
    fn open_until(&self, period: Period, limit: u32) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>>;

    /// Transfers, the newest first.
    fn transfers<'a>(
        &'a self,
        filter: &'a TransferFilter,
    ) -> BoxFuture<'a, Result<Vec<Transfer>, StoreError>>;

    /// Events of an account, the newest first, with ids below `before`.
    fn events<'a>(
        &'a self,
        key: &'a AccountKey,
        before: Option<i64>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Event>, StoreError>>;

    /// The six totals over issued invoices of the month on the platform, as a confirmation has them.
    fn totals<'a>(
        &'a self,
        key: &'a AccountKey,
        platform_id: &'a PlatformId,
    ) -> BoxFuture<'a, Result<Totals, StoreError>>;

    /// Rebuilds every account of the month from its entries and its events and gives those that differ.
    fn verify(&self, period: Period) -> BoxFuture<'_, Result<Vec<Mismatch>, StoreError>>;
}
