//! SQL of the ledger's tables, and rows to values and back. Columns are read by their place in the constants below.

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{QueryBuilder, Row, Sqlite, sqlite::SqliteRow};

use crate::{
    domain::{Day, ExchangeId, Invalid, InvoiceNo, Money, Period, TaxNo},
    store::{
        StoreError,
        ledger::{
            Account, AccountKey, Entry, EntryFilter, EntryKey, EntryState, Event, EventKind, Figures, Send,
        },
    },
};

macro_rules! account_columns {
    () => {
        "a.issuer, a.period, a.downloaded, a.elsewhere, a.issued, a.reserved, a.pending_return, \
         a.bureau_total, a.bureau_available, a.suspended, a.valid_from, a.valid_to, a.closed_for, a.epoch, a.stale, \
         a.synced_at, a.updated_at, a.bureau_downloaded, a.bureau_unused, a.exact, a.valid_since"
    };
}

macro_rules! entry_columns {
    () => {
        "e.issuer, e.invoice_no, e.period, e.platform_id, e.red, e.net, e.tax, e.credit, e.reversed_no, e.state, \
         e.sends, e.acceptance_no, e.result_code, e.result_text, e.dated_at, e.created_at, e.updated_at, e.exchange"
    };
}

pub(super) const LOAD_ACCOUNTS: &str = concat!(
    "SELECT ",
    account_columns!(),
    " FROM json_each(?1) AS k CROSS JOIN ledger_account AS a ON a.issuer = k.value ->> 0 AND a.period = k.value ->> 1"
);

pub(super) const LIST_ACCOUNTS: &str = concat!(
    "SELECT ",
    account_columns!(),
    " FROM ledger_account AS a WHERE (?1 IS NULL OR a.period = ?1) AND (a.issuer, a.period) > (?2, ?3)",
    " ORDER BY a.issuer, a.period LIMIT ?4"
);

pub(super) const SAVE_ACCOUNTS: &str = "
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
    bureau_unused = excluded.bureau_unused, exact = excluded.exact, valid_since = excluded.valid_since";

pub(super) const LOAD_ENTRIES: &str = concat!(
    "SELECT ",
    entry_columns!(),
    " FROM json_each(?1) AS k CROSS JOIN ledger_entry AS e ON e.issuer = k.value ->> 0 AND e.invoice_no = k.value ->> 1"
);

pub(super) const LOAD_ACCEPTED: &str = concat!(
    "SELECT ",
    entry_columns!(),
    " FROM json_each(?1) AS k CROSS JOIN ledger_entry AS e ON e.acceptance_no = k.value"
);

const LIST_ENTRIES: &str = concat!("SELECT ", entry_columns!(), " FROM ledger_entry AS e WHERE e.issuer = ");

pub(super) const LIST_OPEN: &str = concat!(
    "SELECT ",
    entry_columns!(),
    " FROM ledger_entry AS e WHERE e.state = 'reserved' AND e.updated_at <= ?1",
    " AND (e.updated_at, e.issuer, e.invoice_no) > (?2, ?3, ?4)",
    " ORDER BY e.updated_at, e.issuer, e.invoice_no LIMIT ?5"
);

pub(super) const LIST_OPEN_UNTIL: &str = concat!(
    "SELECT ",
    entry_columns!(),
    " FROM ledger_entry AS e INDEXED BY ledger_entry_open WHERE e.state = 'reserved' AND e.period <= ?1 LIMIT ?2"
);

pub(super) const LOAD_OPEN: &str = concat!(
    "SELECT ",
    entry_columns!(),
    " FROM json_each(?1) AS k CROSS JOIN ledger_entry AS e INDEXED BY ledger_entry_open",
    " ON e.state = 'reserved' AND e.issuer = k.value ->> 0 AND e.period = k.value ->> 1"
);

