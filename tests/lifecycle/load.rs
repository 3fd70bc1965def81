//! Invoicing systems that never stop: kept connections of HTTP/1.1 that are busy or lazy, HTTP/2, and a new connection for
//! each call; encrypted questions and uploads. A call counts as failed unless its whole answer came and says yes.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use leqi_gateway::{
    leqi::{self, Payload, Sm4Key},
    tls::{Verify, client_config},
};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinSet, time::sleep};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    common::{
        SimUnit,
        client::Client,
        message::{invoice, serial},
    },
    stand::Stand,
};

/// A client waits so long for an answer, longer than any drain takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Kept, and busy all the time.
    Kept,
    /// Kept, with pauses of a second.
    Lazy,
    /// HTTP/2.
    H2,
    /// A new connection over TLS for each call.
    Fresh,
    /// A new plain connection for each call.
    Plain,
}

const CLIENTS: [(Kind, usize); 5] =
    [(Kind::Kept, 8), (Kind::Lazy, 4), (Kind::H2, 3), (Kind::Fresh, 2), (Kind::Plain, 2)];

/// What the clients share.
struct Shared {
    data: SocketAddr,
    plain: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    tls_h2: Arc<rustls::ClientConfig>,
    unit: SimUnit,
    key: Sm4Key,
    numbers: Mutex<Vec<String>>,
    stop: AtomicBool,
    calls: AtomicUsize,
    /// Connections that were made.
    connections: AtomicUsize,
    slowest: Mutex<Duration>,
}

/// A running load.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<(Kind, Vec<String>, Vec<String>)>,
}

/// What became of it.
#[derive(Default)]
pub(crate) struct Outcome {
    /// The transaction ids (`clientTid`) of calls that were answered as they should be.
    pub(crate) answered: Vec<String>,
    /// What went wrong.
    pub(crate) failed: Vec<String>,
    pub(crate) by_kind: BTreeMap<Kind, usize>,
    pub(crate) connections: usize,
    pub(crate) slowest: Duration,
}

