//! Clients of every kind: those that leave, those that send too much, old and odd ones.

use serde_json::{Value, json};

use crate::{
    site::{Done, Site},
    tools::encrypt,
};

const READ: &str = "/access/v2/invoke/202007/CXNSRJBXX";
const CONFIRM: &str = "/access/v2/invoke/202007/SCFPHZQRXX";

/// A call whose body takes longer than the client waits.
fn break_off<'s>(site: &'s Site, url: &str, option: &str) -> Done<'s> {
    let call = site.post(url, vec![b'A'; 400_000]);
    let done = call.args(&[option, "--limit-rate", "20k", "--max-time", "2", "-H", "Expect:"]).try_send();
    assert_eq!(done.got.exit, 28, "{}", done.got.said);
    done
}

fn assert_fields(record: &Value, fields: &[(&str, Value)]) {
    for (name, value) in fields {
        assert_eq!(record[*name], *value, "{name}: {record}");
    }
}

#[test]
fn of_a_call_that_must_be_known_whole_nothing_goes_on_when_the_client_breaks_off() {
    let site = Site::start();
    for (url, option) in [
        (site.http(CONFIRM), "--http1.1"),
        (site.https(CONFIRM), "--http1.1"),
        (site.https(CONFIRM), "--http2"),
    ] {
        let done = break_off(&site, &url, option);
        let record = done.record();
        assert!(done.arrived().is_none());
        assert_fields(&record, &[("decision", json!("refused")), ("decision_code", json!("GW-REQUEST"))]);
    }
}

#[test]
fn a_read_that_the_client_breaks_off_is_broken_off_at_the_platform_too() {
    let site = Site::start();
    for (url, option) in [(site.http(READ), "--http1.1"), (site.https(READ), "--http2")] {
        let done = break_off(&site, &url, option);
        let record = done.record();
        assert_fields(&record, &[("state", json!("aborted")), ("decision", json!("forwarded"))]);
        assert_fields(&record, &[("request_sha256", json!(null)), ("status", json!(null))]);
        assert!(record["request_size"].as_u64().is_some_and(|size| (1..400_000).contains(&size)), "{record}");
        let arrived = done.arrived().unwrap();
        assert_eq!((&arrived["body_size"], &arrived["processed"]), (&json!(null), &json!(false)));
    }
}

#[test]
fn a_body_over_the_limit_is_refused_with_the_setting_to_change() {
    let site = Site::start_with(&[], |_| "[limits]\nrequest_body = \"256KiB\"\n".to_owned());
    for (url, option) in [
        (site.http(CONFIRM), "--http1.1"),
        (site.https(CONFIRM), "--http1.1"),
        (site.https(CONFIRM), "--http2"),
    ] {
        for expect in ["Expect:", "Expect: 100-continue"] {
            let done = site.post(&url, vec![b'A'; 4 << 20]).args(&[option, "-H", expect]).send();
            let (error, text) = done.got.error();
            assert_eq!(error, (413, "413".to_owned(), "GW-SIZE".to_owned()), "{option} {expect}");
            assert!(text.contains("request_body"), "{text}");
            assert!(done.arrived().is_none());
            let record = done.record();
            assert_fields(&record, &[("decision", json!("refused")), ("decision_code", json!("GW-SIZE"))]);
        }
    }
    // what is not read is not limited
    site.post(&site.https(READ), vec![b'A'; 1 << 20]).send().assert_exact();
}

#[test]
fn other_methods_old_tls_and_requests_in_proxy_form_pass() {
    let site = Site::start();
    let body = encrypt(&site.key(), &json!({ "nsrsbh": site.unit().tax_no }).to_string());
    let old = site.post(&site.https(READ), body.clone()).args(&["--tls-max", "1.2"]).send();
    assert!(old.got.said.contains("TLSv1.2"), "{}", old.got.said);
    old.assert_exact();

    for option in ["--http1.1", "--http2"] {
        let got = site.post(&site.https(READ), Vec::new()).args(&[option, "-X", "PUT"]).send();
        let (arrived, record) = (got.arrived().unwrap(), got.assert_recorded());
        assert_eq!((&arrived["method"], &record["method"]), (&json!("PUT"), &json!("PUT")));
        assert_eq!(arrived["answer_sha256"], record["response_sha256"]);
    }

    // some systems are told of a "proxy" and then name the platform in the request line
    let gateway = format!("http://{}", site.gateway.plain);
    let url = format!("http://lqpt.chinatax.gov.cn:{}{READ}?a=1", site.simulator.address.port());
    let proxied = site.post(&url, body).args(&["--proxy", &gateway]).send();
    let arrived = proxied.arrived().unwrap();
    assert_eq!((&arrived["path"], &arrived["query"]), (&json!(READ), &json!("a=1")));
    assert_eq!(proxied.got.data(&site.key())["returncode"], "00");
    proxied.assert_recorded();
}
