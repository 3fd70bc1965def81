//! The rules as a table, so that each can be replaced by one with a bug in it: the histories must find every one.

mod waiting;

use jiff::Timestamp;

use crate::{
    domain::{ExchangeId, InvoiceNo, Money, TaxNo},
    leqi::messages::{InvoiceResult, InvoiceStatus, QuotaBalance, QuotaTransfer, QuotaTransferAnswer},
    quota::{
        Mark, Mode, Observed, Settlement, Upload,
        rules::{self, Begun, Comparison, NotReserved, Origin, Reserved, Settled},
    },
    store::ledger::{
        AccountKey, Books, Cause, Entry, EntryKey, EntryState, EventKind, Transfer, TransferState,
    },
};

/// The rules that a history goes through.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    pub(super) reserve: fn(&mut Books, &Upload, Timestamp) -> Result<Reserved, NotReserved>,
    pub(super) settle: fn(&mut Books, &TaxNo, ExchangeId, &[InvoiceNo], &Settlement, Timestamp) -> Settled,
    pub(super) results: fn(&mut Books, Option<&TaxNo>, &str, &[InvoiceResult], Timestamp) -> Settled,
    pub(super) balance: fn(&mut Books, &TaxNo, &QuotaBalance, &Mark, Timestamp) -> Observed,
    pub(super) begin: fn(&mut Books, &QuotaTransfer, &AccountKey, Option<&Origin>, &str, Timestamp) -> Begun,
    pub(super) resume: fn(&mut Books, &TaxNo, &AccountKey, Timestamp) -> Option<Transfer>,
    pub(super) transfer: fn(&mut Books, &QuotaTransfer, &QuotaTransferAnswer, &Mark, Timestamp) -> Observed,
    pub(super) transfer_refused: fn(&mut Books, &QuotaTransfer, &str, &str, Timestamp),
    pub(super) compare: fn(&mut Books, &TaxNo, &QuotaBalance, &Mark, Timestamp, Timestamp) -> Comparison,
    pub(super) expire: fn(&mut Books, &[EntryKey], Timestamp) -> usize,
}

/// The real ones.
pub(super) const REAL: Rules = Rules {
    reserve: rules::reserve,
    settle: rules::settle,
    results: rules::results,
    balance: rules::balance,
    begin: rules::begin_own,
    resume: rules::resume_own,
    transfer: rules::transfer,
    transfer_refused: rules::transfer_refused,
    compare: rules::compare,
    expire: rules::expire,
};

/// Every seeded bug by name.
pub(super) const MUTANTS: [(&str, Rules); 23] = [
    ("a refusal releases nothing", Rules { settle: forget_release, ..REAL }),
    ("a refusal releases twice", Rules { settle: release_twice, ..REAL }),
    ("an unclear answer releases", Rules { settle: release_on_unclear, ..REAL }),
    ("an acceptance counts as issued", Rules { settle: issue_on_acceptance, ..REAL }),
    ("numbers that are there already are released", Rules { settle: release_what_is_there, ..REAL }),
    (
        "numbers that are there already are issued while another upload waits",
        Rules { settle: waiting::issue_what_is_there, ..REAL },
    ),
    (
        "a failure frees what an earlier acceptance holds",
        Rules { results: waiting::fail_earlier_ones, ..REAL },
    ),
    ("a retry reserves twice", Rules { reserve: reserve_again, ..REAL }),
    ("nothing is refused for shortage", Rules { reserve: oversell, ..REAL }),
    ("a batch reserves what fits", Rules { reserve: reserve_one_by_one, ..REAL }),
    ("a red invoice gives back at once", Rules { reserve: red_gives_back_at_once, ..REAL }),
    ("red invoices use credit", Rules { reserve: red_uses_credit, ..REAL }),
    ("every invoice is of this month", Rules { reserve: ignore_month, ..REAL }),
    ("a late success is dropped", Rules { results: drop_late_success, ..REAL }),
    ("one failure releases the whole batch", Rules { results: one_fails_all, ..REAL }),
    ("uploaded before counts as failed", Rules { results: uploaded_before_fails, ..REAL }),
    ("an old answer of a balance counts", Rules { balance: ignore_mark, ..REAL }),
    ("a balance forgets what is held", Rules { balance: forget_what_is_held, ..REAL }),
    ("a balance gives the credit of an open return free", Rules { balance: waiting::forget_return, ..REAL }),
    ("a repeated download counts twice", Rules { transfer: count_again, ..REAL }),
    ("a return is not taken off before", Rules { begin: return_later, ..REAL }),
    ("a lost transfer is sent with a new serial", Rules { resume: new_serial, ..REAL }),
    ("what a balance leaves open is released", Rules { compare: release_undecided, ..REAL }),
];

fn forget_release(
    books: &mut Books,
    issuer: &TaxNo,
    exchange: ExchangeId,
    numbers: &[InvoiceNo],
    settlement: &Settlement,
    now: Timestamp,
) -> Settled {
    match settlement {
        Settlement::Refused { .. } => Settled::default(),
        other => rules::settle(books, issuer, exchange, numbers, other, now),
    }
}

