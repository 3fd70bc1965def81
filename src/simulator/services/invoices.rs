//! Numbers, uploads and their results.

use std::collections::BTreeSet;

use serde_json::{Value, json, value::RawValue};

use super::Visit;
use crate::{
    domain::{InvoiceNo, Money, PlatformId, TaxNo, parse_beijing},
    simulator::{
        books::Draft,
        faults::Kind,
        refusal::Refusal,
        wire::{self, Fields},
    },
};

/// Invoices that one upload may hold (protocol.md §3).
const MOST_INVOICES: usize = 100;
/// Services whose invoices the buyer issues (protocol.md §4).
const PURCHASE: [&str; 3] = ["NCPSGFPSC", "GFSGFPSC", "FXKPTYFPSC"];
/// The goods codes whose lines use credit although they are not taxable: sixteen, in steps of 10^16.
const COUNTED_GOODS: std::ops::RangeInclusive<u64> = 601..=616;

/// `QDFPPLFM`.
pub(super) fn numbers(visit: &mut Visit<'_>) -> Result<Value, Refusal> {
    let fields = wire::object(&visit.call.json)?;
    let tax_no = fields.tax_no("nsrsbh")?;
    if tax_no != visit.call.using.tax_no {
        return Err(Refusal::field("nsrsbh与使用单位不一致"));
    }
    let (count, serial) = (fields.count("lysl")?, fields.text("ywlsh")?);
    visit.check_serial(&serial)?;
    let range = visit.book.give_numbers(&tax_no, count, &serial, visit.now)?;
    Ok(json!({ "fpqshm": range.first, "fpzzhm": range.last, "lysl": range.count.to_string() }))
}

/// The upload of any invoicing capability.
pub(super) fn upload(visit: &mut Visit<'_>) -> Result<Value, Refusal> {
    let elements = wire::array(&visit.call.json)?;
    if elements.is_empty() {
        return Err(Refusal::field("发票信息不能为空"));
    }
    if elements.len() > MOST_INVOICES {
        return Err(Refusal::field("单次上传发票不能超过100张"));
    }
    let drafts = elements.into_iter().map(|element| draft(visit, element)).collect::<Result<Vec<_>, _>>()?;
    let mut numbers = BTreeSet::new();
    if let Some(twice) = drafts.iter().find(|draft| !numbers.insert(&draft.number)) {
        return Err(Refusal::field(&format!("发票号码{}在同一批次中重复", twice.number)));
    }
    let (fail, stuck) = match visit.fault {
        Some(fault) if fault.kind == Kind::FailUpload => {
            (Some(fault.text.clone().unwrap_or_else(|| "发票校验不通过".to_owned())), false)
        }
        Some(fault) => (None, fault.kind == Kind::StuckUpload),
        None => (None, false),
    };
    let using = visit.call.using.platform_id.clone();
    let serial = visit.book.accept(drafts, &using, fail, stuck, visit.now)?;
    Ok(json!({ "sllsh": serial }))
}

/// `CXQDFPSCJG`.
pub(super) fn results(visit: &mut Visit<'_>) -> Result<Value, Refusal> {
    let serial = wire::object(&visit.call.json)?.text("sllsh")?;
    let decisions = visit.book.results(&serial, &visit.call.using.platform_id, visit.now)?;
    let rows: Vec<Value> = decisions
        .iter()
        .map(|decision| {
            let mut row =
                json!({ "fphm": decision.number, "status": decision.status, "message": decision.message });
            if decision.status == "02"
                && let Some(fields) = row.as_object_mut()
            {
                fields.insert("Code".to_owned(), "99".into());
            }
            row
        })
        .collect();
    Ok(json!({ "resultList": rows }))
}

