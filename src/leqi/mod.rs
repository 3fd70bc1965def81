//! The wire protocol of 乐企 (protocol.md): SM4, request bodies, the answer's envelope, the catalogues, the typed
//! messages, what an answer proves, and the client for the gateway's own calls.
//!
//! Liberal readers, exact writers. Every malformed input is an error value. Knows nothing of storage and HTTP servers.

mod body;
pub mod catalogue;
pub mod client;
mod envelope;
mod error;
mod json;
pub mod messages;
mod sm4;
mod verdict;

pub use body::{BodyForm, DecodedBody, is_plain, read_body, write_body};
pub use envelope::{
    Envelope, Opened, Payload, gunzip, read_envelope, write_data, write_error, write_front_door,
};
pub use error::CodecError;
pub use json::{MAX_DEPTH, check as check_json};
pub use sm4::{Sm4Key, decrypt, encrypt};
pub use verdict::{Verdict, judge, judge_opened};

/// `vectors.json`: bodies and envelopes computed with OpenSSL.
#[cfg(test)]
mod vectors {
    /// The whole file.
    pub(super) fn load() -> serde_json::Value {
        serde_json::from_str(include_str!("data/vectors.json")).unwrap()
    }
}
