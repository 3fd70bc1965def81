//! Rows of bearer tokens: hashes, never the tokens.

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{StoreError, audit::AuditRow};

/// One token as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Its number.
    pub id: i64,
    /// What people call it; unique among tokens that are not revoked.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// The table of tokens.
pub trait TokenTable: Send + Sync {
    /// Adds a token (its `id` is ignored) and gives its number; `None` when a valid one has that name.
    fn insert(&self, row: TokenRow, audit: AuditRow) -> BoxFuture<'_, Result<Option<i64>, StoreError>>;

    /// The token of that hash, revoked or not.
    fn by_hash(&self, hash: [u8; 32]) -> BoxFuture<'_, Result<Option<TokenRow>, StoreError>>;

    /// All tokens, newest first.
    fn all(&self) -> BoxFuture<'_, Result<Vec<TokenRow>, StoreError>>;

    /// Deletes tokens that were revoked before the instant; gives how many there were.
    fn forget_revoked(&self, before: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Revokes the valid token of that name; `false` when there is none.
    fn revoke(&self, name: String, at: Timestamp, audit: AuditRow)
    -> BoxFuture<'_, Result<bool, StoreError>>;
}
