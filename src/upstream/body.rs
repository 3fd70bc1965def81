//! The body of an answer: gives its connection back when it was read to the end, and fails when it stalls.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use tokio::time::{Instant, Sleep, sleep};

use super::{Body, BoxError, error::TimedOut, pool::Pool};

/// An answer's body on a pooled connection. Dropped before its end, it takes the connection with it.
pub(super) struct Answer {
    incoming: Incoming,
    connection: Option<(SendRequest<Body>, Arc<Pool>)>,
    patience: Duration,
    stalled: Pin<Box<Sleep>>,
}

impl Answer {
    /// A body that may pause for at most `patience` between two pieces.
    pub(super) fn new(
        incoming: Incoming,
        sender: SendRequest<Body>,
        pool: Arc<Pool>,
        patience: Duration,
    ) -> Self {
        let mut answer =
            Self { incoming, connection: Some((sender, pool)), patience, stalled: Box::pin(sleep(patience)) };
        if answer.incoming.is_end_stream() {
            answer.give_back();
        }
        answer
    }

    fn give_back(&mut self) {
        if let Some((sender, pool)) = self.connection.take() {
            pool.put(sender);
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) else {
            std::task::ready!(this.stalled.as_mut().poll(cx));
            this.connection = None;
            return Poll::Ready(Some(Err(TimedOut(this.patience).into())));
        };
        match &frame {
            Some(Ok(_)) => {
                this.stalled.as_mut().reset(Instant::now() + this.patience);
                if this.incoming.is_end_stream() {
                    this.give_back();
                }
            }
            Some(Err(_)) => this.connection = None,
            None => this.give_back(),
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
