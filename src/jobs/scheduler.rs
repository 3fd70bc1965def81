//! The loop that starts what is due.

use std::{
    collections::{BTreeMap, HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{task::JoinSet, time::sleep};

use super::{
    Config, Job, Metrics, Schedule,
    run::{Made, run},
    schedule::later,
};
use crate::{
    clock::Clock,
    shutdown::Shutdown,
    store::{
        StoreError,
        jobs::{JobName, JobPlan, JobRow, JobTable},
        leases::LeaseTable,
    },
};

/// How long a stop waits for a step that is under way; a call to the platform that takes longer goes on in the log.
const DRAIN: Duration = Duration::from_secs(30);

/// How often the table is looked at for what other gateways did or were asked to do.
const LOOK: Duration = Duration::from_secs(10);

/// What a scheduler works with.
pub struct Parts {
    /// When what runs.
    pub config: Config,
    /// The table of jobs.
    pub table: Arc<dyn JobTable>,
    /// The leases.
    pub leases: Arc<dyn LeaseTable>,
    /// The clock.
    pub clock: Clock,
    /// Its metrics.
    pub metrics: Metrics,
    /// The name of this gateway among those on the database.
    pub runner: String,
}

/// Starts jobs when they are due.
pub struct Scheduler {
    shared: Arc<Shared>,
    jobs: BTreeMap<JobName, Arc<dyn Job>>,
}

/// What the scheduler and its runs share.
pub(super) struct Shared {
    config: Config,
    pub(super) table: Arc<dyn JobTable>,
    pub(super) leases: Arc<dyn LeaseTable>,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) runner: String,
    /// Makes this gateway's delays its own.
    seed: RandomState,
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").field("jobs", &self.jobs.keys()).finish_non_exhaustive()
    }
}

/// What is under way at this gateway.
#[derive(Default)]
struct Active {
    runs: JoinSet<(JobName, Result<Made, StoreError>)>,
    names: Vec<JobName>,
    /// Jobs that another gateway runs, or that the database failed for: not looked at before then.
    later: HashMap<JobName, Instant>,
}

impl Scheduler {
    /// A scheduler of these jobs.
    #[must_use]
    pub fn new(parts: Parts, jobs: impl IntoIterator<Item = Arc<dyn Job>>) -> Self {
        let Parts { config, table, leases, clock, metrics, runner } = parts;
        let seed = RandomState::new();
        let shared = Arc::new(Shared { config, table, leases, clock, metrics, runner, seed });
        Self { shared, jobs: jobs.into_iter().map(|job| (job.name(), job)).collect() }
    }

    /// Starts what is due until the drain is ordered, then waits for what is under way to stop between two steps;
    /// when the end is forced, it is left.
    pub async fn run(self, shutdown: Shutdown) {
        let mut active = Active::default();
        loop {
            let wake = match self.look(&mut active, &shutdown).await {
                Ok(wake) => wake,
                Err(error) => {
                    tracing::warn!(%error, "the table of jobs cannot be read; it is tried again in a moment");
                    Timestamp::MAX
                }
            };
            tokio::select! {
                () = shutdown.draining() => break,
                () = self.shared.clock.reaches(wake) => {}
                () = self.shared.table.requested() => {}
                () = sleep(LOOK) => {}
                Some(ended) = active.runs.join_next() => active.ended(ended),
            }
        }
        let stopped = async { while active.runs.join_next().await.is_some() {} };
        tokio::select! {
            () = stopped => {}
            () = sleep(DRAIN) => tracing::warn!("a job does not stop; it is left and made up for at the next start"),
            () = shutdown.forced() => {}
        }
    }

