//! What the gateway's own calls leave behind: the request log implements [`Journal`].

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Method;
use jiff::Timestamp;

use super::Caller;
use crate::domain::{Environment, ExchangeId, ServiceClass, ServiceCode};

/// A call that the gateway makes by itself.
#[derive(Clone, Debug)]
pub struct OwnCall {
    /// Its id in the request log.
    pub id: ExchangeId,
    /// When it was begun.
    pub started_at: Timestamp,
    /// In whose name.
    pub caller: Caller,
    /// What it asks for.
    pub service: ServiceCode,
    /// How that is treated.
    pub class: ServiceClass,
    /// The world it goes to.
    pub environment: Environment,
    /// The name of the upstream.
    pub upstream: String,
    /// Always POST.
    pub method: Method,
    /// The path that is sent.
    pub path: String,
    /// The headers that are sent.
    pub request_headers: Vec<(String, String)>,
    /// The body that is sent, encrypted.
    pub request_body: Bytes,
    /// The same in clear, to take the searchable fields from; not to be stored.
    pub request_json: Bytes,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub struct OwnOutcome {
    /// When it ended.
    pub finished_at: Timestamp,
    /// From the first byte sent to the last one received, in microseconds.
    pub upstream_us: u64,
    /// The HTTP status, if an answer came.
    pub status: Option<u16>,
    /// The answer's headers.
    pub response_headers: Vec<(String, String)>,
    /// The answer's body as it came, perhaps compressed; what came of it when it broke off.
    pub response_body: Bytes,
    /// The answer's `Data` in clear, if it could be decrypted; not to be stored.
    pub response_json: Option<Bytes>,
    /// Why there is no whole answer.
    pub failure: Option<Failure>,
}

/// Why a call has no whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whether any byte of the request may have left; `false` is a proof that none did.
    pub sent: bool,
    /// What happened, in English.
    pub reason: String,
}

/// The journal could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the request log could not be written: {0}")]
pub struct JournalError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Where own calls are written down.
pub trait Journal: Send + Sync {
    /// Commits that the call is about to be sent. Asked for only when its class changes the platform.
    fn intent<'a>(&'a self, call: &'a OwnCall) -> BoxFuture<'a, Result<(), JournalError>>;
    /// Writes down what became of the call; committed when its class changes the platform.
    fn record<'a>(
        &'a self,
        call: &'a OwnCall,
        outcome: &'a OwnOutcome,
    ) -> BoxFuture<'a, Result<(), JournalError>>;
}
