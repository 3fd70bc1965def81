//! A gateway in front of a simulator, and what a call through it must leave behind.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    common::{
        SimUnit, eventually,
        process::{Gateway, Simulator},
    },
    tools::{Curl, Got, Header, encrypt, run, sha256},
};

/// Headers that belong to one connection (RFC 9110 §7.6.1), and `Host`, which names who is called.
const OWN_OF_A_CONNECTION: [&str; 7] =
    ["connection", "host", "http2-settings", "keep-alive", "te", "transfer-encoding", "upgrade"];

/// Gateway and simulator, with all units registered.
pub(crate) struct Site {
    pub(crate) simulator: Simulator,
    pub(crate) gateway: Gateway,
    dir: TempDir,
    calls: AtomicU32,
}

impl Site {
    pub(crate) fn start() -> Self {
        Self::start_with(&[], |_| String::new())
    }

    /// With further arguments for the simulator, and further lines for the gateway's configuration.
    pub(crate) fn start_with(args: &[&str], config: impl FnOnce(&Simulator) -> String) -> Self {
        let simulator = Simulator::start_with(args);
        let dir = tempfile::tempdir().unwrap();
        let gateway = Gateway::start_with(dir.path(), &simulator, &config(&simulator));
        gateway.register(&simulator.units);
        Self { simulator, gateway, dir, calls: AtomicU32::new(0) }
    }

    /// One whose files can be kept from growing ([`Site::no_room`]).
    pub(crate) fn start_with_failing_limits() -> Self {
        let simulator = Simulator::start();
        let dir = tempfile::tempdir().unwrap();
        let gateway = Gateway::start_with_failing_limits(dir.path(), &simulator);
        gateway.register(&simulator.units);
        Self { simulator, gateway, dir, calls: AtomicU32::new(0) }
    }

    /// From now on no file of the gateway takes a byte beyond its first page, so that the database takes nothing, wherever
    /// its log happens to begin anew.
    pub(crate) fn no_room(&self) {
        let process = self.gateway.process.id().to_string();
        run("prlimit", ["--pid", &process, "--fsize=4096:unlimited"], b"");
    }

    /// The unit that calls.
    pub(crate) fn unit(&self) -> &SimUnit {
        self.simulator.units.using()
    }

    /// Its key.
    pub(crate) fn key(&self) -> String {
        self.simulator.units.key(self.unit())
    }

    /// The URL of a path at the TLS listener.
    pub(crate) fn https(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.gateway.data.port())
    }

    /// The URL of a path at the plain listener.
    pub(crate) fn http(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.plain)
    }

    /// A call with the headers of an invoicing system and a transaction id of its own.
    pub(crate) fn post(&self, url: &str, body: Vec<u8>) -> Call<'_> {
        let unit = self.unit();
        self.post_as(&unit.access_platform_id, &unit.platform_id, url, body)
    }

    /// The same with these two platform ids.
    pub(crate) fn post_as(&self, access: &str, using: &str, url: &str, body: Vec<u8>) -> Call<'_> {
        let tid = format!("wire-{}", self.calls.fetch_add(1, Ordering::Relaxed));
        let (path, query) = parts(url);
        let mut codes = path.trim_end_matches('/').rsplit('/');
        let (service, capability) = (codes.next().unwrap_or(""), codes.next().unwrap_or(""));
        let curl = Curl::post(url, body.clone())
            .args(["--cacert".as_ref(), self.dir.path().join("certs/ca.pem").as_os_str()])
            .header("Content-Type", "application/json")
            .header("fwbm", service)
            .header("nlbm", if capability == "v1" { "" } else { capability })
            .header("jrdwptbh", access)
            .header("sydwptbh", using)
            .header("access_signature", "")
            .header("ylbm", if path.contains("sandbox") { "YL001" } else { "" })
            .header("clientTid", &tid);
        Call { site: self, curl, body, tid, path, query }
    }

    /// What the simulator wrote down of the call with this transaction id; `None` when it never arrived.
    pub(crate) fn arrived(&self, tid: &str) -> Option<Value> {
        let ours = |call: &Value| {
            let headers = headers_of(call);
            headers.iter().any(|(name, value)| name.eq_ignore_ascii_case("clientTid") && value == tid)
        };
        let mut calls = self.simulator.calls();
        calls.retain(ours);
        assert!(calls.len() <= 1, "sent {} times", calls.len());
        calls.pop()
    }

    /// The record of it in the log, once it is there and complete or aborted.
    pub(crate) fn record(&self, tid: &str) -> Value {
        let path = format!("/exchanges?client_tid={tid}");
        let row = eventually("the call is in the log", || {
            let (_, found) = self.gateway.api("GET", &path, None);
            let items = found["items"].as_array()?;
            assert!(items.len() <= 1, "{found}");
            items.first().filter(|row| row["state"] != "sending").cloned()
        });
        let (status, whole) =
            self.gateway.api("GET", &format!("/exchanges/{}", row["id"].as_str().unwrap()), None);
        assert_eq!(status, 200, "{whole}");
        whole
    }

    /// Encrypts, calls over plain HTTP, and gives `Data` in clear.
    pub(crate) fn ask(&self, service: &str, json: &Value) -> Value {
        let url = self.http(&format!("/access/v2/invoke/202007/{service}"));
        let key = self.key();
        self.post(&url, encrypt(&key, &json.to_string())).send().got.data(&key)
    }

    /// The same request sent straight to the simulator: what a client without a gateway gets.
    pub(crate) fn direct(&self, call: &Call<'_>) -> Got {
        let port = self.simulator.address.port();
        let query = call.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        let url = format!("https://lqpt.chinatax.gov.cn:{port}{}{query}", call.path);
        let unit = self.unit();
        let straight = self.post_as(&unit.access_platform_id, &unit.platform_id, &url, call.body.clone());
        let resolve = format!("lqpt.chinatax.gov.cn:{port}:127.0.0.1");
        let ca = self.simulator.dir.path().join("ca.pem");
        straight.curl.args(["--cacert".as_ref(), ca.as_os_str()]).args(["--resolve", &resolve]).send()
    }
}

