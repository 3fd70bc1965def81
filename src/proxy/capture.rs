//! Recording bodies while they pass: the bytes up to a limit, the size and the SHA-256 of all of it.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use aws_lc_rs::digest;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{
    request_log::extract,
    upstream::{self, BoxError},
};

/// What passed of one body.
#[derive(Clone, Debug, Default)]
pub(super) struct Captured {
    /// The first bytes, up to the limit of the log.
    pub(super) bytes: Bytes,
    /// Whether more passed than was kept.
    pub(super) truncated: bool,
    /// All bytes that passed.
    pub(super) size: u64,
    /// SHA-256 of the whole body, if it passed to its end.
    pub(super) sha256: Option<[u8; 32]>,
}

impl Captured {
    /// The capture of a body that is whole in memory.
    #[must_use]
    pub(super) fn whole(bytes: &Bytes, limit: usize) -> Self {
        Self {
            bytes: bytes.slice(..bytes.len().min(limit)),
            truncated: bytes.len() > limit,
            size: bytes.len() as u64,
            sha256: Some(extract::sha256(bytes)),
        }
    }
}

/// Memory that is full is exchanged for so many times as much: what was left behind stays with the allocator for a while.
const GROWTH: usize = 4;

/// Writes down what passes.
struct Tape {
    limit: usize,
    /// What was kept, copied: the pieces themselves would each hold the whole buffer that they were read into.
    kept: Vec<u8>,
    /// The same after somebody asked for it.
    bytes: Bytes,
    size: u64,
    /// None where nothing but the end is of interest.
    digest: Option<digest::Context>,
    ended: bool,
    broken: bool,
}

impl Tape {
    fn new(limit: usize) -> Self {
        let digest = Some(digest::Context::new(&digest::SHA256));
        let (kept, bytes) = (Vec::new(), Bytes::new());
        Self { limit, kept, bytes, size: 0, digest, ended: false, broken: false }
    }

    fn write(&mut self, data: &Bytes) {
        self.size += data.len() as u64;
        let Some(digest) = &mut self.digest else { return };
        digest.update(data);
        if !self.bytes.is_empty() {
            self.kept = std::mem::take(&mut self.bytes).into();
        }
        let part = &data[..data.len().min(self.limit - self.kept.len())];
        let needed = self.kept.len() + part.len();
        if needed > self.kept.capacity() {
            let room = self.kept.capacity().saturating_mul(GROWTH).min(self.limit).max(needed);
            self.kept.reserve_exact(room - self.kept.len());
        }
        self.kept.extend_from_slice(part);
    }

    fn captured(&mut self) -> Captured {
        if !self.kept.is_empty() {
            self.bytes = std::mem::take(&mut self.kept).into();
        }
        let bytes = self.bytes.clone();
        let digest = self.digest.as_ref().filter(|_| self.ended);
        let sha256 = digest.map(|digest| {
            let mut sha256 = [0; 32];
            sha256.copy_from_slice(digest.clone().finish().as_ref());
            sha256
        });
        Captured { truncated: (bytes.len() as u64) < self.size, bytes, size: self.size, sha256 }
    }
}

/// The recording of a body that passes elsewhere; cheap to clone.
#[derive(Clone)]
pub(super) struct Recording(Arc<Mutex<Tape>>);

impl Recording {
    /// A recording that keeps up to `limit` bytes.
    #[must_use]
    pub(super) fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Tape::new(limit))))
    }

    /// A recording that keeps nothing, only notices how the body ends.
    #[must_use]
    pub(super) fn of_nothing() -> Self {
        Self(Arc::new(Mutex::new(Tape { digest: None, ..Tape::new(0) })))
    }

    /// What has passed so far.
    #[must_use]
    pub(super) fn captured(&self) -> Captured {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).captured()
    }

    /// Whether the source of the body failed before its end.
    #[must_use]
    pub(super) fn is_broken(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).broken
    }

    fn write(&self, data: &Bytes) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(data);
    }

    fn break_off(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).broken = true;
    }

    fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
    }
}

/// A body that is recorded while it passes, where a recording is wanted.
pub(super) struct Recorded<B> {
    inner: B,
    recording: Option<Recording>,
}

impl<B: HttpBody> Recorded<B> {
    /// Records `inner` into `recording`.
    pub(super) fn new(inner: B, recording: Option<Recording>) -> Self {
        // whoever sees that there is nothing to read does not read
        if let Some(recording) = &recording
            && upstream::is_at_end(&inner)
        {
            recording.end();
        }
        Self { inner, recording }
    }
}

impl<B> HttpBody for Recorded<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        let Some(recording) = &self.recording else { return polled };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    recording.write(data);
                }
                if upstream::is_at_end(&self.inner) {
                    recording.end();
                }
            }
            Poll::Ready(None) => recording.end(),
            Poll::Ready(Some(Err(_))) => recording.break_off(),
            Poll::Pending => {}
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

/// How a body that was read to its end came to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All of it was passed on.
    Whole,
    /// The source failed before its end.
    SourceFailed,
}

/// What remains to be waited for at the end of a body.
pub(super) type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What happens at the end of a watched body, exactly once.
pub(super) trait OnEnd: Send + Unpin {
    /// Called when the end is known. The last piece is passed on after the returned future is done, so a full
    /// queue holds back the reader; `None` when there is nothing to wait for.
    fn ended(self, end: End) -> Option<Rest>;

    /// Called from `drop`, where nothing can be waited for.
    fn left(self);
}

/// A body that tells an [`OnEnd`] of its end exactly once: at the end, at an error, or when it is dropped before.
pub(super) struct Watched<B, E: OnEnd> {
    inner: B,
    state: State<E>,
}

