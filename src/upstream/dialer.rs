//! Opening TCP connections: to each address in turn, the next one early when the first is slow (RFC 8305 §5).

use std::{io, net::SocketAddr, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, time::timeout};
use url::Host;

use super::{
    Phase,
    addresses::Addresses,
    error::{Failure, TimedOut},
    metrics::OfUpstream,
    resolver::{Names, Resolver},
};

/// How long one address is waited for before the next one is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);
/// After so long without traffic the kernel asks the peer whether it is still there, which also keeps firewalls from
/// forgetting a connection that waits for a slow answer.
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// Opens connections to one place.
#[derive(Debug)]
pub(super) struct Dialer {
    target: Target,
    addresses: Addresses,
    connect_timeout: Duration,
}

/// Where to.
#[derive(Debug)]
enum Target {
    /// These.
    Fixed(Vec<SocketAddr>),
    /// Whatever the name stands for.
    Name(Box<Resolver>),
}

impl Dialer {
    /// To a host, or to fixed addresses instead of it.
    pub(super) fn new(
        host: &Host<&str>,
        port: u16,
        fixed: &[SocketAddr],
        times: Times,
        names: &Names,
        metrics: OfUpstream,
    ) -> Self {
        let target = match host {
            _ if !fixed.is_empty() => Target::Fixed(fixed.to_vec()),
            Host::Ipv4(ip) => Target::Fixed(vec![(*ip, port).into()]),
            Host::Ipv6(ip) => Target::Fixed(vec![(*ip, port).into()]),
            Host::Domain(name) => {
                let names = names.clone();
                Target::Name(Box::new(Resolver::new(name, port, names, times.connect, metrics.clone())))
            }
        };
        let addresses = Addresses::new(times.address_pause, matches!(target, Target::Fixed(_)), metrics);
        Self { target, addresses, connect_timeout: times.connect }
    }

    /// The addresses in the order in which to try them.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        match &self.target {
            Target::Fixed(addresses) => Ok(self.addresses.ordered(addresses)),
            Target::Name(resolver) => Ok(self.addresses.ordered(&resolver.addresses().await?)),
        }
    }

    /// Connects to the first of these that answers; the error tells of all of them.
    pub(super) async fn dial(&self, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), Failure> {
        let mut next = addresses.iter().copied();
        let mut attempts = FuturesUnordered::new();
        let mut reasons = Vec::new();
        let mut timed_out = false;
        attempts.extend(next.next().map(|address| self.attempt(address)));
        loop {
            tokio::select! {
                Some((address, outcome)) = attempts.next() => match outcome {
                    Ok(socket) => return Ok((socket, address)),
                    Err(error) => {
                        timed_out |= error.kind() == io::ErrorKind::TimedOut;
                        let reason = explain(&error);
                        self.addresses.failed(address, &reason);
                        reasons.push(format!("{address}: {reason}"));
                        attempts.extend(next.next().map(|address| self.attempt(address)));
                    }
                },
                () = tokio::time::sleep(STAGGER), if next.len() > 0 => {
                    attempts.extend(next.next().map(|address| self.attempt(address)));
                }
                else => break,
            }
        }
        Err(Failure { timed_out, ..Failure::before(Phase::Connect, reasons.join("; ")) })
    }

    /// Notes that an address works to the end of its handshake.
    pub(super) fn worked(&self, address: SocketAddr) {
        self.addresses.worked(address);
    }

    /// Notes that it does not.
    pub(super) fn failed(&self, address: SocketAddr, failure: &Failure) {
        self.addresses.failed(address, &failure.source.to_string());
    }

    async fn attempt(&self, address: SocketAddr) -> (SocketAddr, io::Result<TcpStream>) {
        let limit = self.connect_timeout;
        let connected = timeout(limit, TcpStream::connect(address)).await;
        let timed_out = || io::Error::new(io::ErrorKind::TimedOut, TimedOut { phase: Phase::Connect, limit });
        let socket = connected.unwrap_or_else(|_| Err(timed_out())).and_then(|socket| {
            socket.set_nodelay(true)?;
            let keepalive = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY);
            SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
            Ok(socket)
        });
        (address, socket)
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Resolving, then each attempt of a TCP connection.
    pub(super) connect: Duration,
    /// How long an address that has failed is tried last.
    pub(super) address_pause: Duration,
}

fn explain(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        return "connection refused (nothing listens there, or a firewall rejects it)".to_owned();
    }
    error.to_string()
}
