//! The gateway's own calls in the log.

use std::sync::Arc;

use bytes::Bytes;

use super::{ACCESS, noon, opened};
use crate::{
    domain::{Environment, ExchangeIds, ServiceClass},
    leqi::{
        Sm4Key,
        client::{Caller, Failure, Journal, OwnCall, OwnOutcome},
        write_body, write_data,
    },
    request_log::{Decision, Filter, GATEWAY, State},
};

fn transfer() -> OwnCall {
    let key = Sm4Key::from_bytes([7; 16]);
    let json = br#"{"nsrsbh":"91350100M000100Y43","sqlx":"0","sqed":"100.00","ywlsh":"S1"}"#;
    OwnCall {
        id: ExchangeIds::new(0, None).next(noon()),
        started_at: noon(),
        service: "XZTHSXED".parse().unwrap(),
        class: ServiceClass::QuotaTransfer,
        environment: Environment::Production,
        upstream: "leqi".to_owned(),
        method: http::Method::POST,
        path: "/access/v2/invoke/202007/XZTHSXED/".to_owned(),
        request_headers: vec![("jrdwptbh".to_owned(), ACCESS.to_owned())],
        request_body: write_body(&key, json).into(),
        request_json: Bytes::from_static(json),
        caller: Caller {
            access_id: ACCESS.parse().unwrap(),
            using_id: ACCESS.parse().unwrap(),
            key,
            capability: "202007".parse().unwrap(),
        },
    }
}

fn outcome(call: &OwnCall) -> OwnOutcome {
    let json = r#"{"returncode":"00","returnmsg":"成功"}"#;
    OwnOutcome {
        finished_at: noon(),
        upstream_us: 900,
        status: Some(200),
        response_headers: Vec::new(),
        response_body: write_data("e0c4ae4cfb5ccb11", &call.caller.key, json.as_bytes()).into(),
        response_json: Some(json.into()),
        failure: None,
    }
}

#[tokio::test]
async fn an_own_call_is_recorded_before_it_is_sent_and_when_it_ended() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, log) = opened(&directory).await;
    let call = transfer();
    let journal: Arc<dyn Journal> = Arc::clone(&log) as _;
    journal.intent(&call).await.unwrap();
    let sending = log.by_id(call.id).await.unwrap().unwrap();
    assert_eq!((sending.state, sending.client.as_str()), (State::Sending, GATEWAY));

    journal.record(&call, &outcome(&call)).await.unwrap();
    let filter = Filter { serial: Some("S1".to_owned()), ..Filter::default() };
    let page = log.search(&filter, None, 10).await.unwrap();
    let record = page.records.first().unwrap();
    assert_eq!((record.id, record.state, record.decision), (call.id, State::Complete, Decision::Forwarded));
    assert_eq!(record.return_code.as_deref(), Some("00"));
    assert_eq!(record.request_id.as_deref(), Some("e0c4ae4cfb5ccb11"));
    assert_eq!(record.tax_no.as_ref().unwrap().as_str(), "91350100M000100Y43");
    let request = log.body(call.id, super::Side::Request).await.unwrap().unwrap();
    assert_eq!(request.bytes, call.request_body);
}

#[tokio::test]
async fn an_own_call_without_answer_is_recorded_as_failed() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, log) = opened(&directory).await;
    let call = transfer();
    let failed = OwnOutcome {
        status: None,
        response_body: Bytes::new(),
        response_json: None,
        failure: Some(Failure { sent: true, reason: "connection reset".to_owned() }),
        ..outcome(&call)
    };
    Journal::intent(&*log, &call).await.unwrap();
    Journal::record(&*log, &call, &failed).await.unwrap();
    let record = log.by_id(call.id).await.unwrap().unwrap();
    assert_eq!((record.decision, record.note.as_deref()), (Decision::Failed, Some("connection reset")));
    assert!(record.response_sha256.is_none() && record.status.is_none());
}
