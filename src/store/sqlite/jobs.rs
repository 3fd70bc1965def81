//! Jobs on SQLite.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::{SqliteConnection, sqlite::SqliteRow};
use tokio::sync::Notify;

use super::{
    audit,
    open::Database,
    value::{get, instant, instant_opt, parse},
};
use crate::store::{
    StoreError,
    audit::AuditRow,
    jobs::{JobEnd, JobName, JobPlan, JobResult, JobRow, JobTable, LastRun, Request, Running},
};

/// The table of jobs.
pub(super) struct Jobs {
    database: Database,
    asked: Arc<Notify>,
}

impl Jobs {
    pub(super) fn new(database: Database) -> Self {
        Self { database, asked: Arc::new(Notify::new()) }
    }
}

impl JobTable for Jobs {
    fn all(&self) -> BoxFuture<'_, Result<Vec<JobRow>, StoreError>> {
        Box::pin(async {
            let rows = sqlx::query("SELECT * FROM job ORDER BY name").fetch_all(&self.database.readers).await;
            rows.map_err(|error| self.database.explain(error))?.iter().map(job).collect()
        })
    }

    fn plan(&self, plan: JobPlan) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.database.writer.write(move |connection| {
            let plan = plan.clone();
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO job (name, schedule, due_at) VALUES (?1, ?2, ?3) ON CONFLICT (name) \
                     DO UPDATE SET schedule = excluded.schedule, due_at = excluded.due_at",
                )
                .bind(plan.name.as_str())
                .bind(plan.schedule)
                .bind(plan.due_at.map(jiff::Timestamp::as_microsecond))
                .execute(connection)
                .await?;
                Ok(())
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
            let known = self.database.writer.write(move |connection| {
                let (request, audit) = (request.clone(), audit.clone());
                Box::pin(async move {
                    let done =
                        sqlx::query("UPDATE job SET requested_by = ?2, requested_at = ?3 WHERE name = ?1")
                            .bind(name.as_str())
                            .bind(request.by)
                            .bind(request.at.as_microsecond())
                            .execute(&mut *connection)
                            .await?;
                    let known = done.rows_affected() > 0;
                    if known {
                        audit::append(connection, &audit).await?;
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
        Box::pin(self.database.writer.write(move |connection| {
            let running = running.clone();
            Box::pin(async move {
                let begun = sqlx::query_scalar(
                    "UPDATE job SET fence = fence + 1, running_on = ?3, running_since = ?4 \
                     WHERE name = ?1 AND fence = ?2 RETURNING fence",
                )
                .bind(name.as_str())
                .bind(fence)
                .bind(running.runner)
                .bind(running.since.as_microsecond())
                .fetch_optional(connection)
                .await?;
                Ok(begun)
            })
        }))
    }

    fn finish(&self, name: JobName, end: JobEnd) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.database.writer.write(move |connection| {
            let end = end.clone();
            Box::pin(async move { finish(connection, name, end).await })
        }))
    }
}

async fn finish(connection: &mut SqliteConnection, name: JobName, end: JobEnd) -> Result<bool, StoreError> {
    let LastRun { run, runner, started_at, ended_at, result, summary, error } = end.last;
    let done = sqlx::query(
        "UPDATE job SET running_on = NULL, running_since = NULL, last_run = ?2, last_runner = ?3, started_at = ?4, \
         ended_at = ?5, result = ?6, summary = ?7, error = ?8, due_at = ?9, \
         requested_by = CASE WHEN requested_at <= ?4 THEN NULL ELSE requested_by END, \
         requested_at = CASE WHEN requested_at <= ?4 THEN NULL ELSE requested_at END, \
         failures = CASE WHEN ?6 = 'ok' THEN 0 ELSE failures + 1 END, \
         succeeded_at = CASE WHEN ?6 = 'ok' THEN ?5 ELSE succeeded_at END \
         WHERE name = ?1 AND fence = ?2",
    )
    .bind(name.as_str())
    .bind(run)
    .bind(runner)
    .bind(started_at.as_microsecond())
    .bind(ended_at.as_microsecond())
    .bind(result.as_str())
    .bind(summary)
    .bind(error)
    .bind(end.due_at.map(jiff::Timestamp::as_microsecond))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

fn job(row: &SqliteRow) -> Result<JobRow, StoreError> {
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
        failures: get(row, "failures")?,
        succeeded_at: instant_opt(row, "succeeded_at")?,
    })
}

fn last(row: &SqliteRow) -> Result<Option<LastRun>, StoreError> {
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
