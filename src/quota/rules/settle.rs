//! What answers and results prove about invoices that hold credit.

use jiff::Timestamp;

use super::{Settlement, cause, change, entry_key, hold, let_go};
use crate::{
    domain::{ExchangeId, InvoiceNo, Money, TaxNo},
    leqi::messages::{InvoiceResult, InvoiceStatus},
    store::ledger::{Books, Entry, EntryKey, EntryState, EventKind, Send},
};

/// What a settlement or a list of results changed, for metrics and alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Invoices that became issued.
    pub issued: usize,
    /// Invoices whose credit is free again.
    pub released: usize,
    /// Invoices issued beyond the credit: each is booked, and is an alarm.
    pub overdrawn: Vec<EntryKey>,
    /// Invoices issued after their credit had been given free: booked, and an alarm.
    pub late: Vec<EntryKey>,
    /// Invoices that count as issued though their own acceptance says that they failed: an alarm, nothing is changed.
    pub contradicted: Vec<EntryKey>,
}

/// Settles one upload of these invoices.
pub fn settle(
    books: &mut Books,
    issuer: &TaxNo,
    exchange: ExchangeId,
    invoices: &[InvoiceNo],
    settlement: &Settlement,
    now: Timestamp,
) -> Settled {
    let mut settled = Settled::default();
    for invoice_no in invoices {
        let Some(mut entry) = books.entry(&entry_key(issuer, invoice_no)).cloned() else { continue };
        match settlement {
            Settlement::Accepted { acceptance_no: Some(acceptance_no) } => {
                accepted(books, entry, exchange, acceptance_no, now);
            }
            Settlement::AlreadyUploaded { invoice_nos, code, text } if invoice_nos.contains(invoice_no) => {
                note(&mut entry, code, text);
                let this = |send: &Send| send.exchange == exchange;
                there_already(books, entry, this, Some(exchange), now, &mut settled);
            }
            Settlement::AlreadyUploaded { invoice_nos, code, text } if !invoice_nos.is_empty() => {
                note(&mut entry, code, text);
                not_taken(books, entry, exchange, now, &mut settled);
            }
            Settlement::NotSent => not_taken(books, entry, exchange, now, &mut settled),
            Settlement::Refused { code, text } => {
                note(&mut entry, code, text);
                not_taken(books, entry, exchange, now, &mut settled);
            }
            Settlement::Accepted { acceptance_no: None }
            | Settlement::AlreadyUploaded { .. }
            | Settlement::Unclear => {}
        }
    }
    settled
}

/// Books the results of an acceptance. Invoices are found by the issuing party, where it is known, and by the
/// acceptance.
pub fn results(
    books: &mut Books,
    issuer: Option<&TaxNo>,
    acceptance_no: &str,
    results: &[InvoiceResult],
    now: Timestamp,
) -> Settled {
    let mut settled = Settled::default();
    let accepted = books.accepted(acceptance_no);
    for result in results {
        let named = issuer.map(|issuer| entry_key(issuer, &result.invoice_no));
        let of_acceptance = accepted.iter().find(|key| key.invoice_no == result.invoice_no);
        let entry = named.and_then(|key| books.entry(&key)).or_else(|| books.entry(of_acceptance?));
        let Some(mut entry) = entry.cloned() else { continue };
        let code = result.code.as_deref().unwrap_or_else(|| result.status.as_str());
        match &result.status {
            InvoiceStatus::Issued => {
                note(&mut entry, code, &result.message);
                issue(books, entry, None, now, &mut settled);
            }
            InvoiceStatus::UploadedBefore => {
                note(&mut entry, code, &result.message);
                let this = |send: &Send| send.acceptance_no.as_deref() == Some(acceptance_no);
                there_already(books, entry, this, None, now, &mut settled);
            }
            // of an acceptance before the one that was issued it is no news
            InvoiceStatus::Failed if entry.state == EntryState::Issued => {
                if entry.acceptance_no.as_deref().is_none_or(|latest| latest == acceptance_no) {
                    settled.contradicted.push(entry.key.clone());
                }
            }
            InvoiceStatus::Failed => {
                note(&mut entry, code, &result.message);
                failed(books, entry, acceptance_no, now, &mut settled);
            }
            InvoiceStatus::Processing | InvoiceStatus::Other(_) => {}
        }
    }
    settled
}

pub(super) fn note(entry: &mut Entry, code: &str, text: &str) {
    entry.result_code = Some(code.to_owned()).filter(|code| !code.is_empty());
    entry.result_text = Some(text.to_owned()).filter(|text| !text.is_empty());
}

