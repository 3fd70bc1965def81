//! Rows of `Idempotency-Key`s: the answer that a POST got, to be given again.

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};

use super::StoreError;

/// How long a key is remembered; used again after that it stands for a new request.
pub const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

/// Which request a key was used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedRequest {
    /// Who sent it: a token's name; keys of different people are different keys.
    pub actor: String,
    /// The header's value.
    pub key: String,
    /// SHA-256 of method, path and body: the same key with another request is a mistake.
    pub fingerprint: [u8; 32],
}

/// An answer that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    /// Its HTTP status.
    pub status: u16,
    /// Its content type.
    pub content_type: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Nobody used it: act, then [`IdempotencyTable::finish`].
    Fresh,
    /// The same request is being worked on, or the gateway stopped while it was.
    InProgress,
    /// The key was used for another request.
    Mismatch,
    /// The same request was answered so.
    Replay(StoredAnswer),
}

/// The table of keys.
pub trait IdempotencyTable: Send + Sync {
    /// Takes the key for this request, or says what it was used for. Keys older than [`REMEMBERED`] are forgotten, and
    /// keys without an answer that are older than ten minutes are fresh again.
    fn begin(&self, request: KeyedRequest, now: Timestamp) -> BoxFuture<'_, Result<Begun, StoreError>>;

    /// Deletes keys that [`IdempotencyTable::begin`] would forget; gives how many there were.
    fn forget(&self, now: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Keeps the answer.
    fn finish(&self, request: KeyedRequest, answer: StoredAnswer) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Gives the key back: nothing was done.
    fn abandon(&self, request: KeyedRequest) -> BoxFuture<'_, Result<(), StoreError>>;
}
