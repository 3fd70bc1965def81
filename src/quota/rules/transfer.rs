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
    store::ledger::{Account, AccountKey, Books, Cause, EventKind, Transfer, TransferState, Way},
};

/// The code of a transfer that was sent before without a known outcome: a refusal of its repetition proves nothing.
pub(super) const UNCLEAR: &str = "GW-UNCLEAR";

/// The serial belongs to another transfer already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialReused {
    /// Which way that one went.
    pub way: Way,
    /// Its amount.
    pub amount: Money,
}

/// Notes a transfer that is about to be sent, at first or again; `key` is the account of the current month.
///
/// # Errors
/// When the serial was used for another transfer, which the platform refuses too (protocol.md §3).
pub fn begin_transfer(
    books: &mut Books,
    request: &QuotaTransfer,
    key: &AccountKey,
    now: Timestamp,
) -> Result<(), SerialReused> {
    let Some(known) = books.transfer(&request.serial).cloned() else {
        open(books, request, key, now);
        return Ok(());
    };
    let same =
        (known.way, known.amount, &known.key.issuer) == (way(request), request.amount, &request.tax_no);
    if !same {
        return Err(SerialReused { way: known.way, amount: known.amount });
    }
    match known.state {
        // nothing of it is booked: as if it were new
        TransferState::Refused => open(books, request, key, now),
        TransferState::Open => {
            if known.way == Way::Return {
                take_off_again(books, &known, now);
            }
            let known = books.transfer(&request.serial).cloned().unwrap_or(known);
            books.put_transfer(Transfer { code: Some(UNCLEAR.to_owned()), ..known });
        }
        TransferState::Done | TransferState::Expired => {}
    }
    Ok(())
}

/// Notes a new transfer and takes a return's credit off.
pub(super) fn open(books: &mut Books, request: &QuotaTransfer, key: &AccountKey, now: Timestamp) {
    let before = account_or_new(books, key, now).figures.downloaded;
    let mut booked = Money::ZERO;
    if request.direction == Direction::Return && books.account(key).is_some() {
        booked = Money::ZERO.saturating_sub(request.amount);
        change_transfer(books, key, now, |account| {
            add(account, booked);
            account.epoch += 1;
        });
    }
    let epoch = account_or_new(books, key, now).epoch;
    books.put_transfer(Transfer { booked, before, epoch, ..unknown(request, key.clone(), now) });
}

/// A balance that was seen while a return was open may have put its credit back, which the platform will take when the
/// return arrives at last: it is taken off again before that. Whether there is so much to take off.
pub(super) fn take_off_again(books: &mut Books, open: &Transfer, now: Timestamp) -> bool {
    let Some(account) = books.account(&open.key) else { return true };
    if account.epoch == open.epoch {
        // a balance that was asked for before this sending must not be taken for what is true after it
        change_transfer(books, &open.key, now, |account| account.epoch += 1);
        books.put_transfer(Transfer { epoch: open.epoch + 1, ..open.clone() });
        return true;
    }
    if account.available() < open.amount {
        return false;
    }
    let booked = signed(Way::Return, open.amount);
    change_transfer(books, &open.key, now, |account| {
        add(account, booked);
        account.stale = true;
        account.epoch += 1;
    });
    let epoch = account_or_new(books, &open.key, now).epoch;
    books.put_transfer(Transfer { booked, epoch, ..open.clone() });
    true
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
    let done = begun.state == TransferState::Done;
    let key = transfer_key(request, answer, &begun.key);
    let amount = answer.amount.unwrap_or(request.amount);
    let signed = signed(way(request), amount);
    let overtaken = begun.key != key || account_or_new(books, &key, now).epoch != begun.epoch;
    change_transfer(books, &key, now, |account| {
        keep_interval(account, answer, begun.begun_at);
        if done {
            return;
        }
        // counting less is safe until the next balance, counting twice is not
        match (overtaken, request.direction) {
            (false, _) => add(account, signed.saturating_sub(begun.booked)),
            (true, Direction::Return) => add(account, signed),
            (true, Direction::Download) => {}
        }
        if !overtaken {
            move_at_bureau(account, signed);
        }
        account.stale |= overtaken;
        account.epoch += 1;
    });
    if done {
        return Observed::Applied;
    }
    let state = TransferState::Done;
    books.put_transfer(Transfer { key, booked: signed, state, code: None, text: None, at: now, ..begun });
    if overtaken { Observed::Overtaken } else { Observed::Applied }
}

/// What the bureau would say now, until it does.
fn move_at_bureau(account: &mut Account, signed: Money) {
    let left = account.bureau_available.filter(|left| !left.is_on_demand());
    account.bureau_available = left.map(|left| left.saturating_sub(signed)).or(account.bureau_available);
    account.bureau_downloaded = account.bureau_downloaded.map(|amount| amount.saturating_add(signed));
    account.bureau_unused = account.bureau_unused.map(|amount| amount.saturating_add(signed));
}

