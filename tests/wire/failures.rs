//! The platform out of reach, silent, or breaking off: what the client is told, and what the log says.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
};

use serde_json::{Value, json};

use crate::{
    common::{eventually, process::Simulator},
    site::{Done, Site},
    tools::encrypt,
};

const READ: &str = "/access/v2/invoke/202007/CXNSRJBXX";
const CONFIRM: &str = "/access/v2/invoke/202007/SCFPHZQRXX";

/// An address where nothing listens: it was free a moment ago.
pub(crate) fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// `/NAME/access/…` leads to this address; with little patience in one step.
fn upstream(simulator: &Simulator, name: &str, address: SocketAddr, patience: &str) -> String {
    format!(
        "[[upstream]]\nname = \"{name}\"\nbase_url = \"https://lqpt.chinatax.gov.cn:{}\"\nca_file = \"{}\"\n\
         addresses = [\"{address}\"]\n{patience} = \"400ms\"\n\
         [[route]]\nprefix = \"/{name}/\"\nreplace = \"/\"\nupstream = \"{name}\"\n",
        simulator.address.port(),
        simulator.dir.path().join("ca.pem").display(),
    )
}

fn body(site: &Site) -> Vec<u8> {
    encrypt(&site.key(), &json!({ "nsrsbh": site.unit().tax_no }).to_string())
}

/// Fails unless the client got this status and code in the platform's envelope, and the log has the same.
fn assert_failed(done: &Done<'_>, status: u16, code: &str) -> (String, Value) {
    let (error, text) = done.got.error();
    assert_eq!(error, (status, status.to_string(), code.to_owned()), "{}", done.got.said);
    let content_type = ("content-type".to_owned(), "application/json;charset=UTF-8".to_owned());
    assert!(done.got.headers.contains(&content_type), "{:?}", done.got.headers);
    let record = done.assert_recorded();
    assert_eq!((&record["decision"], &record["decision_code"]), (&json!("failed"), &json!(code)), "{record}");
    assert_eq!((&record["error_code"], &record["error_text"]), (&json!(code), &json!(text)), "{record}");
    assert_eq!(record["state"], "complete", "{record}");
    (text, record)
}

#[test]
fn a_platform_that_cannot_be_reached_is_502_and_nothing_was_sent() {
    let site =
        Site::start_with(&[], |simulator| upstream(simulator, "down", closed_port(), "response_timeout"));
    for path in [READ, CONFIRM] {
        let done = site.post(&site.https(&format!("/down{path}")), body(&site)).args(&["--http1.1"]).send();
        let (text, _) = assert_failed_unless_unread(&done, path);
        assert!(text.contains("没有发出"), "{text}");
    }
}

/// The gateway does not wait for the body of a read whose platform it cannot reach.
fn assert_failed_unless_unread(done: &Done<'_>, path: &str) -> (String, Value) {
    if path == CONFIRM {
        return assert_failed(done, 502, "GW-UP-CONNECT");
    }
    let (error, text) = done.got.error();
    assert_eq!(error, (502, "502".to_owned(), "GW-UP-CONNECT".to_owned()), "{}", done.got.said);
    let record = done.record();
    assert_eq!((&record["decision"], &record["decision_code"]), (&json!("failed"), &json!("GW-UP-CONNECT")));
    assert_eq!((&record["request_size"], &record["request_sha256"]), (&json!(0), &json!(null)), "{record}");
    (text, record)
}

#[test]
fn a_platform_whose_name_nobody_knows_is_502() {
    let site = Site::start_with(&[], |simulator| {
        // a machine may have no authorities of its own
        let ca = simulator.dir.path().join("ca.pem");
        format!(
            "[[upstream]]\nname = \"lost\"\nbase_url = \"https://lqpt.invalid:8443\"\nca_file = \"{}\"\n\
             [[route]]\nprefix = \"/lost/\"\nreplace = \"/\"\nupstream = \"lost\"\n",
            ca.display()
        )
    });
    let done = site.post(&site.https(&format!("/lost{CONFIRM}")), body(&site)).args(&["--http1.1"]).send();
    let (text, _) = assert_failed(&done, 502, "GW-UP-DNS");
    assert!(text.contains("DNS") && text.contains("没有发出"), "{text}");
}

#[test]
fn a_platform_that_takes_the_call_and_stays_silent_is_504_and_may_have_it() {
    let site =
        Site::start_with(&[], |simulator| upstream(simulator, "slow", simulator.address, "response_timeout"));
    site.simulator.faults(&json!([{ "kind": "stall", "times": 4 }]));
    // over HTTP/2 the end of an empty body is a frame of its own
    for (path, body, option) in [
        (READ, body(&site), "--http1.1"),
        (CONFIRM, body(&site), "--http1.1"),
        (READ, body(&site), "--http2"),
        (READ, Vec::new(), "--http2"),
    ] {
        let done = site.post(&site.https(&format!("/slow{path}")), body).args(&[option]).send();
        let (text, _) = assert_failed(&done, 504, "GW-UP-TIMEOUT");
        assert!(text.contains("可能已到达"), "{text}");
        assert!(done.arrived().is_some_and(|call| call["answered"] == false));
    }
}