/// The upload is at the platform; its result decides.
fn accepted(books: &mut Books, mut entry: Entry, exchange: ExchangeId, acceptance_no: &str, now: Timestamp) {
    let known = entry.sends.iter_mut().find(|send| send.exchange == exchange);
    let send = Send { exchange, acceptance_no: Some(acceptance_no.to_owned()) };
    match (entry.state, known) {
        (EntryState::Issued, _) => return,
        // settled before: the result of this very acceptance has released it
        (EntryState::Released, _) if entry.acceptance_no.as_deref() == Some(acceptance_no) => return,
        (EntryState::Released, _) => {
            entry.state = EntryState::Reserved;
            entry.sends = vec![send];
            let held = cause(EventKind::Reserved, &entry, Some(exchange), now);
            change(books, &entry.account_key(), held, |account| hold(account, &entry));
        }
        (EntryState::Reserved, Some(known)) => *known = send,
        // its result was seen, or there were more uploads than are remembered
        (EntryState::Reserved, None) => {}
    }
    entry.acceptance_no = Some(acceptance_no.to_owned());
    entry.updated_at = now;
    books.put_entry(entry);
}

/// The platform has the number, from another upload than this one, and says so instead of taking it again. It says so too
/// while it still works on the other one: where an accepted upload waits for its result, that one decides. Else there is
/// nothing to ask with, since the acceptance number of an answer that was lost is not told again, and the number counts
/// as issued; should its result be seen after all and say otherwise, that is an alarm.
fn there_already(
    books: &mut Books,
    mut entry: Entry,
    this: impl Fn(&Send) -> bool,
    exchange: Option<ExchangeId>,
    now: Timestamp,
    settled: &mut Settled,
) {
    let waits = entry.sends.iter().any(|send| !this(send) && send.acceptance_no.is_some());
    if entry.state == EntryState::Reserved && waits {
        entry.sends.retain(|send| !this(send));
        entry.updated_at = now;
        books.put_entry(entry);
    } else {
        issue(books, entry, exchange, now, settled);
    }
}

/// This upload did not reach the platform's books. Earlier ones may have.
fn not_taken(
    books: &mut Books,
    mut entry: Entry,
    exchange: ExchangeId,
    now: Timestamp,
    settled: &mut Settled,
) {
    let before = entry.sends.len();
    entry.sends.retain(|send| send.exchange != exchange);
    if entry.sends.len() == before {
        return;
    }
    release_if_settled(books, entry, Some(exchange), now, settled);
}

/// The platform has worked on this acceptance and has not issued the number: neither this upload was taken, nor those
/// before it that were never accepted. Those sent after it still may be, and accepted ones have results of their own.
fn failed(books: &mut Books, mut entry: Entry, acceptance_no: &str, now: Timestamp, settled: &mut Settled) {
    let of_it = |send: &Send| send.acceptance_no.as_deref() == Some(acceptance_no);
    let Some(place) = entry.sends.iter().rposition(of_it) else { return };
    let mut at = 0..;
    entry.sends.retain(|send| {
        let later = at.next().is_some_and(|at| at > place);
        later || send.acceptance_no.as_deref().is_some_and(|other| other != acceptance_no)
    });
    release_if_settled(books, entry, None, now, settled);
}

pub(super) fn release_if_settled(
    books: &mut Books,
    mut entry: Entry,
    exchange: Option<ExchangeId>,
    now: Timestamp,
    settled: &mut Settled,
) {
    entry.updated_at = now;
    if entry.state == EntryState::Reserved && entry.sends.is_empty() {
        let released = cause(EventKind::Released, &entry, exchange, now);
        change(books, &entry.account_key(), released, |account| let_go(account, &entry));
        entry.state = EntryState::Released;
        settled.released += 1;
    }
    books.put_entry(entry);
}

/// The platform has issued it. Booked whatever the books said before, into overdraft if need be.
pub(super) fn issue(
    books: &mut Books,
    mut entry: Entry,
    exchange: Option<ExchangeId>,
    now: Timestamp,
    settled: &mut Settled,
) {
    let was = entry.state;
    if was == EntryState::Issued {
        return;
    }
    let kind = if was == EntryState::Reserved { EventKind::Issued } else { EventKind::IssuedLate };
    let key = entry.account_key();
    change(books, &key, cause(kind, &entry, exchange, now), |account| {
        if was == EntryState::Reserved {
            let_go(account, &entry);
        }
        account.figures.issued = account.figures.issued.saturating_add(entry.credit);
        // a balance asked for before may have counted what this gives back, or not
        account.epoch += i64::from(entry.credit < Money::ZERO);
    });
    if was == EntryState::Released {
        settled.late.push(entry.key.clone());
        if books.account(&key).is_some_and(|account| account.available() < Money::ZERO) {
            settled.overdrawn.push(entry.key.clone());
        }
    }
    entry.state = EntryState::Issued;
    entry.sends.clear();
    entry.updated_at = now;
    books.put_entry(entry);
    settled.issued += 1;
}
