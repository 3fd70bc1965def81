//! SQL of the request log's main table, and records to rows and back.

use std::sync::LazyLock;

use sqlx::{
    Sqlite,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::value::{get, instant, instant_opt, json as json_column, parse, parse_opt, unsigned};
use crate::{
    domain::{Environment, ExchangeId, Invalid, ServiceClass, TaxNo},
    store::{
        StoreError,
        exchanges::{Decision, Record, State},
    },
};

/// Columns that are known before a call is sent.
const BEGUN: &str = "id, started_at, client, client_identity, listener, route, upstream, environment, method, target, \
    service, capability, class, access_id, using_id, tax_no, client_tid, request_headers, request_size, \
    request_sha256, serial, request_truncated";

/// Columns that the end of a call changes.
const ENDED: [&str; 20] = [
    "finished_at",
    "response_headers",
    "response_size",
    "response_sha256",
    "status",
    "platform_status",
    "request_id",
    "error_code",
    "error_text",
    "return_code",
    "return_message",
    "acceptance_no",
    "decision",
    "decision_code",
    "note",
    "state",
    "upstream_us",
    "gateway_us",
    "invoice_nos",
    "response_truncated",
];

/// Rows per statement, largest first: few sizes, so that prepared statements are used again.
pub(super) const SIZES: [usize; 3] = [32, 8, 1];

/// Adds so many records, or completes those whose intent is there; in the order of [`SIZES`].
pub(super) static SAVE: LazyLock<[String; 3]> = LazyLock::new(|| SIZES.map(save));

fn save(rows: usize) -> String {
    let ended = ENDED.join(", ");
    let columns = BEGUN.split(',').count() + ENDED.len();
    let values = many(columns, rows);
    let set = ENDED.map(|column| format!("{column} = excluded.{column}")).join(", ");
    format!("INSERT INTO exchange ({BEGUN}, {ended}) VALUES {values} ON CONFLICT (id) DO UPDATE SET {set}")
}

/// `(?, …), (?, …)`
pub(super) fn many(columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(", "));
    vec![row.as_str(); rows].join(", ")
}

/// How many of `left` rows the next statement takes, and its place in [`SIZES`].
pub(super) fn next_size(left: usize) -> (usize, usize) {
    SIZES.into_iter().enumerate().find(|(_, size)| *size <= left).map_or((2, 1), |(at, size)| (at, size))
}

/// A statement on its way.
type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Binds one record in the order of the columns.
pub(super) fn bind<'q>(query: Statement<'q>, record: &Record) -> Statement<'q> {
    bind_ended(bind_begun(query, record), record)
}

fn bind_begun<'q>(query: Statement<'q>, record: &Record) -> Statement<'q> {
    query
        .bind(record.id.number())
        .bind(record.started_at.as_microsecond())
        .bind(record.client.as_str())
        .bind(record.client_identity.as_deref())
        .bind(record.listener.as_str())
        .bind(record.route.as_str())
        .bind(record.upstream.as_str())
        .bind(record.environment.as_str())
        .bind(record.method.as_str())
        .bind(record.target.as_str())
        .bind(record.service.as_deref())
        .bind(record.capability.as_deref())
        .bind(record.class.as_str())
        .bind(record.access_id.as_deref())
        .bind(record.using_id.as_deref())
        .bind(record.tax_no.as_ref().map(TaxNo::as_str))
        .bind(record.client_tid.as_deref())
        .bind(json_text(&record.request_headers))
        .bind(signed(record.request_size))
        .bind(record.request_sha256.map(|digest| digest.to_vec()))
        .bind(record.serial.as_deref())
        .bind(record.request_truncated)
}

