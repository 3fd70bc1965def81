//! What the writer needs to know of an engine.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::{Connection, Transaction};

use super::StoreError;

/// One engine's side of the writer: how to connect, how to begin and commit, what its errors mean. Cheap to clone.
pub(in crate::store) trait Backend: Clone + Send + Sync + 'static {
    /// The driver.
    type Driver: sqlx::Database<Connection = Self::Connection>;
    /// A connection of the driver.
    type Connection: Connection<Database = Self::Driver> + Send;
    /// What [`Backend::commit`] remembers of a transaction that may or may not be committed.
    type Doubt: Send + Sync + 'static;

    /// A new connection for writing.
    fn connect(&self) -> BoxFuture<'_, Result<Self::Connection, sqlx::Error>>;

    /// Begins a transaction that is going to write.
    fn begin<'c>(
        &'c self,
        connection: &'c mut Self::Connection,
    ) -> BoxFuture<'c, Result<Transaction<'c, Self::Driver>, sqlx::Error>>;

    /// Commits.
    fn commit<'c>(
        &'c self,
        transaction: Transaction<'c, Self::Driver>,
    ) -> BoxFuture<'c, Result<(), CommitError<Self::Doubt>>>;

    /// What became of a transaction in doubt; asked on a new connection. `Err` when that cannot be told yet.
    fn clear_up<'c>(
        &'c self,
        doubt: &'c Self::Doubt,
        connection: &'c mut Self::Connection,
    ) -> BoxFuture<'c, Result<bool, sqlx::Error>>;

    /// Says what an error of the engine means, with what to do about it.
    fn explain(&self, error: StoreError) -> StoreError;

    /// How long a transaction or a ping may take before the connection counts as broken; for ever when `None`.
    fn patience(&self) -> Option<Duration>;

    /// Whether the same transaction may well succeed when it is tried once more as it is.
    fn is_worth_another_try(error: &StoreError) -> bool;
}

/// Why a transaction was not committed, as far as that is known.
#[derive(Debug)]
pub(in crate::store) enum CommitError<D> {
    /// Nothing of it was kept.
    Failed(sqlx::Error),
    /// The connection broke while the engine was told to commit: it may have done so.
    InDoubt(D, sqlx::Error),
}
