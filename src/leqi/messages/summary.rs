//! The month's confirmation: `SCFPHZQRXX` and `CXFPHZQRXX`.

use serde::{Deserialize, Serialize};

use super::{loose, result::list};
use crate::domain::{Invalid, Money, Period, PlatformId, ProvinceCode, TaxNo, Totals};

/// What `SCFPHZQRXX` is to do (`ywlx`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SummaryAction {
    /// `1`: cancel the confirmation.
    Cancel,
    /// `0`: confirm these totals.
    Confirm(Totals),
}

/// `SCFPHZQRXX` confirms a month or cancels the confirmation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UploadWire", into = "UploadWire")]
pub struct SummaryUpload {
    /// `xsfnsrsbh`: the taxpayer.
    pub seller: TaxNo,
    /// `xsfsjswjgdm`: its provincial tax authority.
    pub province: ProvinceCode,
    /// `ptbh`: the platform id whose invoices are confirmed.
    pub platform_id: PlatformId,
    /// `yf`: the month.
    pub period: Period,
    /// `ywlx`, and the totals.
    pub action: SummaryAction,
}

/// `CXFPHZQRXX` asks what is confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryQuery {
    /// `xsfnsrsbh`: the taxpayer.
    #[serde(rename = "xsfnsrsbh", deserialize_with = "loose::value")]
    pub seller: TaxNo,
    /// `xsfsjswjgdm`: its provincial tax authority.
    #[serde(rename = "xsfsjswjgdm", deserialize_with = "loose::value")]
    pub province: ProvinceCode,
    /// `ptbh`; none for all platforms.
    #[serde(
        rename = "ptbh",
        default,
        deserialize_with = "loose::optional_value",
        skip_serializing_if = "Option::is_none"
    )]
    pub platform_id: Option<PlatformId>,
    /// `yf`; none for all months.
    #[serde(
        rename = "yf",
        default,
        deserialize_with = "loose::optional_value",
        skip_serializing_if = "Option::is_none"
    )]
    pub period: Option<Period>,
}

/// What `CXFPHZQRXX` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryList {
    /// `fphzqrxxList`.
    #[serde(rename = "fphzqrxxList", default, deserialize_with = "list")]
    pub summaries: Vec<Summary>,
}

/// A confirmed month of one platform id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SummaryWire", into = "SummaryWire")]
pub struct Summary {
    /// `ptbh`.
    pub platform_id: PlatformId,
    /// `yf`.
    pub period: Period,
    /// The platform's totals.
    pub totals: Totals,
}

/// `ywlx`: confirm.
const CONFIRM: &str = "0";
/// `ywlx`: cancel.
const CANCEL: &str = "1";

