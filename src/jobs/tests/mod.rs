//! The scheduler on a real database, with a clock that is moved and jobs that do as they are told.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::{sync::Semaphore, sync::watch, task::JoinHandle};

use super::*;
use crate::{
    clock::Clock,
    domain::parse_beijing,
    shutdown::{self, Trigger},
    store::{
        self, Store, StoreError,
        audit::AuditRow,
        jobs::{JobEnd, JobName, JobPlan, JobResult, JobRow, JobTable, Request, Running},
        leases::{Lease, LeaseTable},
    },
    telemetry,
};

mod certificates;
mod retention;
mod scheduling;

fn beijing(text: &str) -> Timestamp {
    parse_beijing(text).unwrap()
}

/// How a job of the tests behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Works.
    Works,
    /// Half of it fails.
    Halves,
    /// Panics.
    Panics,
    /// Takes steps until it is stopped, one per permit.
    Steps,
}

/// A job that counts its runs.
struct Told {
    name: JobName,
    way: Mutex<Way>,
    runs: watch::Sender<Vec<Timestamp>>,
    /// A permit for each step that may be finished.
    steps: Semaphore,
    /// Steps that have begun.
    begun: watch::Sender<usize>,
    clock: Clock,
}

impl Told {
    fn new(name: JobName, way: Way, clock: &Clock) -> Arc<Self> {
        let (runs, steps, begun) = (watch::Sender::default(), Semaphore::new(0), watch::Sender::default());
        Arc::new(Self { name, way: Mutex::new(way), runs, steps, begun, clock: clock.clone() })
    }

    fn runs(&self) -> Vec<Timestamp> {
        self.runs.borrow().clone()
    }

    async fn has_run(&self, times: usize) {
        let mut runs = self.runs.subscribe();
        let done = tokio::time::timeout(Duration::from_secs(20), runs.wait_for(|runs| runs.len() >= times));
        assert!(done.await.is_ok(), "{} ran {} times, not {times}", self.name, self.runs().len());
    }

    /// Waits until so many steps have begun.
    async fn has_begun(&self, steps: usize) {
        let mut begun = self.begun.subscribe();
        let done = tokio::time::timeout(Duration::from_secs(20), begun.wait_for(|begun| *begun >= steps));
        assert!(done.await.is_ok(), "{} began fewer than {steps} steps", self.name);
    }
}

impl Job for Told {
    fn name(&self) -> JobName {
        self.name
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        outcome: &'a mut Outcome,
    ) -> BoxFuture<'a, Result<(), JobError>> {
        Box::pin(async move {
            let way = *self.way.lock().unwrap();
            self.runs.send_modify(|runs| runs.push(self.clock.now()));
            match way {
                Way::Works => outcome.add(Step::Done),
                Way::Halves => {
                    outcome.add(Step::Done);
                    outcome.add(Step::Failed("half".into()));
                }
                Way::Panics => panic!("told to"),
                Way::Steps => {
                    let step = async |_| {
                        self.begun.send_modify(|begun| *begun += 1);
                        self.steps.acquire().await.unwrap().forget();
                        Step::Done
                    };
                    context.each((0..100).collect(), outcome, |n: u32| step(n)).await?;
                }
            }
            Ok(())
        })
    }
}

