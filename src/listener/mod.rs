//! Accepting connections: bind first, handshakes spawned with a deadline, limits, and a drain that finishes calls in
//! flight.

mod bound;
mod calls;
mod clients;
mod error;
mod framing;
mod guard;
mod inherited;
mod line;
mod metrics;
mod pace;
mod peer;
mod proxy_protocol;
mod quiet;
mod rate;
mod refusal;
mod terms;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ipnet::IpNet;

pub use bound::Bound;
pub use clients::ClientLimits;
pub use error::ListenError;
pub use inherited::Inherited;
pub use metrics::ListenerMetrics;
pub use pace::{Body, TooSlow};
pub use peer::Peer;
pub use rate::Rate;
pub use refusal::Refusal;
pub use terms::Settings;

use crate::tls::ServerTls;

/// One listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// The certificates and protocols to serve; plain HTTP/1.1 when `None`.
    pub tls: Option<Arc<ServerTls>>,
    /// Connections at a time; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// From a connection to the end of its TLS handshake.
    pub handshake_timeout: Duration,
    /// From a connection to its first call, and from the first byte of any request to the end of its head.
    pub header_timeout: Duration,
    /// In any such time spent waiting for a client that sends a body or takes an answer, `min_rate` must be kept.
    pub body_timeout: Duration,
    /// Bytes a second that such a client must at least send or take.
    pub min_rate: usize,
    /// How long a connection is kept without a call.
    pub idle_timeout: Duration,
    /// Bytes of a request's head.
    pub max_head: usize,
    /// Headers of a request.
    pub max_headers: usize,
    /// What each client may have at a time.
    pub clients: ClientLimits,
    /// Peers that must begin each connection with a PROXY protocol header (v1 or v2), which names the client.
    pub proxy_protocol_from: Vec<IpNet>,
    /// How long calls in flight may take after the drain began.
    pub drain_timeout: Duration,
    /// How long a kept HTTP/1 connection stays open for one more call after the drain began.
    pub drain_idle: Duration,
}

impl Config {
    /// The defaults for a listener at this address.
    #[must_use]
    pub const fn new(address: SocketAddr, tls: Option<Arc<ServerTls>>) -> Self {
        Self {
            address,
            tls,
            max_connections: 10_000,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            min_rate: 240,
            idle_timeout: Duration::from_secs(120),
            max_head: 64 << 10,
            max_headers: 100,
            clients: ClientLimits { connections: None, in_flight: None, rate: None },
            proxy_protocol_from: Vec::new(),
            drain_timeout: Duration::from_secs(30),
            drain_idle: Duration::from_secs(3),
        }
    }
}