fn release_twice(
    books: &mut Books,
    issuer: &TaxNo,
    exchange: ExchangeId,
    numbers: &[InvoiceNo],
    settlement: &Settlement,
    now: Timestamp,
) -> Settled {
    let settled = rules::settle(books, issuer, exchange, numbers, settlement, now);
    for entry in entries(books, issuer, numbers) {
        if entry.state == EntryState::Released {
            add_reserved(books, &entry, Money::ZERO.saturating_sub(entry.held()), now);
        }
    }
    settled
}

fn release_on_unclear(
    books: &mut Books,
    issuer: &TaxNo,
    exchange: ExchangeId,
    numbers: &[InvoiceNo],
    settlement: &Settlement,
    now: Timestamp,
) -> Settled {
    let settlement = match settlement {
        Settlement::Unclear => Settlement::NotSent,
        other => other.clone(),
    };
    rules::settle(books, issuer, exchange, numbers, &settlement, now)
}

fn issue_on_acceptance(
    books: &mut Books,
    issuer: &TaxNo,
    exchange: ExchangeId,
    numbers: &[InvoiceNo],
    settlement: &Settlement,
    now: Timestamp,
) -> Settled {
    let Settlement::Accepted { acceptance_no: Some(acceptance_no) } = settlement else {
        return rules::settle(books, issuer, exchange, numbers, settlement, now);
    };
    let issued = |no: &InvoiceNo| InvoiceResult {
        invoice_no: no.clone(),
        status: InvoiceStatus::Issued,
        message: String::new(),
        code: None,
    };
    let results: Vec<_> = numbers.iter().map(issued).collect();
    rules::results(books, Some(issuer), acceptance_no, &results, now)
}

fn release_what_is_there(
    books: &mut Books,
    issuer: &TaxNo,
    exchange: ExchangeId,
    numbers: &[InvoiceNo],
    settlement: &Settlement,
    now: Timestamp,
) -> Settled {
    let Settlement::AlreadyUploaded { .. } = settlement else {
        return rules::settle(books, issuer, exchange, numbers, settlement, now);
    };
    for entry in entries(books, issuer, numbers) {
        for send in &entry.sends {
            let number = std::slice::from_ref(&entry.key.invoice_no);
            rules::settle(books, issuer, send.exchange, number, &Settlement::NotSent, now);
        }
    }
    Settled::default()
}

fn reserve_again(books: &mut Books, upload: &Upload, now: Timestamp) -> Result<Reserved, NotReserved> {
    let numbers: Vec<_> = upload.claims.iter().map(|claim| claim.invoice_no.clone()).collect();
    let held: Vec<_> = entries(books, &upload.issuer, &numbers)
        .into_iter()
        .filter(|entry| entry.state == EntryState::Reserved)
        .collect();
    let reserved = rules::reserve(books, upload, now)?;
    for entry in held {
        add_reserved(books, &entry, entry.held(), now);
    }
    Ok(reserved)
}

fn oversell(books: &mut Books, upload: &Upload, now: Timestamp) -> Result<Reserved, NotReserved> {
    rules::reserve(books, &Upload { mode: Mode::Observe, ..upload.clone() }, now)
}

fn reserve_one_by_one(books: &mut Books, upload: &Upload, now: Timestamp) -> Result<Reserved, NotReserved> {
    let mut last = Ok(Reserved { invoices: Vec::new(), held: Money::ZERO, left: None });
    for claim in &upload.claims {
        last = rules::reserve(books, &Upload { claims: vec![claim.clone()], ..upload.clone() }, now);
    }
    last
}

fn red_gives_back_at_once(
    books: &mut Books,
    upload: &Upload,
    now: Timestamp,
) -> Result<Reserved, NotReserved> {
    let reserved = rules::reserve(books, upload, now)?;
    for entry in entries(books, &upload.issuer, &reserved.invoices) {
        add_reserved(books, &entry, entry.credit.min(Money::ZERO), now);
    }
    Ok(reserved)
}

fn red_uses_credit(books: &mut Books, upload: &Upload, now: Timestamp) -> Result<Reserved, NotReserved> {
    let mut upload = upload.clone();
    for claim in upload.claims.iter_mut().filter(|claim| claim.red) {
        (claim.red, claim.credit) = (false, Money::ZERO.saturating_sub(claim.credit));
    }
    rules::reserve(books, &upload, now)
}

fn ignore_month(books: &mut Books, upload: &Upload, now: Timestamp) -> Result<Reserved, NotReserved> {
    let mut upload = upload.clone();
    upload.claims.iter_mut().for_each(|claim| claim.dated_at = now);
    rules::reserve(books, &upload, now)
}

fn drop_late_success(
    books: &mut Books,
    issuer: Option<&TaxNo>,
    acceptance_no: &str,
    results: &[InvoiceResult],
    now: Timestamp,
) -> Settled {
    let alive = |result: &&InvoiceResult| {
        let key =
            issuer.map(|issuer| EntryKey { issuer: issuer.clone(), invoice_no: result.invoice_no.clone() });
        let entry = key.and_then(|key| books.entry(&key).cloned());
        entry.is_some_and(|entry| entry.state == EntryState::Reserved)
    };
    let results: Vec<_> = results.iter().filter(alive).cloned().collect();
    rules::results(books, issuer, acceptance_no, &results, now)
}

