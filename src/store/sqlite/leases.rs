//! Leases on SQLite, where one gateway is all there is: [`crate::store::claim`] keeps a second one away.

use futures_util::future::BoxFuture;

use crate::store::{
    StoreError,
    leases::{Lease, LeaseTable},
};

/// Leases that are always to be had.
pub(super) struct OneGateway;

struct AlwaysHeld;

impl LeaseTable for OneGateway {
    fn try_lease(&self, _: &'static str) -> BoxFuture<'_, Result<Option<Box<dyn Lease>>, StoreError>> {
        Box::pin(async { Ok(Some(Box::new(AlwaysHeld) as Box<dyn Lease>)) })
    }
}

impl Lease for AlwaysHeld {
    fn is_held(&self) -> bool {
        true
    }
}
