//! What the client sends is what the platform receives.

use serde_json::{Value, json};

use crate::{
    common::message::{invoice, numbers, serial},
    site::{Done, Site, headers_of},
    tools::{encrypt, encrypt_in_lines},
};

const READ: &str = "/access/v2/invoke/202007/CXNSRJBXX";

/// The ways to speak to the gateway: scheme, curl's option, the answer's version.
const WAYS: [(&str, &str, &str); 4] = [
    ("http", "--http1.1", "HTTP/1.1 200"),
    ("https", "--http1.1", "HTTP/1.1 200"),
    ("https", "--http2", "HTTP/2 200"),
    ("https", "--http1.0", "HTTP/1.0 200"),
];

fn url(site: &Site, scheme: &str, path: &str) -> String {
    if scheme == "http" { site.http(path) } else { site.https(path) }
}

/// The value of a header as the simulator received it, by its exact name.
fn header(arrived: &Value, name: &str) -> Option<String> {
    headers_of(arrived).into_iter().find(|(written, _)| written == name).map(|(_, value)| value)
}

#[test]
fn a_read_passes_byte_for_byte_over_every_protocol_with_any_path_and_query() {
    let site = Site::start();
    let key = site.key();
    let body = encrypt(&key, &json!({ "nsrsbh": site.unit().tax_no }).to_string());
    for (scheme, option, version) in WAYS {
        for tail in ["", "/", "?a=%7e&b=+&&c", "/?x=%E5%8F%91&y=?/", "?"] {
            let target = format!("{READ}{tail}");
            let done = site.post(&url(&site, scheme, &target), body.clone()).args(&[option]).send();
            assert!(done.got.status_line.starts_with(version), "{option}: {}", done.got.status_line);
            done.assert_exact();
            assert_eq!(done.got.data(&key)["nsrsbh"], site.unit().tax_no.as_str());
            assert_eq!(done.record()["path"], target);
        }
    }
}

#[test]
fn header_names_keep_their_case_and_values_their_emptiness_underscores_and_bytes() {
    let site = Site::start();
    let body = encrypt(&site.key(), "{}");
    for scheme in ["http", "https"] {
        let done = site
            .post(&url(&site, scheme, READ), body.clone())
            .args(&["--http1.1"])
            .header("X_Under_Score", "a_b")
            .header("PTLX", "")
            .header("X-Name", "广州 示例")
            .header("X-Inner", "a  b\tc; d=\"e\"")
            .header("X-Twice", "1")
            .header("x-twice", "2")
            .header("Cookie", "a=b")
            .header("Authorization", "Basic YTpi")
            .send();
        let arrived = done.assert_exact();
        assert_eq!(header(&arrived, "access_signature").as_deref(), Some(""), "{arrived}");
        assert!(header(&arrived, "clientTid").is_some_and(|tid| tid.starts_with("wire-")), "{arrived}");
        assert_eq!(header(&arrived, "X-Name").as_deref(), Some("广州 示例"));
        assert_eq!(header(&arrived, "PTLX").as_deref(), Some(""));
        let twice: Vec<_> = headers_of(&arrived)
            .into_iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("x-twice"))
            .collect();
        assert_eq!(twice, [("X-Twice".to_owned(), "1".to_owned()), ("x-twice".to_owned(), "2".to_owned())]);
        let logged = done.record()["request_headers"].to_string();
        assert!(!logged.contains("YTpi") && !logged.contains("a=b"), "credentials in the log: {logged}");
    }
}