pub(super) const SAVE_ENTRIES: &str = "
INSERT INTO ledger_entry (issuer, invoice_no, period, platform_id, red, net, tax, credit, reversed_no, state,
    sends, acceptance_no, result_code, result_text, dated_at, created_at, updated_at, exchange)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
    value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14, value ->> 15,
    value ->> 16, value ->> 17
FROM json_each(?1) WHERE true
ON CONFLICT (issuer, invoice_no) DO UPDATE SET
    period = excluded.period, platform_id = excluded.platform_id, red = excluded.red, net = excluded.net,
    tax = excluded.tax, credit = excluded.credit, reversed_no = excluded.reversed_no, state = excluded.state,
    sends = excluded.sends, acceptance_no = excluded.acceptance_no, result_code = excluded.result_code,
    result_text = excluded.result_text, dated_at = excluded.dated_at, updated_at = excluded.updated_at,
    exchange = excluded.exchange";

pub(super) const SAVE_EVENTS: &str = "
INSERT INTO ledger_event (issuer, period, invoice_no, kind, downloaded, elsewhere, issued, reserved, pending_return, exchange,
    at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
    value ->> 8, value ->> 9, value ->> 10
FROM json_each(?1)";

pub(super) const LIST_EVENTS: &str = "
SELECT id, issuer, period, invoice_no, kind, downloaded, elsewhere, issued, reserved, pending_return, exchange, at
FROM ledger_event WHERE issuer = ?1 AND period = ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4";

pub(super) const TOTALS: &str = "
SELECT red, count(*), sum(net), sum(tax) FROM ledger_entry
WHERE issuer = ?1 AND period = ?2 AND platform_id = ?3 AND state = 'issued' GROUP BY red";

pub(super) const VERIFY: &str = "
SELECT a.issuer, a.period,
    a.downloaded, a.elsewhere, a.issued, a.reserved, a.pending_return,
    0, 0, ifnull(e.issued, 0), ifnull(e.reserved, 0), ifnull(e.pending_return, 0),
    ifnull(v.downloaded, 0), ifnull(v.elsewhere, 0), ifnull(v.issued, 0), ifnull(v.reserved, 0),
    ifnull(v.pending_return, 0)
FROM ledger_account AS a
LEFT JOIN (
    SELECT issuer, sum(iif(state = 'issued', credit, 0)) AS issued,
        sum(iif(state = 'reserved', max(credit, 0), 0)) AS reserved,
        -sum(iif(state = 'reserved', min(credit, 0), 0)) AS pending_return
    FROM ledger_entry WHERE period = ?1 GROUP BY issuer
) AS e ON e.issuer = a.issuer
LEFT JOIN (
    SELECT issuer, sum(downloaded) AS downloaded, sum(elsewhere) AS elsewhere, sum(issued) AS issued,
        sum(reserved) AS reserved, sum(pending_return) AS pending_return
    FROM ledger_event WHERE period = ?1 GROUP BY issuer
) AS v ON v.issuer = a.issuer
WHERE a.period = ?1 AND (
    (a.issued, a.reserved, a.pending_return)
        IS NOT (ifnull(e.issued, 0), ifnull(e.reserved, 0), ifnull(e.pending_return, 0))
    OR (a.downloaded, a.elsewhere, a.issued, a.reserved, a.pending_return)
        IS NOT (ifnull(v.downloaded, 0), ifnull(v.elsewhere, 0), ifnull(v.issued, 0), ifnull(v.reserved, 0),
            ifnull(v.pending_return, 0))
)
ORDER BY a.issuer";

/// The entries that fit the filter, in the order of their numbers.
pub(super) fn list_entries(filter: &EntryFilter) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(LIST_ENTRIES);
    query.push_bind(filter.issuer.to_string());
    if let Some(period) = filter.period {
        query.push(" AND e.period = ").push_bind(period.number());
    }
    if let Some(state) = filter.state {
        query.push(" AND e.state = ").push_bind(state.as_str());
    }
    if let Some(invoice_no) = &filter.invoice_no {
        query.push(" AND e.invoice_no = ").push_bind(invoice_no.to_string());
    }
    if let Some(exchange) = filter.exchange {
        query.push(" AND e.exchange = ").push_bind(exchange.number());
    }
    if let Some(from) = filter.from {
        query.push(" AND e.created_at >= ").push_bind(from.as_microsecond());
    }
    if let Some(to) = filter.to {
        query.push(" AND e.created_at < ").push_bind(to.as_microsecond());
    }
    if let Some(after) = &filter.after {
        query.push(" AND e.invoice_no > ").push_bind(after.to_string());
    }
    query.push(" ORDER BY e.invoice_no LIMIT ").push_bind(filter.limit);
    query
}

