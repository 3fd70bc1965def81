//! A record on its way into the log, and what is still to be read of its bodies.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Record, extract};
use crate::leqi::Sm4Key;

/// The record of a finished exchange that nobody waits for. Its bodies may be unread: decoding them costs as much as
/// forwarding them, so that is the log's to do, on a thread where no call waits for it.
#[derive(Debug)]
pub struct Entry {
    record: Box<Record>,
    unread: Option<Unread>,
}

/// What the log still has to find in the bodies of a record.
#[derive(Debug)]
pub struct Unread {
    /// Whether the request is unread as well as the answer.
    pub request: bool,
    /// The access unit's key; without it only what is not encrypted can be read.
    pub key: Option<Sm4Key>,
}

impl Entry {
    /// A record whose bodies the log has to read, if `unread` says so.
    #[must_use]
    pub const fn new(record: Box<Record>, unread: Option<Unread>) -> Self {
        Self { record, unread }
    }

    /// The record as far as it is known.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// The same to be changed.
    pub(super) const fn record_mut(&mut self) -> &mut Record {
        &mut self.record
    }

    /// Whether the bodies are unread.
    pub(super) const fn is_unread(&self) -> bool {
        self.unread.is_some()
    }

    /// Bytes of bodies that it holds.
    pub(super) const fn bytes(&self) -> usize {
        self.record.request_body.len() + self.record.response_body.len()
    }

    /// The record with everything that its bodies tell.
    #[must_use]
    pub fn read(self) -> Box<Record> {
        let Self { mut record, unread } = self;
        if let Some(Unread { request, key }) = unread {
            // a record that nobody can search is better than none
            let read = catch_unwind(AssertUnwindSafe(|| {
                if request {
                    extract::request_body(&mut record, key.as_ref());
                }
                extract::response_body(&mut record, key.as_ref());
            }));
            if read.is_err() {
                tracing::error!(exchange = %record.id, "a bug kept the log from reading the bodies of a call");
            }
        }
        record
    }
}

impl From<Box<Record>> for Entry {
    fn from(record: Box<Record>) -> Self {
        Self::new(record, None)
    }
}

impl From<Record> for Entry {
    fn from(record: Record) -> Self {
        Box::new(record).into()
    }
}
