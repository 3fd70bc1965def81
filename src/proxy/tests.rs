//! A bug inside of a call: what its client is told, what is kept of it, and that everything else goes on.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

use super::{
    Admission, Config, Plan, Proxy, Route, SandboxFlag, Services,
    capture::{Recorded, Recording, Watched},
    exchange::Exchange,
    passing::Passing,
};
use crate::{
    clock::Clock,
    confirmation::{Confirmations, Identity, Platform},
    domain::{Environment, ExchangeId, ExchangeIds, Period, PlatformId, TaxNo},
    leqi::{
        client::CallEnded,
        messages::{
            QuotaBalance, QuotaTransfer, QuotaTransferAnswer, QuotaValidity, QuotaValidityAnswer,
            ResultAnswer, SummaryList, SummaryQuery, SummaryUpload,
        },
    },
    listener::Peer,
    quota::{self, Ids, Ledger, NoCaller, QuotaSource, Transfers},
    request_log::{self, Decision, RequestLog, State},
    store::{
        self, Store, StoreError,
        audit::AuditRow,
        confirmations::{ConfirmationFilter, ConfirmationRow, ConfirmationTable},
        exchanges::{ExchangeTable, Filter, Purged, Record, Side, StoredBody},
    },
    telemetry::metrics::Metrics,
    unit::{MasterKey, Registry},
    upstream::{BoxError, Upstream, UpstreamMetrics},
};

/// Something that is changed at the platform.
const WRITE: &str = "/access/v2/invoke/202007/QDHZQRDSQ";

/// What the platform answers.
const ANSWER: &str = r#"{"httpStatusCode":"200","body":""}"#;

/// A request log with a bug: it panics over the next record in this state.
struct Buggy {
    table: Arc<dyn ExchangeTable>,
    over: Mutex<Option<State>>,
}

impl ExchangeTable for Buggy {
    fn write(&self, records: Arc<[Record]>) -> BoxFuture<'_, Result<(), StoreError>> {
        let hit = self.over.lock().unwrap().take_if(|over| records.iter().any(|row| row.state == *over));
        if hit.is_some() {
            panic!("a bug");
        }
        self.table.write(records)
    }

    fn interrupt_open(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.table.interrupt_open()
    }

    fn interrupt_gone(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.table.interrupt_gone()
    }

    fn search<'a>(
        &'a self,
        filter: &'a Filter,
        before: Option<ExchangeId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        self.table.search(filter, before, limit)
    }

    fn by_id(&self, id: ExchangeId) -> BoxFuture<'_, Result<Option<Record>, StoreError>> {
        self.table.by_id(id)
    }

    fn body(&self, id: ExchangeId, side: Side) -> BoxFuture<'_, Result<Option<StoredBody>, StoreError>> {
        self.table.body(id, side)
    }

    fn purge(&self, before: ExchangeId, limit: usize) -> BoxFuture<'_, Result<Purged, StoreError>> {
        self.table.purge(before, limit)
    }

    fn last_id(&self) -> BoxFuture<'_, Result<Option<ExchangeId>, StoreError>> {
        self.table.last_id()
    }
}

/// Confirmations with a bug: they panic over the first upload that passed.
struct Buggier;

impl ConfirmationTable for Buggier {
    fn create(
        &self,
        _: ConfirmationRow,
        _: Option<AuditRow>,
    ) -> BoxFuture<'_, Result<(ConfirmationRow, bool), StoreError>> {
        panic!("a bug")
    }

    fn by_id(&self, _: i64) -> BoxFuture<'_, Result<Option<ConfirmationRow>, StoreError>> {
        unreachable!()
    }

    fn by_month(
        &self,
        _: TaxNo,
        _: PlatformId,
        _: Period,
    ) -> BoxFuture<'_, Result<Option<ConfirmationRow>, StoreError>> {
        unreachable!()
    }

    fn list<'a>(
        &'a self,
        _: &'a ConfirmationFilter,
        _: Option<i64>,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<ConfirmationRow>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn update(&self, _: ConfirmationRow, _: Option<AuditRow>) -> BoxFuture<'_, Result<bool, StoreError>> {
        unreachable!()
    }
}

/// Nobody asks the platform anything here.
struct Nobody;

fn nothing<T: Send + 'static>() -> BoxFuture<'static, Result<T, CallEnded>> {
    Box::pin(async { Err(CallEnded::NotSent("nobody is there".to_owned())) })
}

impl QuotaSource for Nobody {
    fn balance<'a>(&'a self, _: &'a TaxNo) -> BoxFuture<'a, Result<QuotaBalance, String>> {
        Box::pin(async { Err("nobody is there".to_owned()) })
    }
}

impl quota::Bureau for Nobody {
    fn taxpayers(&self) -> Vec<TaxNo> {
        Vec::new()
    }

    fn ids(&self, issuer: &TaxNo) -> Result<Ids, NoCaller> {
        Err(NoCaller::Unit(issuer.clone()))
    }

