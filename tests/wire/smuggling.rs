//! Requests with another one hidden inside: whoever reads them differently from the gateway would carry out a call
//! that no credit was reserved for and no log knows. Each is sent as raw bytes; it must be answered once, with a
//! refusal, and closed, and the platform must never see what was hidden.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::json;

use crate::{common::eventually, site::Site, tools::encrypt};

const READ: &str = "/access/v2/invoke/202007/CXNSRJBXX";
/// Read before it is sent, since the books follow it.
const WATCHED: &str = "/access/v2/invoke/202007/CXSXED";
const HIDDEN: &str = "GET /access/v2/invoke/202007/CXNSRJBXX?smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

/// Sends the bytes and reads until the gateway closes.
fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // the gateway may have refused before the end
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer)
        && error.kind() != ErrorKind::ConnectionReset
    {
        let so_far = String::from_utf8_lossy(&answer);
        panic!("not closed ({error}) after {:?}: {so_far}", String::from_utf8_lossy(request));
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn statuses(answer: &str) -> Vec<&str> {
    answer.match_indices("HTTP/1.1 ").map(|(at, _)| &answer[at + 9..at + 12]).collect()
}

/// Requests whose head is ambiguous, each with a call hidden behind it, and the word for what is wrong.
fn heads() -> Vec<(Vec<u8>, &'static str)> {
    let mut all = Vec::new();
    let mut add = |lines: &[u8], why| {
        let hidden_in_chunks = format!("0\r\n\r\n{HIDDEN}");
        let head = [format!("POST {READ} HTTP/1.1\r\nHost: h\r\n").as_bytes(), lines].concat();
        all.push(([&head, b"\r\n".as_slice(), hidden_in_chunks.as_bytes()].concat(), why));
    };
    let both = format!("Content-Length: {}\r\n", HIDDEN.len() + 5);
    // the two lengths side by side, in both orders and with every disguise of the coding
    for (encoding, why) in [
        ("Transfer-Encoding: chunked", "length_and_encoding"),
        ("transfer-ENCODING: CHUNKED", "length_and_encoding"),
        ("Transfer-Encoding:chunked", "length_and_encoding"),
        ("Transfer-Encoding:\tchunked \t", "length_and_encoding"),
        ("Transfer-Encoding: xchunked", "encoding_value"),
        ("Transfer-Encoding: chunkedx", "encoding_value"),
        ("Transfer-Encoding: chunk", "encoding_value"),
        ("Transfer-Encoding: identity", "encoding_value"),
        ("Transfer-Encoding: chunked, identity", "encoding_value"),
        ("Transfer-Encoding: identity, chunked", "encoding_value"),
        ("Transfer-Encoding: gzip, chunked", "encoding_value"),
        ("Transfer-Encoding: chunked, chunked", "encoding_value"),
        ("Transfer-Encoding: chunked;q=1", "encoding_value"),
        ("Transfer-Encoding: \"chunked\"", "encoding_value"),
        ("Transfer-Encoding: 'chunked'", "encoding_value"),
        ("Transfer-Encoding: , chunked", "encoding_value"),
        ("Transfer-Encoding:", "encoding_value"),
        ("Transfer-Encoding: ch\u{fc}nked", "encoding_value"),
        ("Transfer-Encoding: \u{b}chunked", "header_value"),
        ("Transfer-Encoding: chunked\u{c}", "header_value"),
        ("Transfer-Encoding: chunked\u{0}", "header_value"),
        ("Transfer-Encoding: chun\u{0}ked", "header_value"),
        ("Transfer-Encoding: \rchunked", "header_value"),
        ("Transfer-Encoding: chunked\u{7f}", "header_value"),
        ("Transfer-Encoding : chunked", "header_name"),
        ("Transfer-Encoding\t: chunked", "header_name"),
        ("Transfer-Encoding\u{0}: chunked", "header_name"),
        ("Transfer-Encoding\r\n: chunked", "header_name"),
        ("Transfer\u{a0}Encoding: chunked", "header_name"),
        ("Transfer Encoding: chunked", "header_name"),
        ("\u{1}Transfer-Encoding: chunked", "header_name"),
        ("Transfer-Encoding chunked", "header_name"),
        (" Transfer-Encoding: chunked", "obs_fold"),
        ("\tTransfer-Encoding: chunked", "obs_fold"),
        ("Transfer-Encoding:\r\n chunked", "encoding_value"),
        ("X: y\r\n Transfer-Encoding: chunked", "obs_fold"),
        ("X: y\nTransfer-Encoding: chunked", "bare_lf"),
        ("X: y\r\n\nTransfer-Encoding: chunked", "bare_lf"),
        ("X: y\rTransfer-Encoding: chunked", "header_value"),
        ("Transfer_Encoding: chunked", "framing_lookalike"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "encoding_twice"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "encoding_twice"),
        ("Transfer-Encoding: x\r\nTransfer-Encoding: chunked", "encoding_value"),
    ] {
        add(format!("{both}{encoding}\r\n").as_bytes(), why);
        add(format!("{encoding}\r\n{both}").as_bytes(), why);
    }
    for (lines, why) in [
        ("Content-Length: 0\r\nContent-Length: 5\r\n", "length_twice"),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "length_twice"),
        ("Content-Length: 5, 5\r\n", "length_value"),
        ("Content-Length: 0, 5\r\n", "length_value"),
        ("Content-Length: +5\r\n", "length_value"),
        ("Content-Length: -5\r\n", "length_value"),
        ("Content-Length: 5 5\r\n", "length_value"),
        ("Content-Length: 0x5\r\n", "length_value"),
        ("Content-Length: 5e0\r\n", "length_value"),
        ("Content-Length: 5.0\r\n", "length_value"),
        ("Content-Length: \"5\"\r\n", "length_value"),
        ("Content-Length: 18446744073709551621\r\n", "length_value"),
        ("Content-Length:\r\n", "length_value"),
        ("Content-Length: \u{b}5\r\n", "header_value"),
        ("Content-Length : 5\r\n", "header_name"),
        ("Content-Length:\r\n 5\r\n", "length_value"),
        ("X: y\r\n Content-Length: 5\r\n", "obs_fold"),
        ("X: y\nContent-Length: 5\r\n", "bare_lf"),
        ("Content_Length: 5\r\n", "framing_lookalike"),
        ("Host: other\r\n", "host_twice"),
        ("host: h\r\n", "host_twice"),
        (": y\r\n", "header_name"),
        ("no colon\r\n", "header_name"),
        ("X: y\n", "bare_lf"),
    ] {
        add(lines.as_bytes(), why);
    }
    for (head, why) in [
        (format!("GET {READ} HTTP/1.1\nHost: h\n\n"), "bare_lf"),
        (format!("GET {READ} HTTP/1.1\r\nHost: h\r\n\n"), "bare_lf"),
        (format!("\nGET {READ} HTTP/1.1\r\nHost: h\r\n\r\n"), "bare_lf"),
        (format!("GET {READ} HTTP/1.1\r\n\r\n"), "host_missing"),
        (format!("GET {READ} HTTP/1.1\r\nHost: a b\r\n\r\n"), "host_value"),
        (format!("GET {READ} HTTP/1.1\r\nHost: a/b\r\n\r\n"), "host_value"),
        (format!("GET {READ} HTTP/1.1\r\nHost: u@h\r\n\r\n"), "host_value"),
        (format!("GET http://evil{READ} HTTP/1.1\r\nHost: h\r\n\r\n"), "host_conflict"),
        (format!("GET http://h@evil{READ} HTTP/1.1\r\nHost: h\r\n\r\n"), "host_conflict"),
        (format!("GET  {READ} HTTP/1.1\r\nHost: h\r\n\r\n"), "request_line"),
        (format!("GET {READ}  HTTP/1.1\r\nHost: h\r\n\r\n"), "request_line"),
        (format!("GET\t{READ}\tHTTP/1.1\r\nHost: h\r\n\r\n"), "request_line"),
        (format!("GET {READ}\r\nHost: h\r\n\r\n"), "request_line"),
        (format!("GET {READ} HTTP/1.1 x\r\nHost: h\r\n\r\n"), "request_line"),
        (format!("GE/T {READ} HTTP/1.1\r\nHost: h\r\n\r\n"), "request_line"),
        (format!("GET {READ}\u{0} HTTP/1.1\r\nHost: h\r\n\r\n"), "request_line"),
        (format!("GET {READ} HTTP/0.9\r\nHost: h\r\n\r\n"), "version"),
        (format!("GET {READ} HTTP/1.2\r\nHost: h\r\n\r\n"), "version"),
        (format!("GET {READ} HTTP/11\r\nHost: h\r\n\r\n"), "version"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), "version"),
        (
            format!("POST {READ} HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            "encoding_in_http_1_0",
        ),
    ] {
        all.push((format!("{head}{HIDDEN}").into_bytes(), why));
    }
    all
}

