//! Rows of the audit log: who changed what, and when. Rows are only added.

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::StoreError;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// When it was made.
    pub at: Timestamp,
    /// Who made it: a token's name, `cli`, or the name of a job.
    pub actor: String,
    /// What was done, such as `unit.create`.
    pub action: String,
    /// To what: a tax number, a confirmation's id, a token's name.
    pub subject: String,
    /// What changed, as a JSON object; never a key, a token or a payload.
    pub detail: String,
}

/// A stored change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number; orders by time of commit.
    pub id: i64,
    /// The change.
    pub row: AuditRow,
}

/// The table of changes.
pub trait AuditTable: Send + Sync {
    /// Adds a change that touches no other table; changes of other tables carry their row into the same transaction.
    fn append(&self, row: AuditRow) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Changes, newest first, with numbers below `before`, at most `limit`; only of `subject` if that is given.
    fn list<'a>(
        &'a self,
        subject: Option<&'a str>,
        before: Option<i64>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<AuditEntry>, StoreError>>;
}