pub(super) fn account(a: &Account) -> Value {
    let figures = a.figures;
    json!([
        a.key.issuer,
        a.key.period.number(),
        figures.downloaded.fen(),
        figures.elsewhere.fen(),
        figures.issued.fen(),
        figures.reserved.fen(),
        figures.pending_return.fen(),
        a.bureau_total.map(Money::fen),
        a.bureau_available.map(Money::fen),
        i64::from(a.suspended),
        a.valid_from.map(|day| day.to_string()),
        a.valid_to.map(|day| day.to_string()),
        json!(a.closed_for).to_string(),
        a.epoch,
        i64::from(a.stale),
        a.synced_at.map(Timestamp::as_microsecond),
        a.updated_at.as_microsecond(),
        a.bureau_downloaded.map(Money::fen),
        a.bureau_unused.map(Money::fen),
        i64::from(a.exact),
        a.valid_since.map(Timestamp::as_microsecond),
    ])
}

pub(super) fn entry(e: &Entry) -> Value {
    let sends: Vec<_> = e.sends.iter().map(|s| (s.exchange.number(), &s.acceptance_no)).collect();
    json!([
        e.key.issuer,
        e.key.invoice_no,
        e.period.number(),
        e.platform_id,
        i64::from(e.red),
        e.net.fen(),
        e.tax.fen(),
        e.credit.fen(),
        e.reversed_no,
        e.state.as_str(),
        json!(sends).to_string(),
        e.acceptance_no,
        e.result_code,
        e.result_text,
        e.dated_at.as_microsecond(),
        e.created_at.as_microsecond(),
        e.updated_at.as_microsecond(),
        e.exchange.map(ExchangeId::number),
    ])
}

pub(super) fn event(e: &Event) -> Value {
    json!([
        e.key.issuer,
        e.key.period.number(),
        e.invoice_no,
        e.kind.as_str(),
        e.delta.downloaded.fen(),
        e.delta.elsewhere.fen(),
        e.delta.issued.fen(),
        e.delta.reserved.fen(),
        e.delta.pending_return.fen(),
        e.exchange.map(ExchangeId::number),
        e.at.as_microsecond(),
    ])
}

pub(super) fn account_of(row: &SqliteRow) -> Result<Account, StoreError> {
    let closed_for: String = row.try_get(12)?;
    Ok(Account {
        key: key_of(row, 0)?,
        figures: figures_of(row, 2)?,
        bureau_total: row.try_get::<Option<i64>, _>(7)?.map(Money::from_fen),
        bureau_available: row.try_get::<Option<i64>, _>(8)?.map(Money::from_fen),
        suspended: row.try_get(9)?,
        valid_from: optional(row, 10, "valid_from", |text| text.parse::<Day>())?,
        valid_to: optional(row, 11, "valid_to", |text| text.parse::<Day>())?,
        closed_for: serde_json::from_str(&closed_for).map_err(|e| StoreError::value("closed_for", e))?,
        epoch: row.try_get(13)?,
        stale: row.try_get(14)?,
        synced_at: row.try_get::<Option<i64>, _>(15)?.map(instant).transpose()?,
        updated_at: instant(row.try_get(16)?)?,
        bureau_downloaded: row.try_get::<Option<i64>, _>(17)?.map(Money::from_fen),
        bureau_unused: row.try_get::<Option<i64>, _>(18)?.map(Money::from_fen),
        exact: row.try_get(19)?,
        valid_since: row.try_get::<Option<i64>, _>(20)?.map(instant).transpose()?,
    })
}

