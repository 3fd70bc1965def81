//! A platform that does as told and notes everything that reaches it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// A good answer.
pub(crate) const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What happens to a connection, or to a request on it.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Say this and wait for the next request.
    Answer(String),
    /// Say this and close.
    AnswerAndClose(&'static str),
    /// Say this much and then nothing more, with the connection open.
    AnswerAndStall(&'static str),
    /// Close without a word, after the request was read.
    Close,
    /// Never make the TLS handshake (asked before the first request, as request 0).
    NoHandshake,
    /// Reset the connection before anything is read (asked as request 0).
    Reset,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connections: usize,
    pub(crate) closed: usize,
    /// Every request, complete with head and body, byte for byte.
    pub(crate) requests: Vec<String>,
    /// The name asked for in TLS, per connection.
    pub(crate) names: Vec<Option<String>>,
}

/// It ends when dropped.
pub(crate) struct Platform {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

type Script = dyn Fn(usize, usize) -> Act + Send + Sync;

impl Platform {
    /// `script` is asked with the numbers of connection and request, both from 1 (request 0: the bare connection).
    pub(crate) async fn start(
        tls: Option<Arc<rustls::ServerConfig>>,
        script: impl Fn(usize, usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), tls, script)
    }

    /// The same on a socket that listens already.
    pub(crate) fn start_on(
        socket: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        script: impl Fn(usize, usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        let address = socket.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let script: Arc<Script> = Arc::new(script);
        let noted = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = socket.accept().await.unwrap();
                let number = {
                    let mut seen = noted.lock().unwrap();
                    seen.connections += 1;
                    seen.connections
                };
                let (tls, script, seen) = (tls.clone(), Arc::clone(&script), Arc::clone(&noted));
                tasks.spawn(async move {
                    connection(socket, tls, number, &*script, &seen).await;
                    seen.lock().unwrap().closed += 1;
                });
            }
        });
        Self { address, seen, task }
    }

    /// One that always answers well.
    pub(crate) async fn friendly(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        Self::start(tls, |_, request| if request == 0 { Act::Close } else { Act::Answer(ANSWER.into()) })
            .await
    }

    pub(crate) fn requests(&self) -> usize {
        self.seen.lock().unwrap().requests.len()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(
    socket: TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    number: usize,
    script: &Script,
    seen: &Mutex<Seen>,
) {
    match script(number, 0) {
        Act::Reset => return socket.set_zero_linger().unwrap(),
        Act::NoHandshake => return until_closed(socket).await,
        Act::Answer(_) | Act::AnswerAndClose(_) | Act::AnswerAndStall(_) | Act::Close => {}
    }
    let Some(tls) = tls else { return converse(socket, number, script, seen).await };
    let Ok(stream) = TlsAcceptor::from(tls).accept(socket).await else { return };
    let name = stream.get_ref().1.server_name().map(ToOwned::to_owned);
    seen.lock().unwrap().names.push(name);
    converse(stream, number, script, seen).await;
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    number: usize,
    script: &Script,
    seen: &Mutex<Seen>,
) {
    for request in 1.. {
        let Some(text) = read_message(&mut stream).await else { return };
        seen.lock().unwrap().requests.push(text);
        match script(number, request) {
            Act::Answer(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
            Act::AnswerAndClose(answer) => {
                stream.write_all(answer.as_bytes()).await.unwrap();
                let _ = stream.shutdown().await;
                return;
            }
            Act::AnswerAndStall(answer) => {
                stream.write_all(answer.as_bytes()).await.unwrap();
                return until_closed(stream).await;
            }
            Act::Close | Act::NoHandshake | Act::Reset => return,
        }
        stream.flush().await.unwrap();
    }
}

async fn until_closed<S: AsyncRead + Unpin>(mut stream: S) {
    while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {}
}

/// Head and body of a message, chunks as they are; `None` when the connection ends.
pub(crate) async fn read_message<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length = length.map_or(0, |length| length.trim().parse().unwrap());
            let chunked = head.contains("transfer-encoding: chunked");
            if if chunked { bytes.ends_with(b"0\r\n\r\n") } else { bytes.len() >= end + 4 + length } {
                return Some(String::from_utf8(bytes).unwrap());
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
        }
    }
}