#[derive(Serialize, Deserialize)]
struct UploadWire {
    #[serde(deserialize_with = "loose::value")]
    xsfnsrsbh: TaxNo,
    #[serde(deserialize_with = "loose::value")]
    xsfsjswjgdm: ProvinceCode,
    #[serde(deserialize_with = "loose::text")]
    ywlx: String,
    #[serde(deserialize_with = "loose::value")]
    ptbh: PlatformId,
    #[serde(deserialize_with = "loose::value")]
    yf: Period,
    #[serde(default, deserialize_with = "loose::optional_text", skip_serializing_if = "Option::is_none")]
    lzfpsl: Option<String>,
    #[serde(default, deserialize_with = "loose::optional_text", skip_serializing_if = "Option::is_none")]
    lzfpje: Option<String>,
    #[serde(default, deserialize_with = "loose::optional_text", skip_serializing_if = "Option::is_none")]
    lzfpse: Option<String>,
    #[serde(default, deserialize_with = "loose::optional_text", skip_serializing_if = "Option::is_none")]
    hzfpsl: Option<String>,
    #[serde(default, deserialize_with = "loose::optional_text", skip_serializing_if = "Option::is_none")]
    hzfpje: Option<String>,
    #[serde(default, deserialize_with = "loose::optional_text", skip_serializing_if = "Option::is_none")]
    hzfpse: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct SummaryWire {
    #[serde(deserialize_with = "loose::value")]
    ptbh: PlatformId,
    #[serde(deserialize_with = "loose::value")]
    yf: Period,
    #[serde(default, deserialize_with = "loose::text")]
    lzfpsl: String,
    #[serde(default, deserialize_with = "loose::text")]
    lzfpje: String,
    #[serde(default, deserialize_with = "loose::text")]
    lzfpse: String,
    #[serde(default, deserialize_with = "loose::text")]
    hzfpsl: String,
    #[serde(default, deserialize_with = "loose::text")]
    hzfpje: String,
    #[serde(default, deserialize_with = "loose::text")]
    hzfpse: String,
}

impl TryFrom<UploadWire> for SummaryUpload {
    type Error = Invalid;
    fn try_from(wire: UploadWire) -> Result<Self, Invalid> {
        let action = match wire.ywlx.as_str() {
            CANCEL => SummaryAction::Cancel,
            CONFIRM => SummaryAction::Confirm(Totals {
                blue_count: count("lzfpsl", needed("lzfpsl", wire.lzfpsl.as_deref())?)?,
                blue_net: amount("lzfpje", needed("lzfpje", wire.lzfpje.as_deref())?)?,
                blue_tax: amount("lzfpse", needed("lzfpse", wire.lzfpse.as_deref())?)?,
                red_count: count("hzfpsl", needed("hzfpsl", wire.hzfpsl.as_deref())?)?,
                red_net: amount("hzfpje", needed("hzfpje", wire.hzfpje.as_deref())?)?,
                red_tax: amount("hzfpse", needed("hzfpse", wire.hzfpse.as_deref())?)?,
            }),
            _ => return Err(Invalid::new("ywlx is neither 0 (confirm) nor 1 (cancel)")),
        };
        Ok(Self {
            seller: wire.xsfnsrsbh,
            province: wire.xsfsjswjgdm,
            platform_id: wire.ptbh,
            period: wire.yf,
            action,
        })
    }
}

impl From<SummaryUpload> for UploadWire {
    fn from(upload: SummaryUpload) -> Self {
        let (ywlx, totals) = match upload.action {
            SummaryAction::Confirm(totals) => (CONFIRM, Some(totals)),
            SummaryAction::Cancel => (CANCEL, None),
        };
        Self {
            xsfnsrsbh: upload.seller,
            xsfsjswjgdm: upload.province,
            ywlx: ywlx.to_owned(),
            ptbh: upload.platform_id,
            yf: upload.period,
            lzfpsl: totals.map(|t| t.blue_count.to_string()),
            lzfpje: totals.map(|t| t.blue_net.to_string()),
            lzfpse: totals.map(|t| t.blue_tax.to_string()),
            hzfpsl: totals.map(|t| t.red_count.to_string()),
            hzfpje: totals.map(|t| t.red_net.to_string()),
            hzfpse: totals.map(|t| t.red_tax.to_string()),
        }
    }
}

impl TryFrom<SummaryWire> for Summary {
    type Error = Invalid;
    /// A total that is absent is zero: the platform leaves out what a month has none of.
    fn try_from(wire: SummaryWire) -> Result<Self, Invalid> {
        let totals = Totals {
            blue_count: count("lzfpsl", &wire.lzfpsl)?,
            blue_net: amount("lzfpje", &wire.lzfpje)?,
            blue_tax: amount("lzfpse", &wire.lzfpse)?,
            red_count: count("hzfpsl", &wire.hzfpsl)?,
            red_net: amount("hzfpje", &wire.hzfpje)?,
            red_tax: amount("hzfpse", &wire.hzfpse)?,
        };
        Ok(Self { platform_id: wire.ptbh, period: wire.yf, totals })
    }
}

impl From<Summary> for SummaryWire {
    fn from(summary: Summary) -> Self {
        let totals = summary.totals;
        Self {
            ptbh: summary.platform_id,
            yf: summary.period,
            lzfpsl: totals.blue_count.to_string(),
            lzfpje: totals.blue_net.to_string(),
            lzfpse: totals.blue_tax.to_string(),
            hzfpsl: totals.red_count.to_string(),
            hzfpje: totals.red_net.to_string(),
            hzfpse: totals.red_tax.to_string(),
        }
    }
}

fn needed<'a>(field: &str, text: Option<&'a str>) -> Result<&'a str, Invalid> {
    text.ok_or_else(|| Invalid::with(format!("{field} is missing")))
}

fn count(field: &str, text: &str) -> Result<i64, Invalid> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| Invalid::with(format!("{field} is not a count: {text:?}")))
}

fn amount(field: &str, text: &str) -> Result<Money, Invalid> {
    if text.is_empty() {
        return Ok(Money::ZERO);
    }
    Money::parse(text).map_err(|why| Invalid::with(format!("{field}: {why}")))
}
