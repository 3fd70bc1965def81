//! The log of what went over the wire.

use serde_json::json;

use crate::{
    site::Site,
    tools::{encrypt, sha256},
};

#[test]
fn the_record_of_a_read_names_everything_that_passed() {
    let site = Site::start();
    let (key, unit) = (site.key(), site.unit());
    let json = json!({ "nsrsbh": unit.tax_no }).to_string();
    let target = "/access/v2/invoke/202007/CXNSRJBXX/?a=1";
    let body = encrypt(&key, &json);
    let done = site.post(&site.https(target), body.clone()).args(&["--http2"]).send();
    let record = done.assert_recorded();
    let (code, response) = done.got.envelope();
    for (field, value) in [
        ("access_id", json!(unit.access_platform_id)),
        ("using_id", json!(unit.platform_id)),
        ("capability", json!("202007")),
        ("class", json!("read")),
        ("decision", json!("forwarded")),
        ("decision_code", json!(null)),
        ("environment", json!("production")),
        ("http_status_code", json!(code)),
        ("method", json!("POST")),
        ("path", json!(target)),
        ("request_id", response["RequestId"].clone()),
        ("request_truncated", json!(false)),
        ("response_truncated", json!(false)),
        ("return_code", json!("00")),
        ("route", json!("/access/")),
        ("service", json!("CXNSRJBXX")),
        ("state", json!("complete")),
        ("tax_no", json!(unit.tax_no)),
        ("upstream", json!("leqi")),
    ] {
        assert_eq!(record[field], value, "{field}: {record}");
    }
    assert!(record["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{record}");
    assert!(record["upstream_us"].as_u64().is_some_and(|us| us > 0), "{record}");
    assert_eq!(done.kept("request"), body);
    assert_eq!(sha256(&done.kept("response")), sha256(&done.got.body));
    let id = record["id"].as_str().unwrap();
    let (_, clear) = site.gateway.api("GET", &format!("/exchanges/{id}/response?view=clear"), None);
    assert_eq!(clear, done.got.data(&key));
}

#[test]
fn a_client_that_leaves_in_the_middle_of_an_answer_is_seen_in_the_log() {
    let site = Site::start();
    site.simulator.faults(&json!([{ "kind": "drip", "service": "CXNSRJBXX", "ms": 5000 }]));
    let json = json!({ "nsrsbh": site.unit().tax_no }).to_string();
    let url = site.https("/access/v2/invoke/202007/CXNSRJBXX");
    let done =
        site.post(&url, encrypt(&site.key(), &json)).args(&["--http1.1", "--max-time", "3"]).try_send();
    assert_eq!(done.got.exit, 28, "{}", done.got.said);
    let record = done.record();
    assert_eq!((&record["state"], &record["status"]), (&json!("aborted"), &json!(200)), "{record}");
}
