//! Columns of the request log's main table, and its rows to records, for both engines.

use crate::{
    domain::{Environment, ExchangeId, Invalid, ServiceClass, TaxNo},
    store::{
        StoreError,
        exchanges::{Decision, Record, State},
        value::{Columns, get, instant, instant_opt, json as json_column, parse, parse_opt, unsigned},
    },
};

/// Columns that are known before a call is sent.
pub(in crate::store) const BEGUN: [&str; 22] = [
    "id",
    "started_at",
    "client",
    "client_identity",
    "listener",
    "route",
    "upstream",
    "environment",
    "method",
    "target",
    "service",
    "capability",
    "class",
    "access_id",
    "using_id",
    "tax_no",
    "client_tid",
    "request_headers",
    "request_size",
    "request_sha256",
    "serial",
    "request_truncated",
];

/// Columns that the end of a call changes.
pub(in crate::store) const ENDED: [&str; 20] = [
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

/// A size or duration as the database keeps it.
pub(in crate::store) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A record without its bodies.
pub(in crate::store) fn record(row: &impl Columns) -> Result<Record, StoreError> {
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
fn outcome(row: &impl Columns) -> Result<Record, StoreError> {
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

fn digest(row: &impl Columns, column: &'static str) -> Result<Option<[u8; 32]>, StoreError> {
    let bytes: Option<Vec<u8>> = get(row, column)?;
    bytes.map(|b| b.try_into().map_err(|_| StoreError::value(column, "it has not 32 bytes"))).transpose()
}