/// One invoice, checked for form and sums.
fn draft(visit: &Visit<'_>, element: &RawValue) -> Result<Draft, Refusal> {
    let fields = wire::object(element.get())?;
    let number = fields.text("fphm")?;
    let number =
        InvoiceNo::parse(&number).map_err(|_| Refusal::field(&format!("fphm {number} 应为20位数字")))?;
    let red = match fields.code("lzfpbz")?.as_str() {
        "0" => false,
        "1" => true,
        _ => return Err(Refusal::field("lzfpbz应为0或1")),
    };
    if !matches!(fields.text("fppz")?.as_str(), "01" | "02") {
        return Err(Refusal::field("fppz应为01或02"));
    }
    let platform_id = PlatformId::parse(&fields.text("ptbh")?).map_err(|_| Refusal::field("ptbh应为20位"))?;
    if platform_id != visit.call.access.platform_id {
        return Err(Refusal::field("ptbh与接入单位不一致"));
    }
    let (seller, buyer) = (fields.text("xsfnsrsbh")?, fields.optional("gmfnsrsbh")?);
    let dated = fields.text("kprq")?;
    let dated =
        parse_beijing(&dated).map_err(|_| Refusal::field("kprq格式不正确，应为yyyy-MM-dd HH:mm:ss"))?;
    let (net, tax, countable) = amounts(&fields, red)?;
    let reverses = fields.optional("dylzfphm")?;
    if red && reverses.is_none() {
        return Err(Refusal::field("dylzfphm不能为空"));
    }
    let reverses = reverses.map(|blue| InvoiceNo::parse(&blue)).transpose();
    Ok(Draft {
        number,
        red,
        issuer: issuer(visit, &fields, &seller, buyer.as_deref())?,
        seller,
        buyer,
        dated,
        net,
        tax,
        countable,
        reverses: reverses.map_err(|_| Refusal::field("dylzfphm应为20位数字"))?,
        red_letter: fields.optional("hzqrduuid")?.or(fields.optional("hzqrxxdbh")?),
        platform_id,
    })
}

/// The seller, for purchase invoices the buyer; it must be the using unit.
fn issuer(
    visit: &Visit<'_>,
    fields: &Fields<'_>,
    seller: &str,
    buyer: Option<&str>,
) -> Result<TaxNo, Refusal> {
    let service = visit.call.target.service.as_str();
    let purchase = PURCHASE.contains(&service) || fields.optional("sgfplxDm")?.is_some();
    let (party, name) =
        if purchase { (buyer.unwrap_or_default(), "gmfnsrsbh") } else { (seller, "xsfnsrsbh") };
    let tax_no = TaxNo::parse(party).map_err(|_| Refusal::field(&format!("{name}不是有效的纳税人识别号")))?;
    if tax_no == visit.call.using.tax_no {
        Ok(tax_no)
    } else {
        Err(Refusal::field(&format!("{name}与使用单位不一致")))
    }
}

/// Net, tax, and the net of the lines that count against credit. Sums must be right to the fen.
fn amounts(fields: &Fields<'_>, red: bool) -> Result<(Money, Money, Money), Refusal> {
    let (net, tax, gross) = (fields.amount("hjje")?, fields.amount("hjse")?, fields.amount("jshj")?);
    if net.checked_add(tax) != Some(gross) {
        return Err(Refusal::field("价税合计不等于合计金额与合计税额之和"));
    }
    if (net < Money::ZERO) != red && net != Money::ZERO {
        return Err(Refusal::field("蓝字发票金额应为正数，红字发票金额应为负数"));
    }
    let lines = fields.objects("fpmxList")?;
    if lines.is_empty() {
        return Err(Refusal::field("fpmxList不能为空"));
    }
    let (mut sum, mut countable, mut taxes) = (Money::ZERO, Money::ZERO, None);
    for line in &lines {
        if let Ok(line_tax) = line.amount("se") {
            taxes = Some(taxes.unwrap_or(Money::ZERO).saturating_add(line_tax));
        }
        let amount = line.amount("je")?;
        sum = sum.checked_add(amount).ok_or_else(|| Refusal::field("je合计超出范围"))?;
        if counts(line)? {
            countable = countable.saturating_add(amount);
        }
    }
    if sum != net {
        return Err(Refusal::field("明细金额合计与合计金额不一致"));
    }
    if taxes.is_some_and(|taxes| taxes != tax) {
        return Err(Refusal::field("明细税额合计与合计税额不一致"));
    }
    Ok((net, tax, countable))
}

/// A line that is not taxable uses no credit, unless it is of one of sixteen goods codes (protocol.md §4).
fn counts(line: &Fields<'_>) -> Result<bool, Refusal> {
    if line.optional("yhzcbs")?.as_deref() != Some("04") {
        return Ok(true);
    }
    let goods = line.optional("sphfwssflhbbm")?.unwrap_or_default();
    let stem = goods.strip_suffix("0000000000000000").and_then(|stem| stem.parse::<u64>().ok());
    Ok(stem.is_some_and(|stem| COUNTED_GOODS.contains(&stem)))
}
