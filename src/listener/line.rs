//! One connection from its handshake to its end.

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version, header};
use http_body::Body as HttpBody;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{sleep, timeout},
};

use super::{
    ListenerMetrics, Peer,
    activity::{Activity, Answered},
    bound::Accepted,
    metrics::Gauge,
    peer,
    terms::Terms,
};
use crate::shutdown::{Phase, Shutdown};

/// What the connections of one listener share.
pub(super) struct Line<H> {
    pub(super) handler: H,
    pub(super) shutdown: Shutdown,
    pub(super) address: SocketAddr,
    pub(super) metrics: ListenerMetrics,
    pub(super) name: &'static str,
}

impl<H, F, B> Line<H>
where
    H: Fn(Peer, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Serves one connection on these terms.
    pub(super) async fn connection(self: Arc<Self>, (stream, address, _permit): Accepted, terms: Arc<Terms>) {
        let _open = Gauge::up(self.metrics.connections.with_label_values(&[self.name]));
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, client = %address, "TCP_NODELAY could not be set");
        }
        let tls = terms.tls.is_some();
        let mut peer = Peer { address, identity: None, listener: self.address, sni: None, tls };
        let Some(acceptor) = &terms.tls else { return self.serve(stream, peer, &terms, false).await };
        let began = Instant::now();
        match timeout(terms.config.handshake_timeout, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let (_, connection) = stream.get_ref();
                let http2 = connection.alpn_protocol() == Some(b"h2");
                peer.learn(connection);
                self.serve(stream, peer, &terms, http2).await;
            }
            Ok(Err(error)) => self.refused("handshake", address, &peer::explain(&error), began),
            Err(_) => self.refused("timeout", address, &"the TLS handshake took too long", began),
        }
    }

    async fn serve<I>(self: &Arc<Self>, io: I, peer: Peer, terms: &Terms, http2: bool)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let client = peer.address;
        let activity = Arc::new(Activity::default());
        let (line, calls) = (Arc::clone(self), Arc::clone(&activity));
        let service = service_fn(move |request: Request<Incoming>| {
            let call = calls.begin();
            let http1 = request.version() < Version::HTTP_2;
            let answer = (line.handler)(peer.clone(), request);
            let line = Arc::clone(&line);
            async move {
                let mut answer = answer.await.map(|body| Answered::new(body, call));
                if http1 && line.shutdown.phase() > Phase::Running {
                    // the client sends its next call to whoever serves then
                    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
        let builder = if http2 { &terms.http2 } else { &terms.http1 };
        let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
        let farewell = self.farewell(&activity, terms.config.drain_idle, http2);
        let mut deadline = pin!(self.deadline(terms.config.drain_timeout));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = deadline.as_mut() => Ok(()),
            () = farewell => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = deadline => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error = %error, client = %client, "a client's connection ended with an error");
        }
    }

    /// Ends when the drain has begun and the connection may be closed: with HTTP/2 at once, since it tells the client
    /// which calls are still taken; with HTTP/1 when no call has come for a while, since one that is on its way to a
    /// connection that closes would be lost.
    async fn farewell(&self, activity: &Activity, idle: Duration, http2: bool) {
        self.shutdown.draining().await;
        if !http2 {
            activity.quiet(idle).await;
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

    fn refused(&self, reason: &str, client: SocketAddr, error: &dyn std::fmt::Display, began: Instant) {
        self.metrics.rejected.with_label_values(&[self.name, reason]).inc();
        let waited_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(client = %client, listener = %self.address, reason, %error, waited_ms, "a connection failed before its first request");
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

/// Errors of the connection that was about to be accepted (accept(2)); the next one may be fine.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
