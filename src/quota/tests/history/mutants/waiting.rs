//! Bugs that forget what is still under way.

use jiff::Timestamp;

use super::{
    InvoiceResult, InvoiceStatus, Mark, Observed, QuotaBalance, Settled, Settlement, entries, rules,
};
use crate::{
    domain::{ExchangeId, InvoiceNo, TaxNo},
    store::ledger::{AccountKey, Books, Cause, Entry, EventKind, Send},
};

pub(super) fn issue_what_is_there(
    books: &mut Books,
    issuer: &TaxNo,
    exchange: ExchangeId,
    numbers: &[InvoiceNo],
    settlement: &Settlement,
    now: Timestamp,
) -> Settled {
    let settled = rules::settle(books, issuer, exchange, numbers, settlement, now);
    if let Settlement::AlreadyUploaded { invoice_nos, .. } = settlement {
        let issued = |no: &InvoiceNo| InvoiceResult {
            invoice_no: no.clone(),
            status: InvoiceStatus::Issued,
            message: String::new(),
            code: None,
        };
        let results: Vec<_> = invoice_nos.iter().map(issued).collect();
        rules::results(books, Some(issuer), "", &results, now);
    }
    settled
}

pub(super) fn fail_earlier_ones(
    books: &mut Books,
    issuer: Option<&TaxNo>,
    acceptance_no: &str,
    results: &[InvoiceResult],
    now: Timestamp,
) -> Settled {
    let failed = results.iter().filter(|result| result.status == InvoiceStatus::Failed);
    let failed: Vec<_> = failed.map(|result| result.invoice_no.clone()).collect();
    let of_it = |send: &Send| send.acceptance_no.as_deref() == Some(acceptance_no);
    for entry in issuer.map(|issuer| entries(books, issuer, &failed)).unwrap_or_default() {
        let place = entry.sends.iter().rposition(of_it).unwrap_or_default();
        let sends = entry.sends[place..].to_vec();
        books.put_entry(Entry { sends, ..entry });
    }
    rules::results(books, issuer, acceptance_no, results, now)
}

pub(super) fn forget_return(
    books: &mut Books,
    issuer: &TaxNo,
    seen: &QuotaBalance,
    mark: &Mark,
    now: Timestamp,
) -> Observed {
    let observed = rules::balance(books, issuer, seen, mark, now);
    let key = AccountKey { issuer: issuer.clone(), period: seen.period };
    if observed == Observed::Applied
        && let Some(mut account) = books.account(&key).cloned()
    {
        account.figures.downloaded = seen.downloaded;
        account.epoch += 1;
        let cause = Cause { kind: EventKind::Balance, invoice_no: None, exchange: None, at: now };
        books.put_account(account, cause);
    }
    observed
}