impl Load {
    /// Downloads credit, gets numbers, and starts all clients.
    pub(crate) async fn start(stand: &Stand) -> Self {
        let unit = stand.unit.clone();
        let client = Client::new(stand.gateway.plain, &stand.simulator.units, &unit);
        client.download(&unit.tax_no, "900000.00", &serial(&unit, 1)).await.data();
        let mut numbers = Vec::new();
        for n in 0..4 {
            numbers.extend(client.number_range(&unit.tax_no, 5000, &serial(&unit, 2 + n)).await);
        }
        let tls = |protocol: &[u8]| {
            let mut config = client_config(&Verify::Full, Some(&stand.ca())).unwrap();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        let shared = Arc::new(Shared {
            data: stand.gateway.data,
            plain: stand.gateway.plain,
            tls: tls(b"http/1.1"),
            tls_h2: tls(b"h2"),
            key: client.key.clone(),
            unit,
            numbers: Mutex::new(numbers),
            stop: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            slowest: Mutex::default(),
        });
        let mut clients = JoinSet::new();
        for (kind, count) in CLIENTS {
            for number in 0..count {
                clients.spawn(work(Arc::clone(&shared), kind, number));
            }
        }
        Self { shared, clients }
    }

    /// Calls that were answered so far.
    pub(crate) fn calls(&self) -> usize {
        self.shared.calls.load(Ordering::SeqCst)
    }

    /// Lets every client finish its call.
    pub(crate) async fn stop(mut self) -> Outcome {
        self.shared.stop.store(true, Ordering::SeqCst);
        let mut outcome = Outcome::default();
        while let Some(ended) = self.clients.join_next().await {
            let (kind, answered, failed) = ended.unwrap();
            *outcome.by_kind.entry(kind).or_default() += answered.len();
            outcome.answered.extend(answered);
            outcome.failed.extend(failed);
        }
        outcome.connections = self.shared.connections.load(Ordering::SeqCst);
        outcome.slowest = *self.shared.slowest.lock().unwrap();
        outcome
    }
}

impl Outcome {
    /// Fails unless every call was answered, arrived at the platform once, and stands in the log once.
    pub(crate) fn assert_every_call_counts_once(mut self, stand: &Stand) {
        assert!(self.failed.is_empty(), "{} calls failed: {:#?}", self.failed.len(), self.failed);
        let ours = |tid: &String| tid.starts_with("load-");
        let mut at_platform: Vec<String> =
            stand.simulator.calls().iter().filter_map(client_tid).filter(ours).collect();
        let mut in_log: Vec<String> = logged(stand).into_iter().filter(ours).collect();
        self.answered.sort();
        at_platform.sort();
        in_log.sort();
        assert_eq!(self.answered.len(), at_platform.len(), "client and platform");
        assert_eq!(self.answered.len(), in_log.len(), "client and log");
        assert!(self.answered == at_platform && self.answered == in_log, "the same number, but other calls");
    }
}

fn client_tid(call: &Value) -> Option<String> {
    let headers = call["headers"].as_array()?;
    let found =
        headers.iter().find(|pair| pair[0].as_str().is_some_and(|n| n.eq_ignore_ascii_case("clientTid")));
    Some(found?[1].as_str()?.to_owned())
}

/// The transaction ids of all complete exchanges in the log.
pub(crate) fn logged(stand: &Stand) -> Vec<String> {
    let mut tids = Vec::new();
    let mut cursor = String::new();
    loop {
        let (status, page) = stand.gateway.api("GET", &format!("/exchanges?limit=200{cursor}"), None);
        assert_eq!(status, 200, "{page}");
        for row in page["items"].as_array().unwrap() {
            if let Some(tid) = row["client_tid"].as_str() {
                assert_eq!(row["state"], "complete", "{row}");
                tids.push(tid.to_owned());
            }
        }
        let Some(next) = page["next_cursor"].as_str() else { return tids };
        cursor = format!("&cursor={next}");
    }
}

/// One client until the load stops.
async fn work(shared: Arc<Shared>, kind: Kind, number: usize) -> (Kind, Vec<String>, Vec<String>) {
    let (mut answered, mut failed) = (Vec::new(), Vec::new());
    let mut line = Line::None;
    let mut n = 0;
    while !shared.stop.load(Ordering::SeqCst) && failed.len() < 5 {
        n += 1;
        let tid = format!("load-{kind:?}-{number}-{n}");
        let upload = n % 3 == 0;
        let began = Instant::now();
        match tokio::time::timeout(PATIENCE, call(&shared, kind, &mut line, &tid, upload)).await {
            Ok(Ok(())) => {
                shared.calls.fetch_add(1, Ordering::SeqCst);
                answered.push(tid);
            }
            Ok(Err(error)) => failed.push(format!("{tid}: {error}")),
            Err(_) => failed.push(format!("{tid}: no answer within {PATIENCE:?}")),
        }
        {
            let mut slowest = shared.slowest.lock().unwrap();
            *slowest = began.elapsed().max(*slowest);
        }
        sleep(if kind == Kind::Lazy { Duration::from_secs(1) } else { Duration::from_millis(20) }).await;
    }
    (kind, answered, failed)
}

/// A connection that is kept, or none.
enum Line {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
    None,
}

async fn call(shared: &Shared, kind: Kind, line: &mut Line, tid: &str, upload: bool) -> Result<(), String> {
    let request = request(shared, kind, tid, upload);
    let response = send(shared, kind, line, request).await?;
    let status = response.status();
    let closes = response.headers().get("connection").is_some_and(|value| value == "close");
    let body =
        response.into_body().collect().await.map_err(|error| format!("the answer broke off: {error}"))?;
    if closes || matches!(kind, Kind::Fresh | Kind::Plain) {
        *line = Line::None;
    }
    verdict(shared, status, &body.to_bytes(), upload)
}

/// Sends on the kept connection; a request that was certainly not taken goes out on a new one, as every client does it.
async fn send(
    shared: &Shared,
    kind: Kind,
    line: &mut Line,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, String> {
    loop {
        let ready = match line {
            Line::H1(sender) => sender.ready().await.is_ok(),
            Line::H2(sender) => sender.ready().await.is_ok(),
            Line::None => false,
        };
        if !ready {
            *line = connect(shared, kind).await?;
        }
        let sent = match line {
            Line::H1(sender) => sender.try_send_request(request.clone()).await,
            Line::H2(sender) => sender.try_send_request(request.clone()).await,
            Line::None => return Err("no connection".to_owned()),
        };
        match sent {
            Ok(response) => return Ok(response),
            Err(error) => not_taken(error)?,
        }
        *line = Line::None;
    }
}

/// Fails unless the request certainly did nothing: the connection gave it back, or HTTP/2 said that this stream is not taken
/// any more (RFC 9113 §6.8), where hyper does not give it back. Were that untrue, the platform would have the call twice.
fn not_taken(mut error: TrySendError<Request<Full<Bytes>>>) -> Result<(), String> {
    let given_back = error.take_message().is_some();
    let said = format!("{:?}", error.error());
    let gone_away = said.contains("GoAway") && said.contains("NO_ERROR, Remote");
    if given_back || gone_away { Ok(()) } else { Err(format!("no answer: {said}")) }
}

async fn connect(shared: &Shared, kind: Kind) -> Result<Line, String> {
    shared.connections.fetch_add(1, Ordering::SeqCst);
    match kind {
        Kind::Plain => {
            let stream =
                TcpStream::connect(shared.plain).await.map_err(|error| format!("refused: {error}"))?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
            tokio::spawn(connection);
            Ok(Line::H1(sender))
        }
        Kind::Kept | Kind::Lazy | Kind::Fresh => {
            let stream = encrypted(shared.data, &shared.tls).await?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
            tokio::spawn(connection);
            Ok(Line::H1(sender))
        }
        Kind::H2 => {
            let stream = encrypted(shared.data, &shared.tls_h2).await?;
            let executor = TokioExecutor::new();
            let (sender, connection) =
                http2::handshake(executor, TokioIo::new(stream)).await.map_err(said)?;
            tokio::spawn(connection);
            Ok(Line::H2(sender))
        }
    }
}

fn said(error: hyper::Error) -> String {
    format!("the connection broke off: {error:?}")
}

async fn encrypted(
    address: SocketAddr,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<TlsStream<TcpStream>, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| format!("refused: {error}"))?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connector = TlsConnector::from(Arc::clone(tls));
    connector.connect(name, stream).await.map_err(|error| format!("TLS failed: {error}"))
}

/// A connection of HTTP/1.1 over TLS, verified by the authority in this file; gives the certificate in DER too.
pub(crate) async fn certificate_of(address: SocketAddr, ca: &Path) -> (TlsStream<TcpStream>, Vec<u8>) {
    let config = Arc::new(client_config(&Verify::Full, Some(ca)).unwrap());
    let stream = encrypted(address, &config).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    (stream, shown)
}

fn request(shared: &Shared, kind: Kind, tid: &str, upload: bool) -> Request<Full<Bytes>> {
    let number = upload.then(|| shared.numbers.lock().unwrap().pop().expect("there are numbers enough"));
    let (service, body) = match number {
        Some(number) => ("QDFPSC", json!([invoice(&shared.unit, &number, 100)])),
        None => ("CXNSRJBXX", json!({ "nsrsbh": shared.unit.tax_no })),
    };
    let body = leqi::write_body(&shared.key, body.to_string().as_bytes());
    let path = format!("/access/v2/invoke/202007/{service}");
    let request = match kind {
        Kind::H2 => Request::post(format!("https://{}{path}", shared.data)),
        Kind::Kept | Kind::Lazy | Kind::Fresh | Kind::Plain => {
            Request::post(path).header("host", shared.data.to_string())
        }
    };
    request
        .header("content-type", "application/json")
        .header("fwbm", service)
        .header("nlbm", "202007")
        .header("jrdwptbh", &shared.unit.access_platform_id)
        .header("sydwptbh", &shared.unit.platform_id)
        .header("access_signature", "")
        .header("clientTid", tid)
        .body(Full::new(Bytes::from(body)))
        .unwrap()
}

fn verdict(shared: &Shared, status: http::StatusCode, body: &[u8], upload: bool) -> Result<(), String> {
    let said = || format!("HTTP {status}: {}", String::from_utf8_lossy(body));
    let envelope = leqi::read_envelope(body).map_err(|error| format!("{error}: {}", said()))?;
    if !status.is_success() || !matches!(envelope.payload, Payload::Data(_)) {
        return Err(said());
    }
    let json = envelope.open(&shared.key).map_err(|error| error.to_string())?.ok_or_else(said)?;
    let data: Value = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
    if upload && data["returncode"] != "00" { Err(data.to_string()) } else { Ok(()) }
}
