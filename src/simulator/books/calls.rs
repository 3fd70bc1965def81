//! Every call that reached the platform, as it was received.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// One call.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Call {
    /// Its place among all calls, from 1.
    pub number: u64,
    /// When it arrived, by the simulator's clock.
    pub at: jiff::Timestamp,
    /// The address it came from.
    pub client: std::net::SocketAddr,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// The method.
    pub method: String,
    /// The path as sent.
    pub path: String,
    /// The query as sent, without `?`.
    pub query: Option<String>,
    /// Names and values as sent, in order; over HTTP/1.1 also in the case in which they were written.
    pub headers: Vec<(String, String)>,
    /// The service named by the path, if it has one.
    pub service: Option<String>,
    /// The size of the body in bytes; absent while it has not been read whole.
    pub body_size: Option<usize>,
    /// SHA-256 of the body as received, in hex.
    pub body_sha256: Option<String>,
    /// Whether the call was carried out, be it with a refusal as its result.
    pub processed: bool,
    /// Whether an answer was handed to the connection whole.
    pub answered: bool,
    /// The HTTP status of the answer.
    pub status: Option<u16>,
    /// The code that the answer carries: `00`, a `returncode` or the code of a refusal.
    pub code: Option<String>,
    /// What the answer says.
    pub message: Option<String>,
    /// SHA-256 of the answer's body as sent (after compression), in hex.
    pub answer_sha256: Option<String>,
    /// The scripted fault that struck it.
    pub fault: Option<String>,
}

/// The calls, the latest of them kept; cheap to clone.
#[derive(Clone, Debug)]
pub struct Calls {
    kept: usize,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    received: u64,
    calls: VecDeque<Call>,
}

impl Calls {
    /// An empty log that keeps so many calls.
    #[must_use]
    pub fn new(kept: usize) -> Self {
        Self { kept, log: Arc::default() }
    }

    /// Writes down a call that has just arrived; gives its number.
    pub fn arrived(&self, mut call: Call) -> u64 {
        let mut log = self.lock();
        log.received += 1;
        call.number = log.received;
        log.calls.push_back(call);
        if log.calls.len() > self.kept {
            log.calls.pop_front();
        }
        log.received
    }

    /// Completes the call of that number, if it is still kept.
    pub fn complete(&self, number: u64, complete: impl FnOnce(&mut Call)) {
        let mut log = self.lock();
        let first = log.calls.front().map_or(0, |call| call.number);
        let place = number.checked_sub(first).and_then(|place| usize::try_from(place).ok());
        if let Some(call) = place.and_then(|place| log.calls.get_mut(place)) {
            complete(call);
        }
    }

    /// How many calls were ever received.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.lock().received
    }

    /// The calls that are kept, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Call> {
        self.lock().calls.iter().cloned().collect()
    }

    /// At most `most` of the kept calls whose number is larger than `number`, oldest first.
    #[must_use]
    pub fn after(&self, number: u64, most: usize) -> Vec<Call> {
        let log = self.lock();
        let first = log.calls.front().map_or(0, |call| call.number);
        let skipped = usize::try_from(number.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
        log.calls.iter().skip(skipped).take(most).cloned().collect()
    }

    /// How many of the kept calls meet the condition.
    pub fn count(&self, condition: impl Fn(&Call) -> bool) -> usize {
        self.lock().calls.iter().filter(|call| condition(call)).count()
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
