//! Rows of the ledger's tables to values and back, for both engines. Columns go by their place.

use jiff::Timestamp;
use serde_json::json;

use super::session::Value;
use crate::{
    domain::{Day, ExchangeId, Invalid, InvoiceNo, Money, Period, TaxNo},
    store::{
        StoreError,
        ledger::{Account, AccountKey, Entry, EntryKey, EntryState, Event, EventKind, Figures, Send},
        value::{Columns, at},
    },
};

/// The columns of an account, in the order in which [`account_of`] reads them.
macro_rules! account_columns {
    () => {
        "a.issuer, a.period, a.downloaded, a.elsewhere, a.issued, a.reserved, a.pending_return, \
         a.bureau_total, a.bureau_available, a.suspended, a.valid_from, a.valid_to, a.closed_for, a.epoch, a.stale, \
         a.synced_at, a.updated_at, a.bureau_downloaded, a.bureau_unused, a.exact, a.valid_since"
    };
}

/// The columns of an entry, in the order in which [`entry_of`] reads them.
macro_rules! entry_columns {
    () => {
        "e.issuer, e.invoice_no, e.period, e.platform_id, e.red, e.net, e.tax, e.credit, e.reversed_no, e.state, \
         e.sends, e.acceptance_no, e.result_code, e.result_text, e.dated_at, e.created_at, e.updated_at, e.exchange"
    };
}

pub(in crate::store) use {account_columns, entry_columns};

// values in the order of the columns of the statements that save them

pub(in crate::store) fn account(a: &Account) -> Vec<Value> {
    let figures = a.figures;
    vec![
        a.key.issuer.as_str().into(),
        a.key.period.number().into(),
        figures.downloaded.fen().into(),
        figures.elsewhere.fen().into(),
        figures.issued.fen().into(),
        figures.reserved.fen().into(),
        figures.pending_return.fen().into(),
        a.bureau_total.map(Money::fen).into(),
        a.bureau_available.map(Money::fen).into(),
        a.suspended.into(),
        a.valid_from.map(|day| day.to_string()).into(),
        a.valid_to.map(|day| day.to_string()).into(),
        json!(a.closed_for).to_string().into(),
        a.epoch.into(),
        a.stale.into(),
        a.synced_at.into(),
        a.updated_at.into(),
        a.bureau_downloaded.map(Money::fen).into(),
        a.bureau_unused.map(Money::fen).into(),
        a.exact.into(),
        a.valid_since.into(),
    ]
}

pub(in crate::store) fn entry(e: &Entry) -> Vec<Value> {
    let sends: Vec<_> = e.sends.iter().map(|s| (s.exchange.number(), &s.acceptance_no)).collect();
    vec![
        e.key.issuer.as_str().into(),
        e.key.invoice_no.as_str().into(),
        e.period.number().into(),
        e.platform_id.as_str().into(),
        e.red.into(),
        e.net.fen().into(),
        e.tax.fen().into(),
        e.credit.fen().into(),
        e.reversed_no.as_ref().map(InvoiceNo::as_str).into(),
        e.state.as_str().into(),
        json!(sends).to_string().into(),
        e.acceptance_no.as_deref().into(),
        e.result_code.as_deref().into(),
        e.result_text.as_deref().into(),
        e.dated_at.into(),
        e.created_at.into(),
        e.updated_at.into(),
        e.exchange.map(ExchangeId::number).into(),
    ]
}

pub(in crate::store) fn event(e: &Event) -> Vec<Value> {
    vec![
        e.key.issuer.as_str().into(),
        e.key.period.number().into(),
        e.invoice_no.as_ref().map(InvoiceNo::as_str).into(),
        e.kind.as_str().into(),
        e.delta.downloaded.fen().into(),
        e.delta.elsewhere.fen().into(),
        e.delta.issued.fen().into(),
        e.delta.reserved.fen().into(),
        e.delta.pending_return.fen().into(),
        e.exchange.map(ExchangeId::number).into(),
        e.at.into(),
    ]
}

