//! The stream between TLS and the HTTP server: nothing passes that is framed in an ambiguous way, and whoever does not
//! take its answers is cut.
//!
//! In place of a request that is refused the server is given a harmless one of the gateway's own. It comes in its turn
//! behind what the client asked before, so the refusal is answered like any call, with its envelope, and closed.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};
use tokio_rustls::server::TlsStream;

use super::{
    Refusal,
    calls::{Calls, Cut},
    framing::{Framing, HeadLimits, Wrong},
    pace::{Pace, Progress},
};
use crate::tls::Ahead;

/// What the server is given in place of a refused request.
const STAND_IN: &[u8] = b"GET /refused HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// After a refusal the client may still be sending. A connection that is closed before is reset, and the refusal
/// would be lost on its way.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes that are taken meanwhile.
const LINGER_BYTES: usize = 1 << 20;

/// A stream that is looked after.
#[derive(Debug)]
pub(super) struct Guard<I> {
    io: I,
    /// Of HTTP/1; HTTP/2 frames its requests itself.
    framing: Option<Framing>,
    /// The beginning of a head, until it is complete.
    held: Vec<u8>,
    /// What was held and may go on, and how much of it has.
    out: Vec<u8>,
    out_at: usize,
    wrong: Option<Wrong>,
    writing: Pace,
    lingering: Option<(Pin<Box<Sleep>>, usize)>,
    /// Whether the server was told that there is nothing to read.
    drained: bool,
    calls: Arc<Calls>,
}

/// A stream of which one can wait for the next byte without a buffer.
pub(super) trait Source: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Ready when something, the end or an error too, has arrived at the socket.
    fn poll_arrived(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// Whether there is nothing to read that has left the socket already: what a client sends behind its handshake
    /// may have come with it.
    fn is_empty(&mut self) -> bool;
}

impl Source for TcpStream {
    fn poll_arrived(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_read_ready(cx).map(drop)
    }

    fn is_empty(&mut self) -> bool {
        true
    }
}

impl Source for Box<TlsStream<Ahead<TcpStream>>> {
    fn poll_arrived(&self, cx: &mut Context<'_>) -> Poll<()> {
        let ahead = self.get_ref().0;
        if ahead.is_empty() { ahead.socket().poll_arrived(cx) } else { Poll::Ready(()) }
    }

    fn is_empty(&mut self) -> bool {
        // an error is the server's to see
        self.get_mut().1.process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() == 0)
    }
}

impl<I: Source> Guard<I> {
    /// Finds out whether the first byte is still to come.
    pub(super) fn begin(&mut self) {
        self.drained = self.io.is_empty();
    }

    /// Waits until there may be something to read.
    pub(super) async fn arrived(&self) {
        if self.is_drained() {
            poll_fn(|cx| self.io.poll_arrived(cx)).await;
        }
    }
}

impl<I> Guard<I> {
    /// HTTP/1 when `heads` are limited here, HTTP/2 when they are not.
    pub(super) fn new(io: I, heads: Option<HeadLimits>, progress: Progress, calls: Arc<Calls>) -> Self {
        Self {
            io,
            framing: heads.map(Framing::new),
            held: Vec::new(),
            out: Vec::new(),
            out_at: 0,
            wrong: None,
            writing: Pace::new(progress),
            lingering: None,
            drained: false,
            calls,
        }
    }

    /// Whether another server can go on where the one before, which left these bytes unread, has stopped: only between
    /// two requests.
    pub(super) fn hands_over(&mut self, unread: &[u8]) -> bool {
        self.out.splice(self.out_at..self.out_at, unread.iter().copied());
        self.wrong.is_none() && self.framing.as_ref().is_some_and(Framing::is_between)
    }

    /// Whether the next byte must come from the socket.
    const fn is_drained(&self) -> bool {
        self.drained && self.out.is_empty()
    }

    /// Hands out what was held.
    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let rest = &self.out[self.out_at..];
        if rest.is_empty() {
            return false;
        }
        let taken = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..taken]);
        self.out_at += taken;
        if self.out_at == self.out.len() {
            (self.out, self.out_at) = (Vec::new(), 0);
        }
        true
    }

    /// Looks at what was read behind `before`; leaves in `buf` what may go on at once.
    fn look(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let Some(framing) = &mut self.framing else { return };
        let read = buf.filled().len() - before;
        if self.held.is_empty() {
            if framing.skips(read) {
                return;
            }
            let passed = framing.look(&buf.filled()[before..]);
            self.held.extend_from_slice(&buf.filled()[before + passed.bytes..]);
            buf.set_filled(before + passed.bytes);
            self.wrong = passed.wrong;
        } else {
            self.held.extend_from_slice(&buf.filled()[before..]);
            buf.set_filled(before);
            let passed = framing.look(&self.held);
            let rest = self.held.split_off(passed.bytes);
            self.out = std::mem::replace(&mut self.held, rest);
            self.wrong = passed.wrong;
        }
        if self.wrong.is_some() {
            self.refuse();
        } else if self.held.is_empty() {
            self.calls.head_ended();
        } else {
            self.calls.head_begun();
        }
    }

    /// Nothing more is read; behind what was passed on comes the stand-in, when a head was wrong.
    fn refuse(&mut self) {
        self.held = Vec::new();
        self.calls.head_ended();
        if let (Some(Wrong::Head(refusal)), Some(framing)) = (self.wrong, &self.framing) {
            self.calls.refuse(framing.heads(), refusal);
            self.out.extend_from_slice(STAND_IN);
        }
    }

    fn stalled<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_pending() && self.writing.poll_expired(cx).is_ready() {
            self.calls.cut(Cut::SlowReader);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no answers")));
        }
        polled
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Guard<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.hand_out(buf) {
                return Poll::Ready(Ok(()));
            }
            match this.wrong {
                // an end would tell the server that the client left, and it would not answer
                Some(Wrong::Head(_)) => return Poll::Pending,
                Some(Wrong::Body(why)) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
                }
                None => {}
            }
            if this.calls.head_is_overdue() {
                this.wrong = Some(Wrong::Head(Refusal::HeadTooSlow));
                this.refuse();
                continue;
            }
            let before = buf.filled().len();
            let polled = Pin::new(&mut this.io).poll_read(cx, buf);
            this.drained = polled.is_pending();
            ready!(polled)?;
            if buf.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            this.look(buf, before);
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.calls.flushed(false);
        if let Poll::Ready(Ok(bytes)) = &polled {
            self.writing.moved(*bytes);
        }
        self.stalled(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.calls.flushed(false);
        if let Poll::Ready(Ok(bytes)) = &polled {
            self.writing.moved(*bytes);
        }
        self.stalled(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.calls.flushed(matches!(polled, Poll::Ready(Ok(()))));
        self.stalled(polled, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // whoever is being closed is not served again
        this.calls.flushed(false);
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            if this.wrong.is_none() {
                return Poll::Ready(Ok(()));
            }
        }
        let (until, left) = this.lingering.get_or_insert_with(|| (Box::pin(sleep(LINGER)), LINGER_BYTES));
        let mut scrap = [0; 4096];
        while *left > 0 && until.as_mut().poll(cx).is_pending() {
            let mut taken = ReadBuf::new(&mut scrap);
            match Pin::new(&mut this.io).poll_read(cx, &mut taken) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !taken.filled().is_empty() => {
                    *left = left.saturating_sub(taken.filled().len());
                }
                Poll::Ready(Ok(()) | Err(_)) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
