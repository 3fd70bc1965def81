//! Confirmations.

use http::Method;
use serde_json::{Value, json};

use super::{
    documents::assert_shape,
    harness::{ACCESS, Api},
};
use crate::confirmation::CallEnded;

/// The past month, drafted; its path.
async fn drafted(api: &Api) -> String {
    let period = api.state.clock.period().previous();
    let body = json!({ "tax_no": ACCESS, "period": period });
    let created = api.post(&api.operator, "/confirmations", &body).await.ok(201);
    format!("/confirmations/{}", created["id"])
}

fn totals() -> Value {
    json!({ "blue_count": 2, "blue_net": "100.00", "blue_tax": "13.00", "red_count": "1", "red_net": -10, "red_tax": "-1.30" })
}

#[tokio::test]
async fn a_month_is_drafted_confirmed_synced_and_cancelled() {
    let api = Api::with_unit().await;
    api.state.clock.set("2026-11-05T04:00:00Z".parse().unwrap());
    let path = drafted(&api).await;
    let draft = api.get(&api.viewer, &path).await.ok(200);
    assert_shape(&draft, "Confirmation");
    assert_shape(&draft["ours"], "Totals");
    assert_eq!((&draft["state"], &draft["ours"]["blue_net"]), (&json!("draft"), &json!("0.00")));
    assert!(draft["deadline"].as_str().unwrap().ends_with("-13T00:00:00.000+08:00"));
    assert_eq!(draft["name"], "接入单位");
    let again = json!({ "tax_no": ACCESS, "period": draft["period"] });
    assert_eq!(api.post(&api.operator, "/confirmations", &again).await.ok(200)["id"], draft["id"]);

    let confirmed =
        api.post(&api.operator, &format!("{path}/confirm"), &json!({ "totals": totals() })).await.ok(200);
    assert_eq!((&confirmed["state"], &confirmed["sent"]["red_net"]), (&json!("confirmed"), &json!("-10.00")));
    let synced = api.post(&api.operator, &format!("{path}/sync"), &json!({})).await.ok(200);
    assert_eq!(synced["platform"], synced["sent"]);

    let list = api.get(&api.viewer, &format!("/confirmations?tax_no={ACCESS}&state=confirmed")).await.ok(200);
    assert_eq!(list["items"], json!([synced]));
    let none = api.get(&api.viewer, "/confirmations?state=draft").await.ok(200);
    assert_eq!(none["items"], json!([]));
    let cancelled = api.post(&api.operator, &format!("{path}/cancel"), &json!({})).await.ok(200);
    assert_eq!(cancelled["state"], "cancelled");
    assert_eq!(api.bureau.uploads.lock().unwrap().len(), 2);

    // what nobody confirmed by the 13th the platform did, and nobody can cancel
    api.post(&api.operator, &format!("{path}/confirm"), &json!({})).await.ok(200);
    api.state.clock.set("2026-11-12T16:00:00Z".parse().unwrap());
    api.post(&api.operator, &format!("{path}/cancel"), &json!({})).await.problem(409, "conflict");
}

#[tokio::test]
async fn what_makes_no_sense_is_a_conflict_or_names_its_field() {
    let api = Api::with_unit().await;
    let now = api.state.clock.period();
    let body = json!({ "tax_no": ACCESS, "period": now });
    let created = api.post(&api.operator, "/confirmations", &body).await.ok(201);
    let running = format!("/confirmations/{}", created["id"]);
    api.post(&api.operator, &format!("{running}/confirm"), &json!({})).await.problem(409, "conflict");
    let path = drafted(&api).await;
    api.post(&api.operator, &format!("{path}/cancel"), &json!({})).await.problem(409, "conflict");
    api.get(&api.viewer, "/confirmations/999").await.problem(404, "not-found");
    let mut half = totals();
    half.as_object_mut().unwrap().remove("red_tax");
    for (target, body, field) in [
        (format!("{path}/confirm"), json!({ "totals": half }), "totals.red_tax"),
        (format!("{path}/confirm"), json!({ "totals": 5 }), "totals"),
        (format!("{path}/confirm"), json!({ "total": totals() }), "total"),
        (format!("{path}/cancel"), json!({ "why": "x" }), "why"),
        ("/confirmations".into(), json!({ "tax_no": "123456789012345", "period": now }), "tax_no"),
        ("/confirmations".into(), json!({ "tax_no": ACCESS, "period": "2026" }), "period"),
        ("/confirmations/x/sync".into(), json!({}), "id"),
    ] {
        let answer = api.post(&api.operator, &target, &body).await;
        assert_eq!(answer.problem(422, "invalid-field").as_deref(), Some(field), "{target} {body}");
    }
    assert!(api.bureau.uploads.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_refusal_is_shown_with_what_it_means_and_an_unclear_end_is_unknown() {
    let api = Api::with_unit().await;
    let path = drafted(&api).await;
    let confirm = format!("{path}/confirm");
    let end = |ended| *api.bureau.ends.lock().unwrap() = Some(ended);

    end(CallEnded::NotSent("connection refused".into()));
    api.post(&api.operator, &confirm, &json!({})).await.problem(502, "platform-unreachable");
    assert_eq!(api.get(&api.viewer, &path).await.ok(200)["state"], "draft");

    end(CallEnded::Refused {
        code: "99".into(), text: "蓝字数量与局端不一致，局端数量 5".into()
    });
    let refused = api.post(&api.operator, &confirm, &json!({})).await.ok(200);
    assert_eq!((&refused["state"], &refused["refusal"]["code"]), (&json!("refused"), &json!("99")));
    assert!(refused["refusal"]["explanation"]["zh"].as_str().unwrap().contains("核对差异"));
    let answer = api.post(&api.operator, &format!("{path}/sync"), &json!({})).await;
    answer.problem(422, "platform-refused");
    assert_eq!(answer.json()["code"], "99");

    end(CallEnded::Unclear("no answer".into()));
    assert_eq!(api.post(&api.operator, &confirm, &json!({})).await.ok(200)["state"], "unknown");
    api.post(&api.operator, &confirm, &json!({})).await.problem(409, "conflict");
    api.post(&api.operator, &format!("{path}/sync"), &json!({})).await.problem(504, "platform-unclear");
}

#[tokio::test]
async fn a_keyed_confirmation_goes_to_the_platform_once() {
    let api = Api::with_unit().await;
    let path = format!("{}/confirm", drafted(&api).await);
    let bearer = format!("Bearer {}", api.operator);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", "month-1"),
    ];
    let first = api.send(Method::POST, &path, &headers, b"{}").await;
    let again = api.send(Method::POST, &path, &headers, b"{}").await;
    assert_eq!(first.ok(200), again.ok(200));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let other = json!({ "totals": totals() }).to_string();
    api.send(Method::POST, &path, &headers, other.as_bytes()).await.problem(422, "idempotency-mismatch");
    assert_eq!(api.bureau.uploads.lock().unwrap().len(), 1);
}