/// Path and query of a URL.
fn parts(url: &str) -> (String, Option<String>) {
    let target = url.splitn(4, '/').nth(3).unwrap();
    match target.split_once('?') {
        Some((path, query)) => (format!("/{path}"), Some(query.to_owned())),
        None => (format!("/{target}"), None),
    }
}

/// A call through the gateway that is being put together.
pub(crate) struct Call<'s> {
    site: &'s Site,
    curl: Curl,
    body: Vec<u8>,
    tid: String,
    path: String,
    query: Option<String>,
}

impl<'s> Call<'s> {
    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        Self { curl: self.curl.header(name, value), ..self }
    }

    pub(crate) fn args(self, args: &[&str]) -> Self {
        Self { curl: self.curl.args(args), ..self }
    }

    /// The path that the platform is to see, where it is not the one that is called.
    pub(crate) fn arrives_as(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    pub(crate) fn send(self) -> Done<'s> {
        let got = self.curl.send();
        self.done(got)
    }

    /// The transfer may fail.
    pub(crate) fn try_send(self) -> Done<'s> {
        let got = self.curl.try_send();
        self.done(got)
    }

    fn done(self, got: Got) -> Done<'s> {
        Done { got, call: self }
    }
}

/// A call that was made.
pub(crate) struct Done<'s> {
    pub(crate) got: Got,
    call: Call<'s>,
}

impl Done<'_> {
    /// The same call, sent straight to the simulator.
    pub(crate) fn direct(&self) -> Got {
        self.call.site.direct(&self.call)
    }

    /// What the simulator wrote down of it; `None` when it never arrived.
    pub(crate) fn arrived(&self) -> Option<Value> {
        self.call.site.arrived(&self.call.tid)
    }

    /// The record of it in the log, once it is there and complete or aborted.
    pub(crate) fn record(&self) -> Value {
        self.call.site.record(&self.call.tid)
    }

    /// One side's body as the log keeps it.
    pub(crate) fn kept(&self, side: &str) -> Vec<u8> {
        let id = self.record()["id"].as_str().unwrap().to_owned();
        self.call.site.gateway.api_bytes("GET", &format!("/exchanges/{id}/{side}"), None).1
    }

    /// Fails unless the call arrived at the simulator, and its answer at the client, byte for byte, and the log says so.
    /// Gives the simulator's view.
    pub(crate) fn assert_exact(&self) -> Value {
        let arrived = self.arrived().unwrap_or_else(|| panic!("it never arrived: {}", self.got.said));
        let call = &self.call;
        assert_eq!(arrived["method"], "POST");
        assert_eq!(
            (arrived["path"].as_str(), arrived["query"].as_str()),
            (Some(&*call.path), call.query.as_deref())
        );
        assert_eq!(arrived["body_size"], call.body.len());
        assert_eq!(arrived["body_sha256"], sha256(&call.body), "the request's body");
        self.assert_headers_arrived(&arrived);
        assert_eq!(arrived["answer_sha256"], sha256(&self.got.body), "the answer's body");
        assert_eq!(arrived["status"], self.got.status());
        self.assert_recorded();
        arrived
    }

    /// Fails unless the record has the sizes and digests of both bodies as they went over the wire.
    pub(crate) fn assert_recorded(&self) -> Value {
        let record = self.record();
        let (sent, got) = (&self.call.body, &self.got.body);
        assert_eq!(record["request_size"], sent.len(), "{record}");
        assert_eq!(record["request_sha256"], sha256(sent), "{record}");
        assert_eq!(record["response_size"], got.len(), "{record}");
        assert_eq!(record["response_sha256"], sha256(got), "{record}");
        assert_eq!(record["status"], self.got.status(), "{record}");
        record
    }

    fn assert_headers_arrived(&self, arrived: &Value) {
        let headers = headers_of(arrived);
        let port = self.call.site.simulator.address.port();
        let host = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host")).unwrap();
        assert_eq!(host.1, format!("lqpt.chinatax.gov.cn:{port}"));
        // HTTP/2 has no upper case in names
        let folded = self.got.status_line.starts_with("HTTP/2");
        let chunked = self.got.sent.iter().any(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding"));
        assert_eq!(end_to_end(&headers, folded, chunked), end_to_end(&self.got.sent, folded, chunked));
    }
}

/// The headers of a call in the simulator's books.
pub(crate) fn headers_of(call: &Value) -> Vec<Header> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    call["headers"].as_array().unwrap().iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

/// The headers that must pass a proxy unchanged, sorted, since the order of different headers means nothing; lines of
/// the same name keep theirs. Where a body is sent in chunks, its length belongs to the connection too.
pub(crate) fn end_to_end(headers: &[Header], folded: bool, chunked: bool) -> Vec<Header> {
    let kept = |(name, _): &&Header| {
        let name = name.to_ascii_lowercase();
        !(OWN_OF_A_CONNECTION.contains(&name.as_str()) || chunked && name == "content-length")
    };
    let mut kept: Vec<Header> = headers.iter().filter(kept).cloned().collect();
    if folded {
        kept.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
    }
    kept.sort_by_key(|(name, _)| name.to_ascii_lowercase());
    kept
}
