//! Opening a connection: resolve, connect to each address in turn, TLS.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::pki_types::{IpAddr, ServerName};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use url::Host;

use super::{
    Config, Phase, UpstreamError, base_url,
    connection::Connection,
    error::{Failure, TimedOut},
    io::{CountedSocket, Written},
    metrics::OfUpstream,
    slot::Slot,
};
use crate::tls::{self, client_config};

/// How one upstream is dialled.
pub(super) struct Connector {
    target: Target,
    connect_timeout: Duration,
    tls_timeout: Duration,
    max_age: Duration,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    metrics: OfUpstream,
}

/// Where to.
#[derive(Debug)]
enum Target {
    /// These, in this order.
    Fixed(Vec<SocketAddr>),
    /// Whatever the resolver says each time (a hosts file too, protocol.md §2).
    Name(String, u16),
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Connector {
    pub(super) fn new(config: &Config, metrics: OfUpstream) -> Result<Self, UpstreamError> {
        let url = &config.base_url;
        let wrong = |reason| base_url(config, reason);
        let host = url.host().ok_or_else(|| wrong("names no host"))?;
        let port = url.port_or_known_default().ok_or_else(|| wrong("names no port"))?;
        let tls = if url.scheme() == "https" {
            let client = client_config(&config.verify, config.ca_file.as_deref())
                .map_err(|source| UpstreamError::Tls { name: config.name.clone(), source })?;
            let name = server_name(&host).ok_or_else(|| wrong("has a host that cannot stand in TLS"))?;
            Some((TlsConnector::from(Arc::new(client)), name))
        } else {
            None
        };
        let target = match (config.addresses.is_empty(), host) {
            (false, _) => Target::Fixed(config.addresses.clone()),
            (true, Host::Ipv4(ip)) => Target::Fixed(vec![(ip, port).into()]),
            (true, Host::Ipv6(ip)) => Target::Fixed(vec![(ip, port).into()]),
            (true, Host::Domain(name)) => Target::Name(name.to_owned(), port),
        };
        let (connect_timeout, tls_timeout) = (config.connect_timeout, config.tls_timeout);
        Ok(Self { target, connect_timeout, tls_timeout, max_age: config.max_age, tls, metrics })
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// A new connection that has carried nothing yet. It keeps the slot until it is closed.
    pub(super) async fn connect(&self, slot: Slot) -> Result<Connection, Failure> {
        let start = Instant::now();
        let connection = self.open(slot).await;
        self.metrics.connected(&connection, start.elapsed());
        connection
    }

    async fn open(&self, slot: Slot) -> Result<Connection, Failure> {
        let socket = self.dial(&self.resolve().await?).await?;
        let written = Written::default();
        let socket = CountedSocket::new(socket, written.clone());
        let holds = (slot, self.metrics.opened());
        let started = match &self.tls {
            None => Connection::start(socket, written, self.max_age, holds).await,
            Some((connector, name)) => {
                let handshake = connector.connect(name.clone(), socket);
                let stream = timeout(self.tls_timeout, handshake)
                    .await
                    .map_err(|_| Failure::too_slow(Phase::Tls, self.tls_timeout))?
                    .map_err(|error| self.untrusted(tls::HandshakeError::from(error)))?;
                Connection::start(stream, written, self.max_age, holds).await
            }
        };
        started.map_err(|error| Failure::before(Phase::Send, error))
    }

    /// A handshake that failed. A changed key is an alarm: nothing else is ever tried in its place.
    fn untrusted(&self, error: tls::HandshakeError) -> Failure {
        let Some(mismatch) = error.pin_mismatch() else { return Failure::before(Phase::Tls, error) };
        self.metrics.pin_mismatches.inc();
        tracing::error!(
            upstream = self.metrics.name(),
            shown = %mismatch.presented,
            pinned = ?mismatch.expected,
            "ALARM: THE PLATFORM'S PUBLIC KEY HAS CHANGED, or somebody stands in between; no call is sent"
        );
        Failure::before(Phase::Pin, error)
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, Failure> {
        let (name, port) = match &self.target {
            Target::Fixed(addresses) => return Ok(addresses.clone()),
            Target::Name(name, port) => (name, *port),
        };
        let addresses: Vec<_> = timeout(self.connect_timeout, lookup_host((name.as_str(), port)))
            .await
            .map_err(|_| Failure::too_slow(Phase::Resolve, self.connect_timeout))?
            .map_err(|error| Failure::before(Phase::Resolve, format!("{name}: {error}")))?
            .collect();
        if addresses.is_empty() {
            return Err(Failure::before(Phase::Resolve, format!("{name} has no address")));
        }
        Ok(addresses)
    }

    /// Tries each address; the error tells of all of them.
    async fn dial(&self, addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
        let mut reasons = Vec::with_capacity(addresses.len());
        let mut timed_out = false;
        for address in addresses {
            match timeout(self.connect_timeout, TcpStream::connect(address)).await {
                Ok(Ok(socket)) => match socket.set_nodelay(true) {
                    Ok(()) => return Ok(socket),
                    Err(error) => reasons.push(format!("{address}: {error}")),
                },
                Ok(Err(error)) => reasons.push(format!("{address}: {}", explain(&error))),
                Err(_) => {
                    timed_out = true;
                    let limit = TimedOut { phase: Phase::Connect, limit: self.connect_timeout };
                    reasons.push(format!("{address}: {limit}"));
                }
            }
        }
        Err(Failure { timed_out, ..Failure::before(Phase::Connect, reasons.join("; ")) })
    }
}

/// The name for SNI and verification; rustls sends no SNI for addresses.
fn server_name(host: &Host<&str>) -> Option<ServerName<'static>> {
    match host {
        Host::Domain(name) => ServerName::try_from((*name).to_owned()).ok(),
        Host::Ipv4(ip) => Some(ServerName::IpAddress(IpAddr::from(std::net::IpAddr::from(*ip)))),
        Host::Ipv6(ip) => Some(ServerName::IpAddress(IpAddr::from(std::net::IpAddr::from(*ip)))),
    }
}

fn explain(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        return "connection refused (nothing listens there, or a firewall rejects it)".to_owned();
    }
    error.to_string()
}