pub(super) fn entry_of(row: &SqliteRow) -> Result<Entry, StoreError> {
    Ok(Entry {
        key: EntryKey {
            issuer: text(row, 0, "issuer", TaxNo::parse)?,
            invoice_no: text(row, 1, "invoice_no", InvoiceNo::parse)?,
        },
        period: period(row.try_get(2)?)?,
        platform_id: row.try_get(3)?,
        red: row.try_get(4)?,
        net: Money::from_fen(row.try_get(5)?),
        tax: Money::from_fen(row.try_get(6)?),
        credit: Money::from_fen(row.try_get(7)?),
        reversed_no: optional(row, 8, "reversed_no", InvoiceNo::parse)?,
        state: text(row, 9, "state", EntryState::parse)?,
        sends: sends(row.try_get(10)?)?,
        acceptance_no: row.try_get(11)?,
        result_code: row.try_get(12)?,
        result_text: row.try_get(13)?,
        dated_at: instant(row.try_get(14)?)?,
        created_at: instant(row.try_get(15)?)?,
        updated_at: instant(row.try_get(16)?)?,
        exchange: row.try_get::<Option<i64>, _>(17)?.map(ExchangeId::from_number),
    })
}

pub(super) fn event_of(row: &SqliteRow) -> Result<Event, StoreError> {
    Ok(Event {
        id: row.try_get(0)?,
        key: key_of(row, 1)?,
        invoice_no: optional(row, 3, "invoice_no", InvoiceNo::parse)?,
        kind: text(row, 4, "kind", EventKind::parse)?,
        delta: figures_of(row, 5)?,
        exchange: row.try_get::<Option<i64>, _>(10)?.map(ExchangeId::from_number),
        at: instant(row.try_get(11)?)?,
    })
}

pub(super) fn key_of(row: &SqliteRow, at: usize) -> Result<AccountKey, StoreError> {
    Ok(AccountKey { issuer: text(row, at, "issuer", TaxNo::parse)?, period: period(row.try_get(at + 1)?)? })
}

pub(super) fn figures_of(row: &SqliteRow, at: usize) -> Result<Figures, StoreError> {
    Ok(Figures {
        downloaded: Money::from_fen(row.try_get(at)?),
        elsewhere: Money::from_fen(row.try_get(at + 1)?),
        issued: Money::from_fen(row.try_get(at + 2)?),
        reserved: Money::from_fen(row.try_get(at + 3)?),
        pending_return: Money::from_fen(row.try_get(at + 4)?),
    })
}

pub(super) fn text<T>(
    row: &SqliteRow,
    at: usize,
    what: &'static str,
    parse: impl Fn(&str) -> Result<T, Invalid>,
) -> Result<T, StoreError> {
    parse(row.try_get(at)?).map_err(|e| StoreError::value(what, e))
}

fn optional<T, E: std::fmt::Display>(
    row: &SqliteRow,
    at: usize,
    what: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, StoreError> {
    let value: Option<&str> = row.try_get(at)?;
    value.map(parse).transpose().map_err(|e| StoreError::value(what, e))
}

fn sends(json: &str) -> Result<Vec<Send>, StoreError> {
    let pairs: Vec<(i64, Option<String>)> =
        serde_json::from_str(json).map_err(|e| StoreError::value("sends", e))?;
    let send =
        |(exchange, acceptance_no)| Send { exchange: ExchangeId::from_number(exchange), acceptance_no };
    Ok(pairs.into_iter().map(send).collect())
}

fn period(number: i64) -> Result<Period, StoreError> {
    Period::from_number(number).map_err(|e| StoreError::value("period", e))
}

pub(super) fn instant(us: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(us).map_err(|e| StoreError::value("instant", e))
}
