//! The jobs with what they work with.

use std::sync::Arc;

use tokio::{sync::watch, task::JoinHandle};

use super::Parts;
use crate::{
    clock::Clock,
    config::Config,
    jobs::{
        Audit, CertificateWatch, ConfirmationsJob, Expiry, Job, Metrics, MonthStart, Reconciliation,
        Retention, RetentionJob, Scheduler, TopUp, Watch, WatchedFile, WatchedFor,
    },
    shutdown::Shutdown,
    store::Store,
};

/// The scheduler and the watch over the files of certificates, not yet running.
pub(super) struct Jobs {
    scheduler: Option<Scheduler>,
    certificates: CertificateWatch,
}

impl Jobs {
    pub(super) fn new(
        config: &Config,
        parts: &Parts,
        store: &Store,
        clock: &Clock,
        metrics: Metrics,
        files: watch::Receiver<Vec<WatchedFile>>,
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
            certificates: CertificateWatch { files, clock: clock.clone(), metrics },
        }
    }

    /// Starts both; they end by themselves once the drain is ordered.
    pub(super) fn start(self, shutdown: &Shutdown) -> Vec<JoinHandle<()>> {
        let mut tasks = vec![tokio::spawn(self.certificates.watch(shutdown.clone()))];
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

/// Every file of certificates that the configuration names and no listener shows.
pub(super) fn watched_files(config: &Config) -> Vec<WatchedFile> {
    let listeners = config.listen.iter().map(|listen| &listen.listener).chain([&config.admin]);
    let clients = listeners.filter_map(|listener| listener.tls.as_ref()?.client_ca());
    let clients = clients.map(|path| (WatchedFor::Clients, path));
    let platforms = config.upstreams.iter().flat_map(|upstream| {
        let authorities = upstream.tls.ca_file.as_deref().map(|path| (WatchedFor::Platform, path));
        let own = upstream.tls.certificate.as_ref();
        let own = own.map(|files| (WatchedFor::Upstream(upstream.name.clone()), files.chain.as_path()));
        authorities.into_iter().chain(own)
    });
    clients.chain(platforms).map(|(of, path)| WatchedFile { of, path: path.to_owned() }).collect()
}

/// What this gateway is called among those on the database: its host and process.
fn runner() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "gateway" } else { host.trim() };
    format!("{host}:{}", std::process::id())
}
