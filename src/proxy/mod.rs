//! The data plane: one function, [`Proxy::handle`], that reads as the list of steps of a call.
//!
//! What lives here: admission, routes, headers, the gate before sending, the capture for the request log, and the
//! table of answers that the gateway makes itself. What may not: SQL, rules of the credit, parsing of messages.

mod admission;
mod capture;
mod error;
mod exchange;
mod forward;
mod gate;
mod handler;
mod headers;
mod location;
mod metrics;
mod observe;
mod passing;
mod path;
mod route;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::task::TaskTracker;

pub use admission::Admission;
pub use error::GatewayError;
pub use location::Entrance;
pub use route::{Call, Plan, Route, SandboxFlag};

use crate::{
    clock::Clock,
    confirmation::Confirmations,
    domain::ExchangeIds,
    quota::{Ledger, Transfers},
    request_log::{Entry, RequestLog},
    telemetry::metrics::{MetricError, Metrics},
    unit::Registry,
};

/// What happens to an `issue` call of a unit that is not registered (design.md §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unregistered {
    /// It goes through unchecked and is marked in the log.
    Observe,
    /// It is refused with a sentence that says where to register the unit.
    #[default]
    Refuse,
}

/// Which calls leave a record in the request log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogScope {
    /// Every call.
    #[default]
    All,
    /// Calls that change something at the platform or tell the gateway's books something; calls that only ask flow
    /// through without a trace.
    Changes,
}

/// Limits and policies of the data plane.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Bytes of a request that the gateway must read whole before it is sent; a larger one is refused.
    pub buffer_limit: usize,
    /// Bytes of an answer that the gateway reads whole before it passes it on; a larger one flows through unread.
    pub answer_limit: usize,
    /// What happens to issue calls of unregistered units.
    pub unregistered: Unregistered,
    /// Which calls are recorded.
    pub log_scope: LogScope,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            buffer_limit: 32 << 20,
            answer_limit: 32 << 20,
            unregistered: Unregistered::default(),
            log_scope: LogScope::default(),
        }
    }
}

/// The services that the data plane works with.
#[derive(Clone)]
pub struct Services {
    /// Units and their keys.
    pub registry: Arc<Registry>,
    /// The credit.
    pub ledger: Ledger,
    /// What reserves, and downloads credit where that is wanted.
    pub transfers: Transfers,
    /// The request log.
    pub log: Arc<RequestLog>,
    /// The monthly confirmations, which watch the traffic.
    pub confirmations: Confirmations,
    /// Ids of exchanges.
    pub ids: Arc<ExchangeIds>,
    /// The time.
    pub clock: Clock,
}

/// The data plane.
pub struct Proxy {
    plan: ArcSwap<Plan>,
    services: Services,
    metrics: metrics::ProxyMetrics,
    tasks: TaskTracker,
}

impl Proxy {
    /// A data plane over this plan and these services.
    ///
    /// # Errors
    /// When its metrics are registered already.
    pub fn new(plan: Plan, services: Services, metrics: &Metrics) -> Result<Arc<Self>, MetricError> {
        let metrics = metrics::ProxyMetrics::register(metrics)?;
        let plan = ArcSwap::from_pointee(plan);
        Ok(Arc::new(Self { plan, services, metrics, tasks: TaskTracker::new() }))
    }

    /// Calls that begin from now on follow this plan; those in flight end with the one they began with.
    pub fn follow(&self, plan: Plan) {
        self.plan.store(Arc::new(plan));
    }

    /// Waits until every call that changes something has been settled and recorded, also those whose client left.
    pub async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Stores the record of a call that was read whole: done when it is committed if the call changes something at
    /// the platform, else when it has its place in the log's queue.
    async fn store(&self, entry: Entry) {
        if !entry.record().class.changes_platform() {
            return self.enqueue(entry).await;
        }
        if let Err(error) = self.services.log.complete(*entry.read()).await {
            self.metrics.unstored.inc();
            tracing::error!(%error, "the record of a call could not be stored; its answer goes to the client");
        }
    }

    /// Puts a record into the log's queue, waiting while it is full.
    async fn enqueue(&self, entry: Entry) {
        if let Err(error) = self.services.log.enqueue(entry).await {
            self.metrics.unstored.inc();
            tracing::error!(%error, "a record could not be stored");
        }
    }
}
