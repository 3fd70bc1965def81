//! Jobs.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::{
    audit,
    session::{Row, Session, Statement, Tables},
};
use crate::store::{
    StoreError,
    audit::AuditRow,
    jobs::{JobEnd, JobName, JobPlan, JobResult, JobRow, JobTable, LastRun, Request, Running},
    value::{get, instant, instant_opt, parse},
};

/// The table of jobs.
pub(in crate::store) struct Jobs {
    tables: Tables,
    asked: Arc<Notify>,
}

impl Jobs {
    pub(in crate::store) fn new(tables: Tables) -> Self {
        Self { tables, asked: Arc::new(Notify::new()) }
    }
}

impl JobTable for Jobs {
    fn all(&self) -> BoxFuture<'_, Result<Vec<JobRow>, StoreError>> {
        Box::pin(async {
            self.tables
                .rows(Statement::new("SELECT * FROM job ORDER BY name"))
                .await?
                .iter()
                .map(job)
                .collect()
        })
    }

    fn plan(&self, plan: JobPlan) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.tables.write(move |mut session| {
            let plan = plan.clone();
            Box::pin(async move {
                let statement = Statement::new(match plan.seen {
                    None => {
                        "INSERT INTO job (name, schedule, due_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING"
                    }
                    Some(_) => {
                        "UPDATE job SET schedule = $2, due_at = $3 \
                         WHERE name = $1 AND schedule = $4 AND due_at IS NOT DISTINCT FROM $5"
                    }
                });
                let mut statement =
                    statement.bind(plan.name.as_str()).bind(plan.schedule).bind(plan.due_at);
                if let Some((schedule, due_at)) = plan.seen {
                    statement = statement.bind(schedule).bind(due_at);
                }
                session.execute(statement).await.map(drop)
            })
        }))
    }

    fn request(
        &self,
        name: JobName,
        request: Request,
        audit: AuditRow,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let known = self.tables.write(move |mut session| {
                let (request, audit) = (request.clone(), audit.clone());
                Box::pin(async move {
                    let statement =
                        Statement::new("UPDATE job SET requested_by = $2, requested_at = $3 WHERE name = $1");
                    let statement = statement.bind(name.as_str()).bind(request.by).bind(request.at);
                    let known = session.execute(statement).await? > 0;
                    if known {
                        audit::append(&mut session, &audit).await?;
                    }
                    Ok(known)
                })
            });
            let known = known.await?;
            self.asked.notify_one();
            Ok(known)
        })
    }

    fn requested(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.asked.notified())
    }

    fn begin(
        &self,
        name: JobName,
        fence: i64,
        running: Running,
    ) -> BoxFuture<'_, Result<Option<i64>, StoreError>> {
        Box::pin(self.tables.write(move |mut session| {
            let running = running.clone();
            Box::pin(async move {
                let statement = Statement::new(
                    "UPDATE job SET fence = fence + 1, running_on = $3, running_since = $4 \
                     WHERE name = $1 AND fence = $2 RETURNING fence",
                )
                .bind(name.as_str())
                .bind(fence)
                .bind(running.runner)
                .bind(running.since);
                session.row(statement).await?.map(|row| get(&row, "fence")).transpose()
            })
        }))
    }

    fn finish(&self, name: JobName, end: JobEnd) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.tables.write(move |mut session| {
            let end = end.clone();
            Box::pin(async move { finish(&mut session, name, end).await })
        }))
    }
}

async fn finish(session: &mut Session<'_>, name: JobName, end: JobEnd) -> Result<bool, StoreError> {
    let LastRun { run, runner, started_at, ended_at, result, summary, error } = end.last;
    let statement = Statement::new(
        "UPDATE job SET running_on = NULL, running_since = NULL, last_run = $2, last_runner = $3, started_at = $4, \
         ended_at = $5, result = $6, summary = $7, error = $8, due_at = $9, \
         requested_by = CASE WHEN requested_at <= $4 THEN NULL ELSE requested_by END, \
         requested_at = CASE WHEN requested_at <= $4 THEN NULL ELSE requested_at END, \
         failures = CASE WHEN $6 = 'ok' THEN 0 ELSE failures + 1 END, \
         succeeded_at = CASE WHEN $6 = 'ok' THEN $5 ELSE succeeded_at END \
         WHERE name = $1 AND fence = $2",
    )
    .bind(name.as_str())
    .bind(run)
    .bind(runner)
    .bind(started_at)
    .bind(ended_at)
    .bind(result.as_str())
    .bind(summary)
    .bind(error)
    .bind(end.due_at);
    Ok(session.execute(statement).await? > 0)
}

fn job(row: &Row) -> Result<JobRow, StoreError> {
    let requested_by: Option<String> = get(row, "requested_by")?;
    let running_on: Option<String> = get(row, "running_on")?;
    Ok(JobRow {
        name: parse(row, "name", JobName::parse)?,
        schedule: get(row, "schedule")?,
        due_at: instant_opt(row, "due_at")?,
        fence: get(row, "fence")?,
        requested: requested_by
            .map(|by| Ok::<_, StoreError>(Request { by, at: instant(row, "requested_at")? }))
            .transpose()?,
        running: running_on
            .map(|runner| Ok::<_, StoreError>(Running { runner, since: instant(row, "running_since")? }))
            .transpose()?,
        last: last(row)?,
        failures: u32::try_from(get::<i64>(row, "failures")?)
            .map_err(|error| StoreError::value("failures", error))?,
        succeeded_at: instant_opt(row, "succeeded_at")?,
    })
}

fn last(row: &Row) -> Result<Option<LastRun>, StoreError> {
    let Some(run) = get(row, "last_run")? else { return Ok(None) };
    Ok(Some(LastRun {
        run,
        runner: get(row, "last_runner")?,
        started_at: instant(row, "started_at")?,
        ended_at: instant(row, "ended_at")?,
        result: parse(row, "result", JobResult::parse)?,
        summary: get(row, "summary")?,
        error: get(row, "error")?,
    }))
}
