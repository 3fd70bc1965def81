//! Kept connections, newest first: under light load the older ones end by age, as the platform would end them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{connection::Connection, metrics::OfUpstream};

/// How long a connection may take to finish its last call before it can be kept.
const SETTLE: Duration = Duration::from_secs(5);

/// The idle connections of one upstream.
#[derive(Debug)]
pub(super) struct Pool {
    idle: Mutex<VecDeque<(Instant, Connection)>>,
    max_idle: usize,
    idle_timeout: Duration,
    metrics: OfUpstream,
}

impl Pool {
    pub(super) fn new(max_idle: usize, idle_timeout: Duration, metrics: OfUpstream) -> Arc<Self> {
        Arc::new(Self { idle: Mutex::default(), max_idle, idle_timeout, metrics })
    }

    /// The newest connection that can take a request.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut idle = self.lock();
        self.expire(&mut idle);
        let found = loop {
            match idle.pop_back() {
                Some((_, connection)) if connection.is_ready() => break Some(connection),
                Some(_) => {}
                None => break None,
            }
        };
        self.count(&idle);
        found
    }

    /// Keeps a connection whose answer has been read to its end.
    pub(super) fn keep(self: &Arc<Self>, mut connection: Connection) {
        if connection.is_ready() {
            self.put(connection);
        } else if !connection.is_closed() {
            // its driver has yet to notice that the call is over
            let pool = Arc::clone(self);
            tokio::spawn(async move {
                if let Ok(true) = tokio::time::timeout(SETTLE, connection.is_usable()).await {
                    pool.put(connection);
                }
            });
        }
    }

    fn put(&self, connection: Connection) {
        let mut idle = self.lock();
        self.expire(&mut idle);
        idle.push_back((Instant::now(), connection));
        while idle.len() > self.max_idle {
            idle.pop_front();
        }
        self.count(&idle);
    }

    /// Drops from the old end what is too old or closed.
    fn expire(&self, idle: &mut VecDeque<(Instant, Connection)>) {
        while idle
            .front()
            .is_some_and(|(since, connection)| since.elapsed() > self.idle_timeout || connection.is_closed())
        {
            idle.pop_front();
        }
    }

    fn count(&self, idle: &VecDeque<(Instant, Connection)>) {
        self.metrics.idle.set(i64::try_from(idle.len()).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, Connection)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
