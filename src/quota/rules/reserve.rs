//! Reserving an upload: all of its invoices or none.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Claim, Mode, Upload, cause, change, entry_key, hold, let_go};
use crate::{
    domain::{InvoiceNo, Money, Period, beijing_day},
    quota::Refusal,
    store::ledger::{Account, AccountKey, Books, Entry, EntryState, EventKind, LedgerKeys, Send},
};

/// Uploads of one invoice without proven outcome that are remembered. Further ones are held by these: they cannot
/// release anything, which is on the safe side.
const MAX_SENDS: usize = 32;

/// Figures beyond this are no money; the sums of the books stay far from the end of 64 bits.
const MAX_FIGURE: i128 = 4_000_000_000_000_000_000;

/// What a reservation took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// The invoices that wait for the outcome of this upload.
    pub invoices: Vec<InvoiceNo>,
    /// Credit newly held.
    pub held: Money,
    /// What is left in the latest of its months.
    pub left: Option<Money>,
}

/// Why nothing was reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReserved {
    /// The balance of this month was never seen.
    Unknown(AccountKey),
    /// By the books as they are; where `Short`, a newer balance may help.
    Refused(Refusal),
}

impl Upload {
    /// The rows that [`reserve`] needs.
    #[must_use]
    pub fn keys(&self) -> LedgerKeys {
        let mut keys = LedgerKeys::default();
        for claim in &self.claims {
            keys.accounts.push(AccountKey { issuer: self.issuer.clone(), period: claim.period() });
            keys.entries.push(entry_key(&self.issuer, &claim.invoice_no));
            keys.entries.extend(claim.reversed_no.iter().map(|no| entry_key(&self.issuer, no)));
        }
        keys
    }
}

/// Holds the credit of all invoices of the upload, or changes nothing.
///
/// An invoice that is held already holds only what it needs more; one that is issued needs nothing.
///
/// # Errors
/// Why it must not be sent; never in [`Mode::Observe`], except for figures that cannot be booked.
pub fn reserve(books: &mut Books, upload: &Upload, now: Timestamp) -> Result<Reserved, NotReserved> {
    let plans: Vec<Plan<'_>> = upload.claims.iter().map(|claim| plan(books, upload, claim)).collect();
    let mut months: BTreeMap<Period, i128> = BTreeMap::new();
    for plan in &plans {
        *months.entry(plan.claim.period()).or_default() += i128::from(plan.more.fen());
    }
    if upload.mode == Mode::Enforce {
        plans.iter().try_for_each(|plan| check_invoice(books, upload, plan))?;
    }
    for (&period, &needed) in &months {
        check_month(books, upload, period, needed)?;
    }
    let mut reserved = Reserved { invoices: Vec::new(), held: Money::ZERO, left: None };
    for plan in plans.into_iter().filter(|plan| plan.before != Before::Issued) {
        reserved.invoices.push(plan.claim.invoice_no.clone());
        reserved.held = reserved.held.saturating_add(plan.more);
        apply(books, upload, plan, now);
    }
    let latest =
        months.keys().next_back().map(|&period| AccountKey { issuer: upload.issuer.clone(), period });
    reserved.left = latest.and_then(|key| books.account(&key)).map(Account::available);
    Ok(reserved)
}

/// What is to be done for one invoice.
struct Plan<'a> {
    claim: &'a Claim,
    before: Before,
    /// The credit its entry has afterwards.
    credit: Money,
    /// The credit that must be free for it.
    more: Money,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Unknown or released: it starts anew.
    Free,
    Held,
    /// Held in another month.
    HeldElsewhere,
    Issued,
}

fn plan<'a>(books: &Books, upload: &Upload, claim: &'a Claim) -> Plan<'a> {
    let entry = books.entry(&entry_key(&upload.issuer, &claim.invoice_no));
    let asked = credit_of(books, upload, claim);
    let (before, credit, more) = match entry {
        Some(entry) if entry.state == EntryState::Issued => (Before::Issued, entry.credit, Money::ZERO),
        Some(entry) if entry.state == EntryState::Reserved && entry.period == claim.period() => {
            let credit = asked.max(entry.credit);
            (Before::Held, credit, credit.max(Money::ZERO).saturating_sub(entry.held()))
        }
        Some(entry) if entry.state == EntryState::Reserved => {
            (Before::HeldElsewhere, asked, asked.max(Money::ZERO))
        }
        Some(_) | None => (Before::Free, asked, asked.max(Money::ZERO)),
    };
    Plan { claim, before, credit, more }
}

/// A red invoice gives back only what a blue one of the same month used; where the blue one is not in the books,
/// nothing is given back here, and the platform's next balance tells.
fn credit_of(books: &Books, upload: &Upload, claim: &Claim) -> Money {
    if !claim.red {
        return claim.credit;
    }
    if claim.allowance && !upload.allowance_returns {
        return Money::ZERO;
    }
    let blue = claim.reversed_no.as_ref().and_then(|no| books.entry(&entry_key(&upload.issuer, no)));
    let of_the_month = |blue: &&Entry| blue.period == claim.period() && blue.state != EntryState::Released;
    let used = blue.filter(of_the_month).map_or(Money::ZERO, Entry::held);
    claim.credit.max(Money::ZERO.saturating_sub(used))
}

