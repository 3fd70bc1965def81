//! What became of an upload: the answer of the `issue` class and `CXQDFPSCJG`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::loose;
use crate::domain::InvoiceNo;

/// What an upload is answered: accepted, not yet issued.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadAnswer {
    /// `returncode`; empty when there is none.
    #[serde(rename = "returncode", default, deserialize_with = "loose::text")]
    pub return_code: String,
    /// `returnmsg`.
    #[serde(rename = "returnmsg", default, deserialize_with = "loose::text")]
    pub return_message: String,
    /// `sllsh`: what to ask for the results with.
    #[serde(
        rename = "sllsh",
        default,
        deserialize_with = "loose::optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub acceptance_no: Option<String>,
}

/// `CXQDFPSCJG` asks what became of the upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultRequest {
    /// `sllsh`.
    #[serde(rename = "sllsh", deserialize_with = "loose::value")]
    pub acceptance_no: String,
}

/// What `CXQDFPSCJG` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultAnswer {
    /// `returncode`; empty when there is none.
    #[serde(rename = "returncode", default, deserialize_with = "loose::text")]
    pub return_code: String,
    /// `returnmsg`.
    #[serde(rename = "returnmsg", default, deserialize_with = "loose::text")]
    pub return_message: String,
    /// `resultList`.
    #[serde(rename = "resultList", default, deserialize_with = "list")]
    pub results: Vec<InvoiceResult>,
}

/// What became of one invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceResult {
    /// `fphm`.
    #[serde(rename = "fphm", deserialize_with = "loose::value")]
    pub invoice_no: InvoiceNo,
    /// `status`.
    pub status: InvoiceStatus,
    /// `message`, the platform's words.
    #[serde(default, deserialize_with = "loose::text")]
    pub message: String,
    /// `Code`, where the platform gives one.
    #[serde(
        rename = "Code",
        alias = "code",
        default,
        deserialize_with = "loose::optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub code: Option<String>,
}

/// An invoice's `status`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum InvoiceStatus {
    /// `00`: issued.
    Issued,
    /// `01`: still processing.
    Processing,
    /// `02`: failed; it uses nothing and its number may be used again.
    Failed,
    /// `03`: uploaded before, so issued.
    UploadedBefore,
    /// Anything else proves nothing.
    Other(String),
}

impl InvoiceStatus {
    /// The value on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Issued => "00",
            Self::Processing => "01",
            Self::Failed => "02",
            Self::UploadedBefore => "03",
            Self::Other(text) => text,
        }
    }
}

impl Serialize for InvoiceStatus {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for InvoiceStatus {
    /// `00` and also the number 0, which JSON writers make of it.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = loose::text(from)?;
        Ok(match text.as_str() {
            "00" | "0" => Self::Issued,
            "01" | "1" => Self::Processing,
            "02" | "2" => Self::Failed,
            "03" | "3" => Self::UploadedBefore,
            _ => Self::Other(text),
        })
    }
}

/// A list, where null is the empty one.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(<Option<Vec<T>>>::deserialize(from)?.unwrap_or_default())
}
