//! Least progress of what a peer sends or takes: bodies that stand still or trickle, answers that nobody reads.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use super::calls::{Calls, Uploading};

/// In any such time spent waiting for the peer, so many bytes must move.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub(super) within: Duration,
    pub(super) bytes: u64,
}

impl Progress {
    /// At least `rate` bytes a second, looked at once in `within`; never nothing.
    pub(super) fn new(within: Duration, rate: usize) -> Self {
        let bytes = within.as_millis().saturating_mul(rate as u128) / 1000;
        Self { within, bytes: u64::try_from(bytes).unwrap_or(u64::MAX).max(1) }
    }
}

/// Watches one direction. Only the time during which the peer is waited for counts.
#[derive(Debug)]
pub(super) struct Pace {
    progress: Progress,
    waited: Duration,
    moved: u64,
    since: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) const fn new(progress: Progress) -> Self {
        Self { progress, waited: Duration::ZERO, moved: 0, since: None, alarm: None }
    }

    /// So many bytes moved.
    pub(super) fn moved(&mut self, bytes: usize) {
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
        self.moved += bytes as u64;
    }

    /// The peer is waited for; ready when too little moved for too long.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.since.is_none() {
            self.since = Some(Instant::now());
            if self.waited >= self.progress.within && self.moved >= self.progress.bytes {
                (self.waited, self.moved) = (Duration::ZERO, 0);
            }
            let left = self.progress.within.saturating_sub(self.waited);
            match &mut self.alarm {
                Some(alarm) => alarm.as_mut().reset(Instant::now() + left),
                None => self.alarm = Some(Box::pin(sleep(left))),
            }
        }
        let Some(alarm) = &mut self.alarm else { return Poll::Pending };
        loop {
            ready!(alarm.as_mut().poll(cx));
            if self.moved < self.progress.bytes {
                return Poll::Ready(());
            }
            (self.waited, self.moved, self.since) = (Duration::ZERO, 0, Some(Instant::now()));
            alarm.as_mut().reset(Instant::now() + self.progress.within);
        }
    }
}

/// The body of a request stood still, or trickled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client sent its body too slowly (body_timeout, min_rate)")
    }
}

impl Error for TooSlow {}

/// The body of a request, which fails with [`TooSlow`] when the client does not send it in time.
#[derive(Debug)]
pub struct Body {
    inner: Incoming,
    pace: Pace,
    expired: bool,
    /// Until its end was read.
    uploading: Option<Uploading>,
}

impl Body {
    pub(super) fn new(inner: Incoming, progress: Progress, calls: &Arc<Calls>) -> Self {
        let uploading = (!inner.is_end_stream()).then(|| calls.upload());
        Self { inner, pace: Pace::new(progress), expired: false, uploading }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if this.expired {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref().map(Bytes::len));
            this.pace.moved(bytes.unwrap_or(0));
            if !matches!(frame, Some(Ok(_))) || this.inner.is_end_stream() {
                this.uploading = None;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(this.pace.poll_expired(cx));
        this.expired = true;
        Poll::Ready(Some(Err(TooSlow.into())))
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
    use std::{future::poll_fn, task::Waker};

    use super::*;

    fn expired(pace: &mut Pace) -> bool {
        pace.poll_expired(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn only_time_spent_waiting_counts() {
        let progress = Progress { within: Duration::from_millis(60), bytes: 100 };
        let mut pace = Pace::new(progress);
        assert!(!expired(&mut pace));
        pace.moved(10);
        // nobody waits for the peer meanwhile
        tokio::time::sleep(progress.within * 2).await;
        assert!(!expired(&mut pace));
        poll_fn(|cx| pace.poll_expired(cx)).await;
    }

    #[tokio::test]
    async fn whoever_moves_enough_goes_on() {
        let progress = Progress { within: Duration::from_millis(30), bytes: 100 };
        let mut pace = Pace::new(progress);
        let began = Instant::now();
        while began.elapsed() < progress.within * 5 {
            assert!(!expired(&mut pace));
            tokio::task::yield_now().await;
            pace.moved(100);
        }
        poll_fn(|cx| pace.poll_expired(cx)).await;
    }

    #[test]
    fn something_must_always_move() {
        assert_eq!(Progress::new(Duration::from_millis(1), 1).bytes, 1);
        assert_eq!(Progress::new(Duration::from_secs(30), 240).bytes, 7200);
    }
}
