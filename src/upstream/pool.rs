//! The connections of one upstream: how many there may be, which of them wait for the next call, and which calls wait
//! for one of them.
//!
//! Kept connections are used newest first: under light load the older ones end by age, before the platform ends them.
//! Calls wait in the order they came; a connection or a slot that gets free goes to the first of them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::timeout};

use super::{
    BoxError, Phase,
    connection::Connection,
    error::Failure,
    metrics::{Counted, OfUpstream},
    slot::Slot,
};

/// How long a connection may take to finish its last call before it can be kept.
const SETTLE: Duration = Duration::from_secs(5);
/// How often kept connections are looked through while there are any.
const REAP: Duration = Duration::from_secs(1);

/// How many connections, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Open at once, in use or kept.
    pub(super) connections: usize,
    /// Kept for the next call.
    pub(super) idle: usize,
    /// How long one is kept.
    pub(super) idle_timeout: Duration,
    /// How long a call waits for one.
    pub(super) wait: Duration,
}

/// The connections of one upstream.
#[derive(Debug)]
pub(super) struct Pool {
    state: Mutex<State>,
    limits: Limits,
    metrics: OfUpstream,
}

#[derive(Debug, Default)]
struct State {
    idle: VecDeque<Idle>,
    /// Slots that are given out.
    open: usize,
    waiting: VecDeque<oneshot::Sender<Grant>>,
    /// Whether somebody looks through the idle ones.
    reaped: bool,
}

#[derive(Debug)]
struct Idle {
    until: Instant,
    connection: Connection,
}

impl Idle {
    fn is_usable(&self, now: Instant) -> bool {
        now < self.until && self.connection.is_ready()
    }
}

/// What a call gets to send itself on.
#[derive(Debug)]
pub(super) enum Grant {
    /// A connection that has carried calls before.
    Kept(Connection),
    /// The right to open one.
    New(Slot),
}

