//! The commands' own small HTTP client: one connection per call, so that nothing of the gateway's client is between it
//! and the wire.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use url::Url;

use crate::tls::{self, Verify};

/// Speaks to one server.
pub(super) struct Http {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// An answer, whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Http {
    /// Plain HTTP.
    pub(super) fn plain(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port(), tls: None }
    }

    /// HTTPS, with the certificate verified by this authority.
    pub(super) fn verified(address: SocketAddr, ca_file: &Path) -> anyhow::Result<Self> {
        let name = ServerName::IpAddress(address.ip().into());
        Ok(Self { tls: Some((connector(Some(ca_file))?, name)), ..Self::plain(address) })
    }

    /// What the URL says; `https` is verified by the authority, or by the system's when there is none.
    pub(super) fn of(url: &Url, ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let host = url.host_str().context("the URL names no host")?.trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().context("the URL names no port")?;
        let tls = match url.scheme() {
            "http" => None,
            "https" => Some((connector(ca_file)?, ServerName::try_from(host.clone())?)),
            other => bail!("{other}:// cannot be called; write http:// or https://"),
        };
        Ok(Self { host, port, tls })
    }

    /// Sends a request and reads its answer whole.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<Answer> {
        let authority = if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        };
        let request = Request::builder().method(method).uri(path).header("host", &authority);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Full::new(Bytes::from(body)))?;
        let tcp = TcpStream::connect((self.host.as_str(), self.port));
        let tcp = tcp.await.with_context(|| format!("cannot connect to {authority}"))?;
        match &self.tls {
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), tcp).await.map_err(tls::HandshakeError::from);
                exchange(stream.with_context(|| format!("TLS with {authority} failed"))?, request).await
            }
            None => exchange(tcp, request).await,
        }
    }
}

fn connector(ca_file: Option<&Path>) -> anyhow::Result<TlsConnector> {
    Ok(TlsConnector::from(Arc::new(tls::client_config(&Verify::Full, ca_file)?)))
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> anyhow::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok(Answer { status, body })
}
