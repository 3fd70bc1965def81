//! One run of a job: under a lease, with a fence, whatever happens inside.

use std::{sync::Arc, time::Instant};

use jiff::Timestamp;
use tokio_util::task::AbortOnDropHandle;

use super::{Job, JobError, Outcome, job::Context, scheduler::Shared};
use crate::{
    shutdown::Shutdown,
    store::{
        StoreError,
        jobs::{JobEnd, JobResult, JobRow, LastRun, Running},
        leases::Lease,
    },
};

/// Whether a run was made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// It was not due any more, or another gateway runs it.
    Elsewhere,
    /// It was.
    Here,
}

/// How what a job did ended.
struct Ended {
    result: JobResult,
    outcome: Outcome,
    error: Option<String>,
}

/// Runs the job if it is due and no other gateway runs it.
pub(super) async fn run(shared: &Shared, job: Arc<dyn Job>, shutdown: Shutdown) -> Result<Made, StoreError> {
    let name = job.name();
    let Some(lease) = shared.leases.try_lease(name.as_str()).await? else { return Ok(Made::Elsewhere) };
    // whoever had the lease before may just have run it
    let row = shared.table.all().await?.into_iter().find(|row| row.name == name);
    let started = shared.clock.now();
    let Some(row) = row.filter(|row| shared.starts_at(row).is_some_and(|at| at <= started)) else {
        return Ok(Made::Elsewhere);
    };
    let running = Running { runner: shared.runner.clone(), since: started };
    let Some(fence) = shared.table.begin(name, row.fence, running).await? else { return Ok(Made::Elsewhere) };
    tracing::debug!(job = %name, run = fence, "a job begins");
    let watch = Instant::now();
    let lease: Arc<dyn Lease> = Arc::from(lease);
    let ended = carry_out(job, Context::new(name, shutdown, Arc::clone(&lease))).await;
    shared.metrics.seconds.with_label_values(&[name.as_str()]).observe(watch.elapsed().as_secs_f64());
    shared.metrics.runs.with_label_values(&[name.as_str(), ended.result.as_str()]).inc();
    tell(&row, fence, &ended);
    let end = end(shared, &row, fence, started, ended);
    if !shared.table.finish(name, end).await? {
        tracing::warn!(job = %name, run = fence, "another gateway has run the job since; this run's end is not kept");
    }
    // not before the end is written down: until then the job looks due to whoever has the lease
    drop(lease);
    Ok(Made::Here)
}

/// Does it; a panic ends this run and nothing else.
async fn carry_out(job: Arc<dyn Job>, context: Context) -> Ended {
    let name = job.name();
    let work = async move {
        let mut outcome = Outcome::default();
        let result = job.run(&context, &mut outcome).await;
        (result, outcome)
    };
    let (result, outcome) = match AbortOnDropHandle::new(tokio::spawn(work)).await {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(job = %name, %error, "a job ended badly: a bug");
            let why = "ended by a bug of the gateway; see its log".to_owned();
            (Err(JobError::Failed(why)), Outcome::default())
        }
    };
    let (result, error) = match result {
        Ok(()) if outcome.failed > 0 => {
            (JobResult::Partial, Some(format!("{} steps did not work", outcome.failed)))
        }
        Ok(()) => (JobResult::Ok, None),
        Err(error @ JobError::Cancelled) => (JobResult::Cancelled, Some(error.to_string())),
        Err(error @ (JobError::Failed(_) | JobError::Store(_))) => {
            (JobResult::Failed, Some(error.to_string()))
        }
    };
    Ended { result, outcome, error }
}

/// One line of the process's log: loud when something is wrong, silent when there was nothing to do.
fn tell(row: &JobRow, run: i64, ended: &Ended) {
    let (job, result) = (row.name, ended.result.as_str());
    let Outcome { done, failed, notes, .. } = &ended.outcome;
    let error = ended.error.as_deref().unwrap_or_default();
    match ended.result {
        JobResult::Failed | JobResult::Partial => {
            tracing::warn!(%job, run, result, done, failed, error, ?notes, "a job did not do all it had to do");
        }
        JobResult::Cancelled => tracing::info!(%job, run, result, done, "a job was stopped"),
        JobResult::Ok if *done > 0 => tracing::info!(%job, run, result, done, ?notes, "a job has run"),
        JobResult::Ok => tracing::debug!(%job, run, result, ?notes, "a job had nothing to do"),
    }
}

fn end(shared: &Shared, row: &JobRow, fence: i64, started: Timestamp, ended: Ended) -> JobEnd {
    let now = shared.clock.now();
    let failures = if ended.result == JobResult::Ok { 0 } else { row.failures.saturating_add(1) };
    let schedule = shared.schedule(row.name);
    let due_at = row.due_at.map(|due| match (ended.result, schedule) {
        // what was stopped is due as before, and runs at the next start or at another gateway
        (JobResult::Cancelled, _) | (_, None) => due,
        (_, Some(schedule)) => schedule.after_run(due, started, now, failures),
    });
    // a struct of numbers and texts always serializes
    let summary = serde_json::to_string(&ended.outcome).unwrap_or_else(|_| "{}".to_owned());
    JobEnd {
        last: LastRun {
            run: fence,
            runner: shared.runner.clone(),
            started_at: started,
            ended_at: now,
            result: ended.result,
            summary,
            error: ended.error,
        },
        due_at,
    }
}