fn one_fails_all(
    books: &mut Books,
    issuer: Option<&TaxNo>,
    acceptance_no: &str,
    results: &[InvoiceResult],
    now: Timestamp,
) -> Settled {
    let mut results = results.to_vec();
    if results.iter().any(|result| result.status == InvoiceStatus::Failed) {
        results.iter_mut().for_each(|result| result.status = InvoiceStatus::Failed);
    }
    rules::results(books, issuer, acceptance_no, &results, now)
}

fn uploaded_before_fails(
    books: &mut Books,
    issuer: Option<&TaxNo>,
    acceptance_no: &str,
    results: &[InvoiceResult],
    now: Timestamp,
) -> Settled {
    let mut results = results.to_vec();
    for result in results.iter_mut().filter(|result| result.status == InvoiceStatus::UploadedBefore) {
        result.status = InvoiceStatus::Failed;
    }
    rules::results(books, issuer, acceptance_no, &results, now)
}

fn ignore_mark(
    books: &mut Books,
    issuer: &TaxNo,
    seen: &QuotaBalance,
    mark: &Mark,
    now: Timestamp,
) -> Observed {
    let fresh = rules::mark(mark.key.clone(), books.account(&mark.key));
    rules::balance(books, issuer, seen, &fresh, now)
}

fn forget_what_is_held(
    books: &mut Books,
    issuer: &TaxNo,
    seen: &QuotaBalance,
    mark: &Mark,
    now: Timestamp,
) -> Observed {
    let observed = rules::balance(books, issuer, seen, mark, now);
    let key = AccountKey { issuer: issuer.clone(), period: seen.period };
    if let Some(mut account) = books.account(&key).cloned() {
        let held = account.figures.reserved;
        account.figures.elsewhere = account.figures.elsewhere.saturating_sub(held);
        let cause = Cause { kind: EventKind::Balance, invoice_no: None, exchange: None, at: now };
        books.put_account(account, cause);
    }
    observed
}

fn count_again(
    books: &mut Books,
    request: &QuotaTransfer,
    answer: &QuotaTransferAnswer,
    mark: &Mark,
    now: Timestamp,
) -> Observed {
    if let Some(known) = books.transfer(&request.serial).cloned() {
        let epoch = books.account(&known.key).map_or(0, |account| account.epoch);
        books.put_transfer(Transfer { state: TransferState::Open, booked: Money::ZERO, epoch, ..known });
    }
    rules::transfer(books, request, answer, mark, now)
}

fn return_later(
    books: &mut Books,
    request: &QuotaTransfer,
    key: &AccountKey,
    origin: Option<&Origin>,
    actor: &str,
    now: Timestamp,
) -> Begun {
    let begun = rules::begin_own(books, request, key, origin, actor, now);
    if let Begun::Fresh(transfer) = &begun
        && let Some(mut account) = books.account(key).cloned()
    {
        account.figures.downloaded = account.figures.downloaded.saturating_sub(transfer.booked);
        let cause = Cause { kind: EventKind::Transfer, invoice_no: None, exchange: None, at: now };
        books.put_account(account, cause);
        books.put_transfer(Transfer { booked: Money::ZERO, ..transfer.clone() });
    }
    begun
}

fn new_serial(books: &mut Books, issuer: &TaxNo, key: &AccountKey, now: Timestamp) -> Option<Transfer> {
    let open = rules::resume_own(books, issuer, key, now)?;
    books.put_transfer(Transfer { state: TransferState::Refused, ..open.clone() });
    let again = Transfer { serial: format!("{}+", open.serial), ..open };
    books.put_transfer(again.clone());
    Some(again)
}

fn release_undecided(
    books: &mut Books,
    issuer: &TaxNo,
    seen: &QuotaBalance,
    mark: &Mark,
    quiet_since: Timestamp,
    now: Timestamp,
) -> Comparison {
    let key = AccountKey { issuer: issuer.clone(), period: seen.period };
    let open: Vec<EntryKey> = books.open_of(&key).into_iter().map(|entry| entry.key.clone()).collect();
    match rules::compare(books, issuer, seen, mark, quiet_since, now) {
        Comparison::Undecided => {
            rules::expire(books, &open, now);
            Comparison::Undecided
        }
        other => other,
    }
}

fn entries(books: &Books, issuer: &TaxNo, numbers: &[InvoiceNo]) -> Vec<Entry> {
    let key = |no: &InvoiceNo| EntryKey { issuer: issuer.clone(), invoice_no: no.clone() };
    numbers.iter().filter_map(|no| books.entry(&key(no)).cloned()).collect()
}

fn add_reserved(books: &mut Books, entry: &Entry, amount: Money, now: Timestamp) {
    let Some(mut account) = books.account(&entry.account_key()).cloned() else { return };
    account.figures.reserved = account.figures.reserved.saturating_add(amount);
    let cause = Cause { kind: EventKind::Reserved, invoice_no: None, exchange: None, at: now };
    books.put_account(account, cause);
}
