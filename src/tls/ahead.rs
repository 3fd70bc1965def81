//! Reading from a socket in larger pieces than the TLS stack asks for.
//!
//! rustls reads 4 KiB at a time: a call of 4 KiB takes two reads, an answer of 50 MB four times as many as its records.
//! One copy costs less than a system call.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of one read: a TLS record with its head, as most are at their largest.
const PIECE: usize = (16 << 10) + 256;

/// A socket that is read ahead.
#[derive(Debug)]
pub struct Ahead<I> {
    socket: I,
    /// What was read and not asked for yet; without memory of its own while there is nothing.
    rest: Vec<u8>,
    /// How much of it was given out.
    given: usize,
}

impl<I> Ahead<I> {
    /// Reads this ahead.
    pub const fn new(socket: I) -> Self {
        Self { socket, rest: Vec::new(), given: 0 }
    }

    /// The socket.
    pub const fn socket(&self) -> &I {
        &self.socket
    }

    /// Whether nothing was read that was not asked for.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let rest = &self.rest[self.given..];
        let taken = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..taken]);
        self.given += taken;
        if self.given == self.rest.len() {
            (self.rest, self.given) = (Vec::new(), 0);
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Ahead<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.rest.is_empty() {
            this.give(buf);
            return Poll::Ready(Ok(()));
        }
        if buf.remaining() >= PIECE {
            return Pin::new(&mut this.socket).poll_read(cx, buf);
        }
        let mut piece = [MaybeUninit::uninit(); PIECE];
        let mut piece = ReadBuf::uninit(&mut piece);
        ready!(Pin::new(&mut this.socket).poll_read(cx, &mut piece))?;
        let now = piece.filled().len().min(buf.remaining());
        buf.put_slice(&piece.filled()[..now]);
        this.rest.extend_from_slice(&piece.filled()[now..]);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Ahead<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    /// Gives all that is asked for and counts how often.
    struct Source {
        bytes: Vec<u8>,
        reads: usize,
    }

    impl AsyncRead for Source {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let now = self.bytes.len().min(buf.remaining());
            let given: Vec<u8> = self.bytes.drain(..now).collect();
            buf.put_slice(&given);
            self.reads += 1;
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn small_reads_share_one_of_the_socket_and_nothing_is_kept_or_lost() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        let mut ahead = Ahead::new(Source { bytes: bytes.clone(), reads: 0 });
        let mut got = vec![0; 4096 + 300];
        ahead.read_exact(&mut got).await.unwrap();
        assert_eq!(ahead.socket().reads, 1);
        assert!(!ahead.is_empty());
        let mut rest = vec![0; 12_000 - got.len()];
        ahead.read_exact(&mut rest).await.unwrap();
        assert_eq!(ahead.socket().reads, 1);
        got.extend(rest);
        let mut all = Vec::new();
        ahead.read_to_end(&mut all).await.unwrap();
        got.extend(all);
        assert_eq!(got, bytes);
        assert!(ahead.is_empty() && ahead.rest.capacity() == 0);
    }
}
