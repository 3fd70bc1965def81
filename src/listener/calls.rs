//! The calls of one connection: which are in flight, what the connection waits for, and what is refused.

use std::{
    num::NonZeroU32,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Refusal,
    clients::InFlight,
    rate::{Bucket, Rate},
};

/// Calls that a client may break off on one connection before it is cut (CVE-2023-44487): a system that gives up all
/// its calls at once may, one that does nothing else may not.
const BROKEN_OFF: Rate = Rate { per_second: nonzero(20), burst: nonzero(400) };

/// How often a connection is looked at that is busy each time, whether it may rest.
const LOOK: Duration = Duration::from_secs(1);

const fn nonzero(number: u32) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(number - 1)
}

/// Why a connection was ended by the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Nothing was asked for a while.
    Idle,
    /// No call came at all.
    NoCall,
    /// Too many calls were broken off.
    Resets,
    /// Answers are not taken.
    SlowReader,
}

impl Cut {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::NoCall => "no_call",
            Self::Resets => "resets",
            Self::SlowReader => "slow_reader",
        }
    }
}

/// What must happen now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The head that has begun is refused.
    Head,
    /// The connection is ended.
    Connection(Cut),
    /// Nobody asks anything for the moment: the server's buffers can be given back.
    Rest,
}

/// How long a connection may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// For the first call, and from the beginning of any head to its end.
    pub(super) head: Duration,
    /// For the next call.
    pub(super) idle: Duration,
    /// For the next call until it rests, if it does.
    pub(super) rest: Option<Duration>,
}

/// Shared by the parts of one connection.
#[derive(Debug)]
pub(super) struct Calls {
    began: Instant,
    begun: AtomicU64,
    in_flight: AtomicUsize,
    /// Requests whose body was not read to its end; their answers may have ended before.
    uploading: AtomicUsize,
    /// When a call ended last, in microseconds since `began`.
    last: AtomicU64,
    /// When the head that is not complete began, in microseconds since `began`; 0 when there is none.
    head: AtomicU64,
    head_overdue: AtomicBool,
    /// When it last began to be served, in microseconds since `began`.
    woken: AtomicU64,
    /// Whether bytes were written that may not have left.
    unflushed: AtomicBool,
    /// Which call the server is given in place of one that is refused, and why.
    refused: OnceLock<(u64, Refusal)>,
    cut: OnceLock<Cut>,
    broken_off: Bucket,
    changed: Notify,
    /// A call began or ended.
    moved: Notify,
}