#[test]
fn a_body_arrives_as_it_was_written_however_odd() {
    let site = Site::start();
    let key = site.key();
    let json = json!({ "nsrsbh": site.unit().tax_no, "bz": "长".repeat(40) }).to_string();
    let lines = encrypt_in_lines(&key, &json);
    assert!(lines.iter().filter(|byte| **byte == b'\n').count() > 2);
    let crlf = String::from_utf8(lines.clone()).unwrap().replace('\n', "\r\n").into_bytes();
    let unreadable = b" {\"nsrsbh\" :\t1}\r\n\0\xff=/+%3d".to_vec();
    for (name, body, readable) in [("lines", lines, true), ("crlf", crlf, true), ("noise", unreadable, false)]
    {
        for scheme in ["http", "https"] {
            let done = site.post(&url(&site, scheme, READ), body.clone()).send();
            done.assert_exact();
            assert_eq!(done.kept("request"), body, "{name}");
            if readable {
                assert_eq!(done.got.data(&key)["returncode"], "00", "{name}");
            }
        }
    }
    // no body at all, and without the headers that a careful client sends
    let bare = site.post(&site.http(READ), Vec::new()).args(&["-H", "Content-Type:"]).send();
    bare.assert_exact();
}

/// Credit and numbers for uploads.
fn provide(site: &Site, count: usize) -> Vec<String> {
    let unit = site.unit();
    let download = json!({ "nsrsbh": unit.tax_no, "ptbh": unit.access_platform_id, "sqlx": "0", "sqed": "100000.00",
                           "ywlsh": serial(unit, 1) });
    assert_eq!(site.ask("XZTHSXED", &download)["returncode"], "00");
    let range = json!({ "nsrsbh": unit.tax_no, "lysl": count.to_string(), "ywlsh": serial(unit, 2) });
    numbers(site.ask("QDFPPLFM", &range)["fpqshm"].as_str().unwrap(), count)
}

#[test]
fn an_upload_passes_byte_for_byte_although_it_is_read_first() {
    let site = Site::start();
    let (key, unit) = (site.key(), site.unit());
    let numbers = provide(&site, 400);
    let mut batches = numbers.chunks(100);
    for (scheme, option, _) in WAYS {
        // as a careless client writes it: the gateway must not tidy it up
        let invoices: Vec<Value> = batches.next().unwrap().iter().map(|no| invoice(unit, no, 100)).collect();
        let json = serde_json::to_string_pretty(&invoices).unwrap();
        let target = url(&site, scheme, "/access/v2/invoke/202007/QDFPSC/?t=1");
        let done = site.post(&target, encrypt_in_lines(&key, &json)).args(&[option]).send();
        assert_eq!(done.got.data(&key)["returncode"], "00", "{}", done.got.said);
        let arrived = done.assert_exact();
        assert_eq!((&arrived["processed"], &arrived["code"]), (&json!(true), &json!("00")));
        let record = done.record();
        assert_eq!((&record["class"], &record["decision"]), (&json!("issue"), &json!("forwarded")));
        assert_eq!(record["invoice_nos"].as_array().unwrap().len(), 100);
    }
}

#[test]
fn every_class_of_service_passes_byte_for_byte() {
    let site = Site::start();
    let (key, unit) = (site.key(), site.unit());
    provide(&site, 1);
    let tax_no = &unit.tax_no;
    let month = &crate::common::message::now()[..7];
    for (service, json) in [
        ("CXSXED", json!({ "nsrsbh": tax_no })),
        ("TZSXEDYXQ", json!({ "xsfnsrsbh": tax_no, "sxedsq": month })),
        ("CXQDFPSCJG", json!({ "sllsh": "0".repeat(32) })),
        ("CXFPHZQRXX", json!({ "xsfnsrsbh": tax_no, "xsfsjswjgdm": unit.province_code })),
        ("SCFPHZQRXX", json!({ "xsfnsrsbh": tax_no })),
        ("WEIZHIFUWU", json!({ "nsrsbh": tax_no })),
    ] {
        let target = site.https(&format!("/access/v2/invoke/202007/{service}"));
        let done: Done<'_> = site.post(&target, encrypt(&key, &json.to_string())).send();
        let arrived = done.assert_exact();
        assert_eq!(arrived["service"], service);
        assert_eq!(done.record()["service"], service);
    }
}
