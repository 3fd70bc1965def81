//! The log on a real database, and its queue before a store that hesitates.

mod own_calls;
mod queue;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::{
    domain::{ExchangeId, ExchangeIds, InvoiceNo, PlatformId, ServiceClass, TaxNo},
    leqi::{Sm4Key, write_body, write_data, write_error},
    store::{self, Store},
    telemetry,
};

const ACCESS: &str = "0123456789ABCDEF0123";
const USING: &str = "FEDCBA98765432100123";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn noon() -> Timestamp {
    at("2026-11-23T04:00:00Z")
}

fn metrics() -> Metrics {
    Metrics::register(&telemetry::metrics::Metrics::new().unwrap()).unwrap()
}

async fn opened(directory: &TempDir) -> (Store, Arc<RequestLog>) {
    let path = directory.path().join("gateway.db");
    let config = store::testing::config(&path);
    let registry = telemetry::metrics::Metrics::new().unwrap();
    let store = store::open(&config, &store::Metrics::register(&registry).unwrap()).await.unwrap();
    let log = RequestLog::open(Arc::clone(&store.exchanges), &Config::default(), metrics()).await.unwrap();
    (store, log)
}

fn number(n: u32) -> InvoiceNo {
    InvoiceNo::parse(&format!("26{n:018}")).unwrap()
}

/// A record in which everything is filled in.
fn full(id: ExchangeId) -> Record {
    let mut record = Record::open(id, noon());
    record.finished_at = Some(noon());
    record.client = "10.0.0.7:51234".to_owned();
    record.client_identity = Some("CN=erp".to_owned());
    record.listener = "0.0.0.0:8443".to_owned();
    record.route = "/access/".to_owned();
    record.upstream = "leqi".to_owned();
    record.method = "POST".to_owned();
    record.target = "/access/v2/invoke/202007/QDFPSC/?a=%20".to_owned();
    record.service = Some("QDFPSC".to_owned());
    record.capability = Some("202007".to_owned());
    record.class = ServiceClass::Issue;
    record.access_id = Some(ACCESS.to_owned());
    record.using_id = Some(USING.to_owned());
    record.tax_no = Some(TaxNo::parse("91350100M000100Y43").unwrap());
    record.client_tid = Some("tid-1".to_owned());
    record.request_headers = vec![("access_signature".to_owned(), String::new())];
    record.response_headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    record.request_size = 7;
    record.response_size = 8;
    record.request_sha256 = Some([1; 32]);
    record.response_sha256 = Some([2; 32]);
    record.status = Some(200);
    record.platform_status = Some("200".to_owned());
    record.request_id = Some("e0c4ae4cfb5ccb11".to_owned());
    record.error_code = Some("BD1004".to_owned());
    record.error_text = Some("上月未完成上传汇总确认，请完成上月汇总确认再试".to_owned());
    record.return_code = Some("00".to_owned());
    record.return_message = Some("成功".to_owned());
    record.invoice_nos = vec![number(1), number(2)];
    record.acceptance_no = Some("sllsh-1".to_owned());
    record.serial = Some("ywlsh-1".to_owned());
    record.decision_code = Some("GW-X".to_owned());
    record.note = Some("a note".to_owned());
    record.state = State::Complete;
    record.upstream_us = Some(1200);
    record.gateway_us = Some(80);
    record.request_body = Bytes::from_static(b"request");
    record.response_body = Bytes::from_static(b"response");
    record
}

/// All fields of a record as stored, without bodies.
fn fields(record: &Record) -> String {
    let mut record = record.clone();
    let headers = format!("{:?}{:?}", record.request_headers, record.response_headers);
    record.request_headers.clear();
    let digests = format!("{:?}{:?}", record.request_sha256, record.response_sha256);
    format!(
        "{record:?}{headers}{digests}{:?}{:?}{}{:?}{}{}{}{:?}{}{}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}",
        record.started_at,
        record.finished_at,
        record.client,
        record.client_identity,
        record.listener,
        record.route,
        record.upstream,
        record.environment,
        record.method,
        record.target,
        record.capability,
        record.access_id,
        record.using_id,
        record.tax_no,
        record.client_tid,
        record.platform_status,
        record.request_id,
        record.error_code,
        record.error_text,
        record.return_code,
        record.return_message,
        record.invoice_nos,
        record.acceptance_no,
        record.serial,
        record.note,
        (record.upstream_us, record.gateway_us, record.request_truncated, record.response_truncated),
    )
}

async fn found(log: &RequestLog, filter: Filter) -> Vec<ExchangeId> {
    log.search(&filter, None, 100).await.unwrap().records.iter().map(|r| r.id).collect()
}

