//! Moving a database from one engine to the other.

use super::{Config, Scheme, StoreError, claim, postgres, sqlite};

/// How far a table has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which table.
    pub table: &'static str,
    /// Its rows that have arrived.
    pub rows: u64,
    /// All its rows.
    pub of: u64,
}

/// A table that has arrived whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Which table.
    pub table: &'static str,
    /// Its rows, the same number on both sides.
    pub rows: u64,
    /// The sum over its rows, read again from the target and found the same: 64 hex digits.
    pub checksum: String,
}

/// Moves everything that is in the SQLite database `from` into the empty PostgreSQL database `to`, all or nothing. No
/// gateway may run on `from` meanwhile; it is left as it is.
///
/// # Errors
/// When either address is of another engine, a gateway runs on `from`, `to` is not empty, or what arrived is not what
/// was sent.
pub async fn move_over(
    from: &Config,
    to: &Config,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Vec<Moved>, StoreError> {
    if Scheme::of(&from.url)? != Scheme::Sqlite || Scheme::of(&to.url)? != Scheme::Postgres {
        let reason = "a database is moved from sqlite://PATH to postgres://USER@HOST/DATABASE".to_owned();
        return Err(StoreError::Url { reason });
    }
    let _nobody_else = claim(from)?;
    let mut reader = sqlite::reader(from).await?;
    postgres::copy(&mut reader, to, progress).await
}