enum State<E> {
    Passing(Option<E>),
    Ending { rest: Rest, last: Option<Result<Frame<Bytes>, BoxError>> },
    Ended,
}

impl<B, E: OnEnd> Watched<B, E> {
    /// Watches `inner`.
    pub(super) fn new(inner: B, on_end: E) -> Self {
        Self { inner, state: State::Passing(Some(on_end)) }
    }
}

impl<B, E> HttpBody for Watched<B, E>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Unpin,
    E: OnEnd,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Ended => return Poll::Ready(None),
                State::Ending { rest, last } => {
                    std::task::ready!(rest.as_mut().poll(cx));
                    let last = last.take();
                    this.state = State::Ended;
                    return Poll::Ready(last);
                }
                State::Passing(on_end) => {
                    let frame = std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx));
                    let end = match &frame {
                        Some(Ok(_)) if !this.inner.is_end_stream() => return Poll::Ready(frame),
                        Some(Err(_)) => End::SourceFailed,
                        Some(Ok(_)) | None => End::Whole,
                    };
                    match on_end.take().and_then(|on_end| on_end.ended(end)) {
                        Some(rest) => this.state = State::Ending { rest, last: frame },
                        None => {
                            this.state = State::Ended;
                            return Poll::Ready(frame);
                        }
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match self.state {
            State::Passing(_) => self.inner.size_hint(),
            State::Ending { .. } | State::Ended => SizeHint::default(),
        }
    }
}

impl<B, E: OnEnd> Drop for Watched<B, E> {
    fn drop(&mut self) {
        if let State::Passing(on_end) = &mut self.state
            && let Some(on_end) = on_end.take()
        {
            on_end.left();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::{BodyExt, Full, StreamBody};

    use super::*;
    use crate::upstream::Body;

    #[derive(Clone, Default)]
    struct Seen {
        whole: Arc<AtomicUsize>,
        failed: Arc<AtomicUsize>,
        left: Arc<AtomicUsize>,
        /// Whether the end has to be waited for.
        waits: bool,
    }

    impl OnEnd for Seen {
        fn ended(self, end: End) -> Option<Rest> {
            let counter = if end == End::Whole { &self.whole } else { &self.failed };
            counter.fetch_add(1, Ordering::SeqCst);
            self.waits.then(|| Box::pin(tokio::task::yield_now()) as Rest)
        }
        fn left(self) {
            self.left.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn counts(seen: &Seen) -> [usize; 3] {
        [&seen.whole, &seen.failed, &seen.left].map(|c| c.load(Ordering::SeqCst))
    }

    fn pieces(pieces: Vec<Result<&'static str, &'static str>>) -> Body {
        let frames =
            pieces.into_iter().map(|p| p.map(|d| Frame::data(Bytes::from(d))).map_err(BoxError::from));
        StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
    }

    #[tokio::test]
    async fn the_end_is_told_once_for_whole_failed_and_abandoned_bodies() {
        for waits in [false, true] {
            let seen = Seen { waits, ..Seen::default() };
            let body = Watched::new(pieces(vec![Ok("ab"), Ok("c")]), seen.clone());
            assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
            assert_eq!(counts(&seen), [1, 0, 0]);

            let body = Watched::new(pieces(vec![Ok("ab"), Err("gone")]), seen.clone());
            assert!(body.collect().await.is_err());
            assert_eq!(counts(&seen), [1, 1, 0]);

            drop(Watched::new(pieces(vec![Ok("ab")]), seen.clone()));
            assert_eq!(counts(&seen), [1, 1, 1]);
        }
    }

    #[tokio::test]
    async fn a_body_of_known_length_ends_with_its_last_piece() {
        let seen = Seen::default();
        let inner = Full::new(Bytes::from("abc")).map_err(|never| match never {}).boxed_unsync();
        let mut body = Watched::new(inner, seen.clone());
        assert!(body.frame().await.unwrap().is_ok());
        assert_eq!(counts(&seen), [1, 0, 0]);
        drop(body);
        assert_eq!(counts(&seen), [1, 0, 0]);
    }

    #[tokio::test]
    async fn a_recording_keeps_the_head_and_digests_all() {
        let recording = Recording::new(4);
        let body = Recorded::new(pieces(vec![Ok("abc"), Ok("def")]), Some(recording.clone()));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcdef");
        let captured = recording.captured();
        assert_eq!((captured.bytes.as_ref(), captured.truncated, captured.size), (&b"abcd"[..], true, 6));
        assert_eq!(captured.sha256, Captured::whole(&Bytes::from("abcdef"), 9).sha256);
    }

    #[test]
    fn what_comes_in_pieces_is_kept_in_order_up_to_the_limit() {
        let all: Vec<u8> = (0..200_100).map(|n| u8::try_from(n % 251).unwrap()).collect();
        for (limit, piece) in [(131_079, 1000), (all.len(), 16_384), (all.len(), 70_000), (5, 2)] {
            let mut tape = Tape::new(limit);
            for (n, piece) in all.chunks(piece).enumerate() {
                tape.write(&Bytes::copy_from_slice(piece));
                if n == 3 {
                    // whoever looks meanwhile loses nothing
                    assert_eq!(tape.captured().bytes, all[..limit.min(4 * piece.len())]);
                }
            }
            tape.ended = true;
            let (captured, whole) = (tape.captured(), Captured::whole(&Bytes::from(all.clone()), limit));
            assert_eq!(captured.bytes, all[..limit], "{limit} {piece}");
            assert_eq!(
                (captured.truncated, captured.size, captured.sha256),
                (whole.truncated, whole.size, whole.sha256)
            );
        }
    }
}
