//! Idle connections, newest first.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hyper::client::conn::http1::SendRequest;

use super::Body;

/// Connections that wait for their next request.
pub(super) struct Pool {
    idle: Mutex<Vec<Idle>>,
    max_idle: usize,
    idle_timeout: Duration,
}

struct Idle {
    sender: SendRequest<Body>,
    since: Instant,
}

impl Pool {
    /// An empty pool that keeps at most `max_idle` connections for at most `idle_timeout`.
    pub(super) const fn new(max_idle: usize, idle_timeout: Duration) -> Self {
        Self { idle: Mutex::new(Vec::new()), max_idle, idle_timeout }
    }

    /// Takes the connection that was used last, if one is still good.
    pub(super) fn take(&self) -> Option<SendRequest<Body>> {
        let mut idle = self.lock();
        while let Some(Idle { sender, since }) = idle.pop() {
            if since.elapsed() < self.idle_timeout && !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    /// Gives a connection back whose answer was read to its end.
    pub(super) fn put(&self, sender: SendRequest<Body>) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.lock();
        idle.retain(|other| other.since.elapsed() < self.idle_timeout && !other.sender.is_closed());
        if idle.len() >= self.max_idle {
            idle.remove(0);
        }
        if self.max_idle > 0 {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
