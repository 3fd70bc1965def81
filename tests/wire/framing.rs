//! Ways to frame a request: HTTP leaves them to each connection, so the platform need not see them, and what it gets
//! is the same.

use serde_json::json;

use crate::{
    site::{Site, headers_of},
    tools::encrypt,
};

const READ: &str = "/access/v2/invoke/202007/CXNSRJBXX";
/// Read before it is sent, since the books follow it.
const WATCHED: &str = "/access/v2/invoke/202007/CXSXED";

fn body(site: &Site) -> Vec<u8> {
    encrypt(&site.key(), &json!({ "nsrsbh": site.unit().tax_no }).to_string())
}

#[test]
fn a_request_in_chunks_arrives_whole() {
    let site = Site::start();
    for path in [READ, WATCHED] {
        for url in [site.http(path), site.https(path)] {
            let call = site.post(&url, body(&site)).args(&["--http1.1"]);
            let done = call.header("Transfer-Encoding", "chunked").send();
            let sent = |name: &str| done.got.sent.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
            assert!(sent("transfer-encoding") && !sent("content-length"), "{:?}", done.got.sent);
            done.assert_exact();
            assert_eq!(done.got.data(&site.key())["returncode"], "00");
        }
    }
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let site = Site::start();
    for path in [READ, WATCHED] {
        let call =
            site.post(&site.https(path), body(&site)).args(&["--http1.1", "--expect100-timeout", "30"]);
        let done = call.header("Expect", "100-continue").send();
        assert!(done.got.said.contains("< HTTP/1.1 100 Continue"), "{}", done.got.said);
        done.assert_exact();
        assert_eq!(done.got.data(&site.key())["returncode"], "00");
    }
}

#[test]
fn headers_of_the_connection_stay_on_it() {
    let site = Site::start();
    // curl offers an upgrade to HTTP/2 over plain HTTP with three headers
    let done = site
        .post(&site.http(READ), body(&site))
        .args(&["--http2"])
        .header("Keep-Alive", "timeout=5")
        .header("TE", "trailers")
        .send();
    assert!(done.got.sent.iter().any(|(name, _)| name == "Upgrade"), "{:?}", done.got.sent);
    let arrived = done.assert_exact();
    for (name, value) in headers_of(&arrived) {
        let own = ["connection", "upgrade", "http2-settings", "keep-alive", "te"];
        assert!(!own.contains(&name.to_ascii_lowercase().as_str()), "{name}: {value}");
    }
}

#[test]
fn several_calls_on_one_connection_each_get_their_answer() {
    let site = Site::start();
    for (url, option) in [(site.http(READ), "--http1.1"), (site.https(READ), "--http2")] {
        // the second URL repeats the first call on the same connection
        let call = site.post(&url, body(&site)).args(&[option, &url]);
        let done = call.try_send();
        assert_eq!(done.got.exit, 0, "{}", done.got.said);
        assert!(done.got.said.contains("Re-using existing connection"), "{}", done.got.said);
        let text = String::from_utf8(done.got.body).unwrap();
        assert_eq!(text.matches("\"httpStatusCode\"").count(), 2, "{text}");
    }
}
