//! Accepting connections: bind first, handshakes spawned with a deadline, limits, and a drain that finishes calls in
//! flight.

mod error;
mod metrics;
mod peer;

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use metrics::Gauge;

pub use error::ListenError;
pub use metrics::ListenerMetrics;
pub use peer::Peer;

use crate::shutdown::Shutdown;

/// How long a connection that was open when the drain began may take to its first call.
const FIRST_CALL: Duration = Duration::from_secs(1);

/// One listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// The certificates and protocols to serve; plain HTTP/1.1 when `None`.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Connections at a time; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// From a connection to the end of its TLS handshake.
    pub handshake_timeout: Duration,
    /// From a connection, or the answer before, to the end of a request's head.
    pub header_timeout: Duration,
    /// How long calls in flight may take after the drain began.
    pub drain_timeout: Duration,
}

impl Config {
    /// The defaults for a listener at this address.
    #[must_use]
    pub const fn new(address: SocketAddr, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        Self {
            address,
            tls,
            max_connections: 10_000,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// An open listener that does not accept yet.
#[derive(Debug)]
pub struct Bound {
    socket: TcpListener,
    address: SocketAddr,
    config: Config,
    metrics: ListenerMetrics,
    name: &'static str,
}

impl Bound {
    /// Opens the socket. `name` is the label in metrics (`data`, `admin`, `ops`).
    ///
    /// # Errors
    /// Why it cannot be opened, and what to do.
    pub async fn bind(
        name: &'static str,
        config: Config,
        metrics: &ListenerMetrics,
    ) -> Result<Self, ListenError> {
        let wrong = |source| ListenError::of(config.address, source);
        let socket = TcpListener::bind(config.address).await.map_err(wrong)?;
        let address = socket.local_addr().map_err(wrong)?;
        Ok(Self { socket, address, config, metrics: metrics.clone(), name })
    }

    /// The address that it really listens on.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Accepts and serves until the drain is ordered, then finishes what is in flight, for at most the drain timeout
    /// or until the end is forced.
    pub async fn serve<H, F, B>(self, handler: H, shutdown: Shutdown)
    where
        H: Fn(Peer, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let room = Arc::new(Semaphore::new(self.config.max_connections));
        let tasks = TaskTracker::new();
        let line = Arc::new(Line::new(&self, handler, shutdown.clone()));
        loop {
            let accepted = tokio::select! {
                () = shutdown.draining() => break,
                accepted = accept(&self.socket, &room) => accepted,
            };
            match accepted {
                Ok(accepted) => {
                    tasks.spawn(Arc::clone(&line).connection(accepted));
                }
                Err(error) => line.accept_failed(&error).await,
            }
        }
        match close(self.socket, &room) {
            Ok(last) => {
                for accepted in last {
                    tasks.spawn(Arc::clone(&line).connection(accepted));
                }
            }
            Err(error) => {
                tracing::warn!(%error, listener = %self.address, "connections that waited to be accepted are dropped");
            }
        }
        tasks.close();
        let deadline = sleep(self.config.drain_timeout);
        tokio::select! {
            () = tasks.wait() => {}
            () = deadline => tracing::warn!(listener = %self.address, left = tasks.len(), "the drain's time is over; open connections are dropped"),
            () = shutdown.forced() => {}
        }
    }
}

/// A connection with its place among all that the listener may have.
type Accepted = (TcpStream, SocketAddr, OwnedSemaphorePermit);

/// Closes the socket, but takes whoever waits in the kernel's queue before: they are connected for all they know, and
/// would be reset.
fn close(socket: TcpListener, room: &Arc<Semaphore>) -> io::Result<Vec<Accepted>> {
    let socket = socket.into_std()?;
    let mut last = Vec::new();
    while let Ok(permit) = Arc::clone(room).try_acquire_owned()
        && let Ok((stream, address)) = socket.accept()
    {
        stream.set_nonblocking(true)?;
        last.push((TcpStream::from_std(stream)?, address, permit));
    }
    Ok(last)
}

async fn accept(socket: &TcpListener, room: &Arc<Semaphore>) -> io::Result<Accepted> {
    let permit = match Arc::clone(room).try_acquire_owned() {
        Ok(permit) => permit,
        Err(_) => {
            tracing::warn!("the limit of connections is reached, new ones wait (max_connections)");
            Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?
        }
    };
    let (stream, address) = socket.accept().await?;
    Ok((stream, address, permit))
}

/// What the connections of one listener share.
struct Line<H> {
    handler: H,
    shutdown: Shutdown,
    tls: Option<TlsAcceptor>,
    address: SocketAddr,
    handshake_timeout: Duration,
    drain_timeout: Duration,
    http1: Builder<TokioExecutor>,
    http2: Builder<TokioExecutor>,
    metrics: ListenerMetrics,
    name: &'static str,
}

impl<H, F, B> Line<H>
where
    H: Fn(Peer, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn new(bound: &Bound, handler: H, shutdown: Shutdown) -> Self {
        let (http1, http2) = builders(bound.config.header_timeout);
        Self {
            handler,
            shutdown,
            tls: bound.config.tls.clone().map(TlsAcceptor::from),
            address: bound.address,
            handshake_timeout: bound.config.handshake_timeout,
            drain_timeout: bound.config.drain_timeout,
            http1,
            http2,
            metrics: bound.metrics.clone(),
            name: bound.name,
        }
    }

    /// One connection from its handshake to its end.
    async fn connection(self: Arc<Self>, (stream, address, _permit): Accepted) {
        let _open = Gauge::up(self.metrics.connections.with_label_values(&[self.name]));
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, client = %address, "TCP_NODELAY could not be set");
        }
        let tls = self.tls.is_some();
        let mut peer = Peer { address, identity: None, listener: self.address, sni: None, tls };
        let Some(acceptor) = &self.tls else { return self.serve(stream, peer, false).await };
        let began = Instant::now();
        match timeout(self.handshake_timeout, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let (_, connection) = stream.get_ref();
                let http2 = connection.alpn_protocol() == Some(b"h2");
                peer.learn(connection);
                self.serve(stream, peer, http2).await;
            }
            Ok(Err(error)) => self.refused("handshake", address, &peer::explain(&error), began),
            Err(_) => self.refused("timeout", address, &"the TLS handshake took too long", began),
        }
    }

