//! Paths that could be read in two ways, upstreams below a path, and addresses in answers.

use std::io::Write;

use serde_json::json;

use crate::{
    peer::{Peer, Then},
    site::Site,
    tools::{Got, encrypt},
};

const READ: &str = "/access/v2/invoke/202007/CXNSRJBXX";

/// A peer that answers with the request's query as both headers.
fn redirecting() -> Peer {
    Peer::start(|stream, request| {
        let target = request.split(' ').nth(1).unwrap();
        let reference = target.split_once('?').map_or("", |(_, query)| query);
        let head = format!(
            "HTTP/1.1 302 Found\r\nLocation: {reference}\r\nContent-Location: {reference}\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).map(|()| Then::Keep)
    })
}

fn header<'g>(got: &'g Got, name: &str) -> Option<&'g str> {
    got.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

#[test]
fn what_an_answer_calls_its_place_is_led_back_to_the_gateway_as_the_client_calls_it() {
    let peer = redirecting();
    let site = Site::start_with(&[], |_| peer.upstream("moved", "/tax/leqi/", ""));
    let own = format!("http://{}", peer.address);
    for (option, base) in
        [("--http1.1", site.https("")), ("--http2", site.https("")), ("--http1.1", site.http(""))]
    {
        for (reference, expected) in [
            (format!("{own}/tax/leqi/access/x/?a=%2F"), format!("{base}/moved/access/x/?a=%2F")),
            (format!("//{}/tax/leqi/access/x", peer.address), format!("{base}/moved/access/x")),
            ("/tax/leqi/access/x".to_owned(), "/moved/access/x".to_owned()),
            ("/elsewhere".to_owned(), "/elsewhere".to_owned()),
            ("x?y".to_owned(), "x?y".to_owned()),
            ("https://www.chinatax.gov.cn/a".to_owned(), "https://www.chinatax.gov.cn/a".to_owned()),
            (format!("{own}/elsewhere"), format!("{own}/elsewhere")),
        ] {
            let url = format!("{base}/moved{READ}?{reference}");
            let done = site.post(&url, Vec::new()).args(&[option]).send();
            assert_eq!(done.got.status(), 302, "{}", done.got.said);
            for name in ["location", "content-location"] {
                assert_eq!(header(&done.got, name), Some(expected.as_str()), "{reference} {option}");
            }
            // the log keeps what the platform said
            let logged = done.record()["response_headers"].to_string();
            assert!(logged.contains(&json!(reference).to_string()), "{logged}");
        }
    }
    let target = format!("POST /tax/leqi{READ}?");
    assert!(peer.requests().iter().all(|request| request.starts_with(&target)), "{:?}", peer.requests());
}

#[test]
fn a_client_that_uses_the_gateway_as_a_proxy_is_led_back_to_what_it_called() {
    let peer = redirecting();
    let site = Site::start_with(&[], |_| peer.upstream("moved", "", ""));
    let url = format!("http://platform.example:81/moved{READ}?http://{}/access/y", peer.address);
    let proxy = format!("http://{}", site.gateway.plain);
    let done = site.post(&url, Vec::new()).args(&["--proxy", &proxy]).send();
    assert_eq!(header(&done.got, "location"), Some("http://platform.example:81/moved/access/y"));
}

#[test]
fn a_path_that_leads_out_of_its_route_is_refused_however_it_is_written() {
    let site = Site::start();
    let key = site.key();
    for path in [
        "/access/sandbox/../v2/invoke/202007/QDFPSC",
        "/access/sandbox/%2e%2E/v2/invoke/202007/QDFPSC",
        "/access/sandbox/..%2fv2/invoke/202007/QDFPSC",
        "/access/sandbox/..%5Cv2/invoke/202007/QDFPSC",
        "/access/sandbox/x/..;a=b/../v2/invoke/202007/QDFPSC",
        "/access/%73andbox/v2/invoke/202007/QDFPSC",
        "/access//sandbox/v2/invoke/202007/QDFPSC",
        "/access/../_sim/books",
        "/leqi-api/%2e%2e/_sim/books",
    ] {
        for option in ["--http1.1", "--http2"] {
            let call = site.post(&site.https(path), encrypt(&key, "[]")).args(&["--path-as-is", option]);
            let done = call.send();
            let (error, text) = done.got.error();
            assert_eq!(error, (400, "400".to_owned(), "GW-PATH".to_owned()), "{path}");
            assert!(text.contains("未转发"), "{text}");
            assert!(done.arrived().is_none());
            let record = done.record();
            assert_eq!((&record["decision_code"], &record["path"]), (&json!("GW-PATH"), &json!(path)));
        }
    }
}

#[test]
fn a_path_that_stays_in_its_route_passes_as_it_was_written() {
    let site = Site::start();
    let body = encrypt(&site.key(), "{}");
    for path in [
        "/access/v2/invoke/202007/../202007/CXNSRJBXX",
        "/access/v2/./invoke/202007/CXNSRJBX%58",
        "/access/v2//invoke/202007/CXNSRJBXX/",
        "/access/v2/invoke/202007%2FCXNSRJBXX",
        "/access/v2/invoke/202007/CXNSRJBXX;a=b",
    ] {
        for option in ["--http1.1", "--http2"] {
            let call = site.post(&site.https(path), body.clone()).args(&["--path-as-is", option]);
            call.send().assert_exact();
        }
    }
}

#[test]
fn a_call_that_is_refused_by_its_head_is_never_asked_for_its_body() {
    let site = Site::start_with(&[], |_| {
        "[[listen]]\naddress = \"127.0.0.1:0\"\nplaintext = true\nallow = [\"10.0.0.0/8\"]\n\
         [limits]\nrequest_body = \"1KiB\"\n"
            .to_owned()
    });
    let strict = format!("http://{}{READ}", site.gateway.listeners[2]);
    let upload = site.https("/access/v2/invoke/202007/QDFPSC");
    for (url, flag, code) in [
        (strict, "", "GW-CLIENT"),
        (site.https("/nowhere"), "", "GW-ROUTE"),
        (site.https("/access//sandbox/v2"), "", "GW-PATH"),
        (upload.clone(), "1", "GW-SXCSBZ"),
        (upload, "", "GW-SIZE"),
    ] {
        let call = site.post(&url, vec![b'A'; 4096]).args(&["--http1.1", "--expect100-timeout", "30"]);
        let done = call.header("sxcsbz", flag).header("Expect", "100-continue").send();
        assert_eq!(done.got.error().0.2, code);
        assert!(!done.got.said.contains("100 Continue"), "{}", done.got.said);
        assert!(!done.got.said.contains("We are completely uploaded"), "{}", done.got.said);
        assert!(done.arrived().is_none());
    }
}
