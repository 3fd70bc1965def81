//! The demonstration's own small HTTP client: one connection per call, so that nothing of the gateway's client is
//! between it and the wire.

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

use crate::tls::{self, Verify};

/// Speaks to one address.
pub(super) struct Http {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

/// An answer, whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Http {
    /// Plain HTTP.
    pub(super) const fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }

    /// HTTPS, with the certificate verified by this authority.
    pub(super) fn verified(address: SocketAddr, ca_file: &Path) -> anyhow::Result<Self> {
        let config = tls::client_config(&Verify::Full, Some(ca_file))?;
        Ok(Self { address, tls: Some(TlsConnector::from(Arc::new(config))) })
    }

    /// Sends a request and reads its answer whole.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<Answer> {
        let host = self.address.to_string();
        let request = Request::builder().method(method).uri(path).header("host", &host);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Full::new(Bytes::from(body)))?;
        let tcp =
            TcpStream::connect(self.address).await.with_context(|| format!("cannot connect to {host}"))?;
        match &self.tls {
            Some(connector) => {
                let name = ServerName::IpAddress(self.address.ip().into());
                exchange(connector.connect(name, tcp).await.context("the TLS handshake failed")?, request)
                    .await
            }
            None => exchange(tcp, request).await,
        }
    }
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

/// The management API, with a bearer token.
pub(super) struct Api {
    http: Http,
    authorization: String,
}

impl Api {
    /// The API at this address.
    pub(super) fn new(address: SocketAddr, token: &str) -> Self {
        Self { http: Http::plain(address), authorization: format!("Bearer {token}") }
    }

    /// Reads a resource.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        let headers = [("authorization", self.authorization.as_str())];
        let answer = self.http.send(Method::GET, &format!("/api/v1{path}"), &headers, Vec::new()).await?;
        read(path, &answer)
    }

    /// Acts; the idempotency key is the path, which names what is done once.
    pub(super) async fn post(
        &self,
        path: &str,
        key: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<serde_json::Value> {
        let headers = [
            ("authorization", self.authorization.as_str()),
            ("content-type", "application/json"),
            ("idempotency-key", key),
        ];
        let path = format!("/api/v1{path}");
        let answer = self.http.send(Method::POST, &path, &headers, body.to_string().into_bytes()).await?;
        read(&path, &answer)
    }
}

fn read(path: &str, answer: &Answer) -> anyhow::Result<serde_json::Value> {
    if !answer.status.is_success() {
        bail!("{path}: HTTP {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
    }
    serde_json::from_slice(&answer.body).with_context(|| format!("{path}: the answer is not JSON"))
}