pub(in crate::store) fn account_of(row: &impl Columns) -> Result<Account, StoreError> {
    let closed_for: String = at(row, 12)?;
    Ok(Account {
        key: key_of(row, 0)?,
        figures: figures_of(row, 2)?,
        bureau_total: at::<Option<i64>>(row, 7)?.map(Money::from_fen),
        bureau_available: at::<Option<i64>>(row, 8)?.map(Money::from_fen),
        suspended: at(row, 9)?,
        valid_from: optional(row, 10, "valid_from", |text| text.parse::<Day>())?,
        valid_to: optional(row, 11, "valid_to", |text| text.parse::<Day>())?,
        closed_for: serde_json::from_str(&closed_for).map_err(|e| StoreError::value("closed_for", e))?,
        epoch: at(row, 13)?,
        stale: at(row, 14)?,
        synced_at: at::<Option<i64>>(row, 15)?.map(instant).transpose()?,
        updated_at: instant(at(row, 16)?)?,
        bureau_downloaded: at::<Option<i64>>(row, 17)?.map(Money::from_fen),
        bureau_unused: at::<Option<i64>>(row, 18)?.map(Money::from_fen),
        exact: at(row, 19)?,
        valid_since: at::<Option<i64>>(row, 20)?.map(instant).transpose()?,
    })
}

pub(in crate::store) fn entry_of(row: &impl Columns) -> Result<Entry, StoreError> {
    Ok(Entry {
        key: EntryKey {
            issuer: text(row, 0, "issuer", TaxNo::parse)?,
            invoice_no: text(row, 1, "invoice_no", InvoiceNo::parse)?,
        },
        period: period(at(row, 2)?)?,
        platform_id: at(row, 3)?,
        red: at(row, 4)?,
        net: Money::from_fen(at(row, 5)?),
        tax: Money::from_fen(at(row, 6)?),
        credit: Money::from_fen(at(row, 7)?),
        reversed_no: optional(row, 8, "reversed_no", InvoiceNo::parse)?,
        state: text(row, 9, "state", EntryState::parse)?,
        sends: sends(at(row, 10)?)?,
        acceptance_no: at(row, 11)?,
        result_code: at(row, 12)?,
        result_text: at(row, 13)?,
        dated_at: instant(at(row, 14)?)?,
        created_at: instant(at(row, 15)?)?,
        updated_at: instant(at(row, 16)?)?,
        exchange: at::<Option<i64>>(row, 17)?.map(ExchangeId::from_number),
    })
}

pub(in crate::store) fn event_of(row: &impl Columns) -> Result<Event, StoreError> {
    Ok(Event {
        id: at(row, 0)?,
        key: key_of(row, 1)?,
        invoice_no: optional(row, 3, "invoice_no", InvoiceNo::parse)?,
        kind: text(row, 4, "kind", EventKind::parse)?,
        delta: figures_of(row, 5)?,
        exchange: at::<Option<i64>>(row, 10)?.map(ExchangeId::from_number),
        at: instant(at(row, 11)?)?,
    })
}

pub(in crate::store) fn key_of(row: &impl Columns, place: usize) -> Result<AccountKey, StoreError> {
    Ok(AccountKey { issuer: text(row, place, "issuer", TaxNo::parse)?, period: period(at(row, place + 1)?)? })
}

pub(in crate::store) fn figures_of(row: &impl Columns, place: usize) -> Result<Figures, StoreError> {
    Ok(Figures {
        downloaded: Money::from_fen(at(row, place)?),
        elsewhere: Money::from_fen(at(row, place + 1)?),
        issued: Money::from_fen(at(row, place + 2)?),
        reserved: Money::from_fen(at(row, place + 3)?),
        pending_return: Money::from_fen(at(row, place + 4)?),
    })
}

pub(in crate::store) fn text<T>(
    row: &impl Columns,
    place: usize,
    what: &'static str,
    parse: impl Fn(&str) -> Result<T, Invalid>,
) -> Result<T, StoreError> {
    parse(at(row, place)?).map_err(|e| StoreError::value(what, e))
}

fn optional<T, E: std::fmt::Display>(
    row: &impl Columns,
    place: usize,
    what: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, StoreError> {
    let value: Option<&str> = at(row, place)?;
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

pub(in crate::store) fn instant(us: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(us).map_err(|e| StoreError::value("instant", e))
}
