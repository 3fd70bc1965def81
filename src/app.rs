//! The composition root: binds, wires, runs and drains the gateway. The only place that knows all parts.

mod jobs;
mod platform;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::Request;
use tokio::time::timeout;
use tower::ServiceExt;

use self::{jobs::Jobs, platform::OwnCalls};
use crate::{
    api::{self, ApiState},
    clock::Clock,
    config::Config,
    confirmation::Confirmations,
    domain::ExchangeIds,
    leqi::client::Client,
    listener::{self, Bound, ListenError, ListenerMetrics, Peer, Refusal},
    ops::{self, OpsState, Readiness},
    proxy::{self, Admission, Proxy, Route, Routes, Services},
    quota::{self, Ledger, Transfers},
    request_log::{self, LogError, RequestLog},
    shutdown::Shutdown,
    store::{self, Store, StoreError},
    telemetry::metrics::{MetricError, Metrics},
    unit::{MasterKey, MasterKeyError, Registry, UnitError, token::Tokens},
    upstream::{Upstream, UpstreamError, UpstreamMetrics},
};

/// How long the last writes may take after a forced end.
const FLUSH: Duration = Duration::from_secs(5);

/// Why the gateway did not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A route or the gateway's own calls name an upstream that is not configured.
    #[error("no [[upstream]] is named {0:?}")]
    NoUpstream(String),
    /// A port cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The request log cannot be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The master key cannot be read or made.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// Two parts want a metric of the same name. A bug.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// The database cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The units cannot be read.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// An upstream cannot be set up.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

/// Where a started gateway listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The data plane, in the order of the configuration, and whether it speaks TLS.
    pub data: Vec<(SocketAddr, bool)>,
    /// The management API, and whether it speaks TLS.
    pub admin: (SocketAddr, bool),
    /// Metrics and health.
    pub ops: SocketAddr,
}

impl std::fmt::Display for Addresses {
    /// `data=https://… admin=http://… ops=http://…`, for scripts.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = |tls: bool| if tls { "https" } else { "http" };
        for (address, tls) in &self.data {
            write!(f, "data={}://{address} ", scheme(*tls))?;
        }
        write!(f, "admin={}://{} ops=http://{}", scheme(self.admin.1), self.admin.0, self.ops)
    }
}

/// The parts of a started gateway that the demonstration and tests look into.
#[derive(Clone)]
pub struct Parts {
    /// Units and keys.
    pub registry: Arc<Registry>,
    /// Bearer tokens.
    pub tokens: Arc<Tokens>,
    /// The credit.
    pub ledger: Ledger,
    /// What moves the credit.
    pub transfers: Transfers,
    /// The request log.
    pub log: Arc<RequestLog>,
    /// The monthly confirmations.
    pub confirmations: Confirmations,
}

/// A gateway with open ports that does not serve yet.
pub struct App {
    data: Vec<(Bound, Arc<Admission>)>,
    admin: Bound,
    ops: Bound,
    addresses: Addresses,
    api: axum::Router,
    ops_router: axum::Router,
    readiness: Readiness,
    proxy: Arc<Proxy>,
    jobs: Jobs,
    parts: Parts,
    store: Store,
    _claim: store::Claim,
}

