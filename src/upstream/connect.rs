//! A new connection: name → address → TCP → TLS → HTTP/1.1.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{Body, BoxError, Phase, error::TimedOut};

/// What a connection needs to know.
#[derive(Clone)]
pub(super) struct Connector {
    /// The host of the base URL, for DNS and SNI.
    pub(super) host: String,
    /// The port of the base URL.
    pub(super) port: u16,
    /// Fixed addresses instead of DNS.
    pub(super) addresses: Vec<SocketAddr>,
    /// TLS with the name to verify; plain HTTP when `None`.
    pub(super) tls: Option<(TlsConnector, ServerName<'static>)>,
    /// For each TCP connection, and again for the TLS handshake.
    pub(super) timeout: Duration,
}

/// A failure before anything of a request was sent.
pub(super) type ConnectError = (Phase, BoxError);

impl Connector {
    /// Tries every address in turn.
    ///
    /// # Errors
    /// The last address's failure.
    pub(super) async fn connect(&self) -> Result<SendRequest<Body>, ConnectError> {
        let mut last: ConnectError = (Phase::Resolve, "the name has no address".into());
        for address in self.resolve().await? {
            match self.connect_to(address).await {
                Ok(sender) => return Ok(sender),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, ConnectError> {
        if !self.addresses.is_empty() {
            return Ok(self.addresses.clone());
        }
        let found = within(self.timeout, tokio::net::lookup_host((self.host.as_str(), self.port))).await;
        found.map(Iterator::collect).map_err(|error| (Phase::Resolve, error))
    }

    async fn connect_to(&self, address: SocketAddr) -> Result<SendRequest<Body>, ConnectError> {
        let context = |error: BoxError| -> BoxError { format!("{address}: {error}").into() };
        let tcp = within(self.timeout, TcpStream::connect(address))
            .await
            .map_err(|error| (Phase::Connect, context(error)))?;
        tcp.set_nodelay(true).map_err(|error| (Phase::Connect, context(error.into())))?;
        match &self.tls {
            None => handshake(tcp).await,
            Some((connector, name)) => {
                let tls = within(self.timeout, connector.connect(name.clone(), tcp)).await;
                handshake(tls.map_err(|error| (Phase::Tls, context(error)))?).await
            }
        }
    }
}

async fn handshake<I>(io: I) -> Result<SendRequest<Body>, ConnectError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|error| (Phase::Connect, BoxError::from(error)))?;
    // ends by itself: when the sender is dropped, the peer closes, or an answer is dropped half-read
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to an upstream ended");
        }
    });
    Ok(sender)
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> Result<T, BoxError> {
    match timeout(limit, work).await {
        Ok(done) => done.map_err(BoxError::from),
        Err(_) => Err(TimedOut(limit).into()),
    }
}

/// The TLS side of a [`Connector`].
pub(super) fn tls(config: rustls::ClientConfig) -> TlsConnector {
    TlsConnector::from(Arc::new(config))
}
