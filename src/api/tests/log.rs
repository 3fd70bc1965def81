//! The request log.

use serde_json::json;

use super::{
    documents::{assert_shape, document},
    harness::{ACCESS, ACCESS_ID, Api, KEY},
};
use crate::{
    domain::{ExchangeId, ExchangeIds},
    leqi::{Sm4Key, write_body, write_data, write_error},
    request_log::{Decision, Record, State},
};

const REQUEST: &str = r#"{"nsrsbh":"91350100M000100Y43"}"#;
const RESPONSE: &str = r#"{"returncode":"00","returnmsg":"成功"}"#;

fn key() -> Sm4Key {
    KEY.parse().unwrap()
}

async fn record(api: &Api, change: impl FnOnce(&mut Record)) -> ExchangeId {
    let now = api.state.clock.now();
    let last = api.state.log.search(&crate::request_log::Filter::default(), None, 1).await.unwrap();
    let id = ExchangeIds::new(1, last.records.first().map(|record| record.id)).next(now);
    let mut record = Record::open(id, now);
    record.service = Some("CXSXED".into());
    record.capability = Some("202007".into());
    record.tax_no = Some(ACCESS.parse().unwrap());
    record.access_id = Some(ACCESS_ID.into());
    record.using_id = Some(ACCESS_ID.into());
    record.state = State::Complete;
    record.status = Some(200);
    record.request_headers =
        vec![("fwbm".into(), "CXSXED".into()), ("Authorization".into(), "secret".into())];
    record.request_body = write_body(&key(), REQUEST.as_bytes()).into();
    record.response_body = write_data("0123456789abcdef", &key(), RESPONSE.as_bytes()).into();
    change(&mut record);
    api.state.log.complete(record).await.unwrap();
    id
}

