//! What a listener gives its connections: limits, timeouts and certificates. A reload replaces them as a whole; open
//! connections keep what they began with.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::Config;

/// The terms of one connection.
pub(super) struct Terms {
    pub(super) config: Config,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) http1: Builder<TokioExecutor>,
    pub(super) http2: Builder<TokioExecutor>,
}

impl Terms {
    fn new(config: Config) -> Self {
        let (http1, http2) = builders(config.header_timeout);
        let tls = config.tls.as_ref().map(|tls| TlsAcceptor::from(Arc::clone(tls.config())));
        Self { config, tls, http1, http2 }
    }
}

/// The terms that new connections get, and the room for connections; cheap to clone.
#[derive(Clone)]
pub struct Settings {
    terms: Arc<ArcSwap<Terms>>,
    room: Arc<Semaphore>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("config", &self.terms.load().config).finish_non_exhaustive()
    }
}

impl Settings {
    pub(super) fn new(config: Config) -> Self {
        let room = Arc::new(Semaphore::new(config.max_connections));
        Self { terms: Arc::new(ArcSwap::from_pointee(Terms::new(config))), room }
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

    pub(super) const fn room(&self) -> &Arc<Semaphore> {
        &self.room
    }
}

/// HTTP/1.1 with header names kept as they were written, and HTTP/2 with bounded streams.
fn builders(header_timeout: Duration) -> (Builder<TokioExecutor>, Builder<TokioExecutor>) {
    let mut http1 = Builder::new(TokioExecutor::new()).http1_only();
    http1
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .preserve_header_case(true)
        // what the platform did not send is not added
        .auto_date_header(false);
    let mut http2 = Builder::new(TokioExecutor::new()).http2_only();
    http2
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(200)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .auto_date_header(false);
    (http1, http2)
}
