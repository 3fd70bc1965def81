//! Calls to the platform: one [`Upstream`] per `[[upstream]]` of the configuration, with its own pool of kept
//! connections, its way of verifying the platform and its timeouts.
//!
//! What callers may rely on:
//! - **Nothing is sent twice.** Only a request that a kept connection gave back untouched goes out once more, on a new
//!   one.
//! - Every wait has an end with a name of its own ([`Phase`]).
//! - [`SendError::sent`] is false only when it is proven that no byte of the request left this machine.
//! - Bytes are not touched: header names keep their case and order, values stay as they are, and nothing is
//!   added but `Host` (replaced by the upstream's) and the framing that HTTP/1.1 demands.

mod addresses;
mod breaker;
mod connection;
mod connector;
mod deadline;
mod dialer;
mod error;
mod exchange;
mod health;
mod io;
mod metrics;
mod pool;
mod proxy;
mod request_body;
mod resolver;
mod response_body;
mod secure;
mod slot;
mod standstill;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderValue;
use url::Url;

pub use error::{Phase, SendError, TimedOut, UpstreamError};
pub use metrics::UpstreamMetrics;
pub use proxy::{Credentials, Proxy};
pub use request_body::is_at_end;
pub use resolver::Names;

use crate::tls::{ClientSettings, Verify};
use breaker::Breaker;
use connector::Connector;
use error::Failure;
use pool::{Limits, Pool};

/// Any error that a body can end with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of requests and responses, of the data plane and of the gateway's own calls.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// One upstream's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Its name in routes, logs and metrics.
    pub name: String,
    /// `https://host[:port][/path]`; `http` too, for a platform behind a company's own relay.
    pub base_url: Url,
    /// What its certificate must prove, and with which the gateway proves itself.
    pub tls: ClientSettings,
    /// Fixed addresses, tried in order, instead of asking DNS.
    pub addresses: Vec<SocketAddr>,
    /// How long an address that has failed is tried after all others.
    pub address_pause: Duration,
    /// Whom to ask for the addresses of its name.
    pub names: Names,
    /// The proxy through which it is reached; directly when `None`.
    pub proxy: Option<Proxy>,
    /// How often every address is connected to without a call; never when `None`.
    pub health_interval: Option<Duration>,
    /// How long resolving may take, then each attempt of a TCP connection.
    pub connect_timeout: Duration,
    /// How long the TLS handshake may take.
    pub tls_timeout: Duration,
    /// How long the head of the answer may take from the last piece of the request that was handed over.
    pub response_timeout: Duration,
    /// How long the body of the answer may stand still.
    pub body_timeout: Duration,
    /// How long the whole call may take, from the first step to the end of the answer; without a limit when `None`.
    pub total_timeout: Option<Duration>,
    /// How long an unused connection is kept; less when the platform says that it keeps it for less.
    pub idle_timeout: Duration,
    /// How many unused connections are kept.
    pub max_idle: usize,
    /// How long a connection is used at most: a new one asks for the address again.
    pub max_age: Duration,
    /// How many connections may be open at once.
    pub max_connections: usize,
    /// How long a call waits for a connection when so many are open.
    pub pool_timeout: Duration,
    /// Failures in a row after which calls are refused for a while; 0: never.
    pub breaker_failures: u32,
    /// For how long; then one call finds out.
    pub breaker_pause: Duration,
}

