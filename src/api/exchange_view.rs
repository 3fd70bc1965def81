//! An exchange as the API shows it: everything but the bodies.

use std::{collections::BTreeMap, fmt::Write};

use serde::Serialize;

use super::page::Time;
use crate::{
    domain::{Environment, ExchangeId, InvoiceNo, TaxNo},
    leqi::catalogue,
    request_log::{Record, explanation},
};

/// An exchange in a list.
#[derive(Debug, Serialize)]
pub(super) struct Shown<'a> {
    id: ExchangeId,
    started_at: Time,
    finished_at: Option<Time>,
    state: &'static str,
    decision: &'static str,
    decision_code: Option<&'a str>,
    note: Option<&'a str>,
    client: &'a str,
    client_identity: Option<&'a str>,
    client_tid: Option<&'a str>,
    listener: &'a str,
    route: &'a str,
    upstream: &'a str,
    environment: Environment,
    method: &'a str,
    path: &'a str,
    capability: Option<&'a str>,
    capability_name: Option<&'static str>,
    service: Option<&'a str>,
    service_name: Option<&'static str>,
    class: &'static str,
    access_id: Option<&'a str>,
    using_id: Option<&'a str>,
    tax_no: Option<&'a TaxNo>,
    invoice_nos: &'a [InvoiceNo],
    acceptance_no: Option<&'a str>,
    serial: Option<&'a str>,
    status: Option<u16>,
    http_status_code: Option<&'a str>,
    request_id: Option<&'a str>,
    error_code: Option<&'a str>,
    error_text: Option<&'a str>,
    return_code: Option<&'a str>,
    return_message: Option<&'a str>,
    explanation: Option<Explained>,
    request_size: u64,
    request_sha256: Option<String>,
    request_truncated: bool,
    response_size: u64,
    response_sha256: Option<String>,
    response_truncated: bool,
    upstream_us: Option<u64>,
    gateway_us: Option<u64>,
}

/// What a refusal means.
#[derive(Debug, Serialize)]
pub(super) struct Explained {
    pub(super) zh: &'static str,
    pub(super) en: &'static str,
}

impl From<&'static catalogue::Explanation> for Explained {
    fn from(explanation: &'static catalogue::Explanation) -> Self {
        Self { zh: explanation.zh, en: explanation.en }
    }
}

/// One exchange by itself: with its headers.
#[derive(Debug, Serialize)]
pub(super) struct Full<'a> {
    #[serde(flatten)]
    shown: Shown<'a>,
    request_headers: &'a [(String, String)],
    response_headers: &'a [(String, String)],
    links: BTreeMap<&'static str, String>,
}

impl<'a> From<&'a Record> for Shown<'a> {
    fn from(record: &'a Record) -> Self {
        let service = record.service.as_deref();
        let capability = record.capability.as_deref();
        Self {
            id: record.id,
            started_at: Time(record.started_at),
            finished_at: record.finished_at.map(Time),
            state: record.state.as_str(),
            decision: record.decision.as_str(),
            decision_code: record.decision_code.as_deref(),
            note: record.note.as_deref(),
            client: &record.client,
            client_identity: record.client_identity.as_deref(),
            client_tid: record.client_tid.as_deref(),
            listener: &record.listener,
            route: &record.route,
            upstream: &record.upstream,
            environment: record.environment,
            method: &record.method,
            path: &record.target,
            capability,
            capability_name: capability.and_then(catalogue::capability_name),
            service,
            service_name: service.and_then(catalogue::service).map(|known| known.name),
            class: record.class.as_str(),
            access_id: record.access_id.as_deref(),
            using_id: record.using_id.as_deref(),
            tax_no: record.tax_no.as_ref(),
            invoice_nos: &record.invoice_nos,
            acceptance_no: record.acceptance_no.as_deref(),
            serial: record.serial.as_deref(),
            status: record.status,
            http_status_code: record.platform_status.as_deref(),
            request_id: record.request_id.as_deref(),
            error_code: record.error_code.as_deref(),
            error_text: record.error_text.as_deref(),
            return_code: record.return_code.as_deref(),
            return_message: record.return_message.as_deref(),
            explanation: explanation(record).map(Explained::from),
            request_size: record.request_size,
            request_sha256: record.request_sha256.as_ref().map(hex),
            request_truncated: record.request_truncated,
            response_size: record.response_size,
            response_sha256: record.response_sha256.as_ref().map(hex),
            response_truncated: record.response_truncated,
            upstream_us: record.upstream_us,
            gateway_us: record.gateway_us,
        }
    }
}

impl<'a> From<&'a Record> for Full<'a> {
    fn from(record: &'a Record) -> Self {
        let link = |side: &str| format!("/api/v1/exchanges/{}/{side}", record.id);
        Self {
            shown: Shown::from(record),
            request_headers: &record.request_headers,
            response_headers: &record.response_headers,
            links: BTreeMap::from([("request", link("request")), ("response", link("response"))]),
        }
    }
}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        // writing into a String cannot fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}
