//! 发票额度: query, download and return, validity.

use serde_json::{Value, json};

use super::{Visit, compact};
use crate::{
    domain::{Money, Period, TaxNo},
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
        "bysxed": written(account.month_total),
        "kysyed": written(account.at_bureau),
        "yxzed": account.downloaded,
        "yxzwsyed": account.unused(),
        "sq": period.compact(),
    }))
}

/// On-demand taxpayers get sixteen nines without decimals (protocol.md §3).
fn written(amount: Money) -> String {
    if amount.is_on_demand() { "9999999999999999".to_owned() } else { amount.to_string() }
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
    visit.check_serial(&serial)?;
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
