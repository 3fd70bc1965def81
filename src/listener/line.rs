//! One connection from its handshake to its end.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use http::{HeaderValue, Request, Response, Version, header};
use http_body::Body as HttpBody;
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{rt::TokioIo, server::graceful::GracefulConnection};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{sleep, timeout},
};

use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    Body, ListenerMetrics, Peer, Refusal,
    bound::Accepted,
    calls::{Answer, Calls, Cut, Overdue, Waiting},
    clients::{Clients, Seat},
    guard::{Guard, Source},
    metrics::Gauge,
    peer, proxy_protocol,
    quiet::Quiet,
    terms::Terms,
};
use crate::{
    shutdown::{Phase, Shutdown},
    tls::Ahead,
};

/// How long the last bytes of a connection that is ended may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// A connection without a call rests after so long. Waking it costs a few microseconds, and keeping its server longer
/// would cost memory for each of many connections that came at the same time.
const REST: Duration = Duration::from_millis(100);

/// What became of a connection that was served.
enum Ran<E> {
    Ended(Result<(), E>),
    /// Nothing is asked for the moment.
    Resting,
}

/// Why a connection is not served on.
enum Stop {
    /// The drain has begun, and nothing speaks against closing it.
    Farewell,
    /// The drain has taken too long.
    Deadline,
    Overdue(Overdue),
}

/// What the connections of one listener share.
pub(super) struct Line<H> {
    pub(super) handler: H,
    pub(super) shutdown: Shutdown,
    pub(super) address: SocketAddr,
    pub(super) clients: Arc<Clients>,
    pub(super) metrics: ListenerMetrics,
    pub(super) name: &'static str,
    pub(super) quiet: Quiet,
}

