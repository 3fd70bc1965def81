//! A gateway's control plane on port 0, and a client for it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::{
    api::{
        ApiState,
        reload::{NotReloaded, Reload, Reloaded},
        router,
    },
    clock::Clock,
    confirmation::{CallEnded, Confirmations, Identity, Platform},
    domain::{Money, TaxNo},
    leqi::messages::{
        Direction, QuotaBalance, QuotaTransfer, QuotaTransferAnswer, QuotaValidity, QuotaValidityAnswer,
        ResultAnswer, Summary, SummaryAction, SummaryList, SummaryQuery, SummaryUpload,
    },
    quota::{self, Ids, NoCaller, QuotaSource, Transfers},
    request_log::{self, RequestLog},
    store::{self, Store},
    telemetry::metrics::Metrics,
    unit::{
        MasterKey, Registry,
        token::{TokenRole, Tokens},
    },
    upstream::{Config, Upstream, UpstreamMetrics},
};

pub(super) const ACCESS: &str = "91350100M000100Y43";
pub(super) const ACCESS_ID: &str = "0123456789ABCDEF0123";
pub(super) const KEY: &str = "0123456789abcdeffedcba9876543210";

/// The control plane of a gateway.
pub(super) struct Api {
    pub(super) state: ApiState,
    pub(super) bureau: Arc<Bureau>,
    http: Arc<Upstream>,
    pub(super) admin: String,
    pub(super) operator: String,
    pub(super) viewer: String,
    _dir: TempDir,
}

/// A platform that ends every call as told, and counts them. `CXFPHZQRXX` shows what was last confirmed.
#[derive(Default)]
pub(super) struct Bureau {
    pub(super) ends: Mutex<Option<CallEnded>>,
    pub(super) uploads: Mutex<Vec<SummaryUpload>>,
    pub(super) transfers: Mutex<Vec<QuotaTransfer>>,
}

impl Bureau {
    fn end(&self) -> Result<(), CallEnded> {
        self.ends.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

impl Platform for Bureau {
    fn identity(&self, tax_no: &TaxNo) -> Option<Identity> {
        let province = "13500000000".parse().unwrap();
        (tax_no.as_str() == ACCESS).then(|| Identity { platform_id: ACCESS_ID.parse().unwrap(), province })
    }

    fn upload<'a>(&'a self, upload: &'a SummaryUpload) -> BoxFuture<'a, Result<(), CallEnded>> {
        self.uploads.lock().unwrap().push(upload.clone());
        Box::pin(async { self.end() })
    }

    fn query<'a>(&'a self, _: &'a SummaryQuery) -> BoxFuture<'a, Result<SummaryList, CallEnded>> {
        let uploads = self.uploads.lock().unwrap();
        let summaries = uploads.last().and_then(|upload| match upload.action {
            SummaryAction::Confirm(totals) => {
                Some(Summary { platform_id: upload.platform_id.clone(), period: upload.period, totals })
            }
            SummaryAction::Cancel => None,
        });
        let list = SummaryList { summaries: summaries.into_iter().collect() };
        Box::pin(async { self.end().map(|()| list) })
    }
}

/// 10,000.00 at the bureau, less what was downloaded.
impl QuotaSource for Bureau {
    fn balance<'a>(&'a self, _: &'a TaxNo) -> BoxFuture<'a, Result<QuotaBalance, String>> {
        let downloaded = self.downloaded();
        let total = Money::from_fen(1_000_000);
        Box::pin(async move {
            self.end().map_err(|ended| ended.chinese())?;
            Ok(QuotaBalance {
                suspended: false,
                month_total: total,
                available: total.saturating_sub(downloaded),
                downloaded,
                unused: downloaded,
                period: Clock::system().period(),
            })
        })
    }
}

impl Bureau {
    fn downloaded(&self) -> Money {
        let transfers = self.transfers.lock().unwrap();
        transfers.iter().fold(Money::ZERO, |sum, transfer| match transfer.direction {
            Direction::Download => sum.saturating_add(transfer.amount),
            Direction::Return => sum.saturating_sub(transfer.amount),
        })
    }
}

impl quota::Bureau for Bureau {
    fn taxpayers(&self) -> Vec<TaxNo> {
        vec![ACCESS.parse().unwrap()]
    }

    fn ids(&self, issuer: &TaxNo) -> Result<Ids, NoCaller> {
        let known = issuer.as_str() == ACCESS;
        let id = ACCESS_ID.parse().map(|id: crate::domain::PlatformId| Ids { access: id.clone(), using: id });
        id.ok().filter(|_| known).ok_or_else(|| NoCaller::Unit(issuer.clone()))
    }

    fn transfer<'a>(
        &'a self,
        request: &'a QuotaTransfer,
    ) -> BoxFuture<'a, Result<QuotaTransferAnswer, CallEnded>> {
        Box::pin(async move {
            self.end()?;
            let mut transfers = self.transfers.lock().unwrap();
            if !transfers.contains(request) {
                transfers.push(request.clone());
            }
            Ok(QuotaTransferAnswer::default())
        })
    }

