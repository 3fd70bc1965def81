//! The platform's messages (protocol.md §3) as types: the one place where its pinyin meets the project's words.
//!
//! Readers take numbers or strings, missing optional fields and unknown ones; writers write amounts and counts as
//! strings and raw UTF-8. No amount passes through floating point.

mod invoice;
mod loose;
mod number;
mod quota;
mod result;
mod summary;

pub use invoice::{Invoice, InvoiceError, InvoiceLine, looks_like_invoices, read_invoices, write_invoices};
pub use number::{NumberRange, NumberRequest};
pub use quota::{
    Direction, QuotaBalance, QuotaRequest, QuotaTransfer, QuotaTransferAnswer, QuotaValidity,
    QuotaValidityAnswer, new_serial,
};
pub use result::{InvoiceResult, InvoiceStatus, ResultAnswer, ResultRequest, UploadAnswer};
pub use summary::{Summary, SummaryAction, SummaryList, SummaryQuery, SummaryUpload};

pub use crate::domain::Totals;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::CodecError;

/// Why a JSON text is not the message it should be.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Not JSON that can be looked at.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A field of an invoice.
    #[error(transparent)]
    Invoice(#[from] InvoiceError),
    /// An answer that says no; its `returncode` and `returnmsg`.
    #[error("returncode {code:?}: {text}")]
    Refused {
        /// `returncode`; empty when there is none.
        code: String,
        /// `returnmsg`.
        text: String,
    },
    /// JSON of another shape; says where, and never shows what stands there.
    #[error("not the message it should be: {0}")]
    Shape(String),
    /// JSON in which no invoice is found.
    #[error("holds no invoices")]
    NoInvoices,
}

impl From<serde_json::Error> for MessageError {
    fn from(error: serde_json::Error) -> Self {
        let text = error.to_string();
        // serde quotes the value in these, which may be the whole message; others name a field
        let quotes = ["invalid ", "unknown "].iter().any(|start| text.starts_with(start));
        if !quotes {
            return Self::Shape(text);
        }
        let (line, column) = (error.line(), error.column());
        Self::Shape(format!("a value of another kind at line {line} column {column}"))
    }
}

/// What every decrypted `Data` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// `returncode`, `00` for success; empty when there is none.
    #[serde(rename = "returncode", default, deserialize_with = "loose::text")]
    pub return_code: String,
    /// `returnmsg`, the platform's words.
    #[serde(rename = "returnmsg", default, deserialize_with = "loose::text")]
    pub return_message: String,
}

impl Answer {
    /// The `returncode` of success.
    pub const SUCCESS: &'static str = "00";

    /// `00`, 成功.
    #[must_use]
    pub fn success() -> Self {
        Self { return_code: Self::SUCCESS.to_owned(), return_message: "成功".to_owned() }
    }

    /// Whether the platform did what it was asked.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.return_code == Self::SUCCESS
    }
}

/// Reads a request, or an answer whose type has the `returncode` itself.
///
/// # Errors
/// When the text is not that message.
pub fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, MessageError> {
    Ok(serde_json::from_str(utf8(json)?)?)
}

/// Reads what a successful answer carries.
///
/// # Errors
/// [`MessageError::Refused`] when its `returncode` is not `00`; else when the text is not that message.
pub fn read_answer<T: DeserializeOwned>(json: &[u8]) -> Result<T, MessageError> {
    let answer: Answer = read(json)?;
    if answer.is_success() {
        Ok(serde_json::from_slice(json)?)
    } else {
        Err(MessageError::Refused { code: answer.return_code, text: answer.return_message })
    }
}

/// Nesting needs no check here: serde_json stops at 128 levels, and skips what is not asked for without recursion.
fn utf8(json: &[u8]) -> Result<&str, CodecError> {
    Ok(std::str::from_utf8(json)?)
}

/// Writes a request, or an answer whose type has the `returncode` itself.
#[must_use]
pub fn write<T: Serialize>(message: &T) -> Vec<u8> {
    // messages are structs of texts, which always serialize
    serde_json::to_vec(message).unwrap_or_default()
}

/// Writes a successful answer around what it carries.
#[must_use]
pub fn write_answer<T: Serialize>(carried: &T) -> Vec<u8> {
    #[derive(Serialize)]
    struct Success<'a, T> {
        #[serde(flatten)]
        answer: Answer,
        #[serde(flatten)]
        carried: &'a T,
    }
    write(&Success { answer: Answer::success(), carried })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
