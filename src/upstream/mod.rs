//! The way to the platform: one [`Upstream`] per `[[upstream]]`, with its own trust, pool and timeouts.
//!
//! **Nothing is sent twice.** A request goes out on a second connection only when the first one gave it back whole,
//! which is proof that no byte of it was written (a pooled connection that the peer closed meanwhile). Whatever fails
//! later is reported with `sent: true`.

mod body;
mod connect;
mod error;
mod metrics;
mod pool;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::client::conn::http1::SendRequest;
use rustls::pki_types::ServerName;
use tokio::time::timeout;
use url::{Host, Url};

pub use error::{Phase, SendError, TimedOut, UpstreamError};
pub use metrics::UpstreamMetrics;

use self::{body::Answer, connect::Connector, pool::Pool};
use crate::tls::{self, Verify};

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body of either direction, of the data plane and of the gateway's own calls.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// One `[[upstream]]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name, for routes, log and metrics.
    pub name: String,
    /// Scheme, host, port and an optional path that is put before every path.
    pub base_url: Url,
    /// What its certificate must prove.
    pub verify: Verify,
    /// Authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Fixed addresses instead of DNS.
    pub addresses: Vec<SocketAddr>,
    /// For each TCP connection, and again for the TLS handshake.
    pub connect_timeout: Duration,
    /// From the request's first byte to the answer's head, and between two pieces of the answer.
    pub response_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// How many unused connections are kept.
    pub max_idle: usize,
}

impl Config {
    /// The defaults for an upstream of this name and URL.
    #[must_use]
    pub const fn new(name: String, base_url: Url) -> Self {
        Self {
            name,
            base_url,
            verify: Verify::Full,
            ca_file: None,
            addresses: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(30),
            max_idle: 128,
        }
    }
}

/// A place that calls are sent to.
pub struct Upstream {
    name: String,
    authority: String,
    base_path: String,
    connector: Connector,
    pool: Arc<Pool>,
    response_timeout: Duration,
    metrics: UpstreamMetrics,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream")
            .field("name", &self.name)
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

impl Upstream {
    /// Sets up trust and pool; connects only when the first call comes.
    ///
    /// # Errors
    /// When the URL cannot be called, or certificates or pins cannot be used.
    pub fn new(config: Config, metrics: &UpstreamMetrics) -> Result<Arc<Self>, UpstreamError> {
        let wrong = |reason| UpstreamError::BaseUrl {
            name: config.name.clone(),
            url: config.base_url.to_string(),
            reason,
        };
        let host = config.base_url.host().ok_or_else(|| wrong("it names no host"))?;
        let port = config.base_url.port_or_known_default().ok_or_else(|| wrong("it names no port"))?;
        let tls = match config.base_url.scheme() {
            "http" => None,
            "https" => {
                Some((trust(&config)?, server_name(&host).ok_or_else(|| wrong("its host is no name"))?))
            }
            _ => return Err(wrong("its scheme must be https (or http)")),
        };
        metrics.insecure(&config.name, config.verify == Verify::Off && tls.is_some());
        let connector = Connector {
            host: host_text(&host),
            port,
            addresses: config.addresses.clone(),
            tls,
            timeout: config.connect_timeout,
        };
        let authority = config.base_url[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
        Ok(Arc::new(Self {
            authority,
            base_path: config.base_url.path().trim_end_matches('/').to_owned(),
            connector,
            pool: Arc::new(Pool::new(config.max_idle, config.idle_timeout)),
            response_timeout: config.response_timeout,
            metrics: metrics.clone(),
            name: config.name,
        }))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What `Host` must say: the host of the base URL, and the port when it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The path of the base URL without a `/` at its end; often empty.
    #[must_use]
    pub fn base_path(&self) -> &str {
        &self.base_path
    }

    /// Sends a request whose URI is path and query and whose headers are complete, and gives the answer's head with
    /// its body still flowing.
    ///
    /// # Errors
    /// The phase that failed, and whether anything may have been sent.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Body>, SendError> {
        let sent = self.try_send(request).await;
        sent.map_err(|(phase, sent, source)| {
            self.metrics.failed(&self.name, phase);
            SendError { upstream: self.name.clone(), phase, sent, source }
        })
    }

    async fn try_send(&self, mut request: Request<Body>) -> Result<Response<Body>, (Phase, bool, BoxError)> {
        while let Some(mut sender) = self.pool.take() {
            if !matches!(timeout(self.connector.timeout, sender.ready()).await, Ok(Ok(()))) {
                continue;
            }
            match self.send_on(sender, request).await {
                Ok(response) => return Ok(response),
                Err(Failed::Unsent(back, _)) => request = *back,
                Err(Failed::Sent(phase, error)) => return Err((phase, true, error)),
            }
        }
        let sender = self.connector.connect().await.map_err(|(phase, error)| (phase, false, error))?;
        self.metrics.connected(&self.name);
        match self.send_on(sender, request).await {
            Ok(response) => Ok(response),
            Err(Failed::Unsent(_, error)) => Err((Phase::Send, false, error)),
            Err(Failed::Sent(phase, error)) => Err((phase, true, error)),
        }
    }

    async fn send_on(
        &self,
        mut sender: SendRequest<Body>,
        request: Request<Body>,
    ) -> Result<Response<Body>, Failed> {
        match timeout(self.response_timeout, sender.try_send_request(request)).await {
            Err(_) => Err(Failed::Sent(Phase::Response, TimedOut(self.response_timeout).into())),
            Ok(Ok(response)) => {
                let pool = Arc::clone(&self.pool);
                Ok(response.map(|body| Answer::new(body, sender, pool, self.response_timeout).boxed_unsync()))
            }
            Ok(Err(mut error)) => Err(match error.take_message() {
                Some(request) => Failed::Unsent(Box::new(request), error.into_error().into()),
                None => {
                    let error = error.into_error();
                    let phase = if error.is_user() { Phase::Send } else { Phase::Head };
                    Failed::Sent(phase, error.into())
                }
            }),
        }
    }
}

/// How one attempt failed.
enum Failed {
    /// The request came back: nothing of it was written.
    Unsent(Box<Request<Body>>, BoxError),
    /// Something of it may have been written.
    Sent(Phase, BoxError),
}

fn trust(config: &Config) -> Result<tokio_rustls::TlsConnector, UpstreamError> {
    let tls = tls::client_config(&config.verify, config.ca_file.as_deref());
    tls.map(connect::tls).map_err(|source| UpstreamError::Tls { name: config.name.clone(), source })
}

fn server_name(host: &Host<&str>) -> Option<ServerName<'static>> {
    match host {
        Host::Domain(name) => ServerName::try_from((*name).to_owned()).ok(),
        Host::Ipv4(address) => Some(ServerName::from(std::net::IpAddr::from(*address))),
        Host::Ipv6(address) => Some(ServerName::from(std::net::IpAddr::from(*address))),
    }
}

/// The host as the resolver takes it: IPv6 without brackets.
fn host_text(host: &Host<&str>) -> String {
    match host {
        Host::Domain(name) => (*name).to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    }
}