fn check_invoice(books: &Books, upload: &Upload, plan: &Plan<'_>) -> Result<(), NotReserved> {
    let claim = plan.claim;
    let invoice_no = claim.invoice_no.clone();
    if plan.before == Before::Issued {
        return Ok(());
    }
    let key = AccountKey { issuer: upload.issuer.clone(), period: claim.period() };
    let account = books.account(&key);
    if account.is_some_and(|account| is_closed(account, &claim.platform_id)) {
        return Err(NotReserved::Refused(Refusal::MonthClosed { invoice_no, period: key.period }));
    }
    if plan.before == Before::HeldElsewhere {
        let entry = books.entry(&entry_key(&upload.issuer, &invoice_no));
        let before = entry.map_or_else(|| claim.day(), |entry| beijing_day(entry.dated_at));
        return Err(NotReserved::Refused(Refusal::Moved { invoice_no, before }));
    }
    let Some(account) = account.filter(|_| claim.credit > Money::ZERO) else { return Ok(()) };
    let (date, from, to) = (claim.day(), account.valid_from, account.valid_to);
    if from.is_some_and(|from| date < from) || to.is_some_and(|to| date > to) {
        return Err(NotReserved::Refused(Refusal::Validity { invoice_no, date, from, to }));
    }
    Ok(())
}

/// An invoice that names no platform counts for all of them.
fn is_closed(account: &Account, platform_id: &str) -> bool {
    account.closed_for.iter().any(|closed| platform_id.is_empty() || closed == platform_id)
}

fn check_month(books: &Books, upload: &Upload, period: Period, needed: i128) -> Result<(), NotReserved> {
    let key = AccountKey { issuer: upload.issuer.clone(), period };
    let account = books.account(&key);
    let figures = account.map(|account| account.figures).unwrap_or_default();
    if i128::from(figures.reserved.fen()) + needed > MAX_FIGURE {
        return Err(NotReserved::Refused(refuse_amount(upload)));
    }
    if upload.mode != Mode::Enforce || needed == 0 {
        return Ok(());
    }
    let Some(account) = account.filter(|account| account.synced_at.is_some()) else {
        return Err(NotReserved::Unknown(key));
    };
    if needed <= i128::from(account.available().fen()) {
        return Ok(());
    }
    Err(NotReserved::Refused(Refusal::Short {
        issuer: key.issuer,
        period,
        available: account.available(),
        needed: Money::from_fen(i64::try_from(needed).unwrap_or(i64::MAX)),
        at_bureau: account.bureau_available,
        top_up: None,
    }))
}

/// Names the largest invoice.
fn refuse_amount(upload: &Upload) -> Refusal {
    let largest = upload.claims.iter().max_by_key(|claim| claim.credit);
    largest.map_or(Refusal::Empty, |claim| Refusal::Amount { invoice_no: claim.invoice_no.clone() })
}

fn apply(books: &mut Books, upload: &Upload, plan: Plan<'_>, now: Timestamp) {
    let old = books.entry(&entry_key(&upload.issuer, &plan.claim.invoice_no)).cloned();
    let mut entry = renewed(upload, &plan, old.as_ref(), now);
    if entry.sends.len() < MAX_SENDS {
        entry.sends.push(Send { exchange: upload.exchange, acceptance_no: None });
    }
    let exchange = Some(upload.exchange);
    let held_before = old.filter(|old| old.state == EntryState::Reserved);
    let key = entry.account_key();
    // which of two amounts under one number the platform takes, no result says: until the next balance of a month at
    // rest the books may hold more than it counts
    let ambiguous = held_before.as_ref().is_some_and(|old| old.credit != plan.claim.credit);
    match held_before {
        Some(old) if old.period != entry.period => {
            let moved = cause(EventKind::Moved, &old, exchange, now);
            change(books, &old.account_key(), moved, |account| {
                let_go(account, &old);
                account.exact = false;
            });
            change(books, &key, cause(EventKind::Moved, &entry, exchange, now), |account| {
                hold(account, &entry);
                account.exact = false;
            });
        }
        held_before => {
            change(books, &key, cause(EventKind::Reserved, &entry, exchange, now), |account| {
                if let Some(old) = &held_before {
                    let_go(account, old);
                }
                hold(account, &entry);
                account.exact &= !ambiguous;
            });
        }
    }
    books.put_entry(entry);
}

/// The entry as this upload describes it, with what is known of earlier uploads unless it starts anew.
fn renewed(upload: &Upload, plan: &Plan<'_>, old: Option<&Entry>, now: Timestamp) -> Entry {
    let claim = plan.claim;
    let held = old.filter(|old| old.state == EntryState::Reserved);
    Entry {
        key: entry_key(&upload.issuer, &claim.invoice_no),
        period: claim.period(),
        platform_id: claim.platform_id.clone(),
        red: claim.red,
        net: claim.net,
        tax: claim.tax,
        credit: plan.credit,
        reversed_no: claim.reversed_no.clone(),
        state: EntryState::Reserved,
        sends: held.map(|old| old.sends.clone()).unwrap_or_default(),
        acceptance_no: held.and_then(|old| old.acceptance_no.clone()),
        result_code: None,
        result_text: None,
        dated_at: claim.dated_at,
        created_at: old.map_or(now, |old| old.created_at),
        updated_at: now,
        exchange: Some(upload.exchange),
    }
}