#[tokio::test]
async fn a_record_is_read_back_as_it_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let (store, log) = opened(&directory).await;
    let record = full(ExchangeIds::new(0, None).next(noon()));
    log.complete(record.clone()).await.unwrap();
    let stored = log.by_id(record.id).await.unwrap().unwrap();
    assert_eq!(fields(&stored), fields(&record));
    let request = log.body(record.id, Side::Request).await.unwrap().unwrap();
    let response = log.body(record.id, Side::Response).await.unwrap().unwrap();
    assert_eq!((&request.bytes[..], request.truncated), (&b"request"[..], false));
    assert_eq!((&response.bytes[..], response.truncated), (&b"response"[..], false));
    assert_eq!(store.exchanges.last_id().await.unwrap(), Some(record.id));
    assert!(log.by_id(ExchangeId::from_number(1)).await.unwrap().is_none());
    assert!(log.body(ExchangeId::from_number(1), Side::Request).await.unwrap().is_none());
}

#[tokio::test]
async fn an_intent_is_completed_in_place() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, log) = opened(&directory).await;
    let end = full(ExchangeIds::new(0, None).next(noon()));
    let mut begin = end.clone();
    (begin.state, begin.finished_at, begin.status) = (State::Sending, None, None);
    (begin.request_id, begin.acceptance_no, begin.response_body) = (None, None, Bytes::new());
    log.intent(&mut begin).await.unwrap();
    let sending = Filter { state: Some(State::Sending), ..Filter::default() };
    assert_eq!(found(&log, sending.clone()).await, [end.id]);

    let mut completed = end.clone();
    completed.intent_committed = begin.intent_committed;
    log.complete(completed).await.unwrap();
    assert_eq!(fields(&log.by_id(end.id).await.unwrap().unwrap()), fields(&end));
    assert_eq!(&log.body(end.id, Side::Request).await.unwrap().unwrap().bytes[..], b"request");
    assert_eq!(&log.body(end.id, Side::Response).await.unwrap().unwrap().bytes[..], b"response");
    assert!(found(&log, sending).await.is_empty());
    for filter in [
        Filter { invoice_no: Some(number(2)), ..Filter::default() },
        Filter { acceptance_no: Some("sllsh-1".to_owned()), ..Filter::default() },
        Filter { request_id: Some("e0c4ae4cfb5ccb11".to_owned()), ..Filter::default() },
    ] {
        assert_eq!(found(&log, filter).await, [end.id]);
    }
}

#[tokio::test]
async fn what_was_being_sent_when_the_gateway_stopped_is_interrupted_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (store, log) = opened(&directory).await;
    let mut record = full(ExchangeIds::new(0, None).next(noon()));
    record.state = State::Sending;
    log.intent(&mut record).await.unwrap();
    store.close().await;
    let (_store, log) = opened(&directory).await;
    // on a shared database it takes a while to know that nobody is at work on it
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while log.by_id(record.id).await.unwrap().unwrap().state != State::Interrupted {
        assert!(store.is_shared() && tokio::time::Instant::now() < deadline, "it is marked at the start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let filter = Filter { state: Some(State::Interrupted), invoice_no: Some(number(1)), ..Filter::default() };
    assert_eq!(found(&log, filter).await, [record.id]);
}

#[tokio::test]
async fn an_exchange_is_found_by_everything_people_have_in_hand() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, log) = opened(&directory).await;
    let ids = ExchangeIds::new(0, None);
    let sought = full(ids.next(noon()));
    let mut other = Record::open(ids.next(noon()), noon());
    other.state = State::Complete;
    log.complete(other.clone()).await.unwrap();
    log.complete(Record {
        decision: Decision::Refused,
        class: ServiceClass::QuotaTransfer,
        ..sought.clone()
    })
    .await
    .unwrap();
    let lower: PlatformId = ACCESS.to_ascii_lowercase().parse().unwrap();
    let some = |text: &str| Some(text.to_owned());
    let none = Filter::default;
    for filter in [
        Filter { invoice_no: Some(number(1)), ..none() },
        Filter { tax_no: sought.tax_no.clone(), ..none() },
        Filter { platform_id: Some(lower), ..none() },
        Filter { platform_id: Some(USING.parse().unwrap()), invoice_no: Some(number(1)), ..none() },
        Filter { service: some("QDFPSC"), ..none() },
        Filter { class: Some(ServiceClass::QuotaTransfer), ..none() },
        Filter { error_code: some("BD1004"), ..none() },
        Filter { decision_code: some("GW-X"), ..none() },
        Filter { client_tid: some("tid-1"), ..none() },
        Filter { acceptance_no: some("sllsh-1"), ..none() },
        Filter { serial: some("ywlsh-1"), tax_no: sought.tax_no.clone(), ..none() },
        Filter { request_id: some("e0c4ae4cfb5ccb11"), client_tid: some("tid-1"), ..none() },
        Filter { decision: Some(Decision::Refused), ..none() },
    ] {
        assert_eq!(found(&log, filter.clone()).await, [sought.id], "{filter:?}");
    }
    for filter in [
        Filter { invoice_no: Some(number(3)), ..none() },
        Filter { platform_id: Some(ACCESS.replace('0', "1").parse().unwrap()), ..none() },
        Filter { invoice_no: Some(number(1)), service: some("CXSXED"), ..none() },
        Filter { state: Some(State::Aborted), ..none() },
    ] {
        assert!(found(&log, filter.clone()).await.is_empty(), "{filter:?}");
    }
    let complete = Filter { state: Some(State::Complete), ..none() };
    assert_eq!(found(&log, complete).await, [other.id, sought.id]);
}

