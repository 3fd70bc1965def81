//! Whether a call is under way on an HTTP/1 connection, so that a drain can tell a kept connection from a busy one.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use tokio::{sync::Notify, time::timeout};

/// What one connection is doing.
#[derive(Debug, Default)]
pub(super) struct Activity {
    calls: AtomicUsize,
    changed: Notify,
}

impl Activity {
    /// A call has begun; it is over when the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> InCall {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_one();
        InCall(Arc::clone(self))
    }

    /// Waits until there has been no call for so long.
    pub(super) async fn quiet(&self, period: Duration) {
        loop {
            if self.calls.load(Ordering::SeqCst) > 0 {
                self.changed.notified().await;
            } else if timeout(period, self.changed.notified()).await.is_err() {
                return;
            }
        }
    }
}

/// A call that is under way.
#[derive(Debug)]
pub(super) struct InCall(Arc<Activity>);

impl Drop for InCall {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_one();
    }
}

/// The body of an answer: the call is over when the body is.
pub(super) struct Answered<B> {
    body: B,
    _call: InCall,
}

impl<B> Answered<B> {
    pub(super) const fn new(body: B, call: InCall) -> Self {
        Self { body, _call: call }
    }
}

impl<B: Body + Unpin> Body for Answered<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn quiet_begins_when_the_last_call_has_ended() {
        let activity = Arc::new(Activity::default());
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
}
