use std::{convert::Infallible, io::Write, sync::Mutex, time::Duration};

use futures_util::future::BoxFuture;
use http::Response;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{io::AsyncReadExt, io::AsyncWriteExt, net::TcpListener, sync::watch};

use super::*;
use crate::{
    domain::PlatformId,
    leqi::{
        Sm4Key,
        client::{Client, JournalError},
        messages::{self, QuotaBalance},
        read_body, write_data, write_error,
    },
    telemetry::metrics::Metrics,
    upstream::{self, UpstreamMetrics},
};

const ID: &str = "0123456789ABCDEF0123";

fn caller() -> Caller {
    let id: PlatformId = ID.parse().unwrap();
    Caller {
        access_id: id.clone(),
        using_id: id,
        key: Sm4Key::from_bytes([9; 16]),
        capability: "202007".parse().unwrap(),
    }
}

/// Keeps what is written; refuses when told to.
#[derive(Default)]
struct Notebook {
    intents: Mutex<Vec<OwnCall>>,
    records: Mutex<Vec<(OwnCall, OwnOutcome)>>,
    refuse_intents: bool,
    refuse_records: bool,
    recorded: watch::Sender<usize>,
}

impl Journal for Notebook {
    fn intent<'a>(&'a self, call: &'a OwnCall) -> BoxFuture<'a, Result<(), JournalError>> {
        self.intents.lock().unwrap().push(call.clone());
        Box::pin(async { if self.refuse_intents { Err(JournalError("full".into())) } else { Ok(()) } })
    }
    fn record<'a>(
        &'a self,
        call: &'a OwnCall,
        outcome: &'a OwnOutcome,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        self.records.lock().unwrap().push((call.clone(), outcome.clone()));
        self.recorded.send_modify(|n| *n += 1);
        Box::pin(async { if self.refuse_records { Err(JournalError("full".into())) } else { Ok(()) } })
    }
}

fn client(port: u16, journal: &Arc<Notebook>) -> Client {
    let url = format!("http://127.0.0.1:{port}/base/").parse().unwrap();
    let mut config = upstream::Config::new("test".into(), url);
    config.response_timeout = Duration::from_secs(5);
    let metrics = UpstreamMetrics::register(&Metrics::new().unwrap()).unwrap();
    let ids = Arc::new(ExchangeIds::new(1, None));
    let upstream = Upstream::new(config, &metrics).unwrap();
    let journal: Arc<dyn Journal> = Arc::<Notebook>::clone(journal);
    Client::new(upstream, "/access/v2/invoke/".into(), ids, Clock::system(), journal)
}

/// A platform that answers every call with these bytes after `gate` says so.
async fn platform(
    status: u16,
    answer: Vec<u8>,
    gate: watch::Receiver<bool>,
) -> (u16, watch::Receiver<Vec<(http::request::Parts, Bytes)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, calls) = watch::channel(Vec::new());
    let seen = Arc::new(seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (answer, seen, gate) = (answer.clone(), Arc::clone(&seen), gate.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (answer, seen, mut gate) = (answer.clone(), Arc::clone(&seen), gate.clone());
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    seen.send_modify(|calls| calls.push((head, body)));
                    gate.wait_for(|open| *open).await.unwrap();
                    let response = Response::builder().status(status).header("x-seen", "1");
                    Ok::<_, Infallible>(response.body(Full::new(Bytes::from(answer))).unwrap())
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (port, calls)
}

fn open() -> watch::Receiver<bool> {
    watch::channel(true).1
}

fn service(code: &str) -> ServiceCode {
    code.parse().unwrap()
}

const BALANCE: &str = r#"{"returncode":"00","returnmsg":"成功","ztsxbz":"N","bysxed":"10.00","kysyed":"5.00","yxzed":"5.00","yxzwsyed":"4.00","sq":"202611"}"#;

#[tokio::test]
async fn a_question_is_sent_as_the_protocol_has_it_and_its_answer_is_read() {
    let (port, calls) = platform(200, write_data("1", &caller().key, BALANCE.as_bytes()), open()).await;
    let journal = Arc::new(Notebook::default());
    let tax_no = "91350100M000100Y43".parse().unwrap();
    let balance = client(port, &journal).query_quota(&caller(), &tax_no).await.unwrap();
    assert_eq!(balance, messages::read_answer::<QuotaBalance>(BALANCE.as_bytes()).unwrap());

    let (head, body) = calls.borrow()[0].clone();
    assert_eq!(head.uri.path(), "/base/access/v2/invoke/202007/CXSXED/");
    for (name, value) in
        [("fwbm", "CXSXED"), ("nlbm", "202007"), ("jrdwptbh", ID), ("sydwptbh", ID), ("access_signature", "")]
    {
        assert_eq!(head.headers[name], value, "{name}");
    }
    assert!(!head.headers.contains_key("sxcsbz"));
    assert_eq!(head.headers["host"], format!("127.0.0.1:{port}"));
    let json = read_body(&body, Some(&caller().key)).unwrap().json;
    assert_eq!(json, br#"{"nsrsbh":"91350100M000100Y43"}"#);

    assert!(journal.intents.lock().unwrap().is_empty(), "a question has no intent");
    let records = journal.records.lock().unwrap();
    let (call, outcome) = &records[0];
    assert_eq!(call.class, ServiceClass::QuotaQuery);
    assert_eq!(outcome.status, Some(200));
    assert_eq!(outcome.response_json.as_deref(), Some(BALANCE.as_bytes()));
    assert!(outcome.response_headers.iter().any(|(name, _)| name == "x-seen"));
}

#[tokio::test]
async fn a_compressed_answer_is_unpacked() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&write_data("1", &caller().key, BALANCE.as_bytes())).unwrap();
    let packed = packed.finish().unwrap();
    let (port, _) = platform(200, packed.clone(), open()).await;
    let journal = Arc::new(Notebook::default());
    let answer = client(port, &journal).call(&caller(), &service("CXSXED"), b"{}").await.unwrap();
    assert_eq!(answer.json, BALANCE.as_bytes());
    assert_eq!(journal.records.lock().unwrap()[0].1.response_body, packed, "kept as it came");
}

