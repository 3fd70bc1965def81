//! SQL of the request log's main table, and records to rows and back.

use bytes::Bytes;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;

use super::value::{get, instant, instant_opt, json as json_column, parse, parse_opt, unsigned};
use crate::{
    domain::{Environment, ExchangeId, Invalid, ServiceClass, TaxNo},
    store::{
        StoreError,
        exchanges::{Decision, Record, State},
    },
};

/// Columns of a search.
pub(super) const COLUMNS: &str = "
    e.id, e.started_at, e.finished_at, e.client, e.client_identity, e.listener, e.route,
    e.upstream, e.environment, e.method, e.target, e.service, e.capability, e.class,
    e.access_id, e.using_id, e.tax_no, e.client_tid, e.request_headers, e.response_headers,
    e.request_size, e.response_size, e.request_sha256, e.response_sha256, e.status,
    e.platform_status, e.request_id, e.error_code, e.error_text, e.return_code,
    e.return_message, e.acceptance_no, e.serial, e.decision, e.decision_code, e.note, e.state,
    e.upstream_us, e.gateway_us, e.invoice_nos";

/// One record.
pub(super) const BY_ID: &str = "SELECT * FROM exchange AS e WHERE e.id = ?1";

/// Adds records, or completes those whose intent is there.
pub(super) const SAVE: &str = "
INSERT INTO exchange (
    id, started_at, finished_at, client, client_identity, listener, route, upstream,
    environment, method, target, service, capability, class, access_id, using_id, tax_no,
    client_tid, request_headers, response_headers, request_size, response_size, request_sha256,
    response_sha256, status, platform_status, request_id, error_code, error_text, return_code,
    return_message, acceptance_no, serial, decision, decision_code, note, state, upstream_us,
    gateway_us, invoice_nos)
SELECT
    value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
    value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12,
    value ->> 13, value ->> 14, value ->> 15, value ->> 16, value ->> 17, value ->> 18,
    value ->> 19, value ->> 20, value ->> 21, value ->> 22, value ->> 23, value ->> 24,
    value ->> 25, value ->> 26, value ->> 27, value ->> 28, value ->> 29, value ->> 30,
    value ->> 31, value ->> 32, value ->> 33, value ->> 34, value ->> 35, value ->> 36,
    value ->> 37, value ->> 38, value ->> 39
FROM json_each(?1) WHERE true
ON CONFLICT (id) DO UPDATE SET
    started_at = excluded.started_at, finished_at = excluded.finished_at,
    client = excluded.client, client_identity = excluded.client_identity,
    listener = excluded.listener, route = excluded.route, upstream = excluded.upstream,
    environment = excluded.environment, method = excluded.method, target = excluded.target,
    service = excluded.service, capability = excluded.capability, class = excluded.class,
    access_id = excluded.access_id, using_id = excluded.using_id, tax_no = excluded.tax_no,
    client_tid = excluded.client_tid, request_headers = excluded.request_headers,
    response_headers = excluded.response_headers, request_size = excluded.request_size,
    response_size = excluded.response_size, request_sha256 = excluded.request_sha256,
    response_sha256 = excluded.response_sha256, status = excluded.status,
    platform_status = excluded.platform_status, request_id = excluded.request_id,
    error_code = excluded.error_code, error_text = excluded.error_text,
    return_code = excluded.return_code, return_message = excluded.return_message,
    acceptance_no = excluded.acceptance_no, serial = excluded.serial,
    decision = excluded.decision, decision_code = excluded.decision_code, note = excluded.note,
    state = excluded.state, upstream_us = excluded.upstream_us,
    gateway_us = excluded.gateway_us, invoice_nos = excluded.invoice_nos";

/// What records are found by invoices.
pub(super) const SAVE_INVOICES: &str = "
INSERT INTO exchange_invoice (invoice_no, exchange)
SELECT value ->> 0, value ->> 1 FROM json_each(?1) WHERE true
ON CONFLICT DO NOTHING";

/// A record's values in the order of the columns; headers and invoices are JSON inside.
pub(super) fn values(record: &Record) -> Value {
    json!([
        record.id.number(),
        record.started_at.as_microsecond(),
        record.finished_at.map(jiff::Timestamp::as_microsecond),
        record.client,
        record.client_identity,
        record.listener,
        record.route,
        record.upstream,
        record.environment.as_str(),
        record.method,
        record.target,
        record.service,
        record.capability,
        record.class.as_str(),
        record.access_id,
        record.using_id,
        record.tax_no,
        record.client_tid,
        record.request_headers,
        record.response_headers,
        record.request_size,
        record.response_size,
        record.request_sha256.map(hex),
        record.response_sha256.map(hex),
        record.status,
        record.platform_status,
        record.request_id,
        record.error_code,
        record.error_text,
        record.return_code,
        record.return_message,
        record.acceptance_no,
        record.serial,
        record.decision.as_str(),
        record.decision_code,
        record.note,
        record.state.as_str(),
        record.upstream_us,
        record.gateway_us,
        record.invoice_nos,
    ])
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
        request_sha256: parse_opt(row, "request_sha256", unhex)?,
        response_sha256: parse_opt(row, "response_sha256", unhex)?,
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
        request_body: Bytes::new(),
        response_body: Bytes::new(),
        ..Record::open(ExchangeId::from_number(get(row, "id")?), jiff::Timestamp::UNIX_EPOCH)
    })
}

fn environment(text: &str) -> Result<Environment, Invalid> {
    [Environment::Production, Environment::Sandbox]
        .into_iter()
        .find(|environment| environment.as_str() == text)
        .ok_or(Invalid::new("unknown environment"))
}

fn hex(digest: [u8; 32]) -> String {
    use std::fmt::Write;
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        // writing to a String cannot fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Result<[u8; 32], Invalid> {
    const REASON: Invalid = Invalid::new("a digest must be 64 hex digits");
    let mut digest = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return Err(REASON);
    }
    for (place, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).map_err(|_| REASON)?;
    }
    Ok(digest)
}