impl<H, F, B> Line<H>
where
    H: Fn(Peer, Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Serves one connection on these terms.
    pub(super) async fn connection(self: Arc<Self>, accepted: Accepted, terms: Arc<Terms>) {
        let (mut stream, address, _permit) = accepted;
        let _open = Gauge::up(self.metrics.connections.with_label_values(&[self.name]));
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, client = %address, "TCP_NODELAY could not be set");
        }
        let began = Instant::now();
        let tls = terms.tls.is_some();
        let mut peer = Peer { address, via: None, identity: None, listener: self.address, sni: None, tls };
        if proxy_protocol::is_from(address.ip(), &terms.config.proxy_protocol_from) {
            let header = proxy_protocol::read(&mut stream);
            match timeout(terms.config.handshake_timeout, header).await {
                Ok(Ok(client)) => peer.came_through(client),
                Ok(Err(error)) => return self.refused("proxy_protocol", address, &error, began),
                Err(_) => return self.refused("timeout", address, &"the PROXY header took too long", began),
            }
        }
        let Some(seat) = self.clients.seat(peer.address.ip(), terms.config.clients) else {
            let why = "the client has as many connections as it may (client_connections)";
            return self.refused("client_connections", peer.address, &why, began);
        };
        let Some(acceptor) = &terms.tls else { return self.serve(stream, peer, seat, &terms, false).await };
        // boxed, and its outcome too: handshakes are over soon, and most of a connection's life is spent at rest
        let shaken = Box::pin(timeout(terms.config.handshake_timeout, shake_hands(acceptor, stream))).await;
        match shaken {
            Ok(Ok(stream)) => {
                let (_, connection) = stream.get_ref();
                let http2 = connection.alpn_protocol() == Some(b"h2");
                self.metrics.handshake(self.name, connection);
                peer.learn(connection);
                self.serve(stream, peer, seat, &terms, http2).await;
            }
            Ok(Err(error)) => {
                let (reason, why) = peer::explain(&error);
                self.refused(reason, peer.address, &why, began);
            }
            Err(_) => self.refused("timeout", peer.address, &"the TLS handshake took too long", began),
        }
    }

    async fn serve<I: Source>(self: &Arc<Self>, io: I, peer: Peer, seat: Seat, terms: &Terms, http2: bool) {
        let client = peer.address;
        let calls = Calls::new();
        let heads = (!http2).then_some(terms.heads);
        let guard = Guard::new(io, heads, terms.progress, Arc::clone(&calls));
        let (line, of_connection, progress) = (Arc::clone(self), Arc::clone(&calls), terms.progress);
        let service = service_fn(move |request: Request<Incoming>| {
            let request = request.map(|body| Body::new(body, progress, &of_connection));
            line.call(&of_connection, &seat, &peer, request)
        });
        let ended = if http2 {
            let connection = terms.http2.serve_connection(TokioIo::new(guard), service);
            Box::pin(self.http2(connection, &calls, terms)).await
        } else {
            self.http1(guard, service, &calls, terms).await
        };
        if let Some(cut) = calls.reason() {
            self.cut(cut, client);
        }
        if let Err(error) = ended {
            tracing::debug!(%error, client = %client, "a client's connection ended with an error");
        }
    }

    /// Serves a connection of HTTP/1. It has a server, which is most of what a connection costs in memory, only while
    /// it is used: many systems open a connection for each worker and ask something once in a while.
    async fn http1<I, S>(
        &self,
        mut guard: Guard<I>,
        mut service: S,
        calls: &Calls,
        terms: &Terms,
    ) -> Result<(), hyper::Error>
    where
        I: Source,
        S: Service<Request<Incoming>, Response = Response<Answer<B>>, Error = Infallible> + Unpin,
    {
        guard.begin();
        let waiting = Waiting { rest: Some(REST), ..terms.waiting };
        while self.is_asked(&guard, calls, terms).await {
            calls.woken();
            let mut connection = Box::new(terms.http1.serve_connection(TokioIo::new(guard), service));
            // both boxed, so that they take nothing while the connection rests
            match Box::pin(self.run(Pin::new(&mut *connection), calls, terms, waiting)).await {
                Ran::Ended(ended) => return ended,
                Ran::Resting => {}
            }
            let parts = connection.into_parts();
            (guard, service) = (parts.io.into_inner(), parts.service);
            if !guard.hands_over(&parts.read_buf) {
                break;
            }
        }
        // the client may be gone already
        let _ = timeout(FAREWELL, guard.shutdown()).await;
        Ok(())
    }

    /// Waits for what a client that rests asks next; false when the connection is to be closed instead.
    async fn is_asked<I: Source>(&self, guard: &Guard<I>, calls: &Calls, terms: &Terms) -> bool {
        tokio::select! {
            biased;
            () = guard.arrived() => true,
            () = self.farewell(calls, terms.config.drain_idle, false) => false,
            () = self.deadline(terms.config.drain_timeout) => false,
            overdue = calls.overdue(terms.waiting) => {
                if let Overdue::Connection(cut) = overdue {
                    calls.cut(cut);
                }
                false
            }
        }
    }

    /// A connection of HTTP/2, from which the server is not taken away.
    async fn http2<C: GracefulConnection>(
        &self,
        connection: C,
        calls: &Calls,
        terms: &Terms,
    ) -> Result<(), C::Error> {
        match self.run(pin!(connection), calls, terms, terms.waiting).await {
            Ran::Ended(ended) => ended,
            Ran::Resting => Ok(()),
        }
    }

    /// One call of a connection.
    fn call(
        self: &Arc<Self>,
        calls: &Arc<Calls>,
        seat: &Seat,
        peer: &Peer,
        mut request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Answer<B>>, Infallible>> + Send + use<H, F, B> {
        let (mut call, refused) = calls.begin();
        let refused = refused.or_else(|| peer::conflicting_host(&request)).or_else(|| {
            let place = seat.call();
            place.map(|place| call.client = place).err()
        });
        if let Some(refusal) = refused {
            self.refuses(refusal, peer.address);
            request.extensions_mut().insert(refusal);
        }
        let http1 = request.version() < Version::HTTP_2;
        let (line, peer) = (Arc::clone(self), peer.clone());
        async move {
            // boxed: HTTP moves the future of a call about before it begins
            let answer = Box::pin((line.handler)(peer, request)).await;
            let mut answer = answer.map(|body| Answer::new(body, call));
            if http1 && line.shutdown.phase() > Phase::Running {
                // the client sends its next call to whoever serves then
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(answer)
        }
    }

    /// Serves a connection until it ends, is drained, rests, or has waited too long.
    async fn run<C: GracefulConnection>(
        &self,
        mut connection: Pin<&mut C>,
        calls: &Calls,
        terms: &Terms,
        waiting: Waiting,
    ) -> Ran<C::Error> {
        let http2 = waiting.rest.is_none();
        let farewell = self.farewell(calls, terms.config.drain_idle, http2).map(|()| Stop::Farewell);
        let deadline = self.deadline(terms.config.drain_timeout).map(|()| Stop::Deadline);
        let overdue = || calls.overdue(waiting).map(Stop::Overdue).boxed();
        // each of them is polled only when it is woken, not whenever the connection is
        let mut watch: FuturesUnordered<_> =
            [farewell.boxed(), deadline.boxed(), overdue()].into_iter().collect();
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => return Ran::Ended(ended),
                Some(stop) = watch.next() => match stop {
                    Stop::Deadline => return Ran::Ended(Ok(())),
                    Stop::Farewell => break,
                    // the guard sees to it when it is asked next, which is at once
                    Stop::Overdue(Overdue::Head) => watch.push(overdue()),
                    Stop::Overdue(Overdue::Rest) => return Ran::Resting,
                    Stop::Overdue(Overdue::Connection(Cut::Resets | Cut::SlowReader)) => {
                        return Ran::Ended(Ok(()));
                    }
                    Stop::Overdue(Overdue::Connection(cut @ (Cut::Idle | Cut::NoCall))) => {
                        calls.cut(cut);
                        break;
                    }
                },
            }
        }
        connection.as_mut().graceful_shutdown();
        let last = async {
            if calls.reason().is_some() {
                return sleep(FAREWELL).await;
            }
            while let Some(stop) = watch.next().await
                && !matches!(stop, Stop::Deadline)
            {}
        };
        tokio::select! {
            ended = connection => Ran::Ended(ended),
            () = last => Ran::Ended(Ok(())),
        }
    }

    /// Ends when the drain has begun and the connection may be closed: with HTTP/2 at once, since it tells the client
    /// which calls are still taken; with HTTP/1 when no call has come for a while, since one that is on its way to a
    /// connection that closes would be lost.
    async fn farewell(&self, calls: &Calls, idle: Duration, http2: bool) {
        self.shutdown.draining().await;
        if !http2 {
            calls.quiet(idle).await;
        }
    }

    /// Ends when the drain has taken so long, or its end is forced.
    async fn deadline(&self, limit: Duration) {
        self.shutdown.draining().await;
        tokio::select! {
            () = sleep(limit) => {}
            () = self.shutdown.forced() => {}
        }
    }

    fn cut(&self, cut: Cut, client: SocketAddr) {
        self.metrics.cut(self.name, cut);
        if cut != Cut::Idle {
            self.quiet.warn(|suppressed| {
                tracing::warn!(client = %client, listener = %self.address, reason = cut.as_str(), suppressed, "a client's connection was ended");
            });
        }
    }

    fn refuses(&self, refusal: Refusal, client: SocketAddr) {
        let reason = refusal.reason();
        self.metrics.refused.with_label_values(&[self.name, reason]).inc();
        self.quiet.warn(|suppressed| {
            tracing::warn!(client = %client, listener = %self.address, reason, suppressed, "a request was refused before it was read");
        });
    }

    fn refused(
        &self,
        reason: &'static str,
        client: SocketAddr,
        error: &dyn std::fmt::Display,
        began: Instant,
    ) {
        self.metrics.rejected.with_label_values(&[self.name, reason]).inc();
        let waited_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.quiet.warn(|suppressed| {
            tracing::warn!(client = %client, listener = %self.address, reason, %error, waited_ms, suppressed, "a connection failed before its first request");
        });
    }

    /// Out of file descriptors or memory: waiting a little lets connections end, retrying at once would spin.
    pub(super) async fn accept_failed(&self, error: &io::Error) {
        self.metrics.rejected.with_label_values(&[self.name, "accept"]).inc();
        if concerns_one_connection(error) {
            return;
        }
        tracing::error!(%error, listener = %self.address, "accepting connections failed, trying again in 100 ms; is the limit of open files (ulimit -n) too low?");
        sleep(Duration::from_millis(100)).await;
    }
}

async fn shake_hands(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
) -> io::Result<Box<TlsStream<Ahead<TcpStream>>>> {
    acceptor.accept(Ahead::new(stream)).await.map(Box::new)
}

/// Errors of the connection that was about to be accepted (accept(2)); the next one may be fine.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