/// Bodies in chunks that end differently for whoever is lenient.
fn chunks() -> Vec<String> {
    let sized = |line: &str| format!("{line}\r\n{HIDDEN}\r\n0\r\n\r\n");
    let hidden = HIDDEN.len();
    let mut all: Vec<String> = ["0x0", "+0", "-1", "", " ", "0 ", " 0", "\u{b}0", "g", "1_0", "0,0"]
        .iter()
        .map(|size| sized(size))
        .collect();
    all.extend(["fffffffffffffffff", "10000000000000000", "0000000000000000000"].map(sized));
    all.extend([
        // an end of line within an extension
        format!("2;\nxx\r\n{hidden:x}\r\n0\r\n\r\n{HIDDEN}\r\n0\r\n\r\n"),
        format!("2;a\rxx\r\n0\r\n\r\n{HIDDEN}"),
        format!("2\nxx\r\n0\r\n\r\n{HIDDEN}"),
        format!("2;\u{0}\r\nxx\r\n0\r\n\r\n{HIDDEN}"),
        // more data than the size says, or no end of line behind it
        format!("2\r\nxxx\r\n0\r\n\r\n{HIDDEN}"),
        format!("2\r\nxx\n0\r\n\r\n{HIDDEN}"),
        format!("2\r\nxx0\r\n\r\n{HIDDEN}"),
        format!("2\r\nxx\r\r\n0\r\n\r\n{HIDDEN}"),
        // trailers
        format!("0\r\n\n{HIDDEN}"),
        format!("0\r\nContent-Length: 5\r\n\r\n{HIDDEN}"),
        format!("0\r\nTransfer-Encoding: chunked\r\n\r\n{HIDDEN}"),
        format!("0\r\nHost: h\r\n\r\n{HIDDEN}"),
        format!("0\r\nno colon\r\n\r\n{HIDDEN}"),
        format!("0\r\nX: y\n\r\n{HIDDEN}"),
    ]);
    all
}

