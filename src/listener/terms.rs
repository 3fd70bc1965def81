//! What a listener gives its connections: limits, timeouts and certificates. A reload replaces them as a whole; open
//! connections keep what they began with.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prometheus::IntGauge;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::{Config, calls::Waiting, clients::Clients, framing::HeadLimits, pace::Progress};

/// Calls that an HTTP/2 client may have in flight on one connection.
const STREAMS: u32 = 200;

/// The terms of one connection.
pub(super) struct Terms {
    pub(super) config: Config,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) heads: HeadLimits,
    pub(super) progress: Progress,
    pub(super) waiting: Waiting,
    pub(super) http1: http1::Builder,
    pub(super) http2: http2::Builder<TokioExecutor>,
}

impl Terms {
    fn new(config: Config) -> Self {
        Self {
            tls: config.tls.as_ref().map(|tls| TlsAcceptor::from(Arc::clone(tls.config()))),
            heads: HeadLimits { bytes: config.max_head, headers: config.max_headers },
            progress: Progress::new(config.body_timeout, config.min_rate),
            waiting: Waiting { head: config.header_timeout, idle: config.idle_timeout, rest: None },
            http1: http1(&config),
            http2: http2(&config),
            config,
        }
    }
}

/// The terms that new connections get, and the room for connections; cheap to clone.
#[derive(Clone)]
pub struct Settings {
    address: SocketAddr,
    terms: Arc<ArcSwap<Terms>>,
    room: Arc<Semaphore>,
    /// The limits of all listeners of this name.
    max: IntGauge,
    clients: Arc<Clients>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("config", &self.terms.load().config).finish_non_exhaustive()
    }
}

impl Settings {
    pub(super) fn new(address: SocketAddr, config: Config, max: IntGauge) -> Self {
        max.add(gauge(config.max_connections));
        let room = Arc::new(Semaphore::new(config.max_connections));
        let terms = Arc::new(ArcSwap::from_pointee(Terms::new(config)));
        Self { address, terms, room, max, clients: Clients::new() }
    }

    /// The address that the listener really has.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What new connections get now.
    #[must_use]
    pub fn config(&self) -> Config {
        self.terms.load().config.clone()
    }

    /// New connections get this; the address stays what it is. With a lower limit of connections nobody is cut off,
    /// new ones wait until enough have ended.
    pub fn replace(&self, config: Config) {
        let before = self.terms.load().config.max_connections;
        let now = config.max_connections;
        self.terms.store(Arc::new(Terms::new(config)));
        self.max.add(gauge(now) - gauge(before));
        if now > before {
            self.room.add_permits(now - before);
        } else if now < before {
            let (room, fewer) = (Arc::clone(&self.room), before - now);
            tokio::spawn(async move {
                for _ in 0..fewer {
                    // a closed semaphore has no waiters left either
                    let Ok(permit) = room.acquire().await else { return };
                    permit.forget();
                }
            });
        }
    }

    pub(super) fn terms(&self) -> Arc<Terms> {
        self.terms.load_full()
    }

    pub(super) const fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    pub(super) const fn room(&self) -> &Arc<Semaphore> {
        &self.room
    }
}

fn gauge(connections: usize) -> i64 {
    i64::try_from(connections).unwrap_or(i64::MAX)
}

/// HTTP/1.1 with header names kept as they were written. Heads are timed and measured by the `guard`.
fn http1(config: &Config) -> http1::Builder {
    /// Headers that hyper reads without allocating.
    const USUAL: usize = 100;
    /// Bytes of a body that wait for a client which reads slowly, or are read at once.
    const BUFFER: usize = 128 << 10;
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .max_buf_size(config.max_head.max(BUFFER) + (8 << 10))
        .preserve_header_case(true)
        // what the platform did not send is not added
        .auto_date_header(false);
    if config.max_headers > USUAL {
        builder.max_headers(config.max_headers);
    }
    builder
}

/// HTTP/2 in which streams, resets, heads and buffers are bounded.
fn http2(config: &Config) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(20)
        // counted over the whole life of a connection, at whose end every call in flight is cut: not for a client that
        // now and then goes on sending what nobody reads any more (those that do little else are cut by `calls`)
        .max_local_error_reset_streams(10_000)
        .max_header_list_size(u32::try_from(config.max_head).unwrap_or(u32::MAX))
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .max_frame_size(16 << 10)
        .max_send_buf_size(128 << 10)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .auto_date_header(false);
    builder
}
