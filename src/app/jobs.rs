//! The jobs with what they work with.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::Parts;
use crate::{
    clock::Clock,
    config::Config,
    jobs::{
        Audit, Authorities, AuthorityFile, AuthorityOf, ConfirmationsJob, Expiry, Job, Metrics, MonthStart,
        Reconciliation, Retention, RetentionJob, Scheduler, TopUp, Watch,
    },
    shutdown::Shutdown,
    store::Store,
};

/// The scheduler and the watch over the authorities that this gateway trusts, not yet running.
pub(super) struct Jobs {
    scheduler: Option<Scheduler>,
    authorities: Authorities,
}

impl Jobs {
    pub(super) fn new(
        config: &Config,
        parts: &Parts,
        store: &Store,
        clock: &Clock,
        metrics: Metrics,
    ) -> Self {
        let jobs = jobs(config, parts, store, clock, &metrics);
        let scheduler = crate::jobs::Parts {
            config: config.jobs.clone(),
            table: Arc::clone(&store.jobs),
            leases: Arc::clone(&store.leases),
            clock: clock.clone(),
            metrics: metrics.clone(),
            runner: runner(),
        };
        Self {
            scheduler: config.jobs.enabled.then(|| Scheduler::new(scheduler, jobs)),
            authorities: Authorities { files: authority_files(config), clock: clock.clone(), metrics },
        }
    }

    /// Starts both; they end by themselves once the drain is ordered.
    pub(super) fn start(self, shutdown: &Shutdown) -> Vec<JoinHandle<()>> {
        let mut tasks = vec![tokio::spawn(self.authorities.watch(shutdown.clone()))];
        tasks.extend(self.scheduler.map(|scheduler| tokio::spawn(scheduler.run(shutdown.clone()))));
        tasks
    }
}

fn jobs(
    config: &Config,
    parts: &Parts,
    store: &Store,
    clock: &Clock,
    metrics: &Metrics,
) -> Vec<Arc<dyn Job>> {
    let (registry, ledger, clock) = (&parts.registry, &parts.ledger, || clock.clone());
    let transfers = || parts.transfers.clone();
    vec![
        Arc::new(Audit { ledger: ledger.clone(), clock: clock() }),
        Arc::new(ConfirmationsJob {
            registry: Arc::clone(registry),
            confirmations: parts.confirmations.clone(),
            ledger: ledger.clone(),
            clock: clock(),
            confirm: config.jobs.confirm,
        }),
        Arc::new(Expiry { transfers: transfers(), clock: clock() }),
        Arc::new(MonthStart { transfers: transfers() }),
        Arc::new(Reconciliation { exchanges: Arc::clone(&store.exchanges), transfers: transfers() }),
        Arc::new(RetentionJob {
            exchanges: Arc::clone(&store.exchanges),
            idempotency: Arc::clone(&store.idempotency),
            tokens: Arc::clone(&store.tokens),
            clock: clock(),
            retention: Retention { exchanges: config.request_log.retention, ..Retention::default() },
            metrics: metrics.clone(),
        }),
        Arc::new(TopUp { transfers: transfers() }),
        Arc::new(Watch { registry: Arc::clone(registry), ledger: ledger.clone(), clock: clock() }),
    ]
}

/// Every file of authorities that the configuration names.
fn authority_files(config: &Config) -> Vec<AuthorityFile> {
    let file = |of| move |path: &std::path::Path| AuthorityFile { of, path: path.to_owned() };
    let listeners = config.listen.iter().map(|listen| &listen.listener).chain([&config.admin]);
    let clients = listeners.filter_map(|listener| listener.tls.as_ref()?.client_ca());
    let platforms = config.upstreams.iter().filter_map(|upstream| upstream.tls.ca_file.as_deref());
    clients.map(file(AuthorityOf::Clients)).chain(platforms.map(file(AuthorityOf::Platform))).collect()
}

/// What this gateway is called among those on the database: its host and process.
fn runner() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "gateway" } else { host.trim() };
    format!("{host}:{}", std::process::id())
}
