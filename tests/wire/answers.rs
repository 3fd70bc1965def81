//! What the platform answers is what the client gets.

use serde_json::json;

use crate::{
    site::{Site, end_to_end},
    tools::{Got, Header, decrypt, encrypt, gunzip},
};

const READ: &str = "/access/v2/invoke/202007/CXNSRJBXX";
const LARGE: &str = "/access/v2/invoke/202019/PLFPXZSQ";

/// The headers of an answer without its time.
fn headers(got: &Got) -> Vec<Header> {
    let mut headers = end_to_end(&got.headers, false, false);
    headers.retain(|(name, _)| name != "date");
    headers
}

fn has(got: &Got, name: &str, value: &str) -> bool {
    got.headers.iter().any(|(n, v)| n.eq_ignore_ascii_case(name) && v == value)
}

#[test]
fn the_headers_of_an_answer_are_those_of_the_platform_no_more_and_no_less() {
    let site = Site::start();
    let body = encrypt(&site.key(), "{}");
    for url in [site.http(READ), site.https(READ), site.http("/access/v2/invoke/202007/CXSXED")] {
        let done = site.post(&url, body.clone()).args(&["--http1.1"]).send();
        let direct = done.direct();
        assert_eq!(headers(&done.got), headers(&direct));
        assert_eq!(done.got.status_line, direct.status_line);
        let dates = |got: &Got| got.headers.iter().filter(|(name, _)| name == "date").count();
        assert_eq!((dates(&done.got), dates(&direct)), (1, 1));
    }
}

#[test]
fn a_compressed_answer_stays_compressed_and_is_read_in_the_log() {
    let site = Site::start();
    let key = site.key();
    let json = json!({ "simSizeMb": "1" }).to_string();
    for (url, option) in
        [(site.http(LARGE), "--http1.1"), (site.https(LARGE), "--http1.1"), (site.https(LARGE), "--http2")]
    {
        let call = site.post(&url, encrypt(&key, &json)).args(&[option]);
        let done = call.header("Accept-Encoding", "gzip").send();
        assert!(has(&done.got, "content-encoding", "gzip"), "{:?}", done.got.headers);
        assert!(has(&done.got, "content-length", &done.got.body.len().to_string()), "{:?}", done.got.headers);
        done.assert_exact();
        let plain = Got { body: gunzip(&done.got.body), ..done.got };
        assert_eq!(plain.data(&key)["returncode"], "00");

        let untouched = site.post(&url, encrypt(&key, &json)).args(&[option]).send();
        assert!(!untouched.got.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-encoding")));
        untouched.assert_exact();
    }
}

#[test]
fn an_answer_of_many_megabytes_streams_through_whole() {
    let site = Site::start();
    let key = site.key();
    let body = encrypt(&key, &json!({ "simSizeMb": "5" }).to_string());
    for (url, option) in [(site.http(LARGE), "--http1.1"), (site.https(LARGE), "--http2")] {
        let done = site.post(&url, body.clone()).args(&[option]).send();
        assert!(done.got.body.len() > 8 << 20, "{}", done.got.body.len());
        done.assert_exact();
        let record = done.record();
        assert_eq!((&record["response_truncated"], &record["state"]), (&json!(true), &json!("complete")));
        let kept = done.kept("response");
        assert_eq!(kept.len(), 1 << 20);
        assert!(done.got.body.starts_with(&kept));
        assert_eq!(done.got.data(&key)["returncode"], "00");
    }
}

#[test]
fn an_answer_that_is_too_large_to_be_read_passes_unread_and_is_still_evidence() {
    let site = Site::start_with(&[], |_| "[limits]\nanswer_body = \"64B\"\n".to_owned());
    let key = site.key();
    let body = encrypt(&key, &json!({ "nsrsbh": site.unit().tax_no }).to_string());
    for option in ["--http1.1", "--http2"] {
        let url = site.https("/access/v2/invoke/202007/CXSXED");
        let done = site.post(&url, body.clone()).args(&[option]).send();
        assert_eq!(done.got.data(&key)["returncode"], "00");
        done.assert_exact();
    }
}

#[test]
fn what_the_platform_refuses_passes_in_its_own_words() {
    let site = Site::start();
    let key = site.key();
    // the wrong key: refused by the front door, number in httpStatusCode
    let wrong_key = site.post(&site.https(READ), encrypt(&"00".repeat(16), "{}")).send();
    wrong_key.assert_exact();
    assert_eq!(wrong_key.record()["error_code"], "4057");
    // a service that does not exist
    let unknown = site.post(&site.https("/access/v2/invoke/202007/XINFUWU"), encrypt(&key, "{}")).send();
    unknown.assert_exact();
    assert_eq!((&unknown.record()["error_code"], unknown.got.status()), (&json!("4061"), 200));
    // a path that the platform does not know: 404 with text
    let nowhere = site.post(&site.https("/access/v3/nothing"), Vec::new()).send();
    nowhere.assert_exact();
    assert_eq!(nowhere.got.status(), 404);
    // its web server's page
    site.simulator.faults(&json!([{ "kind": "status", "service": "CXNSRJBXX", "status": 500 }]));
    let page = site.post(&site.https(READ), encrypt(&key, "{}")).send();
    page.assert_exact();
    assert!(has(&page.got, "content-type", "text/html"), "{:?}", page.got.headers);
    assert_eq!((page.got.status(), &page.record()["decision"]), (500, &json!("forwarded")));
    // no envelope
    site.simulator.faults(&json!([{ "kind": "malformed", "service": "CXSXED" }]));
    let url = site.https("/access/v2/invoke/202007/CXSXED");
    site.post(&url, encrypt(&key, &json!({ "nsrsbh": site.unit().tax_no }).to_string()))
        .send()
        .assert_exact();
}

#[test]
fn an_answer_in_small_pieces_arrives_whole() {
    let site = Site::start();
    let key = site.key();
    site.simulator.faults(&json!([{ "kind": "drip", "ms": 2, "times": 2 }]));
    for service in ["CXNSRJBXX", "CXSXED"] {
        let url = site.https(&format!("/access/v2/invoke/202007/{service}"));
        let json = json!({ "nsrsbh": site.unit().tax_no }).to_string();
        let done = site.post(&url, encrypt(&key, &json)).send();
        done.assert_exact();
        let (_, response) = done.got.envelope();
        assert_eq!(decrypt(&key, response["Data"].as_str().unwrap())["returncode"], "00");
    }
}