    /// Starts what is due; gives when the next job is.
    async fn look(&self, active: &mut Active, shutdown: &Shutdown) -> Result<Timestamp, StoreError> {
        let rows = self.rows().await?;
        let mut wake = Timestamp::MAX;
        for (name, job) in &self.jobs {
            let Some(row) = rows.get(name) else { continue };
            self.shared.metrics.show(row);
            let Some(at) = self.shared.starts_at(row).filter(|_| !active.is_busy(*name)) else { continue };
            if at > self.shared.clock.now() {
                wake = wake.min(at);
            } else if active.names.len() < self.shared.config.concurrency {
                let (shared, job, shutdown) = (Arc::clone(&self.shared), Arc::clone(job), shutdown.clone());
                active.names.push(*name);
                active.runs.spawn(async move { (job.name(), run(&shared, job, shutdown).await) });
            }
        }
        Ok(wake)
    }

    /// The rows of all jobs, as the configuration says.
    async fn rows(&self) -> Result<BTreeMap<JobName, JobRow>, StoreError> {
        let read = async || {
            let rows = self.shared.table.all().await?;
            Ok::<BTreeMap<_, _>, StoreError>(rows.into_iter().map(|row| (row.name, row)).collect())
        };
        let rows = read().await?;
        let plans: Vec<_> =
            self.jobs.keys().filter_map(|name| self.shared.plan(*name, rows.get(name))).collect();
        if plans.is_empty() {
            return Ok(rows);
        }
        for plan in plans {
            self.shared.table.plan(plan).await?;
        }
        read().await
    }
}

impl Active {
    fn is_busy(&self, name: JobName) -> bool {
        self.names.contains(&name) || self.later.get(&name).is_some_and(|at| *at > Instant::now())
    }

    fn ended(&mut self, ended: Result<(JobName, Result<Made, StoreError>), tokio::task::JoinError>) {
        match ended {
            Ok((name, made)) => {
                self.names.retain(|active| *active != name);
                match made {
                    Ok(Made::Here) => return,
                    Ok(Made::Elsewhere) => {}
                    Err(error) => tracing::warn!(job = %name, %error, "the database failed around a job"),
                }
                self.later.insert(name, Instant::now() + LOOK);
            }
            // whose it was is not known, so all are looked at again
            Err(error) => {
                tracing::error!(%error, "the run of a job ended badly: a bug");
                self.names.clear();
            }
        }
    }
}

impl Shared {
    /// The job's schedule while it is switched on.
    pub(super) fn schedule(&self, name: JobName) -> Option<&Schedule> {
        let setting = self.config.settings.get(&name)?;
        setting.enabled.then_some(&setting.schedule)
    }

    /// When the next run is to begin: at once when one is asked for, else when it is due and a little later.
    pub(super) fn starts_at(&self, row: &JobRow) -> Option<Timestamp> {
        if let Some(request) = &row.requested {
            return Some(request.at);
        }
        let (due, schedule) = (row.due_at?, self.schedule(row.name)?);
        let most = u64::try_from(schedule.jitter(self.config.jitter).as_millis()).unwrap_or(u64::MAX);
        let late = self.seed.hash_one((row.name, due)) % (most + 1);
        Some(later(due, Duration::from_millis(late)))
    }

    /// What must change in the row so that it says what the configuration says. A new job is due at its next turn; a
    /// clock that was set back does not put off turns that come again.
    fn plan(&self, name: JobName, row: Option<&JobRow>) -> Option<JobPlan> {
        let now = self.clock.now();
        let schedule = self.schedule(name);
        let text = schedule.map_or_else(|| "off".to_owned(), ToString::to_string);
        let next = schedule.map(|schedule| schedule.next(now));
        let due_at = match (row.and_then(|row| row.due_at), next) {
            (Some(due), Some(next)) if row.is_some_and(|row| row.schedule == text) => Some(due.min(next)),
            // what is overdue is made up for also when it will be due at another time from now on
            (Some(due), Some(_)) if due <= now => Some(due),
            (_, next) => next,
        };
        let as_it_is = row.is_some_and(|row| row.schedule == text && row.due_at == due_at);
        let seen = row.map(|row| (row.schedule.clone(), row.due_at));
        (!as_it_is).then_some(JobPlan { name, schedule: text, due_at, seen })
    }
}
