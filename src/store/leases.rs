//! Leases: the right to do something that only one of many gateways may do at a time.

use futures_util::future::BoxFuture;

use super::StoreError;

/// Where leases are taken.
pub trait LeaseTable: Send + Sync {
    /// Takes the lease of that name; `None` when another gateway has it.
    fn try_lease(&self, name: &'static str) -> BoxFuture<'_, Result<Option<Box<dyn Lease>>, StoreError>>;
}

/// A lease that was taken; dropping it gives it up.
pub trait Lease: Send + Sync {
    /// Whether it is still this gateway's: it ends with the connection that holds it.
    fn is_held(&self) -> bool;
}
