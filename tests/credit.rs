//! Credit that the gateway itself moves, at the wire: the real binary against the simulated platform, which loses answers
//! and counts what it received.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use std::path::Path;

use common::{
    client::{Answer, Client},
    message::{invoice, serial},
    process::{Gateway, Simulator, binary, gateway_config},
};
use serde_json::{Value, json};

/// A gateway in front of a simulator, with all units registered.
fn set_up(dir: &Path) -> (Simulator, Gateway) {
    let simulator = Simulator::start();
    let gateway = Gateway::start_with(dir, &simulator, IMPATIENT);
    gateway.register(&simulator.units);
    (simulator, gateway)
}

/// A platform that stands still is given up soon.
const IMPATIENT: &str = "[quota]\ntop_up_wait = \"5s\"\n";

impl Gateway {
    /// POSTs an order with an `Idempotency-Key`.
    fn order(&self, path: &str, key: &str, body: &Value) -> (u16, Value) {
        let out = std::process::Command::new("curl")
            .args(["-sS", "--max-time", "90", "-X", "POST", "-w", "%{stderr}%{http_code}"])
            .args(["-H", &format!("Authorization: Bearer {}", self.token)])
            .args(["-H", &format!("Idempotency-Key: {key}"), "-H", "content-type: application/json"])
            .args(["--data-binary", &body.to_string(), &format!("http://{}/api/v1{path}", self.admin)])
            .output()
            .unwrap();
        let status = String::from_utf8_lossy(&out.stderr).trim().parse().unwrap();
        (status, serde_json::from_slice(&out.stdout).unwrap_or(Value::Null))
    }
}

/// Downloads and returns that arrived.
fn transfers(simulator: &Simulator) -> usize {
    simulator.calls().iter().filter(|call| call["service"] == "XZTHSXED").count()
}

