//! Credit: `CXSXED`, `XZTHSXED`, `TZSXEDYXQ`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::loose;
use crate::domain::{Day, Money, Period, PlatformId, TaxNo};

/// `CXSXED` asks for a taxpayer's credit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaRequest {
    /// `nsrsbh`.
    #[serde(rename = "nsrsbh", deserialize_with = "loose::value")]
    pub tax_no: TaxNo,
}

/// What `CXSXED` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaBalance {
    /// `ztsxbz`: credit is suspended; invoicing goes on while downloaded credit lasts.
    #[serde(
        rename = "ztsxbz",
        default,
        deserialize_with = "loose::yes",
        serialize_with = "loose::write_yes"
    )]
    pub suspended: bool,
    /// `bysxed`: the month's total; [`Money::ON_DEMAND`] for on-demand taxpayers.
    #[serde(rename = "bysxed", deserialize_with = "loose::value")]
    pub month_total: Money,
    /// `kysyed`: left at the bureau; [`Money::ON_DEMAND`] for on-demand taxpayers.
    #[serde(rename = "kysyed", deserialize_with = "loose::value")]
    pub available: Money,
    /// `yxzed`: downloaded.
    #[serde(rename = "yxzed", deserialize_with = "loose::value")]
    pub downloaded: Money,
    /// `yxzwsyed`: downloaded less the uploaded invoices dated this month.
    #[serde(rename = "yxzwsyed", deserialize_with = "loose::value")]
    pub unused: Money,
    /// `sq`: the month.
    #[serde(rename = "sq", deserialize_with = "loose::value", serialize_with = "loose::write_compact")]
    pub period: Period,
}

/// Which way credit goes (`sqlx`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the bureau to the company: `0`.
    Download,
    /// Back to the bureau: `1`.
    Return,
}

/// `XZTHSXED` downloads or returns credit. After a lost answer the same serial with the same direction and amount
/// returns the original result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaTransfer {
    /// `nsrsbh`.
    #[serde(rename = "nsrsbh", deserialize_with = "loose::value")]
    pub tax_no: TaxNo,
    /// `ptbh`: the access unit's platform id.
    #[serde(rename = "ptbh", deserialize_with = "loose::value")]
    pub platform_id: PlatformId,
    /// `sqlx`.
    #[serde(rename = "sqlx")]
    pub direction: Direction,
    /// `sqed`.
    #[serde(rename = "sqed", deserialize_with = "loose::value")]
    pub amount: Money,
    /// `ywlsh`, from [`new_serial`].
    #[serde(rename = "ywlsh", deserialize_with = "loose::text")]
    pub serial: String,
}

/// What `XZTHSXED` answers: the invoice dates that this month's credit is good for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaTransferAnswer {
    /// `syqjq`: the first day.
    #[serde(
        rename = "syqjq",
        default,
        deserialize_with = "loose::optional_day",
        serialize_with = "loose::write_day"
    )]
    pub valid_from: Option<Day>,
    /// `syqjz`: the last day.
    #[serde(
        rename = "syqjz",
        default,
        deserialize_with = "loose::optional_day",
        serialize_with = "loose::write_day"
    )]
    pub valid_to: Option<Day>,
    /// `sqed`, where the platform repeats it.
    #[serde(
        rename = "sqed",
        default,
        deserialize_with = "loose::optional_value",
        skip_serializing_if = "Option::is_none"
    )]
    pub amount: Option<Money>,
}

/// `TZSXEDYXQ` asks to extend the credit's interval after filing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaValidity {
    /// `xsfnsrsbh`.
    #[serde(rename = "xsfnsrsbh", deserialize_with = "loose::value")]
    pub tax_no: TaxNo,
    /// `sxedsq`, `yyyy-MM`.
    #[serde(rename = "sxedsq", deserialize_with = "loose::value")]
    pub period: Period,
}

/// What `TZSXEDYXQ` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaValidityAnswer {
    /// `sxedsq`.
    #[serde(
        rename = "sxedsq",
        default,
        deserialize_with = "loose::optional_value",
        skip_serializing_if = "Option::is_none"
    )]
    pub period: Option<Period>,
    /// `syqjq`: the first day.
    #[serde(
        rename = "syqjq",
        default,
        deserialize_with = "loose::optional_day",
        serialize_with = "loose::write_day"
    )]
    pub valid_from: Option<Day>,
    /// `syqjz`: the last day.
    #[serde(
        rename = "syqjz",
        default,
        deserialize_with = "loose::optional_day",
        serialize_with = "loose::write_day"
    )]
    pub valid_to: Option<Day>,
}

/// A new `ywlsh`: using id, access id and 32 random hex digits (protocol.md §3).
#[must_use]
pub fn new_serial(using: &PlatformId, access: &PlatformId) -> String {
    // a key's worth of random bytes, shown in hex
    format!("{using}{access}{}", crate::leqi::Sm4Key::generate().to_hex())
}

impl Direction {
    /// The value on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Download => "0",
            Self::Return => "1",
        }
    }
}

impl Serialize for Direction {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Direction {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match loose::text(from)?.as_str() {
            "0" => Ok(Self::Download),
            "1" => Ok(Self::Return),
            _ => Err(D::Error::custom("sqlx is neither 0 (download) nor 1 (return)")),
        }
    }
}
