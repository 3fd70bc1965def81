//! Noticing that a call stands still.

use std::{pin::Pin, time::Duration};

use tokio::time::{Instant, Sleep, sleep};

use super::request_body::Progress;

/// A timer that goes from call to call with its connection. Setting one per call would cost more than all else that
/// is waited for: this one is only looked at when it runs out, and then set to what is left.
#[derive(Debug, Default)]
pub(super) struct StandstillWatch(Option<Pin<Box<Sleep>>>);

impl StandstillWatch {
    /// Ends when the request's body has not moved, or after its end no answer has come, for so long.
    pub(super) async fn still(&mut self, progress: &Progress, limit: Duration) {
        // a timer of an earlier call runs out too early, never too late: the limit is the same for all calls
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep(limit)));
        loop {
            timer.as_mut().await;
            let left = limit.saturating_sub(progress.still_for());
            if left.is_zero() {
                return;
            }
            timer.as_mut().reset(Instant::now() + left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{Body, request_body::RequestBody};
    use http_body_util::{BodyExt, Empty};

    fn nothing() -> Body {
        Empty::new().map_err(|never| match never {}).boxed_unsync()
    }

    #[tokio::test]
    async fn a_watch_that_was_used_before_gives_each_call_its_whole_time() {
        let limit = Duration::from_millis(40);
        let mut watch = StandstillWatch::default();
        for _ in 0..3 {
            let (_, progress) = RequestBody::new(nothing());
            let began = Instant::now();
            watch.still(&progress, limit).await;
            assert!(began.elapsed() >= limit - Duration::from_millis(1), "{:?}", began.elapsed());
            let (_, progress) = RequestBody::new(nothing());
            let left = watch.still(&progress, limit);
            assert!(tokio::time::timeout(limit / 2, left).await.is_err());
        }
    }
}