impl Calls {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            begun: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            uploading: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            head: AtomicU64::new(0),
            head_overdue: AtomicBool::new(false),
            woken: AtomicU64::new(0),
            unflushed: AtomicBool::new(false),
            refused: OnceLock::new(),
            cut: OnceLock::new(),
            broken_off: Bucket::default(),
            changed: Notify::new(),
            moved: Notify::new(),
        })
    }

    /// A call begins; with it comes why it must be refused, if it must.
    pub(super) fn begin(self: &Arc<Self>) -> (Call, Option<Refusal>) {
        let number = self.begun.fetch_add(1, Ordering::AcqRel);
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.moved.notify_one();
        let refusal = self.refused.get().filter(|(at, _)| *at == number).map(|(_, refusal)| *refusal);
        (Call { calls: Arc::clone(self), client: None, answered: false }, refusal)
    }

    /// The body of a request begins.
    pub(super) fn upload(self: &Arc<Self>) -> Uploading {
        self.uploading.fetch_add(1, Ordering::AcqRel);
        Uploading(Arc::clone(self))
    }

    /// Whether an answer or the rest of a request is on its way.
    fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) > 0 || self.uploading.load(Ordering::Acquire) > 0
    }

    /// Waits until there has been no call for so long.
    pub(super) async fn quiet(&self, period: Duration) {
        loop {
            if self.in_flight.load(Ordering::Acquire) > 0 {
                self.moved.notified().await;
            } else if timeout(period, self.moved.notified()).await.is_err() {
                return;
            }
        }
    }

    /// The call of this number, counted from 0, is one that stands for a refused one.
    pub(super) fn refuse(&self, number: u64, refusal: Refusal) {
        let _ = self.refused.set((number, refusal));
    }

    /// Notes why the connection ends; the first reason counts.
    pub(super) fn cut(&self, reason: Cut) {
        let _ = self.cut.set(reason);
        self.changed.notify_one();
    }

    /// Why the gateway ended the connection, if it did.
    pub(super) fn reason(&self) -> Option<Cut> {
        self.cut.get().copied()
    }

    /// A head has begun that is not complete.
    pub(super) fn head_begun(&self) {
        let now = self.micros().max(1);
        if self.head.compare_exchange(0, now, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.changed.notify_one();
        }
    }

    /// No head is incomplete.
    pub(super) fn head_ended(&self) {
        if self.head.load(Ordering::Relaxed) != 0 {
            self.head.store(0, Ordering::Release);
        }
    }

    /// Whether the head that has begun must be refused.
    pub(super) fn head_is_overdue(&self) -> bool {
        self.head_overdue.load(Ordering::Acquire)
    }

    /// The connection is served from now on, until it rests again.
    pub(super) fn woken(&self) {
        self.woken.store(self.micros(), Ordering::Release);
    }

    /// Whether everything that was written has left.
    pub(super) fn flushed(&self, flushed: bool) {
        if self.unflushed.load(Ordering::Relaxed) == flushed {
            self.unflushed.store(!flushed, Ordering::Release);
        }
    }

    /// Waits until the connection has waited too long.
    pub(super) async fn overdue(&self, waiting: Waiting) -> Overdue {
        let mut look = waiting.rest;
        loop {
            if let Some(cut) = self.reason() {
                return Overdue::Connection(cut);
            }
            let (since, allowed, overdue) = self.waits_for(waiting);
            let deadline = self.began + Duration::from_micros(since) + allowed;
            let now = Instant::now();
            if deadline <= now {
                if overdue == Overdue::Head {
                    self.head_overdue.store(true, Ordering::Release);
                    self.head_ended();
                }
                return overdue;
            }
            tokio::select! {
                // a call that ends lets the connection rest, but wakes nobody for it
                () = sleep_until(look.map_or(deadline, |look| deadline.min(now + look))) => {
                    look = waiting.rest.map(|rest| self.next_look(look.unwrap_or(rest), rest));
                }
                () = self.changed.notified() => {}
            }
        }
    }

    /// When to look again whether the connection may rest: less and less often while calls take their time.
    fn next_look(&self, look: Duration, rest: Duration) -> Duration {
        if self.is_busy() { (look * 2).min(LOOK) } else { rest }
    }

    fn waits_for(&self, waiting: Waiting) -> (u64, Duration, Overdue) {
        let head = self.head.load(Ordering::Acquire);
        if head != 0 {
            return (head, waiting.head, Overdue::Head);
        }
        // what ends while this sleeps is looked at again afterwards; a head that is overdue is about to be answered
        if self.is_busy() || self.head_is_overdue() {
            return (self.micros(), waiting.idle, Overdue::Connection(Cut::Idle));
        }
        if self.begun.load(Ordering::Acquire) == 0 {
            return (0, waiting.head, Overdue::Connection(Cut::NoCall));
        }
        let last = self.last.load(Ordering::Acquire);
        match waiting.rest {
            Some(rest) if rest < waiting.idle && !self.unflushed.load(Ordering::Acquire) => {
                (last.max(self.woken.load(Ordering::Acquire)), rest, Overdue::Rest)
            }
            Some(_) | None => (last, waiting.idle, Overdue::Connection(Cut::Idle)),
        }
    }

    fn ended(&self, answered: bool) {
        self.last.store(self.micros(), Ordering::Release);
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.moved.notify_one();
        if !answered && self.broken_off.take(BROKEN_OFF, self.began.elapsed()).is_err() {
            self.cut(Cut::Resets);
        }
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// A call in flight; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Call {
    calls: Arc<Calls>,
    /// Its place among the calls of the client.
    pub(super) client: Option<InFlight>,
    answered: bool,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.calls.ended(self.answered);
    }
}

/// A request whose body was not read to its end; it is when this is dropped.
#[derive(Debug)]
pub(super) struct Uploading(Arc<Calls>);

impl Drop for Uploading {
    fn drop(&mut self) {
        // the server still has to see the end: the connection does not rest at once
        self.0.last.store(self.0.micros(), Ordering::Release);
        self.0.uploading.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The body of an answer, with which its call ends.
#[derive(Debug)]
pub(super) struct Answer<B> {
    inner: B,
    call: Call,
}

impl<B: HttpBody> Answer<B> {
    pub(super) fn new(inner: B, mut call: Call) -> Self {
        call.answered = inner.is_end_stream();
        Self { inner, call }
    }
}

impl<B: HttpBody + Unpin> HttpBody for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        // whatever becomes of it now, it is not the client that broke off
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) || self.inner.is_end_stream() {
            self.call.answered = true;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn quiet_begins_when_the_last_call_has_ended() {
        let activity = Calls::new();
        let begun = std::time::Instant::now();
        let (first, of_second) = (activity.begin(), Arc::clone(&activity));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            drop(first);
            drop(of_second.begin());
        });
        activity.quiet(Duration::from_millis(100)).await;
        assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_connection_is_looked_at_less_and_less_often_while_its_call_takes_its_time() {
        let (calls, rest) = (Calls::new(), Duration::from_millis(100));
        let (call, _) = calls.begin();
        let mut look = rest;
        let waits = std::array::from_fn(|_| {
            look = calls.next_look(look, rest);
            look.as_millis()
        });
        assert_eq!(waits, [200, 400, 800, 1000, 1000]);
        drop(call);
        assert_eq!(calls.next_look(look, rest), rest);
    }
}