    fn extend<'a>(
        &'a self,
        request: &'a QuotaValidity,
    ) -> BoxFuture<'a, Result<QuotaValidityAnswer, CallEnded>> {
        let (from, to) = (request.period.first_day(), request.period.last_day());
        let period = Some(request.period);
        Box::pin(async move {
            self.end()?;
            Ok(QuotaValidityAnswer { period, valid_from: Some(from), valid_to: Some(to) })
        })
    }

    fn results<'a>(&'a self, _: &'a TaxNo, _: &'a str) -> BoxFuture<'a, Result<ResultAnswer, CallEnded>> {
        Box::pin(async { self.end().map(|()| ResultAnswer::default()) })
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Is a problem of this kind; gives its field.
    #[track_caller]
    pub(super) fn problem(&self, status: u16, slug: &str) -> Option<String> {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json", "{self:?}");
        let json = self.json();
        assert_eq!(json["type"], format!("urn:leqi-gateway:problem:{slug}"), "{json}");
        assert_eq!(json["status"], status, "{json}");
        json["field"].as_str().map(str::to_owned)
    }

    /// Is a success; gives its JSON.
    #[track_caller]
    pub(super) fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/json", "{self:?}");
        self.json()
    }
}

impl Api {
    pub(super) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Metrics::new().unwrap();
        let config = store::testing::config(&dir.path().join("gateway.db"));
        let store = store::open(&config, &store::Metrics::register(&metrics).unwrap()).await.unwrap();
        let clock = Clock::system();
        let bureau = Arc::new(Bureau::default());
        let state = state(store, &clock, &metrics, Arc::<Bureau>::clone(&bureau)).await;
        let token = async |role: TokenRole| state.tokens.create(role.as_str(), role, "test").await.unwrap();
        let (admin, operator, viewer) =
            (token(TokenRole::Admin).await, token(TokenRole::Operator).await, token(TokenRole::Viewer).await);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = router(state.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let config = Config::new("api".into(), format!("http://{address}").parse().unwrap());
        let http = Upstream::new(config, &UpstreamMetrics::register(&metrics).unwrap()).unwrap();
        Self { state, bureau, http, admin, operator, viewer, _dir: dir }
    }

    /// One with the access unit registered.
    pub(super) async fn with_unit() -> Self {
        let api = Self::start().await;
        api.post(&api.admin, "/units", &access_unit()).await.ok(201);
        api
    }

    pub(super) async fn get(&self, token: &str, path: &str) -> Answer {
        self.send(Method::GET, path, &[("authorization", &format!("Bearer {token}"))], b"").await
    }

    pub(super) async fn delete(&self, token: &str, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[("authorization", &format!("Bearer {token}"))], b"").await
    }

    pub(super) async fn post(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.write(Method::POST, token, path, body).await
    }

    pub(super) async fn patch(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.write(Method::PATCH, token, path, body).await
    }

    async fn write(&self, method: Method, token: &str, path: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        self.send(method, path, &headers, body.to_string().as_bytes()).await
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let body = Full::new(Bytes::copy_from_slice(body)).map_err(|never| match never {}).boxed_unsync();
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        request = request.header("host", self.http.authority());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.http.send(request.body(body).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        Answer { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
    }
}

pub(super) fn access_unit() -> Value {
    serde_json::json!({
        "tax_no": ACCESS, "name": "接入单位", "role": "access", "platform_id": ACCESS_ID,
        "province_code": "13500000000", "sm4_key": KEY,
    })
}

/// Refuses every reload, with two reasons.
struct NoConfiguration;

impl Reload for NoConfiguration {
    fn reload<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Reloaded, NotReloaded>> {
        Box::pin(async {
            Err(NotReloaded::Invalid(vec!["a.toml:1: one".to_owned(), "a.toml:2: two".to_owned()]))
        })
    }
}

async fn state(store: Store, clock: &Clock, metrics: &Metrics, bureau: Arc<Bureau>) -> ApiState {
    let log = request_log::Metrics::register(metrics).unwrap();
    let log = RequestLog::open(Arc::clone(&store.exchanges), &request_log::Config::default(), log).await;
    let ledger = quota::Metrics::register(metrics).unwrap();
    let ledger =
        quota::Ledger::new(Arc::clone(&store.ledger), clock.clone(), quota::Config::default(), &ledger);
    let table = Arc::clone(&store.confirmations);
    let own: Arc<dyn quota::Bureau> = Arc::<Bureau>::clone(&bureau);
    let confirmations = Confirmations::open(table, ledger.clone(), bureau, clock.clone()).await.unwrap();
    let (settings, audit) = (Arc::clone(&store.quota_settings), Arc::clone(&store.audit));
    let transfers = Transfers::open(ledger.clone(), own, settings, audit).await.unwrap();
    let master = MasterKey::generate().unwrap();
    ApiState {
        registry: Registry::open(Arc::clone(&store.units), master, clock.clone()).await.unwrap(),
        tokens: Arc::new(Tokens::new(Arc::clone(&store.tokens), clock.clone())),
        log: log.unwrap(),
        ledger,
        transfers,
        confirmations,
        store,
        clock: clock.clone(),
        reload: Arc::new(NoConfiguration),
        started_at: clock.now(),
    }
}