/// The interval of the latest download counts for all credit of the month (protocol.md §3); a repeated answer tells
/// the one of its own time.
fn keep_interval(account: &mut Account, answer: &QuotaTransferAnswer, asked_at: Timestamp) {
    if account.valid_since.is_some_and(|since| since > asked_at) {
        return;
    }
    account.valid_from = answer.valid_from.or(account.valid_from);
    account.valid_to = answer.valid_to.or(account.valid_to);
    if answer.valid_from.is_some() || answer.valid_to.is_some() {
        account.valid_since = Some(asked_at);
    }
}

/// Follows a refusal, or the proof that nothing was sent: what was taken off for a return is put back. When an
/// earlier sending of the same serial has no known outcome, it proves nothing about that one.
pub fn transfer_refused(books: &mut Books, request: &QuotaTransfer, code: &str, text: &str, now: Timestamp) {
    let open = |transfer: &&Transfer| transfer.state == TransferState::Open;
    let Some(begun) = books.transfer(&request.serial).filter(open).cloned() else { return };
    if begun.code.as_deref() == Some(UNCLEAR) {
        return transfer_open(books, begun, text, now);
    }
    let mut booked = begun.booked;
    if booked != Money::ZERO {
        let overtaken = account_or_new(books, &begun.key, now).epoch != begun.epoch;
        change_transfer(books, &begun.key, now, |account| {
            // a balance seen since may have put it back already
            if !overtaken {
                add(account, Money::ZERO.saturating_sub(begun.booked));
            }
            account.stale |= overtaken;
            account.epoch += 1;
        });
        booked = Money::ZERO;
    }
    let epoch = account_or_new(books, &begun.key, now).epoch;
    let (code, text) = (Some(code.to_owned()), Some(text.to_owned()));
    books.put_transfer(Transfer {
        booked,
        epoch,
        state: TransferState::Refused,
        code,
        text,
        at: now,
        ..begun
    });
}

/// Follows a transfer whose answer proves nothing: after a download more may be there than the books say. A return
/// was taken off when it was noted; one that was not makes the balance unknown until it is asked for.
pub fn transfer_unclear(
    books: &mut Books,
    request: &QuotaTransfer,
    mark: &Mark,
    reason: &str,
    now: Timestamp,
) {
    let begun = noted(books, request, mark, now);
    if begun.state == TransferState::Done {
        return;
    }
    transfer_open(books, begun, reason, now);
}

fn transfer_open(books: &mut Books, begun: Transfer, reason: &str, now: Timestamp) {
    if books.account(&begun.key).is_some() {
        let unknown = begun.way == Way::Return && begun.booked == Money::ZERO;
        change_transfer(books, &begun.key, now, |account| {
            account.stale = true;
            if unknown {
                account.synced_at = None;
                account.epoch += 1;
            }
        });
    }
    let (code, text) = (Some(UNCLEAR.to_owned()), Some(reason.to_owned()));
    books.put_transfer(Transfer { code, text, at: now, ..begun });
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
    let known = books.transfer(&request.serial).cloned();
    known.unwrap_or_else(|| Transfer { epoch: mark.epoch, ..unknown(request, mark.key.clone(), now) })
}

/// The transfer as it is asked for, of which nothing is known yet.
pub(super) fn unknown(request: &QuotaTransfer, key: AccountKey, now: Timestamp) -> Transfer {
    Transfer {
        serial: request.serial.clone(),
        key,
        way: way(request),
        amount: request.amount,
        platform_id: request.platform_id.to_string(),
        state: TransferState::Open,
        booked: Money::ZERO,
        before: Money::ZERO,
        epoch: 0,
        own: false,
        origin: None,
        actor: String::new(),
        code: None,
        text: None,
        begun_at: now,
        at: now,
    }
}

/// The wire's word for the store's.
pub(super) const fn way(request: &QuotaTransfer) -> Way {
    match request.direction {
        Direction::Download => Way::Download,
        Direction::Return => Way::Return,
    }
}

/// What the transfer adds to the downloaded credit.
pub(super) const fn signed(way: Way, amount: Money) -> Money {
    match way {
        Way::Download => amount,
        Way::Return => Money::ZERO.saturating_sub(amount),
    }
}

fn add(account: &mut Account, amount: Money) {
    account.figures.downloaded = account.figures.downloaded.saturating_add(amount);
}

pub(super) fn change_transfer(
    books: &mut Books,
    key: &AccountKey,
    now: Timestamp,
    with: impl FnOnce(&mut Account),
) {
    let cause = Cause { kind: EventKind::Transfer, invoice_no: None, exchange: None, at: now };
    change(books, key, cause, with);
}
