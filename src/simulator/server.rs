//! TLS and HTTP/1.1, how calls are written down, and how answers are written.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::{
    Shared,
    body::{Body, compressed, full, pieces},
    books, control, envelope,
    envelope::{Answer, Form},
    faults::{Fault, Kind},
    front_door,
    refusal::Refusal,
    services::{self, Visit},
    sniffer::{Heard, Resettable, Sniffed},
};
use crate::{leqi, shutdown::Shutdown};

/// Bytes of a request that are read.
const MOST_BODY: usize = 64 << 20;
/// For the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The connection is to end without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed by a scripted fault")]
struct Hangup {
    /// With a reset instead of an orderly end.
    reset: bool,
}

const CLOSE: Hangup = Hangup { reset: false };
const RESET: Hangup = Hangup { reset: true };

/// Accepts until it is stopped.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    shared: Arc<Shared>,
    stopped: Shutdown,
) {
    let acceptor = TlsAcceptor::from(tls);
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stopped.draining() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                let work = connection(stream, client, acceptor.clone(), Arc::clone(&shared), stopped.clone());
                connections.spawn(work);
            }
            Err(error) => {
                tracing::error!(%error, "the simulator cannot accept; trying again");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn connection(
    stream: TcpStream,
    client: SocketAddr,
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
    stopped: Shutdown,
) {
    let reset = Arc::new(AtomicBool::new(false));
    let socket = Resettable { tcp: stream, reset: Arc::clone(&reset) };
    let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(socket)).await else { return };
    let heard = Heard::default();
    let io = Sniffed { inner: stream, heard: heard.clone() };
    let service = service_fn(move |request| {
        let (answer, reset) =
            (answer(Arc::clone(&shared), client, heard.clone(), request), Arc::clone(&reset));
        async move {
            let answered = answer.await;
            if answered.as_ref().is_err_and(|hangup| hangup.reset) {
                reset.store(true, Ordering::SeqCst);
            }
            answered
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(300));
    let mut connection = pin!(http.serve_connection(TokioIo::new(io), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped.draining() => return,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %client, "a connection to the simulator ended with an error");
    }
}

/// One request from its head to its answer.
async fn answer(
    shared: Arc<Shared>,
    client: SocketAddr,
    heard: Heard,
    request: Request<Incoming>,
) -> Result<Response<Body>, Hangup> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let written_headers = heard.headers();
    if path.starts_with("/_sim/") {
        let body = Limited::new(body, MOST_BODY).collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        heard.forget();
        let query = head.uri.query().unwrap_or_default();
        return Ok(control::answer(&shared, &head.method, &path, query, &body).map(|text| full(text.into())));
    }
    let call = arrived(&shared, client, &head, written_headers);
    let visit = Arrival { shared: &shared, number: call.0, service: call.1, path: &path, head: &head };
    let answered = visit.answer(body).await;
    heard.forget();
    answered
}

/// Writes the call down; gives its number and service.
fn arrived(
    shared: &Shared,
    client: SocketAddr,
    head: &http::request::Parts,
    headers: Vec<(String, String)>,
) -> (u64, Option<String>) {
    let service = front_door::target(head.uri.path()).map(|target| target.service);
    let call = books::Call {
        number: 0,
        at: shared.clock.now(),
        client,
        version: format!("{:?}", head.version),
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers,
        service: service.clone(),
        body_size: None,
        body_sha256: None,
        processed: false,
        answered: false,
        status: None,
        code: None,
        message: None,
        answer_sha256: None,
        fault: None,
    };
    (shared.books.calls.arrived(call), service)
}

/// A call that is being answered.
struct Arrival<'a> {
    shared: &'a Shared,
    number: u64,
    service: Option<String>,
    path: &'a str,
    head: &'a http::request::Parts,
}