    fn transfer<'a>(&'a self, _: &'a QuotaTransfer) -> BoxFuture<'a, Result<QuotaTransferAnswer, CallEnded>> {
        nothing()
    }

    fn extend<'a>(&'a self, _: &'a QuotaValidity) -> BoxFuture<'a, Result<QuotaValidityAnswer, CallEnded>> {
        nothing()
    }

    fn results<'a>(&'a self, _: &'a TaxNo, _: &'a str) -> BoxFuture<'a, Result<ResultAnswer, CallEnded>> {
        nothing()
    }
}

impl Platform for Nobody {
    fn identity(&self, _: &TaxNo) -> Option<Identity> {
        None
    }

    fn upload<'a>(&'a self, _: &'a SummaryUpload) -> BoxFuture<'a, Result<(), CallEnded>> {
        nothing()
    }

    fn query<'a>(&'a self, _: &'a SummaryQuery) -> BoxFuture<'a, Result<SummaryList, CallEnded>> {
        nothing()
    }
}

/// The data plane over a request log with a bug, in front of a platform that counts its calls.
struct Bench {
    proxy: Arc<Proxy>,
    log: Arc<Buggy>,
    metrics: Metrics,
    received: Arc<AtomicUsize>,
    store: Store,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Metrics::new().unwrap();
        let config = store::testing::config(&dir.path().join("gateway.db"));
        let store = store::open(&config, &store::Metrics::register(&metrics).unwrap()).await.unwrap();
        let log = Arc::new(Buggy { table: Arc::clone(&store.exchanges), over: Mutex::default() });
        let (address, received) = platform().await;
        let upstream = crate::upstream::Config::new("leqi".into(), address.parse().unwrap());
        let upstream = Upstream::new(upstream, &UpstreamMetrics::register(&metrics).unwrap()).unwrap();
        let route = Route {
            prefix: "/access/".to_owned(),
            replace: None,
            upstream,
            environment: Environment::Production,
            sandbox_flag: SandboxFlag::default(),
        };
        let services = services(&store, Arc::<Buggy>::clone(&log), &metrics).await;
        let proxy = Proxy::new(Plan::new(Config::default(), vec![route]), services, &metrics).unwrap();
        Self { proxy, log, metrics, received, store, _dir: dir }
    }

    /// The answer's status, its error's code, and its exchange.
    async fn call(&self) -> (StatusCode, Value) {
        self.send(WRITE, "{}").await
    }

    async fn send(&self, path: &str, body: &'static str) -> (StatusCode, Value) {
        let request = Request::post(path).header("host", "gateway").header("content-length", body.len());
        let request = request.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap();
        let admission = Arc::new(Admission::default());
        let answer = Arc::clone(&self.proxy).handle(admission, peer(), request).await;
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// A call during which the log panics over a record in this state; gives its exchange.
    async fn interrupted(&self, over: State) -> ExchangeId {
        *self.log.over.lock().unwrap() = Some(over);
        let answer = self.call().await;
        assert_eq!(self.log.over.lock().unwrap().take(), None, "the bug has struck");
        told(&answer)
    }

    /// The gateway works as if nothing had been.
    async fn goes_on(&self) {
        let before = self.received.load(Ordering::SeqCst);
        let (status, answer) = self.call().await;
        assert_eq!((status, &answer["httpStatusCode"]), (StatusCode::OK, &"200".into()));
        assert_eq!(self.received.load(Ordering::SeqCst), before + 1);
        let shown = String::from_utf8(self.metrics.render()).unwrap();
        assert!(shown.contains(r#"leqi_gateway_refusals_total{code="GW-INTERRUPTED"} 1"#), "{shown}");
        assert!(shown.contains("leqi_gateway_requests_in_flight 0"), "{shown}");
        self.proxy.drained().await;
        self.proxy.services.log.close().await;
    }
}

fn peer() -> Peer {
    Peer {
        address: "127.0.0.1:40000".parse().unwrap(),
        via: None,
        identity: None,
        listener: "127.0.0.1:8443".parse().unwrap(),
        sni: None,
        tls: false,
    }
}

/// The exchange of an answer that tells of an interruption.
fn told((status, envelope): &(StatusCode, Value)) -> ExchangeId {
    assert_eq!((*status, &envelope["httpStatusCode"]), (StatusCode::BAD_GATEWAY, &"502".into()));
    let response: Value = serde_json::from_str(envelope["body"].as_str().unwrap()).unwrap();
    let (error, id) = (&response["Response"]["Error"], &response["Response"]["RequestId"]);
    assert_eq!(error["Code"], "GW-INTERRUPTED", "{response}");
    assert!(error["Message"].as_str().unwrap().contains("不要更换发票号码重开"), "{response}");
    ExchangeId::parse(id.as_str().unwrap()).unwrap()
}

async fn services(store: &Store, log: Arc<Buggy>, metrics: &Metrics) -> Services {
    let clock = Clock::system();
    let log_metrics = request_log::Metrics::register(metrics).unwrap();
    let log = RequestLog::open(log, &request_log::Config::default(), log_metrics).await.unwrap();
    let quota_metrics = quota::Metrics::register(metrics).unwrap();
    let table = Arc::clone(&store.ledger);
    let ledger = Ledger::new(table, clock.clone(), quota::Config::default(), &quota_metrics);
    let (settings, audit) = (Arc::clone(&store.quota_settings), Arc::clone(&store.audit));
    let table: Arc<dyn ConfirmationTable> = Arc::new(Buggier);
    let master = MasterKey::generate().unwrap();
    Services {
        registry: Registry::open(Arc::clone(&store.units), master, clock.clone()).await.unwrap(),
        transfers: Transfers::open(ledger.clone(), Arc::new(Nobody), settings, audit).await.unwrap(),
        confirmations: Confirmations::open(table, ledger.clone(), Arc::new(Nobody), clock.clone())
            .await
            .unwrap(),
        ledger,
        log,
        ids: Arc::new(ExchangeIds::of(store.node(), None)),
        clock,
    }
}

/// Says yes to every call; its address, and how many there were.
async fn platform() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let received = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&received);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            let answer = service_fn(move |_: Request<Incoming>| {
                counted.fetch_add(1, Ordering::SeqCst);
                let body = Full::new(Bytes::from_static(ANSWER.as_bytes()));
                async { Ok::<_, Infallible>(http::Response::new(body)) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    (address, received)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bug_before_a_call_is_sent_is_told_recorded_and_counted_and_nothing_is_sent() {
    let bench = Bench::open().await;
    let id = bench.interrupted(State::Sending).await;
    assert_eq!(bench.received.load(Ordering::SeqCst), 0);
    bench.goes_on().await;
    let row = bench.store.exchanges.by_id(id).await.unwrap().expect("a record");
    assert_eq!((row.state, row.decision, row.status), (State::Interrupted, Decision::Failed, Some(502)));
    assert_eq!(row.decision_code.as_deref(), Some("GW-INTERRUPTED"));
    assert_eq!(row.request_size, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bug_after_a_call_was_sent_sends_nothing_again_and_leaves_its_outcome_open() {
    let bench = Bench::open().await;
    let id = bench.interrupted(State::Complete).await;
    assert_eq!(bench.received.load(Ordering::SeqCst), 1);
    bench.goes_on().await;
    let state = async || bench.store.exchanges.by_id(id).await.unwrap().expect("the intent").state;
    assert_eq!(state().await, State::Sending);
    assert_eq!(bench.store.exchanges.interrupt_open().await.unwrap(), 1, "at the next start");
    assert_eq!(state().await, State::Interrupted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bug_after_the_platform_answered_leaves_its_answer_in_the_log() {
    const UPLOAD: &str = r#"{"xsfnsrsbh":"91350100M000100Y43","xsfsjswjgdm":"14400020000","ywlx":"1",
        "ptbh":"0123456789abcdef0123","yf":"2025-05"}"#;
    let bench = Bench::open().await;
    let id = told(&bench.send("/access/v2/invoke/202007/SCFPHZQRXX", UPLOAD).await);
    bench.goes_on().await;
    let row = bench.store.exchanges.by_id(id).await.unwrap().expect("a record");
    assert_eq!((row.state, row.decision, row.status), (State::Interrupted, Decision::Failed, Some(200)));
    assert_eq!(row.decision_code.as_deref(), Some("GW-INTERRUPTED"));
    assert!(row.note.unwrap().contains("a bug in the gateway"));
    assert_eq!(row.response_size, ANSWER.len() as u64);
    let body = bench.store.exchanges.body(id, Side::Response).await.unwrap().expect("a body");
    assert_eq!(body.bytes, ANSWER.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bug_while_an_answer_passes_is_recorded_with_what_the_client_saw() {
    let bench = Bench::open().await;
    let (request, ()) = Request::get("/access/v1/read").body(()).unwrap().into_parts();
    let (answer, ()) = http::Response::builder().status(206).body(()).unwrap().into_parts();
    let mut exchange = Exchange::open(&bench.proxy);
    let id = exchange.id();
    exchange.record(&peer(), &request);
    exchange.answered(&answer);
    let received = Some(Recording::new(1000));
    let mut pieces = 0;
    let body = StreamBody::new(futures_util::stream::poll_fn(move |_| {
        pieces += 1;
        assert!(pieces < 3, "a bug");
        Poll::Ready(Some(Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"piece")))))
    }));
    let body = Watched::new(Recorded::new(body, received.clone()), Passing::unread(exchange, received));
    assert!(tokio::spawn(body.collect()).await.unwrap_err().is_panic());
    bench.proxy.drained().await;
    bench.proxy.services.log.close().await;
    let row = bench.store.exchanges.by_id(id).await.unwrap().expect("a record");
    assert_eq!((row.state, row.status, row.response_size), (State::Interrupted, Some(206), 10));
    assert_eq!(row.decision_code.as_deref(), Some("GW-INTERRUPTED"));
}
