//! What must hold for a download or return that an invoicing system sends (`XZTHSXED`). Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Refusal, SerialReused};
use crate::{
    domain::{Money, TaxNo},
    leqi::messages::{self, QuotaTransfer},
    store::ledger::Way,
};

/// Reads the request; None when it is of a shape that is the platform's to judge. `unit` is who sends it.
///
/// # Errors
/// The field that cannot be right: an amount that is none, or somebody else's tax number.
pub fn read_transfer(json: &[u8], unit: Option<&TaxNo>) -> Result<Option<QuotaTransfer>, Refusal> {
    let Ok(asked) = messages::read::<QuotaTransfer>(json) else { return check_amount(json).map(|()| None) };
    if asked.amount <= Money::ZERO {
        return Err(Refusal::Transfer { field: "sqed", reason: "额度必须大于0".to_owned() });
    }
    if asked.amount >= Money::ON_DEMAND {
        return Err(Refusal::Transfer {
            field: "sqed", reason: "额度超出平台可表示范围".to_owned()
        });
    }
    match unit {
        Some(unit) if *unit != asked.tax_no => {
            let reason = format!("{}不是使用单位(sydwptbh)的税号{unit}", asked.tax_no);
            Err(Refusal::Transfer { field: "nsrsbh", reason })
        }
        Some(_) | None => Ok(Some(asked)),
    }
}

/// Whether it is the amount that cannot be read.
fn check_amount(json: &[u8]) -> Result<(), Refusal> {
    #[derive(Deserialize)]
    struct Asked<'a> {
        #[serde(borrow)]
        sqed: Option<&'a RawValue>,
    }
    let asked = std::str::from_utf8(json).ok().and_then(|text| serde_json::from_str::<Asked<'_>>(text).ok());
    let Some(raw) = asked.and_then(|asked| asked.sqed) else { return Ok(()) };
    let text = raw.get().trim_matches('"').trim();
    match Money::parse(text) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(Refusal::Transfer { field: "sqed", reason: super::refusal::chinese(&error.to_string()) })
        }
    }
}

impl Refusal {
    /// A serial that belongs to another transfer.
    #[must_use]
    pub fn of_serial(asked: &QuotaTransfer, reused: SerialReused) -> Self {
        let way = match reused.way {
            Way::Download => "下载",
            Way::Return => "退回",
        };
        let reason = format!(
            "流水号{}已用于{way}{}元；应答丢失后重试须保持申请类型与额度不变，新的申请须使用新的流水号",
            asked.serial, reused.amount
        );
        Self::Transfer { field: "ywlsh", reason }
    }
}
