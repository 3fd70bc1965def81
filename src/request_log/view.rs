//! An exchange's body in clear, for people who may read it.

use super::{Record, Side, StoredBody, extract::unpacked};
use crate::leqi::{
    BodyForm, CodecError, Envelope, Payload, Sm4Key,
    catalogue::{Explanation, explain},
    read_body, read_envelope,
};

/// Why a body cannot be shown in clear.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// It does not decode: another key, or not what the protocol says.
    #[error(
        "the body cannot be decoded ({0}); the key of the access unit may be another one than at the time of the call"
    )]
    Codec(#[from] CodecError),
    /// The key of the access unit is not known.
    #[error(
        "the SM4 key of access unit {access_id} is not known for {environment}; register the unit with its key"
    )]
    KeyMissing {
        /// `jrdwptbh` of the call.
        access_id: String,
        /// The world of the call.
        environment: &'static str,
    },
    /// Only its beginning was kept.
    #[error(
        "only the first {kept} of {size} bytes were kept, which cannot be decoded; raise [log] body_limit for later calls"
    )]
    Truncated {
        /// Bytes kept.
        kept: usize,
        /// Bytes that the body had.
        size: u64,
    },
}

/// A body in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClearView {
    /// What was in it.
    pub content: Content,
    /// How it was written: `encrypted`, `base64_twice`, `plain` or `error`.
    pub form: &'static str,
    /// An answer's `httpStatusCode`.
    pub http_status_code: Option<String>,
    /// An answer's `RequestId`.
    pub request_id: Option<String>,
    /// What an error, or a `returncode` other than `00`, means and what to do.
    pub explanation: Option<&'static Explanation>,
}

/// What was in a body.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// The platform's (or the gateway's) error.
    Error {
        /// Its code.
        code: String,
        /// Its text.
        message: String,
    },
    /// One JSON text, as the sender wrote it.
    Json(String),
    /// Anything else that is text.
    Text(String),
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Error { code, .. } => write!(f, "Error({code})"),
            Self::Json(text) => write!(f, "Json({} bytes)", text.len()),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
        }
    }
}

/// What the platform's error in this record means and what to do about it, if it is known.
#[must_use]
pub fn explanation(record: &Record) -> Option<&'static Explanation> {
    let refused_by_data = record.return_code.as_deref().filter(|code| *code != "00");
    match (&record.error_code, refused_by_data) {
        (Some(code), _) => explain(code, record.error_text.as_deref().unwrap_or_default()),
        (None, Some(code)) => explain(code, record.return_message.as_deref().unwrap_or_default()),
        (None, None) => None,
    }
}

/// Decodes one side of an exchange with the key of its access unit.
///
/// # Errors
/// When only a part was kept, the key is missing where one is needed, or the body does not decode.
pub fn clear_view(
    record: &Record,
    side: Side,
    body: &StoredBody,
    key: Option<&Sm4Key>,
) -> Result<ClearView, ViewError> {
    if body.truncated {
        let size = match side {
            Side::Request => record.request_size,
            Side::Response => record.response_size,
        };
        return Err(ViewError::Truncated { kept: body.bytes.len(), size });
    }
    match side {
        Side::Request => view_request(record, &body.bytes, key),
        Side::Response => view_response(record, &body.bytes, key),
    }
}

fn view_request(record: &Record, bytes: &[u8], key: Option<&Sm4Key>) -> Result<ClearView, ViewError> {
    if bytes.trim_ascii().is_empty() {
        return Ok(plain(Content::Text(String::new())));
    }
    let body = read_body(bytes, key).map_err(|error| without_key(record, key, error))?;
    let form = match body.form {
        BodyForm::Base64Twice => "base64_twice",
        BodyForm::Encrypted => "encrypted",
        BodyForm::Plain => "plain",
    };
    Ok(ClearView { form, ..plain(Content::Json(text(&body.json))) })
}

fn view_response(record: &Record, bytes: &[u8], key: Option<&Sm4Key>) -> Result<ClearView, ViewError> {
    let unpacked = unpacked(&record.response_headers, bytes)?;
    let bytes = unpacked.as_ref();
    let Ok(envelope) = read_envelope(bytes) else { return Ok(plain(Content::Text(text(bytes)))) };
    let (content, form) = match &envelope.payload {
        Payload::Data(_) => (Content::Json(open(record, &envelope, key)?), "encrypted"),
        Payload::Error { code, message } => {
            (Content::Error { code: code.clone(), message: message.clone() }, "error")
        }
        Payload::Nothing => (Content::Text(text(bytes)), "plain"),
        Payload::Text(words) => {
            let code = envelope.http_status_code.clone().unwrap_or_default();
            (Content::Error { code, message: words.clone() }, "error")
        }
    };
    Ok(ClearView {
        content,
        form,
        http_status_code: envelope.http_status_code,
        request_id: envelope.request_id,
        explanation: explanation(record),
    })
}

fn open(record: &Record, envelope: &Envelope, key: Option<&Sm4Key>) -> Result<String, ViewError> {
    let key = key.ok_or_else(|| key_missing(record))?;
    Ok(envelope.open(key)?.map(|json| text(&json)).unwrap_or_default())
}

fn without_key(record: &Record, key: Option<&Sm4Key>, error: CodecError) -> ViewError {
    if key.is_none() { key_missing(record) } else { ViewError::Codec(error) }
}

fn key_missing(record: &Record) -> ViewError {
    ViewError::KeyMissing {
        access_id: record.access_id.clone().unwrap_or_default(),
        environment: record.environment.as_str(),
    }
}

const fn plain(content: Content) -> ClearView {
    ClearView { content, form: "plain", http_status_code: None, request_id: None, explanation: None }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