    async fn serve<I>(&self, io: I, peer: Peer, http2: bool)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handler = self.handler.clone();
        let client = peer.address;
        let asked = Arc::new(Notify::new());
        let calls = Arc::clone(&asked);
        let service = service_fn(move |request| {
            calls.notify_one();
            let answer = handler(peer.clone(), request);
            async move { Ok::<_, std::convert::Infallible>(answer.await) }
        });
        let builder = if http2 { &self.http2 } else { &self.http1 };
        let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
        // hyper closes a connection that has not read its first call yet at once, also when the call is on its way
        let drained = async {
            self.shutdown.draining().await;
            let _ = timeout(FIRST_CALL, asked.notified()).await;
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = drained => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = sleep(self.drain_timeout) => Ok(()),
                    () = self.shutdown.forced() => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error = %error, client = %client, "a client's connection ended with an error");
        }
    }

    fn refused(&self, reason: &str, client: SocketAddr, error: &dyn std::fmt::Display, began: Instant) {
        self.metrics.rejected.with_label_values(&[self.name, reason]).inc();
        let waited_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(client = %client, listener = %self.address, reason, %error, waited_ms, "a connection failed before its first request");
    }

    /// Out of file descriptors or memory: waiting a little lets connections end, retrying at once would spin.
    async fn accept_failed(&self, error: &io::Error) {
        self.metrics.rejected.with_label_values(&[self.name, "accept"]).inc();
        if concerns_one_connection(error) {
            return;
        }
        tracing::error!(%error, listener = %self.address, "accepting connections failed, trying again in 100 ms; is the limit of open files (ulimit -n) too low?");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Errors of the connection that was about to be accepted (accept(2)); the next one may be fine.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// HTTP/1.1 with header names kept as they were written, and HTTP/2 with bounded streams.
fn builders(header_timeout: Duration) -> (Builder<TokioExecutor>, Builder<TokioExecutor>) {
    let mut http1 = Builder::new(TokioExecutor::new()).http1_only();
    http1
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .preserve_header_case(true)
        // what the platform did not send is not added
        .auto_date_header(false);
    let mut http2 = Builder::new(TokioExecutor::new()).http2_only();
    http2
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(200)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .auto_date_header(false);
    (http1, http2)
}
