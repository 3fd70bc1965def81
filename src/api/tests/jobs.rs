//! Jobs.

use http::Method;
use serde_json::json;

use super::{documents::assert_shape, harness::Api};
use crate::store::jobs::{JobEnd, JobName, JobPlan, JobResult, LastRun, Running};

async fn planned(api: &Api) {
    for (name, due_at) in [(JobName::Audit, Some("2026-12-01T00:05:00+08:00")), (JobName::TopUp, None)] {
        let due_at = due_at.map(|at| at.parse().unwrap());
        let schedule = if due_at.is_some() { "daily at 00:05" } else { "off" }.to_owned();
        api.state.store.jobs.plan(JobPlan { name, schedule, due_at, seen: None }).await.unwrap();
    }
}

#[tokio::test]
async fn jobs_are_shown_with_their_turn_their_run_and_how_the_last_one_ended() {
    let api = Api::start().await;
    planned(&api).await;
    let list = api.get(&api.viewer, "/jobs").await.ok(200);
    let names: Vec<_> = list["items"].as_array().unwrap().iter().map(|job| job["name"].clone()).collect();
    assert_eq!(names, ["audit", "top_up"]);
    let audit = &list["items"][0];
    assert_shape(audit, "Job");
    assert_eq!(audit["next_run_at"], "2026-12-01T00:05:00.000+08:00");
    assert_eq!(
        (&list["items"][1]["enabled"], &list["items"][1]["next_run_at"]),
        (&json!(false), &json!(null))
    );

    let (table, at) = (&api.state.store.jobs, "2026-12-01T00:05:01+08:00".parse().unwrap());
    let running = Running { runner: "dmz-1".into(), since: at };
    let run = table.begin(JobName::Audit, 0, running.clone()).await.unwrap().unwrap();
    assert_eq!(table.begin(JobName::Audit, 0, running).await.unwrap(), None);
    let shown = api.get(&api.viewer, "/jobs/audit").await.ok(200);
    assert_eq!(shown["running"], json!({ "gateway": "dmz-1", "since": "2026-12-01T00:05:01.000+08:00" }));
    let last = LastRun {
        run,
        runner: "dmz-1".into(),
        started_at: at,
        ended_at: at,
        result: JobResult::Failed,
        summary: r#"{"done":2}"#.into(),
        error: Some("one account does not add up".into()),
    };
    assert!(table.finish(JobName::Audit, JobEnd { last, due_at: Some(at) }).await.unwrap());
    let shown = api.get(&api.viewer, "/jobs/audit").await.ok(200);
    assert_eq!((&shown["running"], &shown["failures"], &shown["runs"]), (&json!(null), &json!(1), &json!(1)));
    let last = &shown["last"];
    assert_eq!(
        (&last["result"], &last["run"], &last["summary"]["done"]),
        (&json!("failed"), &json!(1), &json!(2))
    );
}

#[tokio::test]
async fn a_run_is_asked_for_once_per_key_and_whoever_asked_is_written_down() {
    let api = Api::start().await;
    planned(&api).await;
    let bearer = format!("Bearer {}", api.operator);
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "now")];
    let first = api.send(Method::POST, "/jobs/top_up/run", &headers, b"").await;
    assert_eq!(first.headers["location"], "/api/v1/jobs/top_up");
    assert_eq!(first.ok(202)["requested"]["by"], "operator");
    let again = api.send(Method::POST, "/jobs/top_up/run", &headers, b"").await;
    assert_eq!(
        (again.ok(202), &again.headers["idempotency-replayed"]),
        (first.ok(202), &"true".parse().unwrap())
    );
    let changes = api.get(&api.admin, "/audit?subject=top_up").await.ok(200);
    assert_eq!(changes["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&changes["items"][0]["action"], &changes["items"][0]["actor"]),
        (&json!("job.run"), &json!("operator"))
    );

    api.post(&api.operator, "/jobs/nonsense/run", &json!({})).await.problem(404, "not-found");
    // known, but no gateway has it in its table
    api.post(&api.operator, "/jobs/watch/run", &json!({})).await.problem(404, "not-found");
    api.get(&api.viewer, "/jobs/watch").await.problem(404, "not-found");
    let answer = api.post(&api.operator, "/jobs/audit/run", &json!({ "when": "now" })).await;
    assert_eq!(answer.problem(422, "invalid-field").as_deref(), Some("when"));
}
