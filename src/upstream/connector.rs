//! Opening a connection: name, egress proxy if there is one, TCP to each address in turn, TLS.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::net::TcpStream;
use url::Host;

use super::{
    Config, Phase, UpstreamError, base_url,
    connection::Connection,
    dialer::{Dialer, Times},
    error::Failure,
    io::{CountedSocket, Written},
    metrics::OfUpstream,
    proxy::{Destination, Tunnel},
    secure::{Secure, Stream},
    slot::Slot,
};
use crate::tls::TlsStream;

/// How one upstream is dialled.
#[derive(Debug)]
pub(super) struct Connector {
    way: Way,
    secure: Secure,
    max_age: Duration,
    metrics: OfUpstream,
}

/// How the platform is reached.
#[derive(Debug)]
enum Way {
    Direct(Dialer),
    /// Through an egress proxy, to the first of these that it connects to.
    Tunnel(Tunnel, Vec<Destination>),
}

impl Connector {
    pub(super) fn new(config: &Config, metrics: OfUpstream) -> Result<Self, UpstreamError> {
        let url = &config.base_url;
        let wrong = |reason| base_url(config, reason);
        let host = url.host().ok_or_else(|| wrong("names no host"))?;
        let port = url.port_or_known_default().ok_or_else(|| wrong("names no port"))?;
        let secure = Secure::new(config, &host, metrics.clone())?;
        let times = Times { connect: config.connect_timeout, address_pause: config.address_pause };
        let way = match &config.proxy {
            None => Way::Direct(Dialer::new(
                &host,
                port,
                &config.addresses,
                times,
                &config.names,
                metrics.clone(),
            )),
            Some(proxy) => {
                let tunnel = Tunnel::new(proxy, times, &config.names, metrics.clone());
                let tunnel = tunnel.ok_or_else(|| wrong("its proxy's URL names no host"))?;
                Way::Tunnel(tunnel, destinations(&host, port, &config.addresses))
            }
        };
        Ok(Self { way, secure, max_age: config.max_age, metrics })
    }

    /// A bare TCP connection, through the proxy if there is one.
    pub(super) async fn socket(&self) -> Result<TcpStream, Failure> {
        match &self.way {
            Way::Direct(dialer) => Ok(dialer.dial(&dialer.addresses().await?).await?.0),
            Way::Tunnel(tunnel, destinations) => through(tunnel, destinations).await,
        }
    }

    /// Where to connect, in the order in which it is tried; nothing where an egress proxy resolves the name.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        match &self.way {
            Way::Direct(dialer) => dialer.addresses().await,
            Way::Tunnel(..) => Ok(Vec::new()),
        }
    }

    pub(super) const fn is_tls(&self) -> bool {
        self.secure.is_tls()
    }

    /// A new connection that has carried nothing yet. It keeps the slot until it is closed.
    pub(super) async fn connect(&self, slot: Slot) -> Result<Connection, Failure> {
        let start = Instant::now();
        let written = Written::default();
        let connected = match self.stream(&written).await {
            Err(failure) => Err(failure),
            Ok(stream) => {
                let holds = (slot, self.metrics.opened());
                let started = match stream {
                    Stream::Plain(stream) => Connection::start(stream, written, self.max_age, holds).await,
                    Stream::Tls(TlsStream::Rustls(stream)) => {
                        Connection::start(stream, written, self.max_age, holds).await
                    }
                    #[cfg(feature = "openssl")]
                    Stream::Tls(TlsStream::OpenSsl(stream)) => {
                        Connection::start(stream, written, self.max_age, holds).await
                    }
                };
                started.map_err(|error| Failure::before(Phase::Send, error))
            }
        };
        self.metrics.connected(&connected, start.elapsed());
        connected
    }

    async fn stream(&self, written: &Written) -> Result<Stream, Failure> {
        match &self.way {
            Way::Direct(dialer) => self.direct(dialer, written).await,
            Way::Tunnel(tunnel, destinations) => self.tunnelled(tunnel, destinations, written).await,
        }
    }

    /// The first address that connects and makes the TLS handshake. A certificate that is not trusted ends it: what
    /// another address shows would hide the alarm.
    async fn direct(&self, dialer: &Dialer, written: &Written) -> Result<Stream, Failure> {
        let mut left = dialer.addresses().await?;
        loop {
            let (socket, address) = dialer.dial(&left).await?;
            match self.secured(socket, written).await {
                Ok(stream) => {
                    dialer.worked(address);
                    return Ok(stream);
                }
                Err(failure) => {
                    if failure.untrusted {
                        return Err(failure);
                    }
                    dialer.failed(address, &failure);
                    left.retain(|other| *other != address);
                    if left.is_empty() {
                        return Err(failure);
                    }
                }
            }
        }
    }

    async fn tunnelled(
        &self,
        tunnel: &Tunnel,
        destinations: &[Destination],
        written: &Written,
    ) -> Result<Stream, Failure> {
        self.secured(through(tunnel, destinations).await?, written).await
    }

    async fn secured(&self, socket: TcpStream, written: &Written) -> Result<Stream, Failure> {
        self.secure.handshake(CountedSocket::new(socket, written.clone())).await
    }

    /// Connects to every address once, handshake included, and notes which of them work. No call is made.
    pub(super) async fn check(&self) {
        let written = Written::default();
        match &self.way {
            Way::Tunnel(tunnel, destinations) => {
                if let Err(failure) = self.tunnelled(tunnel, destinations, &written).await {
                    tracing::warn!(
                        upstream = self.metrics.name(),
                        reason = %failure.source,
                        "the check of the platform's health failed while {}", failure.phase
                    );
                }
            }
            Way::Direct(dialer) => {
                let Ok(addresses) = dialer.addresses().await else { return };
                for address in addresses {
                    self.check_address(dialer, address, &written).await;
                }
            }
        }
    }

    async fn check_address(&self, dialer: &Dialer, address: SocketAddr, written: &Written) {
        // an address that cannot be connected to is noted on the way
        let Ok((socket, _)) = dialer.dial(&[address]).await else { return };
        match self.secured(socket, written).await {
            Ok(_) => dialer.worked(address),
            Err(failure) => dialer.failed(address, &failure),
        }
    }
}

/// The first of these that the proxy connects to.
async fn through(tunnel: &Tunnel, destinations: &[Destination]) -> Result<TcpStream, Failure> {
    let mut last = Failure::before(Phase::Proxy, "there is nothing to connect to");
    for destination in destinations {
        match tunnel.connect(destination).await {
            Ok(socket) => return Ok(socket),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

fn destinations(host: &Host<&str>, port: u16, fixed: &[SocketAddr]) -> Vec<Destination> {
    if !fixed.is_empty() {
        return fixed.iter().copied().map(Destination::Address).collect();
    }
    vec![match host {
        Host::Domain(name) => Destination::Name((*name).to_owned(), port),
        Host::Ipv4(ip) => Destination::Address((*ip, port).into()),
        Host::Ipv6(ip) => Destination::Address((*ip, port).into()),
    }]
}