fn smuggled(site: &Site) -> usize {
    let calls = site.simulator.calls();
    calls.iter().filter(|call| call["query"].as_str().is_some_and(|query| query.contains("smuggled"))).count()
}

#[test]
fn no_ambiguous_head_gets_through_and_nothing_that_it_hides() {
    let site = Site::start();
    let heads = heads();
    assert!(heads.len() >= 100, "{}", heads.len());
    for (request, why) in &heads {
        let answer = exchange(site.gateway.plain, request);
        let shown = String::from_utf8_lossy(request);
        assert_eq!(statuses(&answer), ["400"], "{shown:?}: {answer}");
        assert!(
            answer.contains("GW-FRAMING") && answer.contains(&format!("（{why}）")),
            "{shown:?}: {answer}"
        );
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    }
    assert_eq!(site.simulator.calls().iter().filter(|call| call["service"] == "CXNSRJBXX").count(), 0);
    let counted: usize = site
        .gateway
        .metrics()
        .lines()
        .filter(|line| line.starts_with("leqi_gateway_requests_refused_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok())
        .sum();
    assert_eq!(counted, heads.len());
}

#[test]
fn what_comes_before_an_ambiguous_request_on_its_connection_is_answered_first() {
    let site = Site::start();
    let good = format!("GET {READ}?before HTTP/1.1\r\nHost: h\r\n\r\n");
    for (request, _) in heads().iter().step_by(9) {
        let answer = exchange(site.gateway.plain, &[good.as_bytes(), request].concat());
        let statuses = statuses(&answer);
        assert_eq!((statuses.len(), statuses[1]), (2, "400"), "{answer}");
        assert_ne!(statuses[0], "400", "{answer}");
    }
    assert_eq!(smuggled(&site), 0);
}

#[test]
fn a_body_in_bad_chunks_ends_the_call_and_the_connection() {
    let site = Site::start();
    let chunks = chunks();
    for (path, body) in [READ, WATCHED].iter().flat_map(|path| chunks.iter().map(move |body| (path, body))) {
        let head = format!("POST {path}?chunks HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
        let answer = exchange(site.gateway.plain, format!("{head}{body}").as_bytes());
        // the platform may have begun to answer what it saw of a call that only asks
        let statuses = statuses(&answer);
        assert!(statuses.len() <= 1 && statuses.iter().all(|status| *status == "400"), "{body:?}: {answer}");
    }
    assert_eq!(smuggled(&site), 0);
    let calls = site.simulator.calls();
    let carried_out = calls.iter().filter(|call| call["query"] == "chunks" && call["processed"] == true);
    assert_eq!(carried_out.count(), 0);
}

#[test]
fn a_body_of_a_call_that_needs_none_is_never_the_next_request() {
    let site = Site::start();
    // a server that ignores the bodies of such requests would read the hidden one from the connection
    for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        let request = format!(
            "{method} {READ}?body HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{HIDDEN}",
            HIDDEN.len()
        );
        let answer = exchange(site.gateway.plain, request.as_bytes());
        assert_eq!(statuses(&answer).len(), 1, "{method}: {answer}");
    }
    assert_eq!(smuggled(&site), 0);
}

#[test]
fn heads_beyond_the_limits_are_answered_431_and_slow_ones_408() {
    let site = Site::start_with(&[], |_| {
        "[[listen]]\naddress = \"127.0.0.1:0\"\nplaintext = true\nmax_head = \"4KiB\"\nmax_headers = 20\n\
         header_timeout = \"2s\"\nbody_timeout = \"2s\"\n"
            .to_owned()
    });
    let address = site.gateway.listeners[2];
    let long = format!("GET {READ}?{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(5000));
    let many = format!("GET {READ} HTTP/1.1\r\nHost: h\r\n{}\r\n", "a: b\r\n".repeat(20));
    let endless = format!("GET {READ} HTTP/1.1\r\nHost: h\r\nX: {}", "a".repeat(300_000));
    for request in [long, many, endless] {
        let answer = exchange(address, request.as_bytes());
        assert!(statuses(&answer) == ["431"] && answer.contains("GW-HEAD"), "{answer}");
    }
    let stalled = exchange(address, format!("GET {READ} HTTP/1.1\r\nHost:").as_bytes());
    assert!(statuses(&stalled) == ["408"] && stalled.contains("GW-SLOW"), "{stalled}");
    for path in [WATCHED, READ] {
        let body = format!("POST {path}?slow HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
        let stalled = exchange(address, body.as_bytes());
        assert!(statuses(&stalled) == ["408"] && stalled.contains("GW-SLOW"), "{stalled}");
    }
    assert!(site.simulator.calls().iter().all(|call| call["query"] != "slow"));
    assert_eq!(exchange(address, b""), "");
    assert_eq!(smuggled(&site), 0);
}

#[test]
fn a_client_over_its_limits_is_told_to_come_later_and_others_go_on() {
    let site = Site::start_with(&[], |_| {
        "[[listen]]\naddress = \"127.0.0.1:0\"\nplaintext = true\nclient_rate = 1\nclient_burst = 3\n\
         proxy_protocol_from = [\"127.0.0.1\"]\n"
            .to_owned()
    });
    let address = site.gateway.listeners[2];
    let body = encrypt(&site.key(), &json!({ "nsrsbh": site.unit().tax_no }).to_string());
    let ask = |client: &str| {
        let head = format!(
            "PROXY TCP4 {client} 10.0.0.1 5000 8443\r\nPOST {READ}?limited HTTP/1.1\r\nHost: h\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        exchange(address, &[head.as_bytes(), &body].concat())
    };
    let answers: Vec<String> = (0..20).map(|_| ask("10.1.1.1")).collect();
    let refused: Vec<_> = answers.iter().filter(|answer| statuses(answer) == ["429"]).collect();
    assert!((5..=17).contains(&refused.len()), "{}", refused.len());
    for answer in &refused {
        assert!(
            answer.contains("GW-RATE") && answer.to_ascii_lowercase().contains("retry-after: 1"),
            "{answer}"
        );
    }
    assert_ne!(statuses(&ask("10.2.2.2")), ["429"]);
    // whom the balancer names counts for the allow list, too
    let stranger = ask("8.8.8.8");
    assert!(stranger.contains("GW-CLIENT"), "{stranger}");
    eventually("the client that was named is in the log", || {
        let (_, page) = site.gateway.api("GET", "/exchanges?limit=50", None);
        let items = page["items"].as_array()?.clone();
        items.iter().any(|row| row["client"] == "10.2.2.2:5000").then_some(())
    });
    let without = exchange(address, format!("GET {READ} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
    assert_eq!(without, "");
    assert!(site.gateway.log().contains("send-proxy"));
}