#[tokio::test]
async fn exchanges_are_searched_by_what_people_have_in_hand() {
    let api = Api::with_unit().await;
    let no = "26312000000000000001";
    let plain = record(&api, |_| {}).await;
    let refused = record(&api, |record| {
        record.invoice_nos = vec![no.parse().unwrap()];
        record.decision = Decision::Refused;
        record.decision_code = Some("GW-QUOTA-SHORT".into());
        record.client_tid = Some("tid-1".into());
    })
    .await;
    let list = api.get(&api.viewer, "/exchanges").await.ok(200);
    let ids: Vec<_> = list["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect();
    assert_eq!(ids, [json!(refused), json!(plain)], "newest first");
    assert_shape(&list["items"][0], "Exchange");
    assert_eq!(list["items"][1]["service_name"], "查询授信额度");

    let day = api.state.clock.today();
    for (query, found) in [
        (format!("invoice_no={no}"), vec![refused]),
        ("decision=refused".to_owned(), vec![refused]),
        ("decision_code=GW-QUOTA-SHORT".to_owned(), vec![refused]),
        ("client_tid=tid-1".to_owned(), vec![refused]),
        (format!("tax_no={ACCESS}&service=CXSXED&from={day}"), vec![refused, plain]),
        (format!("tax_no={ACCESS}&until={day}"), vec![]),
        ("state=interrupted".to_owned(), vec![]),
    ] {
        let list = api.get(&api.viewer, &format!("/exchanges?{query}")).await.ok(200);
        let ids: Vec<_> = list["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect();
        assert_eq!(ids, found.iter().map(|id| json!(id)).collect::<Vec<_>>(), "{query}");
    }
    let first = api.get(&api.viewer, "/exchanges?limit=1").await.ok(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = api.get(&api.viewer, &format!("/exchanges?limit=1&cursor={cursor}")).await.ok(200);
    assert_eq!((&second["items"][0]["id"], &second["next_cursor"]), (&json!(plain), &json!(null)));
    let answer = api.get(&api.viewer, "/exchanges?from=yesterday").await;
    assert_eq!(answer.problem(422, "invalid-field").as_deref(), Some("from"));
}

#[tokio::test]
async fn one_exchange_is_shown_with_its_headers_but_never_with_authorization() {
    let api = Api::with_unit().await;
    let id = record(&api, |_| {}).await;
    let answer = api.get(&api.viewer, &format!("/exchanges/{id}")).await;
    let shown = answer.ok(200);
    assert_eq!(shown["request_headers"], json!([["fwbm", "CXSXED"]]));
    assert_eq!(shown["links"]["request"], format!("/api/v1/exchanges/{id}/request"));
    let own = &document()["components"]["schemas"]["ExchangeDetail"]["allOf"][1]["properties"];
    assert!(own.as_object().unwrap().keys().all(|name| shown.get(name).is_some()));
    api.get(&api.viewer, "/exchanges/0000000000000001").await.problem(404, "not-found");
    let answer = api.get(&api.viewer, "/exchanges/xyz").await;
    assert_eq!(answer.problem(422, "invalid-field").as_deref(), Some("id"));
}

#[tokio::test]
async fn bodies_are_given_as_sent_or_in_clear_to_operators_only_and_looking_is_written_down() {
    let api = Api::with_unit().await;
    let id = record(&api, |_| {}).await;
    let path = format!("/exchanges/{id}/request");
    api.get(&api.viewer, &path).await.problem(403, "forbidden");
    api.get(&api.viewer, &format!("{path}?view=clear")).await.problem(403, "forbidden");

    let raw = api.get(&api.operator, &path).await;
    assert_eq!(raw.headers["content-type"], "application/octet-stream");
    assert_eq!(raw.body, write_body(&key(), REQUEST.as_bytes()));
    let clear = api.get(&api.operator, &format!("{path}?view=clear")).await;
    assert_eq!(clear.body, REQUEST);
    assert_eq!(clear.headers["leqi-form"], "encrypted");
    let clear = api.get(&api.operator, &format!("/exchanges/{id}/response?view=clear")).await;
    assert_eq!(clear.body, RESPONSE);
    assert_eq!(clear.headers["leqi-request-id"], "0123456789abcdef");
    let answer = api.get(&api.operator, &format!("{path}?view=pretty")).await;
    assert_eq!(answer.problem(422, "invalid-field").as_deref(), Some("view"));

    let audit = api.get(&api.admin, &format!("/audit?subject={id}")).await.ok(200);
    assert_eq!(audit["items"].as_array().unwrap().len(), 3);
    assert_eq!(audit["items"][0]["action"], "exchange.view");
    assert_eq!(audit["items"][0]["detail"], json!({ "side": "response", "view": "clear" }));
}

#[tokio::test]
async fn an_error_is_shown_with_what_it_means_and_what_cannot_be_decoded_says_why() {
    let api = Api::with_unit().await;
    let id = record(&api, |record| {
        record.error_code = Some("4067".into());
        record.error_text = Some("当前请求来源IP与企业备案出口IP不一致".into());
        record.response_body = write_error(200, "0123456789abcdef", "4067", "当前请求来源IP").into();
    })
    .await;
    let shown = api.get(&api.viewer, &format!("/exchanges/{id}")).await.ok(200);
    assert!(shown["explanation"]["zh"].as_str().unwrap().contains("出口地址"));
    let clear = api.get(&api.operator, &format!("/exchanges/{id}/response?view=clear")).await.ok(200);
    assert_eq!(clear["code"], "4067");
    assert!(clear["explanation"]["en"].as_str().unwrap().contains("egress"));

    let strange = record(&api, |record| record.access_id = Some("FFFFFFFFFFFFFFFFFFFF".into())).await;
    let answer = api.get(&api.operator, &format!("/exchanges/{strange}/request?view=clear")).await;
    answer.problem(422, "undecodable");
    assert!(answer.json()["detail"].as_str().unwrap().contains("FFFFFFFFFFFFFFFFFFFF"));
}
