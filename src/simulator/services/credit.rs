//! 发票额度: query, download and return, validity.

use serde_json::{Value, json};

use super::{Visit, compact};
use crate::{
    domain::{Period, TaxNo},
    simulator::{books::Direction, refusal::Refusal, wire},
};

/// The taxpayer of the request, which must be the using unit.
fn own_tax_no(visit: &Visit<'_>, fields: &wire::Fields<'_>, name: &str) -> Result<TaxNo, Refusal> {
    let tax_no = fields.tax_no(name)?;
    if tax_no == visit.call.using.tax_no {
        Ok(tax_no)
    } else {
        Err(Refusal::field(&format!("{name}与使用单位不一致")))
    }
}

/// `CXSXED`.
pub(super) fn query(visit: &mut Visit<'_>) -> Result<Value, Refusal> {
    let fields = wire::object(&visit.call.json)?;
    let tax_no = own_tax_no(visit, &fields, "nsrsbh")?;
    let period = Period::at(visit.now);
    let account = visit.book.account(&tax_no, period);
    Ok(json!({
        "ztsxbz": if account.suspended { "Y" } else { "N" },
        "bysxed": account.month_total,
        "kysyed": account.at_bureau,
        "yxzed": account.downloaded,
        "yxzwsyed": account.unused(),
        "sq": period.compact(),
    }))
}

/// `XZTHSXED`.
pub(super) fn transfer(visit: &mut Visit<'_>) -> Result<Value, Refusal> {
    let fields = wire::object(&visit.call.json)?;
    let tax_no = own_tax_no(visit, &fields, "nsrsbh")?;
    if !fields.text("ptbh")?.eq_ignore_ascii_case(visit.call.access.platform_id.as_str()) {
        return Err(Refusal::field("ptbh与接入单位不一致"));
    }
    let direction = match fields.code("sqlx")?.as_str() {
        "0" => Direction::Download,
        "1" => Direction::Return,
        _ => return Err(Refusal::field("sqlx应为0或1")),
    };
    let amount = fields.amount("sqed")?;
    let serial = fields.text("ywlsh")?;
    let ids =
        format!("{}{}", visit.call.using.platform_id, visit.call.access.platform_id).to_ascii_lowercase();
    if serial.len() != 72 || !serial.to_ascii_lowercase().starts_with(&ids) {
        return Err(Refusal::field("ywlsh应为使用单位编号、接入单位编号与32位随机码"));
    }
    let transfer = visit.book.transfer(&tax_no, direction, amount, &serial, visit.now)?;
    let (from, to) = transfer.valid;
    Ok(json!({ "syqjq": compact(from), "syqjz": compact(to) }))
}

/// `TZSXEDYXQ`.
pub(super) fn extend(visit: &mut Visit<'_>) -> Result<Value, Refusal> {
    let fields = wire::object(&visit.call.json)?;
    let tax_no = own_tax_no(visit, &fields, "xsfnsrsbh")?;
    let period = fields.month("sxedsq")?;
    let (from, to) = visit.book.extend_validity(&tax_no, period, visit.now)?;
    Ok(json!({ "sxedsq": period, "syqjq": compact(from), "syqjz": compact(to) }))
}