/// Leases among gateways of one process, as PostgreSQL gives them; a lease can be broken.
#[derive(Clone, Default)]
struct Town(Arc<Mutex<HashSet<&'static str>>>, Arc<AtomicBool>);

struct Held(Town, &'static str);

impl LeaseTable for Town {
    fn try_lease(&self, name: &'static str) -> BoxFuture<'_, Result<Option<Box<dyn Lease>>, StoreError>> {
        let free = self.0.lock().unwrap().insert(name);
        let lease = free.then(|| Box::new(Held(self.clone(), name)) as Box<dyn Lease>);
        Box::pin(async { Ok(lease) })
    }
}

impl Lease for Held {
    fn is_held(&self) -> bool {
        !self.0.1.load(Ordering::SeqCst)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // a lease that broke may be another's by now
        if self.is_held() {
            self.0.0.lock().unwrap().remove(self.1);
        }
    }
}

/// The table of jobs of a database that is slow to take the end of a run.
struct SlowEnd {
    table: Arc<dyn JobTable>,
    /// A permit for each end that has come here.
    asked: Semaphore,
    /// A permit for each end that may be written.
    may_end: Semaphore,
}

impl JobTable for SlowEnd {
    fn all(&self) -> BoxFuture<'_, Result<Vec<JobRow>, StoreError>> {
        self.table.all()
    }

    fn plan(&self, plan: JobPlan) -> BoxFuture<'_, Result<(), StoreError>> {
        self.table.plan(plan)
    }

    fn request(
        &self,
        name: JobName,
        by: Request,
        audit: AuditRow,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.table.request(name, by, audit)
    }

    fn requested(&self) -> BoxFuture<'_, ()> {
        self.table.requested()
    }

    fn begin(
        &self,
        name: JobName,
        fence: i64,
        running: Running,
    ) -> BoxFuture<'_, Result<Option<i64>, StoreError>> {
        self.table.begin(name, fence, running)
    }

    fn finish(&self, name: JobName, end: JobEnd) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            self.asked.add_permits(1);
            self.may_end.acquire().await.unwrap().forget();
            self.table.finish(name, end).await
        })
    }
}

/// A database and a clock that outlive the gateways on them.
struct Bench {
    store: Store,
    clock: Clock,
    town: Town,
    registry: telemetry::metrics::Metrics,
    metrics: Metrics,
    _dir: TempDir,
}

impl Bench {
    async fn at(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let registry = telemetry::metrics::Metrics::new().unwrap();
        let config = store::testing::config(&dir.path().join("gateway.db"));
        let store = store::open(&config, &store::Metrics::register(&registry).unwrap()).await.unwrap();
        let metrics = Metrics::register(&registry).unwrap();
        let clock = Clock::starting_at(beijing(text));
        Self { store, clock, town: Town::default(), registry, metrics, _dir: dir }
    }

    fn start(&self, jobs: &[&Arc<Told>]) -> Gateway {
        self.start_with(Config { jitter: Duration::ZERO, ..Config::default() }, "one", jobs)
    }

    fn start_with(&self, config: Config, runner: &str, jobs: &[&Arc<Told>]) -> Gateway {
        self.start_on(Arc::clone(&self.store.jobs), config, runner, jobs)
    }

    fn start_on(
        &self,
        table: Arc<dyn JobTable>,
        config: Config,
        runner: &str,
        jobs: &[&Arc<Told>],
    ) -> Gateway {
        let parts = Parts {
            config,
            table,
            leases: Arc::new(self.town.clone()),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            runner: runner.to_owned(),
        };
        let jobs: Vec<_> = jobs.iter().map(|job| Arc::clone(job) as Arc<dyn Job>).collect();
        let (trigger, shutdown) = shutdown::channel();
        Gateway { trigger, task: tokio::spawn(Scheduler::new(parts, jobs).run(shutdown)) }
    }

    async fn row(&self, name: JobName) -> Option<JobRow> {
        self.store.jobs.all().await.unwrap().into_iter().find(|row| row.name == name)
    }

    /// Waits until the row is as wanted.
    async fn row_when(&self, name: JobName, wanted: impl Fn(&JobRow) -> bool) -> JobRow {
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            let row = self.row(name).await;
            if let Some(row) = row.clone().filter(&wanted) {
                return row;
            }
            assert!(std::time::Instant::now() < deadline, "{row:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn request(&self, name: JobName) {
        let at = self.clock.now();
        let audit = AuditRow {
            at,
            actor: "me".into(),
            action: "job.run".into(),
            subject: name.to_string(),
            detail: "{}".into(),
        };
        let request = Request { by: "me".into(), at };
        assert!(self.store.jobs.request(name, request, audit).await.unwrap());
    }
}

/// A running scheduler.
struct Gateway {
    trigger: Trigger,
    task: JoinHandle<()>,
}

impl Gateway {
    async fn stop(self) {
        self.trigger.escalate();
        tokio::time::timeout(Duration::from_secs(20), self.task).await.expect("it stops").unwrap();
    }
}

/// Only these jobs, each every so often or as by default.
fn only(name: JobName, schedule: Schedule) -> Config {
    let settings = BTreeMap::from([(name, Setting { enabled: true, schedule })]);
    Config { jitter: Duration::ZERO, settings, ..Config::default() }
}
