//! The loaded rows of one transaction, with what was changed on them.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

use super::{
    rows::{Account, AccountKey, Entry, EntryKey, EntryState, Event, EventKind, Figures},
    transfer::{OwnTransfers, Transfer, TransferState},
};
use crate::domain::{ExchangeId, InvoiceNo, TaxNo};

/// The rows that a job needs.
#[derive(Clone, Debug, Default)]
pub struct LedgerKeys {
    /// Accounts.
    pub accounts: Vec<AccountKey>,
    /// Invoices; their accounts are loaded with them.
    pub entries: Vec<EntryKey>,
    /// Invoices whose latest acceptance is one of these.
    pub acceptance_nos: Vec<String>,
    /// Transfers by their serials; their accounts are loaded with them.
    pub transfers: Vec<String>,
    /// The open own transfers of issuers, and those of an origin; their accounts are loaded with them.
    pub own_transfers: Vec<OwnTransfers>,
    /// Accounts of which every reserved invoice is needed.
    pub open_of: Vec<AccountKey>,
}

impl LedgerKeys {
    /// Adds another job's keys.
    pub fn extend(&mut self, other: Self) {
        self.accounts.extend(other.accounts);
        self.entries.extend(other.entries);
        self.acceptance_nos.extend(other.acceptance_nos);
        self.transfers.extend(other.transfers);
        self.own_transfers.extend(other.own_transfers);
        self.open_of.extend(other.open_of);
    }
}

/// Why an account is changed, for its event.
#[derive(Clone, Debug)]
pub struct Cause {
    /// The kind of change.
    pub kind: EventKind,
    /// The invoice that changes it, if one does.
    pub invoice_no: Option<InvoiceNo>,
    /// The exchange that changes it, if it is known.
    pub exchange: Option<ExchangeId>,
    /// When.
    pub at: Timestamp,
}

/// Accounts, invoices and transfers of one transaction. What is put is seen by the jobs that follow.
#[derive(Debug, Default)]
pub struct Books {
    accounts: HashMap<AccountKey, Account>,
    entries: HashMap<EntryKey, Entry>,
    transfers: HashMap<String, Transfer>,
    changed_accounts: BTreeSet<AccountKey>,
    changed_entries: BTreeSet<EntryKey>,
    changed_transfers: BTreeSet<String>,
    events: Vec<Event>,
}

impl Books {
    /// Books that hold these rows and no change.
    #[must_use]
    pub fn of(
        accounts: impl IntoIterator<Item = Account>,
        entries: impl IntoIterator<Item = Entry>,
        transfers: impl IntoIterator<Item = Transfer>,
    ) -> Self {
        Self {
            accounts: accounts.into_iter().map(|a| (a.key.clone(), a)).collect(),
            entries: entries.into_iter().map(|e| (e.key.clone(), e)).collect(),
            transfers: transfers.into_iter().map(|t| (t.serial.clone(), t)).collect(),
            ..Self::default()
        }
    }

    /// The account, if there is one.
    #[must_use]
    pub fn account(&self, key: &AccountKey) -> Option<&Account> {
        self.accounts.get(key)
    }

    /// The invoice, if it is known.
    #[must_use]
    pub fn entry(&self, key: &EntryKey) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The invoices whose latest acceptance is this one, in the order of their keys.
    #[must_use]
    pub fn accepted(&self, acceptance_no: &str) -> Vec<EntryKey> {
        let is_it = |entry: &&Entry| entry.acceptance_no.as_deref() == Some(acceptance_no);
        let mut keys: Vec<_> = self.entries.values().filter(is_it).map(|entry| entry.key.clone()).collect();
        keys.sort_unstable();
        keys
    }

    /// The transfer, if it is known.
    #[must_use]
    pub fn transfer(&self, serial: &str) -> Option<&Transfer> {
        self.transfers.get(serial)
    }

    /// The open own transfer of the issuer; there is never a second one.
    #[must_use]
    pub fn open_transfer(&self, issuer: &TaxNo) -> Option<&Transfer> {
        let open = |t: &&Transfer| t.own && t.state == TransferState::Open && t.key.issuer == *issuer;
        self.transfers.values().find(open)
    }

    /// The own transfer of this origin.
    #[must_use]
    pub fn transfer_of(&self, issuer: &TaxNo, origin: &str) -> Option<&Transfer> {
        let of_it = |t: &&Transfer| t.own && t.key.issuer == *issuer && t.origin.as_deref() == Some(origin);
        self.transfers.values().find(of_it)
    }

    /// The reserved invoices of the account, in the order of their keys.
    #[must_use]
    pub fn open_of(&self, key: &AccountKey) -> Vec<&Entry> {
        let open = |e: &&Entry| {
            e.state == EntryState::Reserved && e.period == key.period && e.key.issuer == key.issuer
        };
        let mut entries: Vec<_> = self.entries.values().filter(open).collect();
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        entries
    }

    /// Sets an account; a change of its figures makes an event, so that events always add up to the figures.
    pub fn put_account(&mut self, account: Account, cause: Cause) {
        let before = self.accounts.get(&account.key).map(|a| a.figures).unwrap_or_default();
        let delta = account.figures.since(before);
        if delta != Figures::default() {
            self.events.push(Event {
                id: 0,
                key: account.key.clone(),
                invoice_no: cause.invoice_no,
                kind: cause.kind,
                delta,
                exchange: cause.exchange,
                at: cause.at,
            });
        }
        self.changed_accounts.insert(account.key.clone());
        self.accounts.insert(account.key.clone(), account);
    }

    /// Sets an invoice.
    pub fn put_entry(&mut self, entry: Entry) {
        self.changed_entries.insert(entry.key.clone());
        self.entries.insert(entry.key.clone(), entry);
    }

    /// Sets a transfer.
    pub fn put_transfer(&mut self, transfer: Transfer) {
        self.changed_transfers.insert(transfer.serial.clone());
        self.transfers.insert(transfer.serial.clone(), transfer);
    }

    /// The accounts that were set.
    pub fn changed_accounts(&self) -> impl Iterator<Item = &Account> {
        self.changed_accounts.iter().filter_map(|key| self.accounts.get(key))
    }

    /// The invoices that were set.
    pub fn changed_entries(&self) -> impl Iterator<Item = &Entry> {
        self.changed_entries.iter().filter_map(|key| self.entries.get(key))
    }

    /// The transfers that were set; those that make room for an open one come before it.
    #[must_use]
    pub fn changed_transfers(&self) -> Vec<&Transfer> {
        let changed = self.changed_transfers.iter().filter_map(|serial| self.transfers.get(serial));
        let mut changed: Vec<_> = changed.collect();
        changed.sort_by_key(|transfer| transfer.state == TransferState::Open);
        changed
    }

    /// What happened, in order.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}
