//! `Idempotency-Key`s, with an action that is counted.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::response::IntoResponse;
use http::Method;
use serde_json::json;
use tokio::sync::watch;

use super::harness::Api;
use crate::api::{
    auth::Actor,
    fields::{Body, Fields},
    idempotency::once,
    problem::{Kind, Problem},
    reply::{Outcome, Reply},
};

fn body(key: Option<&str>, target: &str) -> Body {
    Body {
        fields: Fields::default(),
        method: Method::POST,
        target: target.to_owned(),
        idempotency_key: key.map(str::to_owned),
        bytes: "{}".into(),
    }
}

/// Counts and answers with the count, or fails as told.
async fn acted(api: &Api, who: &str, body: &Body, count: &Arc<AtomicUsize>, fails: Option<Kind>) -> Outcome {
    let count = Arc::clone(count);
    once(&api.state, &Actor(who.to_owned()), body, async move {
        let n = count.fetch_add(1, Ordering::SeqCst) + 1;
        match fails {
            Some(kind) => Err(Problem::new(kind, n.to_string())),
            None => Reply::ok(&json!({ "n": n })),
        }
    })
    .await
}

#[tokio::test]
async fn the_same_key_with_the_same_request_is_acted_on_once_and_answered_alike() {
    let api = Api::start().await;
    let count = Arc::default();
    let first = acted(&api, "a", &body(Some("k"), "/x"), &count, None).await.unwrap();
    let again = acted(&api, "a", &body(Some("k"), "/x"), &count, None).await.unwrap();
    assert_eq!(again.kept(), first.kept());
    let response = again.into_response();
    assert_eq!(response.headers()["idempotency-replayed"], "true");
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(count.load(Ordering::SeqCst), 1);

    let problem = acted(&api, "a", &body(Some("k"), "/y"), &count, None).await.unwrap_err();
    assert_eq!(problem.kind, Kind::IdempotencyMismatch);
    acted(&api, "b", &body(Some("k"), "/x"), &count, None).await.unwrap();
    acted(&api, "a", &body(None, "/x"), &count, None).await.unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 3, "another person's key and no key at all act");
    for key in [String::new(), "k".repeat(256)] {
        let problem = acted(&api, "a", &body(Some(&key), "/x"), &count, None).await.unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("Idempotency-Key"));
    }
}

#[tokio::test]
async fn a_refusal_of_the_platform_is_kept_and_what_is_not_known_may_be_tried_again() {
    let api = Api::start().await;
    let count = Arc::default();
    let refused = acted(&api, "a", &body(Some("r"), "/x"), &count, Some(Kind::PlatformRefused)).await;
    let again = acted(&api, "a", &body(Some("r"), "/x"), &count, None).await.unwrap();
    assert_eq!(again.kept().status, 422);
    assert_eq!(again.kept().body, refused.unwrap_err().body());
    for kind in [Kind::PlatformUnclear, Kind::PlatformUnreachable, Kind::Conflict, Kind::Unavailable] {
        acted(&api, "a", &body(Some("u"), "/x"), &count, Some(kind)).await.unwrap_err();
    }
    acted(&api, "a", &body(Some("u"), "/x"), &count, None).await.unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 6);
}

#[tokio::test]
async fn while_it_is_worked_on_the_same_request_waits_its_turn_and_work_goes_on_without_its_client() {
    let api = Api::start().await;
    let (gate, mut open) = watch::channel(false);
    let (done, mut finished) = watch::channel(false);
    let (began, mut begun) = watch::channel(false);
    let (state, request) = (api.state.clone(), body(Some("k"), "/x"));
    let waiting = tokio::spawn(async move {
        let action = async move {
            began.send_replace(true);
            open.wait_for(|open| *open).await.unwrap();
            done.send_replace(true);
            Reply::ok(&json!({}))
        };
        once(&state, &Actor("a".into()), &request, action).await
    });
    begun.wait_for(|begun| *begun).await.unwrap();
    let count = Arc::default();
    let problem = acted(&api, "a", &body(Some("k"), "/x"), &count, None).await.unwrap_err();
    assert_eq!(problem.kind, Kind::IdempotencyInProgress);
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    gate.send_replace(true);
    finished.wait_for(|done| *done).await.unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 0);
}