#[tokio::test]
async fn pages_go_backwards_in_time_over_months_without_gap_or_repetition() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, log) = opened(&directory).await;
    let ids = ExchangeIds::new(0, None);
    let mut expected = Vec::new();
    for month in 1..=9 {
        let time = at(&format!("2026-{month:02}-03T00:00:00Z"));
        for _ in 0..5 {
            let mut record = full(ids.next(time));
            record.started_at = time;
            expected.push(record.id);
            log.enqueue(record).await.unwrap();
        }
    }
    log.close().await;
    expected.reverse();
    for filter in [
        Filter::default(),
        Filter { invoice_no: Some(number(1)), ..Filter::default() },
        Filter { platform_id: Some(USING.parse().unwrap()), ..Filter::default() },
    ] {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = log.search(&filter, cursor, 7).await.unwrap();
            all.extend(page.records.iter().map(|r| r.id));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(all, expected, "{filter:?}");
        let march = Filter {
            from: Some(at("2026-03-01T00:00:00Z")),
            until: Some(at("2026-04-01T00:00:00Z")),
            ..filter
        };
        assert_eq!(found(&log, march).await, expected[30..35]);
    }
}

#[tokio::test]
async fn a_long_body_is_cut_and_marked_and_secrets_are_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _log) = opened(&directory).await;
    let config = Config { body_limit: 4, ..Config::default() };
    let log = RequestLog::open(Arc::clone(&store.exchanges), &config, metrics()).await.unwrap();
    let mut record = full(ExchangeIds::new(0, None).next(noon()));
    record.request_headers.push(("Authorization".to_owned(), "Basic c2VjcmV0".to_owned()));
    log.enqueue(record.clone()).await.unwrap();
    log.close().await;
    let body = log.body(record.id, Side::Request).await.unwrap().unwrap();
    assert_eq!((&body.bytes[..], body.truncated), (&b"requ"[..], true));
    let stored = log.by_id(record.id).await.unwrap().unwrap();
    assert_eq!(stored.request_headers, [("access_signature".to_owned(), String::new())]);
    assert!(stored.request_truncated && stored.response_truncated);
    assert!(matches!(
        clear_view(&stored, Side::Request, &body, None),
        Err(ViewError::Truncated { kept: 4, size: 7 })
    ));
    assert!(matches!(log.enqueue(record).await, Err(LogError::Closed)));
}

#[test]
fn bodies_are_shown_in_clear_with_what_the_error_means() {
    let key = Sm4Key::from_bytes([7; 16]);
    let record = full(ExchangeId::from_number(1));
    let whole = |bytes: Vec<u8>| StoredBody { bytes: bytes.into(), truncated: false };
    let request = whole(write_body(&key, "{\"a\":\"发票\"}".as_bytes()));
    let view = clear_view(&record, Side::Request, &request, Some(&key)).unwrap();
    assert_eq!(view.content, Content::Json("{\"a\":\"发票\"}".to_owned()));
    assert_eq!(view.form, "encrypted");
    assert!(matches!(clear_view(&record, Side::Request, &request, None), Err(ViewError::KeyMissing { .. })));
    let wrong = Sm4Key::from_bytes([8; 16]);
    assert!(clear_view(&record, Side::Request, &request, Some(&wrong)).is_err());

    let answer = whole(write_data("e0c4ae4cfb5ccb11", &key, b"{\"returncode\":\"00\"}"));
    let view = clear_view(&record, Side::Response, &answer, Some(&key)).unwrap();
    assert_eq!(view.content, Content::Json("{\"returncode\":\"00\"}".to_owned()));
    assert_eq!(view.request_id.as_deref(), Some("e0c4ae4cfb5ccb11"));

    let refusal = whole(write_error(200, "e0c4ae4cfb5ccb11", "BD1004", "上月未完成上传汇总确认"));
    let view = clear_view(&record, Side::Response, &refusal, None).unwrap();
    assert!(matches!(view.content, Content::Error { ref code, .. } if code == "BD1004"));
    assert_eq!(view.explanation.unwrap().zh, "先完成上月汇总确认");
}

#[test]
fn a_record_for_debugging_shows_no_payload() {
    let mut record = full(ExchangeId::from_number(1));
    record.request_body = Bytes::from_static(b"payload in clear");
    let text =
        format!("{record:?} {:?}", StoredBody { bytes: record.request_body.clone(), truncated: false });
    assert!(!text.contains("payload") && !text.contains("112, 97, 121"), "{text}");
}
