//! Tokens and roles.

use http::Method;
use serde_json::json;

use super::{
    documents::{assert_shape, document},
    harness::Api,
};

#[tokio::test]
async fn tokens_are_created_shown_once_listed_and_revoked() {
    let api = Api::start().await;
    let created =
        api.post(&api.admin, "/tokens", &json!({ "name": "console", "role": "viewer" })).await.ok(201);
    assert_shape(&created, "NewToken");
    let token = created["token"].as_str().unwrap();
    api.get(token, "/status").await.ok(200);
    api.post(&api.admin, "/tokens", &json!({ "name": "console", "role": "admin" }))
        .await
        .problem(409, "conflict");
    let answer = api.post(&api.admin, "/tokens", &json!({ "name": "x", "role": "root" })).await;
    assert_eq!(answer.problem(422, "invalid-field").as_deref(), Some("role"));

    let list = api.get(&api.admin, "/tokens").await;
    assert_shape(&list.ok(200)["items"][0], "Token");
    assert!(!String::from_utf8_lossy(&list.body).contains(token));
    assert_eq!(api.delete(&api.admin, "/tokens/console").await.status, 204);
    api.get(token, "/status").await.problem(401, "unauthenticated");
    api.delete(&api.admin, "/tokens/console").await.problem(404, "not-found");
}

#[tokio::test]
async fn every_operation_asks_for_the_role_that_the_document_says() {
    let api = Api::with_unit().await;
    let document = document();
    for (path, item) in document["paths"].as_object().unwrap() {
        let target = path
            .replace("{tax_no}", "91350100M000100Y43")
            .replace("{id}", "0000000000000001")
            .replace("{name}", "nobody");
        for (method, operation) in item.as_object().unwrap() {
            let Some(role) = operation["x-role"].as_str() else { continue };
            let method: Method = method.to_uppercase().parse().unwrap();
            let name = format!("{method} {path}");
            let tried = async |token: &str| {
                let bearer = format!("Bearer {token}");
                let json = [("authorization", bearer.as_str()), ("content-type", "application/json")];
                api.send(method.clone(), &target, &json, b"").await
            };
            tried("lgw_nobody").await.problem(401, "unauthenticated");
            let roles = ["viewer", "operator", "admin"];
            for (token, has) in [&api.viewer, &api.operator].into_iter().zip(roles) {
                let needed = roles.iter().position(|r| *r == role).unwrap();
                let enough = roles.iter().position(|r| *r == has).unwrap() >= needed;
                let status = tried(token).await.status;
                assert_eq!(status == 403, !enough, "{name}: {has} got {status}");
                assert_ne!(status, 401, "{name}");
            }
        }
    }
    let answer = api.send(Method::GET, "/units", &[], b"").await;
    answer.problem(401, "unauthenticated");
    assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    let basic = [("authorization", "Basic YTpi")];
    api.send(Method::GET, "/units", &basic, b"").await.problem(401, "unauthenticated");
}
