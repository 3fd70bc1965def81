//! `/metrics`, `/healthz` and `/readyz`, on a listener of their own.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, StatusCode, header};

use crate::{
    store::Store,
    telemetry::{
        COMMIT,
        metrics::{MetricError, Metrics},
    },
};

/// Whether calls are welcome: a latch that is released when everything is up, and set again by the drain.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    /// Not ready yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything is up.
    pub fn ready(&self) {
        let _ = self.0.compare_exchange(STARTING, READY, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// The end has begun.
    pub fn draining(&self) {
        self.0.store(DRAINING, Ordering::SeqCst);
    }

    fn obstacle(&self) -> Option<&'static str> {
        match self.0.load(Ordering::SeqCst) {
            READY => None,
            DRAINING => Some("draining"),
            _ => Some("starting"),
        }
    }
}

/// What the listener shows.
#[derive(Clone)]
pub struct OpsState {
    metrics: Metrics,
    readiness: Readiness,
    store: Store,
}

impl OpsState {
    /// State over the one registry.
    ///
    /// # Errors
    /// When a metric's name is taken.
    pub fn new(metrics: Metrics, readiness: Readiness, store: Store) -> Result<Self, MetricError> {
        let build =
            metrics.gauges("build_info", "1, with version and commit as labels.", &["commit", "version"])?;
        build.with_label_values(&[COMMIT, env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self { metrics, readiness, store })
    }
}

/// The three paths.
pub fn router(state: OpsState) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(state)
}

async fn metrics(State(state): State<OpsState>) -> Response {
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, text)], state.metrics.render()).into_response()
}

async fn ready(State(state): State<OpsState>) -> Response {
    if let Some(obstacle) = state.readiness.obstacle() {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{obstacle}\n")).into_response();
    }
    match state.store.ping().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}
