//! What every request can get wrong.

use http::Method;

use super::{
    documents::assert_shape,
    harness::{Api, access_unit},
};
use crate::api::fields::BODY_LIMIT;

#[tokio::test]
async fn what_is_not_there_or_not_allowed_is_a_problem_too() {
    let api = Api::start().await;
    api.get(&api.viewer, "/nothing").await.problem(404, "not-found");
    api.get(&api.viewer, "/units/").await.problem(404, "not-found");
    api.delete(&api.viewer, "/units").await.problem(405, "method-not-allowed");
    api.get(&api.viewer, "/units/%FF").await.problem(404, "not-found");
    for query in ["limit=0", "limit=501", "limit=x", "limit=1&limit=2"] {
        let answer = api.get(&api.viewer, &format!("/units?{query}")).await;
        assert_eq!(answer.problem(422, "invalid-field").as_deref(), Some("limit"), "{query}");
    }
    let answer = api.get(&api.viewer, "/units?colour=red").await;
    assert_eq!(answer.problem(422, "invalid-field").as_deref(), Some("colour"));
}

#[tokio::test]
async fn a_body_must_be_one_json_object_of_bounded_size() {
    let api = Api::start().await;
    let bearer = format!("Bearer {}", api.admin);
    let post = async |content_type: &str, body: &[u8]| {
        let headers = [("authorization", bearer.as_str()), ("content-type", content_type)];
        api.send(Method::POST, "/units", &headers, body).await
    };
    let unit = access_unit().to_string();
    post("text/plain", unit.as_bytes()).await.problem(415, "unsupported-media-type");
    for bad in [&b"{"[..], b"[]", b"null", b"\"x\"", b"{\"name\":\"\xff\"}", "[".repeat(1000).as_bytes()] {
        post("application/json", bad).await.problem(400, "malformed-body");
    }
    let huge = format!("{{\"name\":\"{}\"}}", "x".repeat(BODY_LIMIT));
    post("application/json", huge.as_bytes()).await.problem(413, "too-large");
    let twice = unit.replacen('{', "{\"name\":\"a\",", 1);
    let answer = post("application/json", twice.as_bytes()).await;
    assert_eq!(answer.problem(422, "invalid-field").as_deref(), Some("name"));
    post("Application/JSON; charset=utf-8", unit.as_bytes()).await.ok(201);
}

#[tokio::test]
async fn the_status_says_what_runs_here() {
    let api = Api::with_unit().await;
    let status = api.get(&api.viewer, "/status").await.ok(200);
    assert_shape(&status, "Status");
    assert_eq!((&status["store"], &status["access_units"]), (&"ok".into(), &1.into()));
}
