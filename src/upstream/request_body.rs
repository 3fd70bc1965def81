//! The body of a request on its way out, which notes when it last moved: a large upload that makes progress is
//! not a platform that does not answer.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{Body, BoxError};

/// When a request's body last moved, and whether it has ended.
#[derive(Debug)]
pub(super) struct Progress {
    start: Instant,
    moved_us: AtomicU64,
    ended: AtomicBool,
}

impl Progress {
    /// Time since the request was begun or its body last moved.
    pub(super) fn still_for(&self) -> Duration {
        let moved = Duration::from_micros(self.moved_us.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(moved)
    }

    /// Whether all of the body was handed over.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn moved(&self) {
        let us = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.moved_us.store(us, Ordering::Relaxed);
    }
}

/// Whether all of a body was read. Over HTTP/2 the end may come after the last byte in a frame of its own, which nobody
/// reads when the length is known.
#[must_use]
pub fn is_at_end<B: http_body::Body>(body: &B) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

/// A body that notes its progress.
#[derive(Debug)]
pub(super) struct RequestBody {
    inner: Body,
    progress: Arc<Progress>,
}

impl RequestBody {
    pub(super) fn new(inner: Body) -> (Self, Arc<Progress>) {
        let progress = Arc::new(Progress {
            start: Instant::now(),
            moved_us: AtomicU64::new(0),
            ended: AtomicBool::new(is_at_end(&inner)),
        });
        (Self { inner, progress: Arc::clone(&progress) }, progress)
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(frame) = &polled {
            self.progress.moved();
            if frame.is_none() || is_at_end(&self.inner) {
                self.progress.ended.store(true, Ordering::Relaxed);
            }
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
