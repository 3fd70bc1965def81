//! 汇总确认.

use serde_json::{Value, json};

use super::Visit;
use crate::{
    domain::{PlatformId, ProvinceCode, TaxNo},
    simulator::{
        books::{ConfirmationState, Totals},
        refusal::{self, Refusal},
        wire::{self, Fields},
    },
};

/// Who confirms, in which province.
fn party(visit: &Visit<'_>, fields: &Fields<'_>) -> Result<TaxNo, Refusal> {
    let tax_no = fields.tax_no("xsfnsrsbh")?;
    if tax_no != visit.call.using.tax_no {
        return Err(Refusal::field("xsfnsrsbh与使用单位不一致"));
    }
    let province = fields.optional("xsfsjswjgdm")?.ok_or_else(|| Refusal::data(refusal::NO_PROVINCE))?;
    if ProvinceCode::parse(&province).ok().as_ref() != Some(&visit.call.using.province_code) {
        return Err(Refusal::field("xsfsjswjgdm与销售方主管税务机关不一致"));
    }
    Ok(tax_no)
}

fn own_platform(visit: &Visit<'_>, id: &str) -> Result<PlatformId, Refusal> {
    let own = &visit.call.access.platform_id;
    if id.eq_ignore_ascii_case(own.as_str()) {
        Ok(own.clone())
    } else {
        Err(Refusal::field("ptbh与接入单位不一致"))
    }
}

/// `SCFPHZQRXX`.
pub(super) fn upload(visit: &mut Visit<'_>) -> Result<Value, Refusal> {
    let fields = wire::object(&visit.call.json)?;
    let tax_no = party(visit, &fields)?;
    let platform = own_platform(visit, &fields.text("ptbh")?)?;
    let period = fields.month("yf")?;
    match fields.code("ywlx")?.as_str() {
        "0" => {
            let sent = Totals {
                blue_count: fields.count("lzfpsl")?,
                blue_net: fields.amount("lzfpje")?,
                blue_tax: fields.amount("lzfpse")?,
                red_count: fields.count("hzfpsl")?,
                red_net: fields.amount("hzfpje")?,
                red_tax: fields.amount("hzfpse")?,
            };
            visit.book.confirm(&tax_no, &platform, period, &sent, visit.now)?;
        }
        "1" => visit.book.cancel(&tax_no, &platform, period, visit.now)?,
        _ => return Err(Refusal::field("ywlx应为0或1")),
    }
    Ok(json!({}))
}

/// `CXFPHZQRXX`.
pub(super) fn query(visit: &mut Visit<'_>) -> Result<Value, Refusal> {
    let fields = wire::object(&visit.call.json)?;
    let tax_no = party(visit, &fields)?;
    let platform = fields.optional("ptbh")?.map(|id| own_platform(visit, &id)).transpose()?;
    let period = fields.optional("yf")?.map(|_| fields.month("yf")).transpose()?;
    let rows: Vec<Value> = visit
        .book
        .confirmations
        .iter()
        .filter(|((owner, _, _), row)| *owner == tax_no && row.state != ConfirmationState::Cancelled)
        .filter(|((_, id, _), _)| platform.as_ref().is_none_or(|wanted| wanted.folded() == *id))
        .filter(|((_, _, month), _)| period.is_none_or(|wanted| wanted == *month))
        .map(|((_, id, month), row)| {
            json!({
                "ptbh": id,
                "yf": month,
                "lzfpsl": row.totals.blue_count.to_string(),
                "lzfpje": row.totals.blue_net,
                "lzfpse": row.totals.blue_tax,
                "hzfpsl": row.totals.red_count.to_string(),
                "hzfpje": row.totals.red_net,
                "hzfpse": row.totals.red_tax,
            })
        })
        .collect();
    Ok(json!({ "fphzqrxxList": rows }))
}