impl App {
    /// Opens the ports, then the database, and wires everything. Ports come first: a second gateway stops at them
    /// before it touches the books of the first.
    ///
    /// # Errors
    /// What is in the way, and what to do.
    pub async fn start(config: Config, clock: Clock) -> Result<Self, AppError> {
        let metrics = Metrics::new()?;
        let listener_metrics = ListenerMetrics::register(&metrics)?;
        let mut data = Vec::with_capacity(config.listen.len());
        let mut addresses = Vec::with_capacity(config.listen.len());
        for listen in &config.listen {
            let bound = Bound::bind("data", listen.listener.clone(), &listener_metrics).await?;
            addresses.push((bound.local_addr(), listen.listener.tls.is_some()));
            data.push((bound, Arc::new(Admission::new(listen.allow.clone()))));
        }
        let admin = Bound::bind("admin", config.admin.clone(), &listener_metrics).await?;
        let ops = Bound::bind("ops", config.ops.clone(), &listener_metrics).await?;
        let addresses = Addresses {
            data: addresses,
            admin: (admin.local_addr(), config.admin.tls.is_some()),
            ops: ops.local_addr(),
        };
        let claim = store::claim(&config.store)?;
        let store = store::open(&config.store, &store::Metrics::register(&metrics)?).await?;
        let Wired { parts, proxy } = wire(&config, &store, &clock, &metrics).await?;
        let jobs = Jobs::new(&config, &parts, &store, &clock, crate::jobs::Metrics::register(&metrics)?);
        let api = api::router(ApiState {
            registry: Arc::clone(&parts.registry),
            tokens: Arc::clone(&parts.tokens),
            log: Arc::clone(&parts.log),
            ledger: parts.ledger.clone(),
            transfers: parts.transfers.clone(),
            confirmations: parts.confirmations.clone(),
            store: store.clone(),
            started_at: clock.now(),
            clock,
        });
        let readiness = Readiness::new();
        let ops_router = ops::router(OpsState::new(metrics, readiness.clone(), store.clone())?);
        Ok(Self {
            data,
            admin,
            ops,
            addresses,
            api,
            ops_router,
            readiness,
            proxy,
            jobs,
            parts,
            store,
            _claim: claim,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The services inside.
    #[must_use]
    pub fn parts(&self) -> Parts {
        self.parts.clone()
    }

    /// Serves until the drain is ordered, finishes the calls in flight, and flushes the log. When the end is forced,
    /// only what is queued already is written.
    pub async fn run(self, shutdown: Shutdown) {
        let Self { data, admin, ops, api, ops_router, readiness, proxy, jobs, parts, store, .. } = self;
        let mut planes = Vec::with_capacity(data.len() + 1);
        for (bound, admission) in data {
            let proxy = Arc::clone(&proxy);
            let handler = move |peer: Peer, request: Request<listener::Body>| {
                Arc::clone(&proxy).handle(Arc::clone(&admission), peer, request)
            };
            planes.push(tokio::spawn(bound.serve(handler, shutdown.clone())));
        }
        planes.push(tokio::spawn(admin.serve(routed(api), shutdown.clone())));
        planes.extend(jobs.start(&shutdown));
        // before anybody can ask, so that `ready` on standard output and /readyz never disagree
        readiness.ready();
        // health is told until the very end, so that whoever looks sees the drain
        let (stop_ops, ops_shutdown) = crate::shutdown::channel();
        let ops = tokio::spawn(ops.serve(routed(ops_router), ops_shutdown));

        shutdown.draining().await;
        readiness.draining();
        tracing::info!("draining: no new calls are taken, calls in flight are finished");
        for plane in planes {
            if let Err(error) = plane.await {
                tracing::error!(%error, "a part of the gateway ended badly");
            }
        }
        tokio::select! {
            () = proxy.drained() => {}
            () = shutdown.forced() => tracing::warn!("the end is forced; calls in flight are left, their outcome will be unknown"),
        }
        let flush = async {
            parts.log.close().await;
            store.close().await;
        };
        if shutdown.phase() == crate::shutdown::Phase::Forced {
            if timeout(FLUSH, flush).await.is_err() {
                tracing::error!("the request log could not be flushed in time");
            }
        } else {
            flush.await;
        }
        stop_ops.force();
        if let Err(error) = ops.await {
            tracing::error!(%error, "the ops listener ended badly");
        }
        tracing::info!("stopped");
    }
}

/// What is wired together from the services.
struct Wired {
    parts: Parts,
    proxy: Arc<Proxy>,
}

async fn wire(config: &Config, store: &Store, clock: &Clock, metrics: &Metrics) -> Result<Wired, AppError> {
    let master = MasterKey::load_or_create(&config.secrets.master_key_file)?;
    let registry = Registry::open(Arc::clone(&store.units), master, clock.clone()).await?;
    let log_config = request_log::Config {
        body_limit: config.request_log.body_limit,
        queue_bytes: config.request_log.queue,
        ..request_log::Config::default()
    };
    let log =
        RequestLog::open(Arc::clone(&store.exchanges), &log_config, request_log::Metrics::register(metrics)?)
            .await?;
    let ids = Arc::new(ExchangeIds::new(0, store.exchanges.last_id().await?));
    let upstreams = upstreams(config, metrics)?;
    let own = Arc::new(OwnCalls {
        client: Client::new(
            named(&upstreams, &config.platform.upstream)?,
            config.platform.path.clone(),
            Arc::clone(&ids),
            clock.clone(),
            Arc::clone(&log) as _,
        ),
        registry: Arc::clone(&registry),
        capability: config.platform.capability.clone(),
    });
    let ledger = Ledger::new(
        Arc::clone(&store.ledger),
        clock.clone(),
        config.quota.clone(),
        &quota::Metrics::register(metrics)?,
    );
    let confirmations = Confirmations::open(
        Arc::clone(&store.confirmations),
        ledger.clone(),
        Arc::clone(&own) as _,
        clock.clone(),
    )
    .await?;
    let transfers =
        Transfers::open(ledger.clone(), own, Arc::clone(&store.quota_settings), Arc::clone(&store.audit))
            .await?;
    let services = Services {
        registry: Arc::clone(&registry),
        ledger: ledger.clone(),
        transfers: transfers.clone(),
        log: Arc::clone(&log),
        confirmations: confirmations.clone(),
        ids,
        clock: clock.clone(),
    };
    let proxy_config = proxy::Config {
        buffer_limit: config.limits.request_body,
        answer_limit: config.limits.answer_body,
        unregistered: config.unregistered,
        log_scope: config.request_log.record,
    };
    let proxy = Proxy::new(proxy_config, routes(config, &upstreams)?, services, metrics)?;
    let tokens = Arc::new(Tokens::new(Arc::clone(&store.tokens), clock.clone()));
    Ok(Wired { parts: Parts { registry, tokens, ledger, transfers, log, confirmations }, proxy })
}

fn upstreams(config: &Config, metrics: &Metrics) -> Result<Vec<Arc<Upstream>>, AppError> {
    let metrics = UpstreamMetrics::register(metrics)?;
    config.upstreams.iter().map(|upstream| Ok(Upstream::new(upstream.clone(), &metrics)?)).collect()
}

fn named(upstreams: &[Arc<Upstream>], name: &str) -> Result<Arc<Upstream>, AppError> {
    let found = upstreams.iter().find(|upstream| upstream.name() == name);
    found.map(Arc::clone).ok_or_else(|| AppError::NoUpstream(name.to_owned()))
}

fn routes(config: &Config, upstreams: &[Arc<Upstream>]) -> Result<Routes, AppError> {
    let routes = config.routes.iter().map(|route| {
        Ok(Route {
            prefix: route.prefix.clone(),
            replace: route.replace.clone(),
            upstream: named(upstreams, &route.upstream)?,
            environment: route.environment,
            sandbox_flag: route.sandbox_flag,
        })
    });
    Ok(Routes::new(routes.collect::<Result<_, AppError>>()?))
}

/// A router as a listener's handler.
fn routed(
    router: axum::Router,
) -> impl Fn(
    Peer,
    Request<listener::Body>,
) -> futures_util::future::BoxFuture<'static, http::Response<axum::body::Body>>
+ Clone
+ Send
+ Sync
+ 'static {
    move |_, request| {
        if let Some(refusal) = request.extensions().get::<Refusal>() {
            let mut refused = http::Response::new(axum::body::Body::from(format!("{}\n", refusal.reason())));
            *refused.status_mut() = refusal.status();
            return Box::pin(std::future::ready(refused));
        }
        let router = router.clone();
        Box::pin(async move { router.oneshot(request).await.unwrap_or_else(|never| match never {}) })
    }
}
