//! `/jobs`: what is done regularly, how it last ended, and a way to have it done now.

use axum::{extract::State, response::IntoResponse};
use http::header;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    ApiState,
    auth::{Operator, Viewer},
    fields::{Body, Query, Segment},
    idempotency::once,
    page::{Page, Time},
    problem::Problem,
    reply::{Outcome, Reply},
};
use crate::store::{
    audit::AuditRow,
    jobs::{JobName, JobRow, LastRun, Request, Running},
};

/// A job as shown.
#[derive(Debug, Serialize)]
struct Shown {
    name: &'static str,
    title: &'static str,
    title_zh: &'static str,
    enabled: bool,
    schedule: String,
    next_run_at: Option<Time>,
    requested: Option<ShownRequest>,
    running: Option<ShownRunning>,
    last: Option<ShownRun>,
    runs: i64,
    failures: u32,
    last_success_at: Option<Time>,
}

#[derive(Debug, Serialize)]
struct ShownRequest {
    by: String,
    at: Time,
}

#[derive(Debug, Serialize)]
struct ShownRunning {
    gateway: String,
    since: Time,
}

#[derive(Debug, Serialize)]
struct ShownRun {
    run: i64,
    gateway: String,
    started_at: Time,
    ended_at: Time,
    result: &'static str,
    error: Option<String>,
    summary: Option<Box<RawValue>>,
}

impl From<JobRow> for Shown {
    fn from(row: JobRow) -> Self {
        let (title_zh, title) = row.name.titles();
        let requested = |Request { by, at }| ShownRequest { by, at: Time(at) };
        let running = |Running { runner, since }| ShownRunning { gateway: runner, since: Time(since) };
        Self {
            name: row.name.as_str(),
            title,
            title_zh,
            enabled: row.due_at.is_some(),
            schedule: row.schedule,
            next_run_at: row.due_at.map(Time),
            requested: row.requested.map(requested),
            running: row.running.map(running),
            last: row.last.map(ShownRun::from),
            runs: row.fence,
            failures: row.failures,
            last_success_at: row.succeeded_at.map(Time),
        }
    }
}

impl From<LastRun> for ShownRun {
    fn from(last: LastRun) -> Self {
        Self {
            run: last.run,
            gateway: last.runner,
            started_at: Time(last.started_at),
            ended_at: Time(last.ended_at),
            result: last.result.as_str(),
            error: last.error,
            summary: RawValue::from_string(last.summary).ok(),
        }
    }
}

/// GET `/jobs`
pub(super) async fn list(State(state): State<ApiState>, _: Viewer, Query(query): Query) -> Outcome {
    query.finish()?;
    let items = state.store.jobs.all().await?.into_iter().map(Shown::from).collect();
    Reply::ok(&Page { items, next_cursor: None })
}

/// GET `/jobs/{name}`
pub(super) async fn read(State(state): State<ApiState>, _: Viewer, Segment(name): Segment) -> Outcome {
    Reply::ok(&shown(&state, job(&name)?).await?)
}

/// POST `/jobs/{name}/run`: it begins as soon as a gateway has room for it, once more if it is running.
pub(super) async fn run(
    State(state): State<ApiState>,
    Operator(actor): Operator,
    Segment(name): Segment,
    body: Body,
) -> Result<impl IntoResponse, Problem> {
    let name = job(&name)?;
    body.fields.finish()?;
    let (this, who) = (state.clone(), actor.clone());
    let reply = once(&state, &actor, &body, async move {
        let request = Request { by: who.0.clone(), at: this.clock.now() };
        let audit = AuditRow {
            at: request.at,
            actor: who.0,
            action: "job.run".to_owned(),
            subject: name.to_string(),
            detail: "{}".to_owned(),
        };
        if !this.store.jobs.request(name, request, audit).await? {
            return Err(Problem::not_found("job", name.as_str()));
        }
        Reply::accepted(&shown(&this, name).await?)
    })
    .await?;
    Ok(([(header::LOCATION, format!("/api/v1/jobs/{name}"))], reply))
}

fn job(name: &str) -> Result<JobName, Problem> {
    JobName::parse(name).map_err(|_| Problem::not_found("job", name))
}

async fn shown(state: &ApiState, name: JobName) -> Result<Shown, Problem> {
    let row = state.store.jobs.all().await?.into_iter().find(|row| row.name == name);
    row.map(Shown::from).ok_or_else(|| Problem::not_found("job", name.as_str()))
}
