//! The composition root: binds, wires, runs, reloads and drains the gateway. The only place that knows all parts.

mod addresses;
mod certificates;
mod error;
mod follow;
mod jobs;
mod plane;
mod platform;
mod reload;
mod service;
mod start;
mod upstreams;
mod wiring;

use std::{sync::Arc, time::Duration};

use http::Request;
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tower::ServiceExt;

pub use self::{addresses::Addresses, error::AppError};
use self::{
    certificates::CertificateMetrics,
    jobs::Jobs,
    plane::{Gate, Plane},
    platform::OwnCalls,
    reload::{InForce, ReloadMetrics, Reloader},
    start::Ports,
    wiring::{Wired, wire},
};
use crate::{
    api::{self, ApiState, reload::Reload},
    clock::Clock,
    config::{Loaded, Source},
    confirmation::Confirmations,
    listener::{self, Bound, Inherited, ListenerMetrics, Peer, Refusal},
    ops::{self, OpsState, Readiness},
    proxy::Proxy,
    quota::{Ledger, Transfers},
    request_log::RequestLog,
    shutdown::{Phase, Shutdown},
    store::{self, Predecessor, Store},
    telemetry::{logging, metrics::Metrics},
    unit::{Registry, token::Tokens},
};

/// How long the last writes may take after a forced end.
const FLUSH: Duration = Duration::from_secs(5);

/// What the process around the gateway brings along.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// Where the configuration is read again; without it there is no reload.
    pub source: Option<Source>,
    /// The filter of the process's log, which follows the configuration.
    pub log_filter: Option<logging::Filter>,
    /// Sockets that were handed over. With them the gateway waits for the one before to let go of the database.
    pub sockets: Inherited,
}

/// How a gateway has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every call was finished, or the drain's time was over.
    Drained,
    /// At once; calls in flight were left.
    Forced,
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
    data: Vec<(Bound, Gate)>,
    admin: Bound,
    ops: Bound,
    addresses: Addresses,
    api: axum::Router,
    ops_router: axum::Router,
    readiness: Readiness,
    proxy: Arc<Proxy>,
    jobs: Jobs,
    own: Arc<OwnCalls>,
    reloader: Arc<Reloader>,
    parts: Parts,
    store: Store,
    _claim: store::Claim,
}

