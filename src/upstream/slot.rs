//! One of the connections that an upstream may have: held from before it is dialled until its socket is closed.

use std::sync::{Arc, Weak};

use super::pool::Pool;

/// The right to have one connection open. It goes to the next caller in line when it is dropped.
#[derive(Debug)]
pub(super) struct Slot(Option<Weak<Pool>>);

impl Slot {
    /// The pool has counted it.
    pub(super) fn new(pool: &Arc<Pool>) -> Self {
        Self(Some(Arc::downgrade(pool)))
    }

    /// It is counted elsewhere now.
    pub(super) fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(pool) = self.0.take().and_then(|pool| pool.upgrade()) {
            pool.release();
        }
    }
}
