//! How the books change (protocol.md §4, design.md §3). Pure: rows in, rows out, the time passed in.
//!
//! Every rule but a reservation may be applied twice without counting twice.

mod compare;
mod observe;
mod order;
mod reserve;
mod settle;
mod transfer;

use std::sync::Arc;

use jiff::Timestamp;

pub(super) use self::transfer::transfer_key;
pub use self::{
    compare::{ACCEPTANCE_HOURS, Comparison, compare, expire},
    observe::{balance, mark, month_closed, validity},
    order::{Begun, NOTHING, Origin, REMEMBERED, begin_own, compare_transfer, nothing_to_begin, resume_own},
    reserve::{NotReserved, Reserved, reserve},
    settle::{Settled, results, settle},
    transfer::{SerialReused, begin_transfer, transfer, transfer_refused, transfer_unclear},
};
use super::Claim;
use crate::{
    domain::{ExchangeId, InvoiceNo, Money, TaxNo},
    store::ledger::{Account, AccountKey, Books, Cause, Entry, EntryKey, EventKind, Intent},
};

/// How strict the gate is with a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Without credit nothing is sent.
    #[default]
    Enforce,
    /// The books are kept, nothing is refused.
    Observe,
    /// No books.
    Off,
}

/// An upload that asks to be sent.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The exchange it is sent in.
    pub exchange: ExchangeId,
    /// The issuing party.
    pub issuer: TaxNo,
    /// How strict to be.
    pub mode: Mode,
    /// What its invoices ask for, from [`super::claims()`].
    pub claims: Vec<Claim>,
    /// Whether red invoices for sales allowances (销售折让) give credit back (protocol.md §4).
    pub allowance_returns: bool,
    /// The record of its call, which is committed together with the reservation: what is held is about to be sent.
    pub intent: Option<Arc<Intent>>,
}

/// What became of an upload that holds credit.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Settlement {
    /// The platform took it; the results come later.
    Accepted {
        /// `sllsh`.
        acceptance_no: Option<String>,
    },
    /// Refused as a whole because these numbers are at the platform already.
    AlreadyUploaded {
        /// Which; empty when the platform did not say, which proves nothing.
        invoice_nos: Vec<InvoiceNo>,
        /// The platform's code.
        code: String,
        /// Its words.
        text: String,
    },
    /// Proven that no byte of it left.
    NotSent,
    /// Proven refusal.
    Refused {
        /// The platform's code.
        code: String,
        /// Its words.
        text: String,
    },
    /// It may have been taken or not.
    Unclear,
}

/// What the books said when a query or transfer was sent, so that its answer can be compared with what happened since.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mark {
    /// The account of the current month at that time.
    pub key: AccountKey,
    /// Its epoch.
    pub epoch: i64,
    /// Its issued credit.
    pub issued: Money,
    /// When it was last changed.
    pub updated_at: Option<Timestamp>,
}

/// Whether an observed answer could be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// The books follow it.
    Applied,
    /// Something else changed the balance meanwhile, so the figures of this answer may be older than the books'.
    Overtaken,
}

/// The account, or a new one.
fn account_or_new(books: &Books, key: &AccountKey, now: Timestamp) -> Account {
    books.account(key).cloned().unwrap_or_else(|| Account::new(key.clone(), now))
}

/// Changes the account's figures with an event that says why.
fn change(books: &mut Books, key: &AccountKey, cause: Cause, change: impl FnOnce(&mut Account)) {
    let mut account = account_or_new(books, key, cause.at);
    change(&mut account);
    account.updated_at = cause.at;
    books.put_account(account, cause);
}

fn entry_key(issuer: &TaxNo, invoice_no: &InvoiceNo) -> EntryKey {
    EntryKey { issuer: issuer.clone(), invoice_no: invoice_no.clone() }
}

fn cause(kind: EventKind, entry: &Entry, exchange: Option<ExchangeId>, at: Timestamp) -> Cause {
    Cause { kind, invoice_no: Some(entry.key.invoice_no.clone()), exchange, at }
}

/// Takes what a reserved entry holds out of its account.
fn let_go(account: &mut Account, entry: &Entry) {
    account.figures.reserved = account.figures.reserved.saturating_sub(entry.held());
    account.figures.pending_return = account.figures.pending_return.saturating_sub(entry.gives_back());
}

/// Adds what a reserved entry holds to its account.
fn hold(account: &mut Account, entry: &Entry) {
    account.figures.reserved = account.figures.reserved.saturating_add(entry.held());
    account.figures.pending_return = account.figures.pending_return.saturating_add(entry.gives_back());
}
