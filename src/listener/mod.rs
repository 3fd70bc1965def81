//! Accepting connections: bind first, handshakes spawned with a deadline, limits, and a drain that finishes calls in
//! flight.

mod activity;
mod bound;
mod error;
mod line;
mod metrics;
mod peer;
mod terms;

use std::{net::SocketAddr, sync::Arc, time::Duration};

pub use bound::Bound;
pub use error::ListenError;
pub use metrics::ListenerMetrics;
pub use peer::Peer;
pub use terms::Settings;

use crate::tls::ServerTls;

/// One listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// The certificates and protocols to serve; plain HTTP/1.1 when `None`.
    pub tls: Option<Arc<ServerTls>>,
    /// Connections at a time; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// From a connection to the end of its TLS handshake.
    pub handshake_timeout: Duration,
    /// From a connection, or the answer before, to the end of a request's head.
    pub header_timeout: Duration,
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
            drain_timeout: Duration::from_secs(30),
            drain_idle: Duration::from_secs(3),
        }
    }
}