fn downloaded(simulator: &Simulator, tax_no: &str) -> String {
    let books = simulator.books_without_calls();
    let credit = books["credit"].as_array().unwrap().iter().find(|row| row["tax_no"] == tax_no);
    credit.map_or_else(String::new, |row| row["downloaded"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_whose_answer_is_lost_is_one_download_whatever_happens_in_between() {
    let faults = [
        json!({ "kind": "reset_after_read", "service": "XZTHSXED", "processed": true }),
        json!({ "kind": "reset_after_read", "service": "XZTHSXED", "processed": false }),
        json!({ "kind": "truncate", "service": "XZTHSXED" }),
        json!({ "kind": "status", "service": "XZTHSXED", "status": 503, "processed": true }),
        json!({ "kind": "wrong_key", "service": "XZTHSXED" }),
    ];
    let dir = tempfile::tempdir().unwrap();
    let (simulator, mut gateway) = set_up(dir.path());
    let unit = simulator.units.using().clone();
    let path = format!("/quotas/{}/download", unit.tax_no);
    for (n, fault) in faults.iter().enumerate() {
        simulator.faults(&json!([fault]));
        let (status, problem) = gateway.order(&path, &format!("k{n}"), &json!({ "amount": "100.00" }));
        assert_eq!(
            (status, &problem["type"]),
            (504, &json!("urn:leqi-gateway:problem:platform-unclear")),
            "{fault} {problem}"
        );
        // between two of them the process is killed
        if n % 2 == 0 {
            gateway.process.kill();
            drop(gateway);
            gateway = Gateway::start_with(dir.path(), &simulator, IMPATIENT);
        }
        let (status, moved) = gateway.order(&path, &format!("k{n}"), &json!({ "amount": "100.00" }));
        assert_eq!(status, 200, "{fault} {moved}");
        let total = format!("{}.00", (n + 1) * 100);
        assert_eq!(moved["quota"]["downloaded"], total, "{fault} {moved}");
        assert_eq!(downloaded(&simulator, &unit.tax_no), total, "{fault}");
        let (again, replayed) = gateway.order(&path, &format!("k{n}"), &json!({ "amount": "100.00" }));
        assert_eq!((again, &replayed["transfer"]["serial"]), (200, &moved["transfer"]["serial"]));
    }
    let (_, list) = gateway.api("GET", &format!("/quotas/{}/transfers", unit.tax_no), None);
    let states: Vec<_> = list["items"].as_array().unwrap().iter().map(|row| row["state"].clone()).collect();
    assert_eq!(states, vec![json!("done"); faults.len()]);
    assert_eq!(transfers(&simulator), 2 * faults.len(), "each is sent again once");
    let (_, quota) = gateway.api("GET", &format!("/quotas/{}", unit.tax_no), None);
    assert_eq!((&quota["available"], &quota["difference"]), (&json!("500.00"), &json!("0.00")), "{quota}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_whose_answer_never_comes_is_asked_for_again_under_its_serial_and_counts_once() {
    let simulator = Simulator::start();
    let dir = tempfile::tempdir().unwrap();
    let patient = gateway_config(&simulator);
    let config = patient.replace("verify = \"full\"", "verify = \"full\"\nresponse_timeout = \"1s\"");
    assert_ne!(config, patient);
    let gateway = Gateway::start_as(binary(), dir.path(), &config);
    gateway.register(&simulator.units);
    let unit = simulator.units.using().clone();
    let path = format!("/quotas/{}", unit.tax_no);
    let client = Client::new(gateway.plain, &simulator.units, &unit);
    let stall = |processed: bool| {
        simulator.faults(&json!([{ "kind": "stall", "service": "XZTHSXED", "processed": processed }]));
    };

    // orders of the gateway's own, of which one was carried out and one was not
    for (key, processed, total) in [("k1", true, "100.00"), ("k2", false, "200.00")] {
        stall(processed);
        let order = json!({ "amount": "100.00" });
        let (status, problem) = gateway.order(&format!("{path}/download"), key, &order);
        assert_eq!((status, &problem["type"]), (504, &json!("urn:leqi-gateway:problem:platform-unclear")));
        let (_, open) = gateway.api("GET", &format!("{path}/transfers"), None);
        let serial = open["items"][0]["serial"].clone();
        assert_eq!(open["items"][0]["state"], "open", "{open}");
        let (status, moved) = gateway.order(&format!("{path}/download"), key, &order);
        assert_eq!((status, &moved["transfer"]["serial"]), (200, &serial), "{moved}");
        assert_eq!(moved["quota"]["downloaded"], total, "{moved}");
        assert_eq!(downloaded(&simulator, &unit.tax_no), total);
    }
    // the same of an invoicing system, which sends its own serial again
    for (number, processed, total) in [(1, true, "300.00"), (2, false, "400.00")] {
        stall(processed);
        let lost = client.download(&unit.tax_no, "100.00", &serial(&unit, number)).await;
        assert!(
            matches!(&lost, Answer::Error { status: 504, code, .. } if code == "GW-UP-TIMEOUT"),
            "{lost:?}"
        );
        let again = client.download(&unit.tax_no, "100.00", &serial(&unit, number)).await;
        assert_eq!(again.code(), "00", "{again:?}");
        let (_, quota) = gateway.api("GET", &path, None);
        assert_eq!((&quota["downloaded"], &quota["available"]), (&json!(total), &json!(total)), "{quota}");
        assert_eq!(downloaded(&simulator, &unit.tax_no), total);
    }
    assert_eq!(transfers(&simulator), 8, "each was sent twice");
    assert_eq!(simulator.books_without_calls()["transfers"].as_array().unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_orders_name_their_field_and_never_leave() {
    let dir = tempfile::tempdir().unwrap();
    let (simulator, gateway) = set_up(dir.path());
    let unit = simulator.units.using().clone();
    let orders = [
        ("download", json!({ "amount": "-5.00" }), "amount"),
        ("download", json!({ "amount": "0" }), "amount"),
        ("download", json!({ "amount": 1.234 }), "amount"),
        ("download", json!({ "amount": "1e30" }), "amount"),
        ("download", json!({ "amount": "9999999999999999" }), "amount"),
        ("download", json!({ "amount": "99999999999.00" }), "amount"),
        ("download", json!({ "amount": "zehn" }), "amount"),
        ("download", json!({ "amount": "1.00", "share": 5 }), "share"),
        ("download", json!({ "share": 101 }), "share"),
        ("download", json!({ "share": 0 }), "share"),
        ("download", json!({}), "amount"),
        ("download", json!({ "amount": "1.00", "period": "2026-01" }), "period"),
        ("return", json!({ "amount": "1.00" }), "amount"),
        ("return", json!({ "amount": "-1.00" }), "amount"),
        ("return", json!({ "amount": "0.001" }), "amount"),
        ("return", json!({ "all": true }), "amount"),
        ("adjust-validity", json!({ "period": "2020-01" }), "period"),
        ("adjust-validity", json!({ "period": "2020-13" }), "period"),
    ];
    for (verb, body, field) in orders {
        let (status, problem) = gateway.api("POST", &format!("/quotas/{}/{verb}", unit.tax_no), Some(&body));
        assert_eq!((status, &problem["field"]), (422, &json!(field)), "{verb} {body} {problem}");
    }
    let foreign = "91350100M000100Y43";
    let (status, problem) =
        gateway.api("POST", &format!("/quotas/{foreign}/download"), Some(&json!({ "amount": "1.00" })));
    assert_eq!((status, &problem["field"]), (404, &json!("tax_no")), "{problem}");
    let settings = json!({ "low_water": "-1.00" });
    let (status, problem) = gateway.api("PATCH", &format!("/quotas/{}", unit.tax_no), Some(&settings));
    assert_eq!((status, &problem["field"]), (422, &json!("low_water")), "{problem}");
    // an access unit that has a key for the sandbox only
    let keyless = json!({
        "tax_no": foreign, "name": "无密钥", "role": "access", "platform_id": "f".repeat(20),
        "province_code": "13500000000", "sandbox_sm4_key": "00112233445566778899aabbccddeeff",
    });
    assert_eq!(gateway.api("POST", "/units", Some(&keyless)).0, 201);
    let (status, problem) =
        gateway.api("POST", &format!("/quotas/{foreign}/download"), Some(&json!({ "amount": "1.00" })));
    assert_eq!((status, &problem["field"]), (409, &json!("sm4_key")), "{problem}");
    assert_eq!(transfers(&simulator), 0);
}

/// A wrong upload: what of the good one is replaced, and the field that the refusal must name.
fn wrong_uploads() -> Vec<(Value, &'static str)> {
    vec![
        (json!({ "hjje": "-5.00" }), "hjje"),
        (json!({ "hjje": "1.005" }), "hjje"),
        (json!({ "hjje": 1e30 }), "hjje"),
        (json!({ "hjje": "9999999999999999.00" }), "hjje"),
        (json!({ "lzfpbz": "1", "hjje": "5.00" }), "hjje"),
        (json!({ "lzfpbz": "2" }), "lzfpbz"),
        (json!({ "hjse": "0.999" }), "hjse"),
        (json!({ "kprq": "2020-01-05 10:00:00" }), "kprq"),
        (json!({ "kprq": "2199-01-05 10:00:00" }), "kprq"),
        (json!({ "kprq": "yesterday" }), "kprq"),
        (json!({ "xsfnsrsbh": "91350100M000100Y43" }), "xsfnsrsbh"),
        (json!({ "fphm": "123" }), "fphm"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_uploads_and_transfers_are_refused_in_the_platforms_form_by_field() {
    let dir = tempfile::tempdir().unwrap();
    let (simulator, gateway) = set_up(dir.path());
    let unit = simulator.units.using().clone();
    let client = Client::new(gateway.plain, &simulator.units, &unit);
    client.download(&unit.tax_no, "1000.00", &serial(&unit, 1)).await;
    let number = client.number_range(&unit.tax_no, 1, &serial(&unit, 2)).await.remove(0);
    for (change, field) in wrong_uploads() {
        let mut upload = invoice(&unit, &number, 1000);
        for (name, value) in change.as_object().unwrap() {
            upload[name] = value.clone();
        }
        refused(&client.call("QDFPSC", &json!([upload])).await, field, &change);
    }
    let good = invoice(&unit, &number, 1000);
    refused(&client.call("QDFPSC", &json!([good, good])).await, "fphm", &json!("twice"));
    let transfer = |sqed: Value, serial: String| json!({ "nsrsbh": unit.tax_no, "ptbh": unit.access_platform_id, "sqlx": "0", "sqed": sqed, "ywlsh": serial });
    for sqed in [json!("-1.00"), json!(0), json!("1.005"), json!("1e30"), json!("x")] {
        refused(&client.call("XZTHSXED", &transfer(sqed.clone(), serial(&unit, 3))).await, "sqed", &sqed);
    }
    let reused = client.call("XZTHSXED", &transfer(json!("2000.00"), serial(&unit, 1))).await;
    refused(&reused, "ywlsh", &json!("reused"));
    let mut foreign = transfer(json!("1.00"), serial(&unit, 4));
    foreign["nsrsbh"] = json!(simulator.units.access().tax_no);
    refused(&client.call("XZTHSXED", &foreign).await, "nsrsbh", &json!("foreign"));
    let calls = simulator.calls();
    let left = |service: &str| calls.iter().filter(|call| call["service"] == service).count();
    assert_eq!((left("QDFPSC"), left("XZTHSXED")), (0, 1));
    // the same serial with the same content is a repetition, and goes through
    let repeated = client.download(&unit.tax_no, "1000.00", &serial(&unit, 1)).await;
    assert_eq!(repeated.code(), "00", "{repeated:?}");
}

/// HTTP 200 with a `GW-` code and a sentence that names the field.
fn refused(answer: &Answer, field: &str, what: &Value) {
    let Answer::Error { status: 200, code, text } = answer else { panic!("{what}: {answer:?}") };
    assert!(code.starts_with("GW-"), "{what}: {answer:?}");
    assert!(text.contains(field), "{what}: {text} names {field}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_without_a_key_cannot_upload_and_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let simulator = Simulator::start();
    let gateway = Gateway::start(dir.path(), &simulator);
    let unit = simulator.units.access().clone();
    let registered = json!({
        "tax_no": unit.tax_no, "name": unit.name, "role": "access", "platform_id": unit.platform_id,
        "province_code": unit.province_code, "sandbox_sm4_key": "00112233445566778899aabbccddeeff",
    });
    assert_eq!(gateway.api("POST", "/units", Some(&registered)).0, 201);
    let client = Client::new(gateway.plain, &simulator.units, &unit);
    let answer = client.call("QDFPSC", &json!([invoice(&unit, "26000000000000000001", 1)])).await;
    refused(&answer, "SM4", &json!("no key"));
    assert!(simulator.calls().iter().all(|call| call["service"] != "QDFPSC"));
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_lack_credit_wait_for_one_download_and_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (simulator, gateway) = set_up(dir.path());
    let unit = simulator.units.using().clone();
    let path = format!("/quotas/{}", unit.tax_no);
    let (status, shown) = gateway.api("PATCH", &path, Some(&json!({ "top_up_on_demand": true })));
    assert_eq!((status, &shown["settings"]["top_up_on_demand"]), (200, &json!(true)), "{shown}");
    let client = Client::new(gateway.plain, &simulator.units, &unit);
    let numbers = client.number_range(&unit.tax_no, 16, &serial(&unit, 1)).await;
    let uploads = numbers.iter().map(|number| {
        let (client, upload) = (client.clone(), json!([invoice(&unit, number, 5_000)]));
        async move { client.call("QDFPSC", &upload).await }
    });
    let answers = futures_util::future::join_all(uploads).await;
    assert!(answers.iter().all(|answer| answer.code() == "00"), "{answers:?}");
    assert_eq!(transfers(&simulator), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_usage_record_is_filtered_and_exported_without_formulas() {
    let dir = tempfile::tempdir().unwrap();
    let (simulator, gateway) = set_up(dir.path());
    let unit = simulator.units.using().clone();
    let client = Client::new(gateway.plain, &simulator.units, &unit);
    client.download(&unit.tax_no, "1000.00", &serial(&unit, 1)).await;
    let numbers = client.number_range(&unit.tax_no, 3, &serial(&unit, 2)).await;
    simulator.faults(&json!([{ "kind": "fail_upload", "service": "QDFPSC", "text": "=cmd|'/C calc'!A0" }]));
    for number in &numbers {
        let upload = client.call("QDFPSC", &json!([invoice(&unit, number, 5_000)])).await;
        client.result(upload.data()["sllsh"].as_str().unwrap()).await;
    }
    let get = |query: &str| gateway.api("GET", &format!("/quotas/{}/entries?{query}", unit.tax_no), None).1;
    let count = |query: &str| get(query)["items"].as_array().unwrap_or(&Vec::new()).len();
    assert_eq!((count(""), count("state=issued"), count("state=released")), (3, 2, 1));
    assert_eq!(count(&format!("invoice_no={}", numbers[1])), 1);
    let exchange = get(&format!("invoice_no={}", numbers[1]))["items"][0]["exchange"].clone();
    assert_eq!(count(&format!("exchange={}", exchange.as_str().unwrap())), 1);
    assert_eq!((count("from=2199-01-01"), count("to=2199-01-01"), count("to=2020-01-01")), (0, 3, 0));
    let path = format!("/quotas/{}/entries/export", unit.tax_no);
    let (status, csv) = gateway.api_bytes("GET", &path, None);
    let csv = String::from_utf8(csv).unwrap();
    assert_eq!((status, csv.lines().count()), (200, 4), "{csv}");
    assert!(csv.contains(",'=cmd|") && csv.contains(&numbers[2]), "{csv}");
    let (_, jsonl) = gateway.api_bytes("GET", &format!("{path}?format=jsonl&state=issued"), None);
    assert_eq!(String::from_utf8(jsonl).unwrap().lines().count(), 2);
    let (status, problem) = gateway.api("GET", &format!("{path}?format=xls"), None);
    assert_eq!((status, &problem["field"]), (422, &json!("format")));
}