#[test]
fn a_port_that_says_nothing_in_the_handshake_is_502() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let site = Site::start_with(&[], |simulator| upstream(simulator, "mute", address, "tls_timeout"));
    let done = site.post(&site.https(&format!("/mute{CONFIRM}")), body(&site)).args(&["--http1.1"]).send();
    assert_failed(&done, 502, "GW-UP-TLS");
    drop(silent);
}

#[test]
fn a_platform_that_hangs_up_is_502_and_is_never_asked_twice() {
    let site = Site::start();
    for kind in ["reset_before_read", "reset_after_read"] {
        site.simulator.faults(&json!([{ "kind": kind, "times": 2 }]));
        for path in [READ, CONFIRM] {
            let done = site.post(&site.https(path), body(&site)).args(&["--http1.1"]).send();
            let (text, _) = assert_failed(&done, 502, "GW-UP-HEAD");
            assert!(text.contains("可能已到达"), "{text}");
            assert!(done.arrived().is_some_and(|call| call["answered"] == false));
        }
    }
}

#[test]
fn an_answer_that_breaks_off_breaks_off_for_the_client_too_or_is_502() {
    let site = Site::start();
    site.simulator.faults(&json!([{ "kind": "truncate", "times": 2 }]));
    // a read is on its way to the client already: the connection ends before the announced length
    let read = site.post(&site.https(READ), body(&site)).args(&["--http1.1"]).try_send();
    assert_eq!((read.got.exit, read.got.status()), (18, 200), "{}", read.got.said);
    let record = read.record();
    assert_eq!((&record["state"], &record["decision"]), (&json!("aborted"), &json!("forwarded")), "{record}");
    assert_eq!(
        (&record["response_size"], &record["response_sha256"]),
        (&json!(read.got.body.len()), &json!(null))
    );
    assert_eq!(read.kept("response"), read.got.body);
    // a confirmation is read whole first
    let confirm = site.post(&site.https(CONFIRM), body(&site)).args(&["--http1.1"]).send();
    assert_failed(&confirm, 502, "GW-UP-BODY");
}

#[test]
fn an_answer_that_stands_still_ends_in_time() {
    let site =
        Site::start_with(&[], |simulator| upstream(simulator, "slow", simulator.address, "body_timeout"));
    site.simulator.faults(&json!([{ "kind": "drip", "times": 3, "ms": 60_000 }]));
    for (option, exit) in [("--http1.1", 18), ("--http2", 92)] {
        let url = site.https(&format!("/slow{READ}"));
        let read = site.post(&url, body(&site)).args(&[option, "--max-time", "20"]).try_send();
        assert_eq!((read.got.exit, read.got.status()), (exit, 200), "{}", read.got.said);
        let record = read.record();
        assert_eq!((&record["state"], &record["response_sha256"]), (&json!("aborted"), &json!(null)));
    }
    let confirm = site.post(&site.https(&format!("/slow{CONFIRM}")), body(&site)).send();
    assert_failed(&confirm, 504, "GW-UP-IDLE");
}

#[test]
fn a_platform_that_fails_again_and_again_is_left_alone_for_a_while_and_then_tried_by_one_call() {
    let address = closed_port();
    let site = Site::start_with(&[], |simulator| {
        upstream(simulator, "down", address, "response_timeout")
            .replace("[[route]]", "breaker_failures = 2\nbreaker_pause = \"2s\"\n[[route]]")
    });
    let call = || site.post(&site.https(&format!("/down{CONFIRM}")), body(&site)).args(&["--http1.1"]).send();
    for _ in 0..2 {
        assert_failed(&call(), 502, "GW-UP-CONNECT");
    }
    let refused = call();
    let (text, _) = assert_failed(&refused, 503, "GW-UP-OPEN");
    assert!(text.contains("没有发出"), "{text}");
    let wait = refused.got.headers.iter().find(|(name, _)| name == "retry-after").unwrap();
    assert!(["1", "2"].contains(&&*wait.1), "{wait:?}");
    let state = || figure(&site, "upstream_breaker_state", "down");
    assert_eq!((state(), figure(&site, "upstream_breaker_opened_total", "down")), (2, 1));
    // the platform comes back: the first call after the pause goes through, and all after it
    let platform = TcpListener::bind(address).unwrap();
    forward_all(platform, site.simulator.address);
    let done = eventually("a call goes through again", || {
        let done = call();
        (done.got.status() == 200).then_some(done)
    });
    assert!(done.arrived().is_some());
    assert_eq!((call().got.status(), state()), (200, 0));
}

/// The value of a metric of one upstream.
fn figure(site: &Site, name: &str, upstream: &str) -> u64 {
    let metrics = site.gateway.metrics();
    let start = format!("leqi_gateway_{name}{{upstream=\"{upstream}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("no {start}in {metrics}")).parse().unwrap()
}

/// Carries every connection on to this address, both ways, until the test ends.
fn forward_all(from: TcpListener, to: SocketAddr) {
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        std::thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
    };
    std::thread::spawn(move || {
        for socket in from.incoming().map_while(Result::ok) {
            let onward = TcpStream::connect(to).unwrap();
            copy(socket.try_clone().unwrap(), onward.try_clone().unwrap());
            copy(onward, socket);
        }
    });
}