#[tokio::test]
async fn a_refusal_carries_code_and_text_and_its_intent_was_committed_first() {
    let (port, _) = platform(200, write_error(200, "1", "99", "参数错误"), open()).await;
    let journal = Arc::new(Notebook::default());
    let error = client(port, &journal).call(&caller(), &service("SCFPHZQRXX"), b"{}").await.unwrap_err();
    assert!(matches!(error, CallError::Refused { code, text, .. } if code == "99" && text == "参数错误"));
    assert_eq!(journal.intents.lock().unwrap().len(), 1);
    assert_eq!(journal.records.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_call_without_its_intent_is_not_sent() {
    let (port, calls) = platform(200, Vec::new(), open()).await;
    let journal = Arc::new(Notebook { refuse_intents: true, ..Notebook::default() });
    let error = client(port, &journal).call(&caller(), &service("SCFPHZQRXX"), b"{}").await.unwrap_err();
    assert!(matches!(error, CallError::Journal { sent: false, .. }));
    assert!(calls.borrow().is_empty());
}

#[tokio::test]
async fn an_answer_that_could_not_be_recorded_is_used_only_for_questions() {
    let (port, _) = platform(200, write_data("1", &caller().key, BALANCE.as_bytes()), open()).await;
    let journal = Arc::new(Notebook { refuse_records: true, ..Notebook::default() });
    let client = client(port, &journal);
    assert!(client.call(&caller(), &service("CXSXED"), b"{}").await.is_ok());
    let error = client.call(&caller(), &service("SCFPHZQRXX"), b"{}").await.unwrap_err();
    assert!(matches!(error, CallError::Journal { sent: true, .. }));
}

#[tokio::test]
async fn what_never_left_is_told_from_what_may_have_arrived() {
    let journal = Arc::new(Notebook::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = client(port, &journal).call(&caller(), &service("SCFPHZQRXX"), b"{}").await.unwrap_err();
    assert!(matches!(error, CallError::NotSent { .. }), "{error}");
    assert!(!journal.records.lock().unwrap()[0].1.failure.as_ref().unwrap().sent);

    // reads the request, answers the head and a part of the body, and is gone
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 512];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"body\":").await.unwrap();
    });
    let error = client(port, &journal).call(&caller(), &service("SCFPHZQRXX"), b"{}").await.unwrap_err();
    assert!(matches!(error, CallError::Unclear { .. }), "{error}");
    let records = journal.records.lock().unwrap();
    let outcome = &records[1].1;
    assert!(outcome.failure.as_ref().unwrap().sent);
    assert_eq!((outcome.status, &outcome.response_body[..]), (Some(200), &b"{\"body\":"[..]));
}

#[tokio::test]
async fn an_answer_of_http_500_proves_nothing() {
    let (port, _) = platform(500, write_error(500, "1", "500", "异常"), open()).await;
    let journal = Arc::new(Notebook::default());
    let error = client(port, &journal).call(&caller(), &service("XZTHSXED"), b"{}").await.unwrap_err();
    assert!(matches!(error, CallError::Unclear { .. }), "{error}");
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_is_still_recorded() {
    let (gate, shut) = watch::channel(false);
    let (port, mut calls) = platform(200, write_data("1", &caller().key, BALANCE.as_bytes()), shut).await;
    let journal = Arc::new(Notebook::default());
    let client = client(port, &journal);
    let waiting = tokio::spawn(async move { client.call(&caller(), &service("SCFPHZQRXX"), b"{}").await });
    calls.wait_for(|calls| calls.len() == 1).await.unwrap();
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    gate.send_replace(true);
    let mut recorded = journal.recorded.subscribe();
    let deadline = tokio::time::timeout(Duration::from_secs(10), recorded.wait_for(|n| *n == 1)).await;
    deadline.expect("the call was recorded").unwrap();
    assert!(journal.records.lock().unwrap()[0].1.response_json.is_some());
}