impl Pool {
    pub(super) fn new(limits: Limits, metrics: OfUpstream) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), limits, metrics })
    }

    /// The newest kept connection, or the right to open one; waits when there are too many.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Grant, Failure> {
        match self.take_now() {
            Ok(grant) => Ok(grant),
            Err(turn) => self.wait(turn).await,
        }
    }

    /// The right to open a connection, though others may be kept; in a full pool whatever gets free first.
    pub(super) async fn take_new(self: &Arc<Self>) -> Result<Grant, Failure> {
        let (turn, oldest) = {
            let mut state = self.lock();
            if let Some(slot) = self.new_slot(&mut state) {
                return Ok(Grant::New(slot));
            }
            let oldest = state.idle.pop_front();
            self.metrics.idle.sub(i64::from(oldest.is_some()));
            (enqueue(&mut state), oldest)
        };
        // closing it frees its slot, for whoever is first in line
        drop(oldest);
        self.wait(turn).await
    }

    fn take_now(self: &Arc<Self>) -> Result<Grant, oneshot::Receiver<Grant>> {
        let now = Instant::now();
        let mut state = self.lock();
        let before = state.idle.len();
        expire(&mut state, now);
        let mut found = None;
        while let Some(idle) = state.idle.pop_back() {
            if idle.is_usable(now) {
                found = Some(idle.connection);
                break;
            }
        }
        self.metrics.idle.sub(difference(before, state.idle.len()));
        if let Some(connection) = found {
            return Ok(Grant::Kept(connection));
        }
        self.new_slot(&mut state).map(Grant::New).ok_or_else(|| enqueue(&mut state))
    }

    fn new_slot(self: &Arc<Self>, state: &mut State) -> Option<Slot> {
        if state.open >= self.limits.connections {
            return None;
        }
        state.open += 1;
        Some(Slot::new(self))
    }

    async fn wait(&self, turn: oneshot::Receiver<Grant>) -> Result<Grant, Failure> {
        let _waiting = Counted::new(&self.metrics.waiting);
        match timeout(self.limits.wait, turn).await {
            Ok(Ok(grant)) => Ok(grant),
            // the sender lives in the pool, which the caller holds
            Ok(Err(gone)) => Err(Failure::before(Phase::Pool, gone)),
            Err(_) => Err(Failure {
                retry_after: Some(self.limits.wait),
                ..Failure::too_slow(Phase::Pool, self.limits.wait)
            }),
        }
    }

    /// Keeps a connection whose answer has been read to its end.
    pub(super) fn keep(self: &Arc<Self>, mut connection: Connection) {
        if connection.is_ready() {
            self.put(connection);
        } else if !connection.is_closed() {
            // its driver has yet to notice that the call is over
            let pool = Arc::clone(self);
            tokio::spawn(async move {
                if let Ok(true) = timeout(SETTLE, connection.is_usable()).await {
                    pool.put(connection);
                }
            });
        }
    }

    fn put(self: &Arc<Self>, mut connection: Connection) {
        let now = Instant::now();
        let until = connection.kept_until(now, self.limits.idle_timeout);
        if until <= now {
            return;
        }
        loop {
            let mut state = self.lock();
            let Some(first) = state.waiting.pop_front() else {
                self.keep_idle(&mut state, Idle { until, connection });
                return;
            };
            drop(state);
            match first.send(Grant::Kept(connection)) {
                Ok(()) | Err(Grant::New(_)) => return,
                // that caller has given up: the next one
                Err(Grant::Kept(back)) => connection = back,
            }
        }
    }

    fn keep_idle(self: &Arc<Self>, state: &mut State, idle: Idle) {
        let before = state.idle.len();
        state.idle.push_back(idle);
        while state.idle.len() > self.limits.idle {
            state.idle.pop_front();
        }
        self.metrics.idle.add(difference(state.idle.len(), before));
        if !state.reaped {
            state.reaped = true;
            tokio::spawn(reap(Arc::downgrade(self)));
        }
    }

    /// Takes a slot back, for the first caller in line.
    pub(super) fn release(self: &Arc<Self>) {
        let mut slot = Slot::new(self);
        loop {
            let mut state = self.lock();
            let Some(first) = state.waiting.pop_front() else {
                state.open = state.open.saturating_sub(1);
                slot.forget();
                return;
            };
            drop(state);
            match first.send(Grant::New(slot)) {
                Ok(()) | Err(Grant::Kept(_)) => return,
                Err(Grant::New(back)) => slot = back,
            }
        }
    }

    /// Counts an answer whose body ended with this error.
    pub(super) fn failed(&self, error: &BoxError) {
        let phase = Phase::of_body_error(error);
        self.metrics.failed(phase, phase != Phase::Body);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let idle = self.state.get_mut().unwrap_or_else(PoisonError::into_inner).idle.len();
        self.metrics.idle.sub(difference(idle, 0));
    }
}

/// Stands in line, behind nobody who has given up.
fn enqueue(state: &mut State) -> oneshot::Receiver<Grant> {
    while state.waiting.front().is_some_and(oneshot::Sender::is_closed) {
        state.waiting.pop_front();
    }
    let (turn, granted) = oneshot::channel();
    state.waiting.push_back(turn);
    granted
}

/// Drops from the old end what is too old or closed.
fn expire(state: &mut State, now: Instant) {
    while state.idle.front().is_some_and(|idle| !idle.is_usable(now)) {
        state.idle.pop_front();
    }
}

/// Closes in time what nobody takes; ends when nothing is kept.
async fn reap(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(REAP).await;
        let Some(pool) = pool.upgrade() else { return };
        let now = Instant::now();
        let mut state = pool.lock();
        let before = state.idle.len();
        state.idle.retain(|idle| idle.is_usable(now));
        pool.metrics.idle.sub(difference(before, state.idle.len()));
        if state.idle.is_empty() {
            state.reaped = false;
            return;
        }
    }
}

fn difference(more: usize, less: usize) -> i64 {
    i64::try_from(more.saturating_sub(less)).unwrap_or(i64::MAX)
}