impl App {
    /// Opens the ports, then the database, and wires everything. Ports come first: a second gateway stops at them
    /// before it touches the books of the first. Where sockets were handed over, the database comes first, since the
    /// gateway before keeps its other ports until it lets go of the database; on PostgreSQL, which both may use, the
    /// ports are waited for.
    ///
    /// # Errors
    /// What is in the way, and what to do.
    pub async fn start(loaded: Loaded, clock: Clock, around: Surroundings) -> Result<Self, AppError> {
        let Loaded { config, sha256, .. } = loaded;
        let metrics = Metrics::new()?;
        let listener_metrics = ListenerMetrics::register(&metrics)?;
        let (ports, claim, predecessor) = if around.sockets.is_empty() {
            let ports = Ports::open(&config, &listener_metrics, around.sockets, Duration::ZERO).await?;
            (ports, store::claim(&config.store)?, Predecessor::Gone)
        } else {
            let limit = config.reload.hand_over;
            let claim = start::claim_after(&config.store, limit).await?;
            let ports = Ports::open(&config, &listener_metrics, around.sockets, limit).await?;
            (ports, claim, Predecessor::Ending)
        };
        let addresses = ports.addresses(&config);
        let store = store::open(&config.store, &store::Metrics::register(&metrics)?).await?;
        for migration in store.migrated() {
            tracing::info!(migration, "the database's tables are brought up to date");
        }
        let Wired { parts, proxy, own, upstreams } =
            wire(&config, &store, predecessor, &clock, &metrics).await?;
        let (watched, files) = watch::channel(jobs::watched_files(&config));
        let jobs =
            Jobs::new(&config, &parts, &store, &clock, crate::jobs::Metrics::register(&metrics)?, files);
        let Ports { data, admin, ops } = ports;
        let plane = Plane {
            gates: data.iter().map(|(_, gate)| gate.clone()).collect(),
            admin: admin.settings(),
            ops: ops.settings(),
            proxy: Arc::clone(&proxy),
            own: Arc::clone(&own),
            ledger: parts.ledger.clone(),
            watched,
            log_filter: around.log_filter,
        };
        let reloader = Arc::new(Reloader::new(
            around.source,
            InForce { config, upstreams },
            plane,
            ReloadMetrics::register(&metrics, &sha256, &clock)?,
            CertificateMetrics::register(&metrics)?,
            &store,
            clock.clone(),
        ));
        let api = api::router(ApiState {
            registry: Arc::clone(&parts.registry),
            tokens: Arc::clone(&parts.tokens),
            log: Arc::clone(&parts.log),
            ledger: parts.ledger.clone(),
            transfers: parts.transfers.clone(),
            confirmations: parts.confirmations.clone(),
            store: store.clone(),
            reload: Arc::clone(&reloader) as _,
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
            own,
            reloader,
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

    /// Who takes over a new configuration while it runs.
    #[must_use]
    pub fn reloader(&self) -> Arc<dyn Reload> {
        Arc::clone(&self.reloader) as _
    }

    /// Serves until the drain is ordered, finishes the calls in flight, and flushes the log. When the end is forced,
    /// only what is queued already is written.
    pub async fn run(self, shutdown: Shutdown) -> Ended {
        let Self {
            data,
            admin,
            ops,
            api,
            ops_router,
            readiness,
            proxy,
            own,
            reloader,
            jobs,
            parts,
            store,
            ..
        } = self;
        let mut planes = serve(data, admin, &proxy, api, &shutdown);
        planes.extend(jobs.start(&shutdown));
        // before anybody can ask, so that `ready` on standard output and /readyz never disagree
        readiness.ready();
        // health is told until the very end, so that whoever looks sees the drain
        let (stop_ops, ops_shutdown) = crate::shutdown::channel();
        let ops = tokio::spawn(ops.serve(routed(ops_router), ops_shutdown));
        let watching = [
            tokio::spawn(Arc::clone(&reloader).watch_certificates()),
            tokio::spawn(service::watchdog(store.clone())),
            tokio::spawn(follow::follow(store.clone(), parts.clone())),
        ];
        service::ready("serving");

        shutdown.draining().await;
        readiness.draining();
        service::stopping(reloader.drain_limit().await);
        tracing::info!("draining: no new calls are taken, calls in flight are finished");
        for plane in planes {
            if let Err(error) = plane.await {
                tracing::error!(%error, "a part of the gateway ended badly");
            }
        }
        tokio::select! {
            ((), ()) = async { tokio::join!(proxy.drained(), own.drained()) } => {}
            () = shutdown.forced() => tracing::warn!("the end is forced; calls in flight are left, their outcome will be unknown"),
        }
        flush(&parts, &store, &shutdown).await;
        watching.iter().for_each(JoinHandle::abort);
        stop_ops.force();
        if let Err(error) = ops.await {
            tracing::error!(%error, "the ops listener ended badly");
        }
        tracing::info!("stopped");
        if shutdown.phase() == Phase::Forced { Ended::Forced } else { Ended::Drained }
    }
}

/// Starts the listeners of the data plane and of the management API.
fn serve(
    data: Vec<(Bound, Gate)>,
    admin: Bound,
    proxy: &Arc<Proxy>,
    api: axum::Router,
    shutdown: &Shutdown,
) -> Vec<JoinHandle<()>> {
    let mut planes = Vec::with_capacity(data.len() + 1);
    for (bound, gate) in data {
        let proxy = Arc::clone(proxy);
        let handler = move |peer: Peer, request: Request<listener::Body>| {
            Arc::clone(&proxy).handle(gate.admission.load_full(), peer, request)
        };
        planes.push(tokio::spawn(bound.serve(handler, shutdown.clone())));
    }
    planes.push(tokio::spawn(admin.serve(routed(api), shutdown.clone())));
    planes
}

/// Writes what is queued; after a forced end only for a while.
async fn flush(parts: &Parts, store: &Store, shutdown: &Shutdown) {
    let flush = async {
        parts.log.close().await;
        store.close().await;
    };
    if shutdown.phase() != Phase::Forced {
        return flush.await;
    }
    if timeout(FLUSH, flush).await.is_err() {
        tracing::error!("the request log could not be flushed in time");
    }
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
