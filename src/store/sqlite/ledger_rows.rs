//! SQL that loads and saves rows of the ledger on SQLite: many rows in one JSON parameter, columns by their place.

use crate::store::sql::ledger_rows::{account_columns, entry_columns};

/// The entries that the first parameter names, then their accounts and those that the second names, in one way to the
/// driver's thread and back. The second column of an entry is called `invoice_no`.
pub(super) const LOAD: &str = concat!(
    "SELECT ",
    entry_columns!(),
    " FROM json_each(?1) AS k CROSS JOIN ledger_entry AS e ON e.issuer = k.value ->> 0 AND e.invoice_no = k.value ->> 1;",
    "SELECT ",
    account_columns!(),
    // joined in this order, so that accounts are looked up and never gone through
    " FROM (SELECT value ->> 0 AS issuer, value ->> 1 AS period FROM json_each(?2) UNION ",
    "SELECT e.issuer, e.period FROM json_each(?1) AS k ",
    "CROSS JOIN ledger_entry AS e ON e.issuer = k.value ->> 0 AND e.invoice_no = k.value ->> 1) AS named ",
    "CROSS JOIN ledger_account AS a ON a.issuer = named.issuer AND a.period = named.period"
);

/// Accounts, entries and events, each as its own parameter: what a statement costs besides its rows is its way to the
/// driver's thread and back, and three at once go there once.
pub(super) const SAVE: &str = "
INSERT INTO ledger_account (issuer, period, downloaded, elsewhere, issued, reserved, pending_return, bureau_total,
    bureau_available, suspended, valid_from, valid_to, closed_for, epoch, stale, synced_at, updated_at,
    bureau_downloaded, bureau_unused, exact, valid_since)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
    value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14, value ->> 15,
    value ->> 16, value ->> 17, value ->> 18, value ->> 19, value ->> 20
FROM json_each(?1) WHERE true
ON CONFLICT (issuer, period) DO UPDATE SET
    downloaded = excluded.downloaded, elsewhere = excluded.elsewhere, issued = excluded.issued,
    reserved = excluded.reserved, pending_return = excluded.pending_return, bureau_total = excluded.bureau_total, bureau_available = excluded.bureau_available,
    suspended = excluded.suspended, valid_from = excluded.valid_from, valid_to = excluded.valid_to,
    closed_for = excluded.closed_for, epoch = excluded.epoch, stale = excluded.stale, synced_at = excluded.synced_at,
    updated_at = excluded.updated_at, bureau_downloaded = excluded.bureau_downloaded,
    bureau_unused = excluded.bureau_unused, exact = excluded.exact, valid_since = excluded.valid_since;
INSERT INTO ledger_entry (issuer, invoice_no, period, platform_id, red, net, tax, credit, reversed_no, state,
    sends, acceptance_no, result_code, result_text, dated_at, created_at, updated_at, exchange)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
    value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14, value ->> 15,
    value ->> 16, value ->> 17
FROM json_each(?2) WHERE true
ON CONFLICT (issuer, invoice_no) DO UPDATE SET
    period = excluded.period, platform_id = excluded.platform_id, red = excluded.red, net = excluded.net,
    tax = excluded.tax, credit = excluded.credit, reversed_no = excluded.reversed_no, state = excluded.state,
    sends = excluded.sends, acceptance_no = excluded.acceptance_no, result_code = excluded.result_code,
    result_text = excluded.result_text, dated_at = excluded.dated_at, updated_at = excluded.updated_at,
    exchange = excluded.exchange;
INSERT INTO ledger_event (issuer, period, invoice_no, kind, downloaded, elsewhere, issued, reserved, pending_return, exchange,
    at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
    value ->> 8, value ->> 9, value ->> 10
FROM json_each(?3)";

pub(super) const LOAD_ACCEPTED: &str = concat!(
    "SELECT ",
    entry_columns!(),
    " FROM json_each(?1) AS k CROSS JOIN ledger_entry AS e ON e.acceptance_no = k.value"
);

pub(super) const LOAD_OPEN: &str = concat!(
    "SELECT ",
    entry_columns!(),
    " FROM json_each(?1) AS k CROSS JOIN ledger_entry AS e INDEXED BY ledger_entry_open",
    " ON e.state = 'reserved' AND e.issuer = k.value ->> 0 AND e.period = k.value ->> 1"
);
