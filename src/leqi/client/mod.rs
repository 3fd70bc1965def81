//! The gateway's own calls to the platform.

mod journal;

pub use journal::{Failure, Journal, JournalError, OwnCall, OwnOutcome};

use super::Sm4Key;
use crate::domain::{CapabilityCode, ExchangeId, PlatformId};

/// In whose name a call is made.
#[derive(Clone, Debug)]
pub struct Caller {
    /// `jrdwptbh`: the access unit.
    pub access_id: PlatformId,
    /// `sydwptbh`: the using unit; the access unit itself when it invoices for itself.
    pub using_id: PlatformId,
    /// The access unit's key.
    pub key: Sm4Key,
    /// `nlbm`: the capability that the service is called under.
    pub capability: CapabilityCode,
}

/// A call that was answered with success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallAnswer {
    /// The call's id in the request log.
    pub exchange: ExchangeId,
    /// The decrypted `Data`.
    pub json: Vec<u8>,
}

/// Why a call was not answered with success.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The request log could not be written.
    #[error("{source}")]
    Journal {
        /// The call's id in the request log.
        exchange: ExchangeId,
        /// Whether the request had been sent: then its answer is not used, and the outcome counts as unknown.
        sent: bool,
        /// Why.
        source: JournalError,
    },
    /// Proven: no byte of the request left.
    #[error("not sent: {source}")]
    NotSent {
        /// The call's id in the request log.
        exchange: ExchangeId,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Proven: the platform refused.
    #[error("refused by the platform: {code} {text}")]
    Refused {
        /// The call's id in the request log.
        exchange: ExchangeId,
        /// `Error.Code`, `returncode`, the front door's number or the HTTP status.
        code: String,
        /// The platform's words.
        text: String,
    },
    /// It may have been done or not.
    #[error("outcome unknown: {reason}")]
    Unclear {
        /// The call's id in the request log.
        exchange: ExchangeId,
        /// Why, in English.
        reason: String,
    },
}
