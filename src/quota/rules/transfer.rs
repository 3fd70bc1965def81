//! Downloads and returns of credit (`XZTHSXED`).
//!
//! The platform answers a repeated serial with the original result, and a balance may be seen between a transfer and
//! its answer. So a transfer is noted before it is sent, with the account's epoch: while that stands no balance can
//! have counted it, and its answer is added; else the balance may hold it already, and adding it could count twice.
//! A return is taken off before it is sent, because its credit must not be sold meanwhile.

use jiff::Timestamp;

use super::{Mark, Observed, account_or_new, change};
use crate::{
    domain::{Money, Period},
    leqi::messages::{Direction, QuotaTransfer, QuotaTransferAnswer},
    store::ledger::{Account, AccountKey, Books, Cause, EventKind, Transfer},
};

/// Notes a transfer that is about to be sent, at first or again; `key` is the account of the current month.
pub fn begin_transfer(books: &mut Books, request: &QuotaTransfer, key: &AccountKey, now: Timestamp) {
    if books.transfer(&request.serial).is_some() {
        return;
    }
    let mut booked = Money::ZERO;
    if request.direction == Direction::Return && books.account(key).is_some() {
        booked = Money::ZERO.saturating_sub(request.amount);
        change_transfer(books, key, now, |account| {
            add(account, booked);
            account.epoch += 1;
        });
    }
    let epoch = account_or_new(books, key, now).epoch;
    let (serial, key) = (request.serial.clone(), key.clone());
    books.put_transfer(Transfer { serial, key, booked, epoch, done: false, at: now });
}

/// Follows a successful answer; the same serial counts once. `mark` stands in for a transfer that was not noted
/// before it was sent.
pub fn transfer(
    books: &mut Books,
    request: &QuotaTransfer,
    answer: &QuotaTransferAnswer,
    mark: &Mark,
    now: Timestamp,
) -> Observed {
    let begun = noted(books, request, mark, now);
    let key = transfer_key(request, answer, &begun.key);
    let amount = answer.amount.unwrap_or(request.amount);
    let signed = match request.direction {
        Direction::Download => amount,
        Direction::Return => Money::ZERO.saturating_sub(amount),
    };
    let overtaken = begun.key != key || account_or_new(books, &key, now).epoch != begun.epoch;
    change_transfer(books, &key, now, |account| {
        account.valid_from = answer.valid_from.or(account.valid_from);
        account.valid_to = answer.valid_to.or(account.valid_to);
        if begun.done {
            return;
        }
        // counting less is safe until the next balance, counting twice is not
        match (overtaken, request.direction) {
            (false, _) => add(account, signed.saturating_sub(begun.booked)),
            (true, Direction::Return) => add(account, signed),
            (true, Direction::Download) => {}
        }
        account.stale |= overtaken;
        account.epoch += 1;
    });
    if begun.done {
        return Observed::Applied;
    }
    books.put_transfer(Transfer { key, booked: signed, done: true, at: now, ..begun });
    if overtaken { Observed::Overtaken } else { Observed::Applied }
}

/// Follows a proven refusal, or the proof that nothing was sent: what was taken off for a return is put back.
pub fn transfer_refused(books: &mut Books, request: &QuotaTransfer, now: Timestamp) {
    let Some(begun) = books.transfer(&request.serial).filter(|transfer| !transfer.done).cloned() else {
        return;
    };
    if begun.booked == Money::ZERO {
        return;
    }
    let overtaken = account_or_new(books, &begun.key, now).epoch != begun.epoch;
    change_transfer(books, &begun.key, now, |account| {
        // a balance seen since may have put it back already
        if !overtaken {
            add(account, Money::ZERO.saturating_sub(begun.booked));
        }
        account.stale |= overtaken;
        account.epoch += 1;
    });
    let epoch = account_or_new(books, &begun.key, now).epoch;
    books.put_transfer(Transfer { booked: Money::ZERO, epoch, at: now, ..begun });
}

/// Follows a transfer whose answer proves nothing: after a download more may be there than the books say. A return
/// was taken off when it was noted; one that was not makes the balance unknown until it is asked for.
pub fn transfer_unclear(books: &mut Books, request: &QuotaTransfer, mark: &Mark, now: Timestamp) {
    let begun = noted(books, request, mark, now);
    if begun.done || books.account(&begun.key).is_none() {
        return;
    }
    let unknown = request.direction == Direction::Return && begun.booked == Money::ZERO;
    change_transfer(books, &begun.key, now, |account| {
        account.stale = true;
        if unknown {
            account.synced_at = None;
            account.epoch += 1;
        }
    });
    books.put_transfer(Transfer { at: now, ..begun });
}

/// The month that the platform's interval names; else the one that the transfer was sent in.
pub(in crate::quota) fn transfer_key(
    request: &QuotaTransfer,
    answer: &QuotaTransferAnswer,
    sent: &AccountKey,
) -> AccountKey {
    let period = answer.valid_from.or(answer.valid_to).map_or(sent.period, Period::of);
    AccountKey { issuer: request.tax_no.clone(), period }
}

fn noted(books: &Books, request: &QuotaTransfer, mark: &Mark, now: Timestamp) -> Transfer {
    books.transfer(&request.serial).cloned().unwrap_or_else(|| Transfer {
        serial: request.serial.clone(),
        key: mark.key.clone(),
        booked: Money::ZERO,
        epoch: mark.epoch,
        done: false,
        at: now,
    })
}

fn add(account: &mut Account, amount: Money) {
    account.figures.downloaded = account.figures.downloaded.saturating_add(amount);
}

fn change_transfer(books: &mut Books, key: &AccountKey, now: Timestamp, with: impl FnOnce(&mut Account)) {
    let cause = Cause { kind: EventKind::Transfer, invoice_no: None, exchange: None, at: now };
    change(books, key, cause, with);
}
