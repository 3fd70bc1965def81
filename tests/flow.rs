//! The main job, end to end: real processes, encrypted calls, and three sets of books that must agree.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use common::{
    client::{Answer, Client},
    eventually,
    message::{invoice, serial},
    process::{Gateway, Simulator},
};
use serde_json::{Value, json};

/// A gateway in front of a simulator, with all units registered.
fn set_up() -> (Simulator, Gateway, tempfile::TempDir) {
    let simulator = Simulator::start();
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), &simulator);
    gateway.register(&simulator.units);
    (simulator, gateway, dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_goes_through_with_its_credit_and_is_found_in_the_log_in_clear() {
    let (simulator, gateway, _dir) = set_up();
    let unit = simulator.units.using().clone();
    let client = Client::new(gateway.plain, &simulator.units, &unit);

    let downloaded = client.download(&unit.tax_no, "1000.00", &serial(&unit, 1)).await;
    assert_eq!(downloaded.code(), "00", "{downloaded:?}");
    let number = client.number_range(&unit.tax_no, 10, &serial(&unit, 2)).await.remove(0);
    let upload = client.call("QDFPSC", &json!([invoice(&unit, &number, 40_000)])).await;
    assert_eq!(upload.code(), "00", "{upload:?}");
    let results = client.result(upload.data()["sllsh"].as_str().unwrap()).await;
    assert_eq!(results[0]["status"], "00", "{results}");

    let (status, quota) = gateway.api("GET", &format!("/quotas/{}", unit.tax_no), None);
    assert_eq!(
        (status, &quota["downloaded"], &quota["issued"]),
        (200, &json!("1000.00"), &json!("400.00")),
        "{quota}"
    );
    assert_eq!(quota["available"], "600.00");
    let credit = simulator.books()["credit"].clone();
    let account = credit.as_array().unwrap().iter().find(|row| row["tax_no"] == unit.tax_no).unwrap().clone();
    assert_eq!((&account["used"], &account["unused"]), (&json!("400.00"), &json!("600.00")));

    let (_, found) = gateway.api("GET", &format!("/exchanges?invoice_no={number}"), None);
    let rows = found["items"].as_array().unwrap();
    let issue = rows.iter().find(|row| row["class"] == "issue").unwrap_or_else(|| panic!("{found}"));
    let (_, clear) =
        gateway.api("GET", &format!("/exchanges/{}/request?view=clear", issue["id"].as_str().unwrap()), None);
    assert_eq!(clear[0]["fphm"], number, "{clear}");
    assert_eq!(clear[0]["hjje"], "400.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_platform_would_refuse_is_refused_here_with_a_better_sentence() {
    let (simulator, gateway, _dir) = set_up();
    let unit = simulator.units.using().clone();
    let client = Client::new(gateway.plain, &simulator.units, &unit);
    client.download(&unit.tax_no, "100.00", &serial(&unit, 1)).await;
    let range = client.number_range(&unit.tax_no, 200, &serial(&unit, 2)).await;
    let uploads = |calls: &[Value]| calls.iter().filter(|call| call["service"] == "QDFPSC").count();

    let short = client.call("QDFPSC", &json!([invoice(&unit, &range[0], 10_001)])).await;
    assert!(short.code().starts_with("GW-"), "{short:?}");
    let Answer::Error { status: 200, text, .. } = &short else { panic!("{short:?}") };
    assert!(text.contains("100.00") && text.contains("100.01"), "{text}");

    let many: Vec<Value> = range.iter().take(101).map(|number| invoice(&unit, number, 1)).collect();
    let many = client.call("QDFPSC", &json!(many)).await;
    assert!(many.code().starts_with("GW-"), "{many:?}");

    let other_year = format!("{}{}", "19", &range[1][2..]);
    let year = client.call("QDFPSC", &json!([invoice(&unit, &other_year, 1)])).await;
    assert!(year.code().starts_with("GW-"), "{year:?}");

    let mut swapped = client.clone();
    std::mem::swap(&mut swapped.access_id, &mut swapped.using_id);
    let swapped = swapped.call("QDFPSC", &json!([invoice(&unit, &range[1], 1)])).await;
    assert_eq!(swapped.code(), "GW-UNIT-SWAPPED", "{swapped:?}");

    let mut unknown = client.clone();
    unknown.using_id = "0".repeat(20);
    let unknown = unknown.call("QDFPSC", &json!([invoice(&unit, &range[1], 1)])).await;
    assert_eq!(unknown.code(), "GW-UNIT", "{unknown:?}");

    let garbage = client.call_raw("QDFPSC", b"this is no base64!".to_vec(), &[]).await;
    assert_eq!(garbage.code(), "GW-BODY", "{garbage:?}");
    let body = leqi_gateway::leqi::write_body(&client.key, b"[]");
    let flagged = client.call_raw("QDFPSC", body, &[("sxcsbz", "1")]).await;
    assert_eq!(flagged.code(), "GW-SXCSBZ", "{flagged:?}");

    assert_eq!(uploads(&simulator.calls()), 0);
    let (_, log) = gateway.api("GET", "/exchanges?class=issue", None);
    assert_eq!(log["items"].as_array().unwrap().len(), 7, "{log}");
    assert!(log["items"].as_array().unwrap().iter().all(|row| row["decision"] == "refused"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_nobody_knows_is_forwarded_unless_it_carries_invoices() {
    let (simulator, gateway, _dir) = set_up();
    let unit = simulator.units.using().clone();
    let client = Client::new(gateway.plain, &simulator.units, &unit);
    let forwarded = client.call("XINFUWU", &json!({ "nsrsbh": unit.tax_no })).await;
    assert_eq!(forwarded.code(), "4061", "{forwarded:?}");
    client.download(&unit.tax_no, "1.00", &serial(&unit, 1)).await;
    let number = client.number_range(&unit.tax_no, 1, &serial(&unit, 2)).await.remove(0);
    let disguised = client.call("XINFUWU", &json!([invoice(&unit, &number, 40_000)])).await;
    assert!(disguised.code().starts_with("GW-QUOTA"), "{disguised:?}");
    assert!(gateway.metrics().contains("leqi_gateway_disguised_uploads_total 1"));
    assert_eq!(simulator.calls().iter().filter(|call| call["service"] == "XINFUWU").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_result_gives_the_credit_back_and_an_unclear_answer_keeps_it() {
    let (simulator, gateway, _dir) = set_up();
    let unit = simulator.units.using().clone();
    let client = Client::new(gateway.plain, &simulator.units, &unit);
    client.download(&unit.tax_no, "1000.00", &serial(&unit, 1)).await;
    let range = client.number_range(&unit.tax_no, 10, &serial(&unit, 2)).await;
    let balance = |name: &'static str| {
        let (_, quota) = gateway.api("GET", &format!("/quotas/{}", unit.tax_no), None);
        quota[name].as_str().unwrap_or_else(|| panic!("{quota}")).to_owned()
    };

    simulator.faults(&json!([{ "kind": "fail_upload", "service": "QDFPSC", "text": "发票校验不通过" }]));
    let failed = client.call("QDFPSC", &json!([invoice(&unit, &range[0], 10_000)])).await;
    assert_eq!(balance("reserved"), "100.00");
    client.result(failed.data()["sllsh"].as_str().unwrap()).await;
    assert_eq!((balance("reserved"), balance("available")), ("0.00".to_owned(), "1000.00".to_owned()));

    // the answer is lost although the platform took the upload
    simulator.faults(&json!([{ "kind": "reset_after_read", "service": "QDFPSC", "processed": true }]));
    let lost = client.call("QDFPSC", &json!([invoice(&unit, &range[1], 10_000)])).await;
    assert_eq!(lost.code(), "GW-UP-HEAD", "{lost:?}");
    assert_eq!((balance("reserved"), balance("available")), ("100.00".to_owned(), "900.00".to_owned()));
    let sent = simulator.calls().iter().filter(|call| call["service"] == "QDFPSC").count();
    assert_eq!(sent, 2, "nothing is sent twice");

    // the same upload again costs nothing more, and the platform knows the number
    let again = client.call("QDFPSC", &json!([invoice(&unit, &range[1], 10_000)])).await;
    assert_eq!(balance("reserved"), "100.00", "{again:?}");

    // refused by the platform: proven, and given back
    simulator.faults(&json!([{ "kind": "refuse", "service": "QDFPSC", "code": "4032" }]));
    let refused = client.call("QDFPSC", &json!([invoice(&unit, &range[2], 10_000)])).await;
    assert_eq!(refused.code(), "4032", "{refused:?}");
    assert_eq!(balance("reserved"), "100.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_does_not_stop_the_settlement_of_its_upload() {
    let (simulator, gateway, _dir) = set_up();
    let unit = simulator.units.using().clone();
    let client = Client::new(gateway.plain, &simulator.units, &unit);
    client.download(&unit.tax_no, "1000.00", &serial(&unit, 1)).await;
    let number = client.number_range(&unit.tax_no, 1, &serial(&unit, 2)).await.remove(0);
    simulator.faults(&json!([{ "kind": "delay", "service": "QDFPSC", "ms": 1500 }]));
    let upload = json!([invoice(&unit, &number, 10_000)]);
    let left =
        tokio::time::timeout(std::time::Duration::from_millis(400), client.call("QDFPSC", &upload)).await;
    assert!(left.is_err());
    let row = eventually("the record of the upload is complete", || {
        let (_, found) = gateway.api("GET", &format!("/exchanges?invoice_no={number}"), None);
        found["items"].as_array()?.iter().find(|row| row["state"] == "complete").cloned()
    });
    assert_eq!(row["return_code"], "00", "{row}");
    assert!(row["acceptance_no"].is_string(), "{row}");
}