fn bind_ended<'q>(query: Statement<'q>, record: &Record) -> Statement<'q> {
    query
        .bind(record.finished_at.map(jiff::Timestamp::as_microsecond))
        .bind(json_text(&record.response_headers))
        .bind(signed(record.response_size))
        .bind(record.response_sha256.map(|digest| digest.to_vec()))
        .bind(record.status.map(i64::from))
        .bind(record.platform_status.as_deref())
        .bind(record.request_id.as_deref())
        .bind(record.error_code.as_deref())
        .bind(record.error_text.as_deref())
        .bind(record.return_code.as_deref())
        .bind(record.return_message.as_deref())
        .bind(record.acceptance_no.as_deref())
        .bind(record.decision.as_str())
        .bind(record.decision_code.as_deref())
        .bind(record.note.as_deref())
        .bind(record.state.as_str())
        .bind(record.upstream_us.map(signed))
        .bind(record.gateway_us.map(signed))
        .bind(json_text(&record.invoice_nos))
        .bind(record.response_truncated)
}

fn json_text(list: &impl serde::Serialize) -> String {
    // lists of texts always are JSON
    serde_json::to_string(list).unwrap_or_else(|_| "[]".to_owned())
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A record without its bodies.
pub(super) fn record(row: &SqliteRow) -> Result<Record, StoreError> {
    Ok(Record {
        started_at: instant(row, "started_at")?,
        finished_at: instant_opt(row, "finished_at")?,
        client: get(row, "client")?,
        client_identity: get(row, "client_identity")?,
        listener: get(row, "listener")?,
        route: get(row, "route")?,
        upstream: get(row, "upstream")?,
        environment: parse(row, "environment", environment)?,
        method: get(row, "method")?,
        target: get(row, "target")?,
        service: get(row, "service")?,
        capability: get(row, "capability")?,
        class: parse(row, "class", ServiceClass::parse)?,
        access_id: get(row, "access_id")?,
        using_id: get(row, "using_id")?,
        tax_no: parse_opt(row, "tax_no", TaxNo::parse)?,
        client_tid: get(row, "client_tid")?,
        ..outcome(row)?
    })
}

/// The second half of a record.
fn outcome(row: &SqliteRow) -> Result<Record, StoreError> {
    Ok(Record {
        request_headers: json_column(row, "request_headers")?,
        response_headers: json_column(row, "response_headers")?,
        request_size: unsigned(row, "request_size")?.unwrap_or_default(),
        response_size: unsigned(row, "response_size")?.unwrap_or_default(),
        request_sha256: digest(row, "request_sha256")?,
        response_sha256: digest(row, "response_sha256")?,
        status: unsigned(row, "status")?.and_then(|status| u16::try_from(status).ok()),
        platform_status: get(row, "platform_status")?,
        request_id: get(row, "request_id")?,
        error_code: get(row, "error_code")?,
        error_text: get(row, "error_text")?,
        return_code: get(row, "return_code")?,
        return_message: get(row, "return_message")?,
        acceptance_no: get(row, "acceptance_no")?,
        serial: get(row, "serial")?,
        decision: parse(row, "decision", Decision::parse)?,
        decision_code: get(row, "decision_code")?,
        note: get(row, "note")?,
        state: parse(row, "state", State::parse)?,
        upstream_us: unsigned(row, "upstream_us")?,
        gateway_us: unsigned(row, "gateway_us")?,
        invoice_nos: json_column(row, "invoice_nos")?,
        request_truncated: get(row, "request_truncated")?,
        response_truncated: get(row, "response_truncated")?,
        intent_committed: true,
        ..Record::open(ExchangeId::from_number(get(row, "id")?), jiff::Timestamp::UNIX_EPOCH)
    })
}

fn environment(text: &str) -> Result<Environment, Invalid> {
    [Environment::Production, Environment::Sandbox]
        .into_iter()
        .find(|environment| environment.as_str() == text)
        .ok_or(Invalid::new("unknown environment"))
}

fn digest(row: &SqliteRow, column: &'static str) -> Result<Option<[u8; 32]>, StoreError> {
    let bytes: Option<Vec<u8>> = get(row, column)?;
    bytes.map(|b| b.try_into().map_err(|_| StoreError::value(column, "it has not 32 bytes"))).transpose()
}
