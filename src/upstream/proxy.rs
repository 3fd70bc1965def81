//! The egress proxy of a company: HTTP `CONNECT` (RFC 9110 §9.3.6) with Basic authentication, or SOCKS5 (RFC 1928) with
//! name and password (RFC 1929). Everything that fails here is the proxy's, not the platform's.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret, SecretString};
use tokio::{net::TcpStream, time::timeout};
use tokio_socks::tcp::Socks5Stream;
use tokio_util::task::AbortOnDropHandle;
use url::{Host, Url};

use std::{net::SocketAddr, time::Duration};

use super::{
    Phase,
    dialer::{Dialer, Times},
    error::Failure,
    metrics::OfUpstream,
    resolver::Names,
};

/// An egress proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// `http://host:port` for `CONNECT`, `socks5://host:port` for SOCKS5.
    pub url: Url,
    /// Name and password.
    pub credentials: Option<Credentials>,
}

/// Name and password for a proxy.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The name.
    pub username: String,
    /// The password.
    pub password: SecretString,
}

impl PartialEq for Credentials {
    /// Between two configurations of an administrator, so that the time it takes tells nobody anything.
    fn eq(&self, other: &Self) -> bool {
        self.username == other.username && self.password.expose_secret() == other.password.expose_secret()
    }
}

/// What the proxy is asked to connect to.
#[derive(Clone, Debug)]
pub(super) enum Destination {
    Address(SocketAddr),
    /// The proxy resolves it.
    Name(String, u16),
}

/// Why the proxy did not connect.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("it asks for name and password (407); set username and password_file, or correct them")]
    Authentication,
    #[error("it speaks no HTTP, or broke off: {0}")]
    Broken(#[from] hyper::Error),
    #[error("it answered before the platform could; it is no tunnel")]
    NoTunnel,
    #[error("{0}")]
    Socks(#[from] tokio_socks::Error),
    #[error("it answered CONNECT with {0}; ask its administrator to allow the platform's address and port")]
    Status(StatusCode),
    #[error("{0}")]
    Wrong(#[from] http::Error),
}

/// How one upstream is reached through a proxy.
#[derive(Debug)]
pub(super) struct Tunnel {
    proxy: Proxy,
    dialer: Dialer,
    limit: Duration,
}

impl Tunnel {
    /// `None` when the URL names no host.
    pub(super) fn new(proxy: &Proxy, times: Times, names: &Names, metrics: OfUpstream) -> Option<Self> {
        let host = proxy.url.host()?;
        let port = proxy.url.port().unwrap_or(if is_socks(&proxy.url) { 1080 } else { 3128 });
        // a name behind an unknown scheme is not parsed as one
        let host = match host {
            Host::Domain(name) => Host::parse(name).unwrap_or_else(|_| Host::Domain(name.to_owned())),
            Host::Ipv4(ip) => Host::Ipv4(ip),
            Host::Ipv6(ip) => Host::Ipv6(ip),
        };
        let borrowed = match &host {
            Host::Domain(name) => Host::Domain(name.as_str()),
            Host::Ipv4(ip) => Host::Ipv4(*ip),
            Host::Ipv6(ip) => Host::Ipv6(*ip),
        };
        let dialer = Dialer::new(&borrowed, port, &[], times, names, metrics);
        Some(Self { proxy: proxy.clone(), dialer, limit: times.connect })
    }

    /// A connection through the proxy.
    pub(super) async fn connect(&self, to: &Destination) -> Result<TcpStream, Failure> {
        let ours = |failure: Failure| Failure {
            phase: Phase::Proxy,
            source: format!("{}: {}", self.proxy.url, failure.source).into(),
            ..failure
        };
        let addresses = self.dialer.addresses().await.map_err(ours)?;
        let (socket, address) = self.dialer.dial(&addresses).await.map_err(ours)?;
        self.dialer.worked(address);
        let asked = async {
            if is_socks(&self.proxy.url) {
                self.socks5(socket, to).await
            } else {
                self.http(socket, to).await
            }
        };
        match timeout(self.limit, asked).await {
            Ok(Ok(socket)) => Ok(socket),
            Ok(Err(refusal)) => Err(ours(Failure::before(Phase::Proxy, refusal))),
            Err(_) => Err(ours(Failure::too_slow(Phase::Proxy, self.limit))),
        }
    }

    async fn http(&self, socket: TcpStream, to: &Destination) -> Result<TcpStream, Refusal> {
        let authority = match to {
            Destination::Address(address) => address.to_string(),
            Destination::Name(name, port) => format!("{name}:{port}"),
        };
        let mut request = Request::connect(&authority).header(header::HOST, &authority);
        if let Some(credentials) = &self.proxy.credentials {
            request = request.header(header::PROXY_AUTHORIZATION, basic(credentials)?);
        }
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        let _driver = AbortOnDropHandle::new(tokio::spawn(connection.with_upgrades()));
        let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        match answer.status() {
            status if status.is_success() => {}
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => return Err(Refusal::Authentication),
            status => return Err(Refusal::Status(status)),
        }
        let tunnel = hyper::upgrade::on(answer).await?;
        match tunnel.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) if parts.read_buf.is_empty() => Ok(parts.io.into_inner()),
            Ok(_) | Err(_) => Err(Refusal::NoTunnel),
        }
    }

    async fn socks5(&self, socket: TcpStream, to: &Destination) -> Result<TcpStream, Refusal> {
        let tunnel = match (&self.proxy.credentials, to) {
            (None, Destination::Address(address)) => {
                Socks5Stream::connect_with_socket(socket, *address).await
            }
            (None, Destination::Name(name, port)) => {
                Socks5Stream::connect_with_socket(socket, (name.as_str(), *port)).await
            }
            (Some(Credentials { username, password }), to) => {
                let password = password.expose_secret();
                match to {
                    Destination::Address(address) => {
                        Socks5Stream::connect_with_password_and_socket(socket, *address, username, password)
                            .await
                    }
                    Destination::Name(name, port) => {
                        let name = (name.as_str(), *port);
                        Socks5Stream::connect_with_password_and_socket(socket, name, username, password).await
                    }
                }
            }
        };
        Ok(tunnel?.into_inner())
    }
}

fn is_socks(url: &Url) -> bool {
    url.scheme().starts_with("socks5")
}

fn basic(credentials: &Credentials) -> Result<HeaderValue, http::Error> {
    let Credentials { username, password } = credentials;
    let encoded = STANDARD.encode(format!("{username}:{}", password.expose_secret()));
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}"))?;
    value.set_sensitive(true);
    Ok(value)
}
