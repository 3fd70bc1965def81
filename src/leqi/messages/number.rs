//! Invoice numbers: `QDFPPLFM`.

use serde::{Deserialize, Serialize};

use super::loose;
use crate::domain::{InvoiceNo, TaxNo};

/// `QDFPPLFM` asks for a range of numbers; idempotent by its serial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberRequest {
    /// `nsrsbh`.
    #[serde(rename = "nsrsbh", deserialize_with = "loose::value")]
    pub tax_no: TaxNo,
    /// `lysl`: how many, 1 to 5000.
    #[serde(rename = "lysl", deserialize_with = "loose::value", serialize_with = "loose::write_text")]
    pub count: u32,
    /// `ywlsh`.
    #[serde(rename = "ywlsh", deserialize_with = "loose::text")]
    pub serial: String,
}

/// What `QDFPPLFM` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberRange {
    /// `fpqshm`: the first number.
    #[serde(rename = "fpqshm", deserialize_with = "loose::value")]
    pub first: InvoiceNo,
    /// `fpzzhm`: the last number.
    #[serde(rename = "fpzzhm", deserialize_with = "loose::value")]
    pub last: InvoiceNo,
    /// `lysl`: how many.
    #[serde(rename = "lysl", deserialize_with = "loose::value", serialize_with = "loose::write_text")]
    pub count: u32,
}
