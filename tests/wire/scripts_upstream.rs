//! The rows of the error table for what goes wrong on the way to the platform, where a confirmation is on it.

use std::{any::Any, io::Write, net::TcpStream};

use leqi_gateway::upstream::Phase;
use serde_json::json;

use crate::{
    common::eventually,
    failures::closed_port,
    provoke::{READ, confirm, fault, plain, seen, upstream},
    scripts::{Ending, Script, refused},
    site::Site,
};

const NOT_SENT: &str = "没有发出";
const MAYBE_SENT: &str = "可能已到达平台";

pub(crate) fn body() -> Script {
    struck(
        failed(Phase::Body, 502, "GW-UP-BODY", MAYBE_SENT),
        || plain(""),
        |site| fault(site, json!({ "kind": "truncate" })),
    )
}

pub(crate) fn connect() -> Script {
    Script {
        start: || plain(&format!("addresses = [\"{}\"]", closed_port())),
        ..failed(Phase::Connect, 502, "GW-UP-CONNECT", NOT_SENT)
    }
}

pub(crate) fn resolve() -> Script {
    Script {
        start: || Site::start_with(&[], |simulator| upstream(simulator, "lqpt.invalid", "")),
        ..failed(Phase::Resolve, 502, "GW-UP-DNS", NOT_SENT)
    }
}

pub(crate) fn head() -> Script {
    struck(
        failed(Phase::Head, 502, "GW-UP-HEAD", MAYBE_SENT),
        || plain(""),
        |site| fault(site, json!({ "kind": "reset_after_read" })),
    )
}

pub(crate) fn idle() -> Script {
    struck(
        failed(Phase::Idle, 504, "GW-UP-IDLE", MAYBE_SENT),
        || plain("body_timeout = \"400ms\""),
        |site| fault(site, json!({ "kind": "drip", "ms": 60_000 })),
    )
}

pub(crate) fn open() -> Script {
    Script {
        start: || {
            let address = closed_port();
            plain(&format!("addresses = [\"{address}\"]\nbreaker_failures = 1\nbreaker_pause = \"60s\""))
        },
        prepare: |site| {
            assert_eq!(confirm(site).response["Error"]["Code"], "GW-UP-CONNECT");
            None
        },
        ..failed(Phase::Open, 503, "GW-UP-OPEN", NOT_SENT)
    }
}

pub(crate) fn pin() -> Script {
    Script {
        start: || {
            let pin = format!("verify = \"pinned\"\npins = [\"sha256/{}=\"]", "A".repeat(43));
            plain(&pin)
        },
        ..failed(Phase::Pin, 502, "GW-UP-PIN", NOT_SENT)
    }
}

pub(crate) fn pool() -> Script {
    Script {
        start: || plain("max_connections = 1\npool_timeout = \"200ms\""),
        prepare: |site| {
            site.simulator.faults(&json!([{ "kind": "stall", "service": "CXNSRJBXX" }]));
            let mut held = TcpStream::connect(site.gateway.plain).unwrap();
            write!(held, "POST /up{READ} HTTP/1.1\r\nhost: gateway\r\ncontent-length: 0\r\n\r\n").unwrap();
            eventually("the only connection is taken", || site.simulator.calls().pop());
            Some(Box::new(held))
        },
        ..failed(Phase::Pool, 503, "GW-UP-POOL", NOT_SENT)
    }
}

pub(crate) fn proxy() -> Script {
    Script {
        start: || plain(&format!("proxy = {{ url = \"http://{}\" }}", closed_port())),
        ..failed(Phase::Proxy, 502, "GW-UP-PROXY", NOT_SENT)
    }
}

pub(crate) fn send() -> Script {
    Script {
        call: |site| seen(site.post(&site.http(&format!("/up{READ}")), vec![b'A'; 24 << 20])),
        arrives: 1,
        ..struck(
            failed(Phase::Send, 502, "GW-UP-SEND", MAYBE_SENT),
            || plain(""),
            |site| fault(site, json!({ "kind": "reset_before_read" })),
        )
    }
}

pub(crate) fn response() -> Script {
    struck(
        failed(Phase::Response, 504, "GW-UP-TIMEOUT", MAYBE_SENT),
        || plain("response_timeout = \"400ms\""),
        |site| fault(site, json!({ "kind": "stall" })),
    )
}

pub(crate) fn tls() -> Script {
    Script {
        start: || plain("verify = \"chain\"\nca_file = \"certs/ca.pem\""),
        ..failed(Phase::Tls, 502, "GW-UP-TLS", NOT_SENT)
    }
}

pub(crate) fn total() -> Script {
    struck(
        failed(Phase::Total, 504, "GW-UP-TOTAL", MAYBE_SENT),
        || plain("total_timeout = \"400ms\""),
        |site| fault(site, json!({ "kind": "stall" })),
    )
}

/// A row of what goes wrong on the way to the platform, where a confirmation is on it.
fn failed(phase: Phase, status: u16, code: &'static str, words: &'static str) -> Script {
    Script { status, ending: Ending::Failed(phase), ..refused(code, words, confirm) }
}

/// The same where the call reaches the platform, which does something wrong with it.
fn struck(script: Script, start: fn() -> Site, prepare: fn(&Site) -> Option<Box<dyn Any>>) -> Script {
    Script { start, prepare, arrives: 1, ..script }
}
