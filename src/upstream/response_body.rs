//! The body of an answer: read to its end it gives the connection back, dropped half-way it closes it, and it
//! does not wait for ever.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::{BoxError, Phase, TimedOut, connection::Connection, deadline::Deadline, pool::Pool};

/// The rest of an answer with the connection it comes from.
pub(super) struct ResponseBody {
    inner: Incoming,
    connection: Option<Connection>,
    pool: Arc<Pool>,
    limit: Duration,
    deadline: Option<Deadline>,
    /// Runs only while nothing comes.
    stall: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl ResponseBody {
    /// `limit` is how long it may stand still.
    pub(super) fn new(
        inner: Incoming,
        connection: Connection,
        pool: Arc<Pool>,
        limit: Duration,
        deadline: Option<Deadline>,
    ) -> Self {
        let connection = Some(connection);
        let mut body = Self { inner, connection, pool, limit, deadline, stall: None, waiting: false };
        if body.inner.is_end_stream() {
            body.give_back();
        }
        body
    }

    fn give_back(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.keep(connection);
        }
    }

    /// Ends when nothing came for too long, or the whole call takes too long.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<TimedOut> {
        let still = Instant::now() + self.limit;
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(still)));
        if !self.waiting {
            self.waiting = true;
            stall.as_mut().reset(self.deadline.map_or(still, |deadline| deadline.at.min(still)));
        }
        let over = self.deadline.filter(|deadline| deadline.at <= stall.deadline());
        stall.as_mut().poll(cx).map(|()| match over {
            Some(Deadline { limit, .. }) => TimedOut { phase: Phase::Total, limit },
            None => TimedOut { phase: Phase::Idle, limit: self.limit },
        })
    }

    /// The answer ends here, and with it the connection.
    fn fail(&mut self, error: BoxError) -> BoxError {
        self.connection = None;
        self.pool.failed(&error);
        error
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Pending if this.connection.is_none() => Poll::Pending,
            Poll::Pending => match this.poll_stall(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(timed_out) => Poll::Ready(Some(Err(this.fail(timed_out.into())))),
            },
            Poll::Ready(Some(Ok(frame))) => {
                this.waiting = false;
                if this.inner.is_end_stream() {
                    this.give_back();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(this.fail(error.into())))),
            Poll::Ready(None) => {
                this.give_back();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
