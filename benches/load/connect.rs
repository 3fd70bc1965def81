//! Connections to the proxy: TLS with its certificate verified, HTTP/1.1 or HTTP/2 on top.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::{Frame, SizeHint};
use http_body_util::{Either, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    net::{TcpSocket, TcpStream},
    task::AbortHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A body that is sent whole, or never ends.
pub(crate) type Body = Either<Full<Bytes>, Halted>;

/// Where the load goes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TargetArgs {
    /// Address of the proxy
    #[arg(long, value_name = "ADDRESS")]
    address: SocketAddr,
    /// The authority that signed its certificate, in PEM form
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
}

/// A proxy that connections are opened to; cheap to clone.
#[derive(Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    name: ServerName<'static>,
    tls: TlsConnector,
    host: HeaderValue,
    http2: bool,
}

impl Target {
    /// Reads the authority.
    pub(crate) fn new(args: &TargetArgs, http2: bool) -> anyhow::Result<Self> {
        Ok(Self {
            address: args.address,
            name: args.address.ip().into(),
            tls: TlsConnector::from(Arc::new(trusting(&args.ca, http2)?)),
            host: HeaderValue::from_str(&args.address.to_string())?,
            http2,
        })
    }

    /// A connection whose handshake is done, from this address of the machine if one is given.
    pub(crate) async fn dial(&self, source: Option<IpAddr>) -> anyhow::Result<TlsStream<TcpStream>> {
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(source) = source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(self.tls.connect(self.name.clone(), stream).await?)
    }

    /// A connection that takes requests.
    pub(crate) async fn open(&self) -> anyhow::Result<Sender> {
        let stream = TokioIo::new(self.dial(None).await?);
        if self.http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(connection);
            return Ok(Sender::Http2(sender));
        }
        let (sender, connection) = http1::handshake(stream).await?;
        let driver = tokio::spawn(connection).abort_handle();
        Ok(Sender::Http1(sender, driver))
    }

    /// A request to this path with these headers, without a body.
    pub(crate) fn request(&self, path: &str, headers: &[(String, String)]) -> anyhow::Result<Request<()>> {
        let uri = if self.http2 { format!("https://{}{path}", self.address) } else { path.to_owned() };
        let mut request = Request::post(uri);
        if !self.http2 {
            request = request.header(header::HOST, self.host.clone());
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Ok(request.body(())?)
    }
}

/// The sending half of a connection.
pub(crate) enum Sender {
    /// One call at a time, and what drives the connection.
    Http1(http1::SendRequest<Body>, AbortHandle),
    /// Many calls at a time.
    Http2(http2::SendRequest<Body>),
}

impl Sender {
    /// Sends a request once the connection can take it.
    pub(crate) async fn send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender, _) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// Another half of the same connection, if it takes many calls.
    pub(crate) fn share(&self) -> Option<Self> {
        match self {
            Self::Http1(..) => None,
            Self::Http2(sender) => Some(Self::Http2(sender.clone())),
        }
    }

    /// Whether it is over.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender, _) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    /// Closes a connection that takes one call at a time; of the others only the call is given up.
    pub(crate) fn leave(self) {
        if let Self::Http1(_, driver) = self {
            driver.abort();
        }
    }
}

/// A body of which only the first half is ever sent.
pub(crate) struct Halted {
    first: Option<Bytes>,
    missing: u64,
}

impl Halted {
    /// The first half of these bytes.
    pub(crate) fn of(whole: &Bytes) -> Self {
        let first = whole.slice(..whole.len() / 2);
        Self { missing: (whole.len() - first.len()) as u64, first: Some(first) }
    }
}

impl http_body::Body for Halted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.first.take().map_or(Poll::Pending, |first| Poll::Ready(Some(Ok(Frame::data(first)))))
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.first.as_ref().map_or(0, |first| first.len() as u64);
        SizeHint::with_exact(left + self.missing)
    }
}

fn trusting(ca: &Path, http2: bool) -> anyhow::Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).with_context(|| format!("cannot read {ca:?}"))? {
        roots.add(certificate?)?;
    }
    let mut config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
    config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(config)
}