impl Arrival<'_> {
    async fn answer(&self, body: Incoming) -> Result<Response<Body>, Hangup> {
        let fault = self.shared.faults.strike(self.service.as_deref(), self.path);
        if let Some(fault) = &fault {
            let name = format!("{:?}", fault.kind);
            self.note(|call| call.fault = Some(name));
            if fault.kind == Kind::ResetBeforeRead {
                return Err(RESET);
            }
        }
        // a client that breaks off has sent no call that could be carried out
        let Ok(body) = Limited::new(body, MOST_BODY).collect().await.map(|body| body.to_bytes()) else {
            return Err(CLOSE);
        };
        let sha256 = digest(&body);
        self.note(|call| {
            call.body_size = Some(body.len());
            call.body_sha256 = Some(sha256);
        });
        let answer = self.carry_out(&body, fault.as_ref());
        self.send(answer, fault).await
    }

    /// What the platform makes of the call; `None` when a fault keeps it from being carried out.
    fn carry_out(&self, body: &[u8], fault: Option<&Fault>) -> Option<Answer> {
        let skipped = fault.is_some_and(|fault| {
            let silent = matches!(fault.kind, Kind::ResetAfterRead | Kind::Stall | Kind::Status);
            silent && !fault.processed
        });
        if skipped {
            return None;
        }
        let refused = fault
            .filter(|fault| fault.kind == Kind::Refuse)
            .and_then(|fault| Refusal::of_code(fault.code.as_deref().unwrap_or("5001")));
        let answer = match refused {
            Some(refusal) => envelope::refusal(&refusal, None, &self.request_id(), Form::Usual),
            None => process(self.shared, &self.request_id(), self.head, body, fault),
        };
        self.note(|call| {
            call.processed = true;
            call.code = Some(answer.code.clone());
            call.message = Some(answer.message.clone());
        });
        Some(answer)
    }

    async fn send(&self, answer: Option<Answer>, fault: Option<Fault>) -> Result<Response<Body>, Hangup> {
        let kind = fault.as_ref().map(|fault| fault.kind.clone());
        let pause = fault.as_ref().map_or(Duration::ZERO, Fault::pause);
        match kind {
            Some(Kind::ResetAfterRead) => return Err(RESET),
            Some(Kind::Stall) => std::future::pending::<()>().await,
            Some(Kind::Delay) => sleep(pause).await,
            Some(_) | None => {}
        }
        let broken = fault.as_ref().filter(|fault| fault.kind == Kind::Status).map(|fault| fault.status);
        if let Some(status) = broken {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            let page = Bytes::from(format!("<html><body><h1>{status}</h1></body></html>"));
            return Ok(self.sent(status, "text/html", page.clone(), full(page), false));
        }
        let Some(mut answer) = answer else { return Err(CLOSE) };
        if kind == Some(Kind::Malformed) {
            answer.body = b"{\"httpStatusCode\":200,\"body\":\"{\\\"Resp".to_vec();
        }
        let (bytes, gzip) = compressed(answer.body, &self.head.headers);
        let body = match kind {
            Some(Kind::Truncate) => pieces(vec![bytes.slice(..bytes.len() / 2)], true, Duration::ZERO),
            Some(Kind::Drip) => pieces(bytes.chunks(64).map(Bytes::copy_from_slice).collect(), false, pause),
            Some(_) | None => full(bytes.clone()),
        };
        let response = self.sent(answer.status, answer.content_type, bytes, body, gzip);
        if kind == Some(Kind::Truncate) {
            self.note(|call| call.answered = false);
        }
        Ok(response)
    }

    fn sent(
        &self,
        status: StatusCode,
        kind: &'static str,
        bytes: Bytes,
        body: Body,
        gzip: bool,
    ) -> Response<Body> {
        let sha256 = digest(&bytes);
        self.note(|call| {
            call.answered = true;
            call.status = Some(status.as_u16());
            call.answer_sha256 = Some(sha256);
        });
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        if gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    /// 16 characters.
    fn request_id(&self) -> String {
        format!("{:016x}", self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn note(&self, complete: impl FnOnce(&mut books::Call)) {
        self.shared.books.calls.complete(self.number, complete);
    }
}

/// Front door, service, envelope.
fn process(
    shared: &Shared,
    id: &str,
    head: &http::request::Parts,
    body: &[u8],
    fault: Option<&Fault>,
) -> Answer {
    let path = head.uri.path();
    let form = fault.filter(|fault| fault.kind == Kind::Envelope).map(|fault| fault.form).unwrap_or_default();
    let call = match front_door::admit(shared, &head.method, path, &head.headers, body) {
        Ok(call) => call,
        Err(refusal) => {
            return envelope::refusal(&refusal, front_key(shared, &head.headers, path).as_ref(), id, form);
        }
    };
    let now = shared.clock.now();
    let served = {
        let mut books = shared.books.lock();
        let book = books.of(call.target.environment);
        services::serve(&mut Visit { call: &call, book, now, fault })
    };
    let wrong = fault.is_some_and(|fault| fault.kind == Kind::WrongKey);
    let key = if wrong { leqi::Sm4Key::generate() } else { call.key.clone() };
    match served {
        Ok(data) => envelope::data(&data, &key, id, form),
        Err(refusal) => envelope::refusal(&refusal, Some(&key), id, form),
    }
}

/// The key for a refusal inside `Data` of a call that did not get past the reading of its body.
fn front_key(shared: &Shared, headers: &HeaderMap, path: &str) -> Option<leqi::Sm4Key> {
    let id = headers.get("jrdwptbh")?.to_str().ok()?;
    let unit = shared.world.by_platform_id(id)?;
    let sandbox = front_door::target(path)?.environment == crate::domain::Environment::Sandbox;
    let hex = if sandbox { unit.sandbox_sm4_key.as_deref() } else { unit.sm4_key.as_deref() };
    leqi::Sm4Key::from_hex(hex?).ok()
}

fn digest(bytes: &[u8]) -> String {
    super::hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}