impl Config {
    /// The settings for a name and an address, everything else as it is by default.
    #[must_use]
    pub fn new(name: String, base_url: Url) -> Self {
        Self {
            name,
            base_url,
            tls: ClientSettings::new(Verify::Full),
            addresses: Vec::new(),
            address_pause: Duration::from_secs(10),
            names: Names::default(),
            proxy: None,
            health_interval: None,
            connect_timeout: Duration::from_secs(5),
            tls_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            total_timeout: None,
            idle_timeout: Duration::from_secs(30),
            max_idle: 128,
            max_age: Duration::from_secs(600),
            max_connections: 1024,
            pool_timeout: Duration::from_secs(5),
            breaker_failures: 10,
            breaker_pause: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// Every file whose content belongs to the settings.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.tls.files()
    }
}

/// A platform that requests can be sent to.
#[derive(Debug)]
pub struct Upstream {
    name: String,
    authority: String,
    host: HeaderValue,
    base_path: String,
    breaker: Breaker,
    connector: Connector,
    pool: Arc<Pool>,
    response_timeout: Duration,
    body_timeout: Duration,
    total_timeout: Option<Duration>,
    metrics: metrics::OfUpstream,
}

impl Upstream {
    /// Prepares an upstream; nothing is dialled yet but by checks of its health, which need a runtime around the call.
    ///
    /// # Errors
    /// When the base URL names no host or another scheme than `https` and `http`, or the trust cannot be set up.
    pub fn new(config: Config, metrics: &UpstreamMetrics) -> Result<Arc<Self>, UpstreamError> {
        let wrong = |reason| base_url(&config, reason);
        if !matches!(config.base_url.scheme(), "https" | "http") {
            return Err(wrong("its scheme must be https (or http)"));
        }
        let authority = config.base_url[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
        let host = HeaderValue::from_str(&authority).map_err(|_| wrong("its host is no name"))?;
        let metrics = metrics.of_upstream(&config.name);
        let connector = Connector::new(&config, metrics.clone())?;
        if config.tls.verify == Verify::Off && connector.is_tls() {
            metrics.unverified();
            tracing::warn!(
                upstream = config.name,
                "TLS VERIFICATION IS OFF: whoever stands between the gateway and {authority} can read and change \
                 every call; use verify = \"pinned\" or \"chain\""
            );
        }
        let limits = Limits {
            connections: config.max_connections,
            idle: config.max_idle,
            idle_timeout: config.idle_timeout,
            wait: config.pool_timeout,
        };
        let upstream = Arc::new(Self {
            host,
            base_path: config.base_url.path().trim_end_matches('/').to_owned(),
            breaker: Breaker::new(config.breaker_failures, config.breaker_pause, metrics.clone()),
            connector,
            pool: Pool::new(limits, metrics.clone()),
            response_timeout: config.response_timeout,
            body_timeout: config.body_timeout,
            total_timeout: config.total_timeout,
            metrics,
            name: config.name,
            authority,
        });
        if let Some(interval) = config.health_interval {
            // it ends with the upstream
            tokio::spawn(health::watch(Arc::downgrade(&upstream), interval));
        }
        Ok(upstream)
    }

    /// A bare TCP connection, as calls would use it: through the egress proxy if there is one.
    ///
    /// # Errors
    /// [`SendError`], which tells at which step.
    pub async fn socket(&self) -> Result<tokio::net::TcpStream, SendError> {
        self.connector.socket().await.map_err(|failure| self.before_sending(failure))
    }

    /// Where connections are opened to, in the order in which it is tried, as the hosts file and the name servers of
    /// this upstream say; nothing where an egress proxy resolves the name.
    ///
    /// # Errors
    /// [`SendError`] when the name cannot be resolved.
    pub async fn addresses(&self) -> Result<Vec<SocketAddr>, SendError> {
        self.connector.addresses().await.map_err(|failure| self.before_sending(failure))
    }

    fn before_sending(&self, failure: Failure) -> SendError {
        SendError {
            upstream: self.name.clone(),
            phase: failure.phase,
            sent: false,
            retry_after: None,
            source: failure.source,
        }
    }

    /// Its name in routes, logs and metrics.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Host, and port unless it is the scheme's own: what the `Host` header carries.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The path of the base URL without a slash at its end; empty for a bare host.
    #[must_use]
    pub fn base_path(&self) -> &str {
        &self.base_path
    }
}

fn base_url(config: &Config, reason: &'static str) -> UpstreamError {
    UpstreamError::BaseUrl { name: config.name.clone(), url: config.base_url.to_string(), reason }
}
