//! A call whose answer is on its way to the client.

use super::{
    Call,
    capture::{End, OnEnd, Recording, Rest},
    exchange::Exchange,
};
use crate::leqi::Sm4Key;

/// The exchange of an answer that passes, finished at the answer's end.
pub(super) struct Passing {
    exchange: Exchange,
    key: Option<Sm4Key>,
    received: Option<Recording>,
}

impl Passing {
    /// The answer of a call that only asks; `received` is `None` when the call leaves no record.
    pub(super) fn of(exchange: Exchange, call: &Call, received: Option<Recording>) -> Self {
        let key = received.as_ref().and_then(|_| exchange.key(call));
        Self { exchange, key, received }
    }

    /// An answer that is too large to be read.
    pub(super) const fn unread(exchange: Exchange, received: Option<Recording>) -> Self {
        Self { exchange, key: None, received }
    }

    /// Notes both bodies as far as they passed.
    fn complete(self) -> Exchange {
        let Self { mut exchange, key, received } = self;
        match received {
            Some(received) => exchange.passed(&received, key),
            None => exchange.ended(),
        }
        exchange
    }
}

impl OnEnd for Passing {
    fn ended(self, end: End) -> Option<Rest> {
        self.complete().finish_forwarded(end)
    }

    fn left(self) {
        drop(self.complete());
    }
}
