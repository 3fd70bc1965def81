//! 红字确认单: applied for, answered, listed.

use serde_json::{Value, json};

use super::{Visit, written};
use crate::{
    domain::InvoiceNo,
    simulator::{books::RedLetter, refusal::Refusal, wire},
};

fn row(letter: &RedLetter) -> Value {
    json!({
        "uuid": letter.uuid,
        "hzfpxxqrdbh": letter.number,
        "lzfphm": letter.blue,
        "xsfnsrsbh": letter.seller,
        "gmfnsrsbh": letter.buyer,
        "hzcxje": letter.net,
        "hzcxse": letter.tax,
        "hzqrxxztDm": letter.state.code(),
        "lrrq": written(letter.at),
    })
}

/// `QDHZQRDSQ`.
pub(super) fn apply(visit: &mut Visit<'_>) -> Result<Value, Refusal> {
    let fields = wire::object(&visit.call.json)?;
    let blue = InvoiceNo::parse(&fields.text("lzfphm")?).map_err(|_| Refusal::field("lzfphm应为20位数字"))?;
    let seller = fields.text("xsfnsrsbh")?;
    let (net, tax) = (fields.amount("hzcxje")?, fields.amount("hzcxse")?);
    let letter = visit.book.apply_red_letter(&blue, &seller, net, tax, visit.now)?;
    Ok(row(&letter))
}

/// `QDHZQRDQR`.
pub(super) fn answer(visit: &mut Visit<'_>) -> Result<Value, Refusal> {
    let fields = wire::object(&visit.call.json)?;
    let id = fields.text("uuid")?;
    let agreed = match fields.text("qrlx")?.as_str() {
        "Y" => true,
        "N" => false,
        _ => return Err(Refusal::field("qrlx应为Y或N")),
    };
    visit.book.answer_red_letter(&id, agreed).map(|letter| row(&letter))
}

/// `CXQDHZQRDLB` and `CXQDHZQRDMX`.
pub(super) fn query(visit: &mut Visit<'_>) -> Result<Value, Refusal> {
    let fields = wire::object(&visit.call.json)?;
    let own = visit.call.using.tax_no.as_str();
    let of_unit = |letter: &&RedLetter| letter.seller == own || letter.buyer.as_deref() == Some(own);
    if visit.call.target.service.starts_with("CXQDHZQRDMX") {
        let id = fields.text("uuid")?;
        let letter = visit.book.red_letters.get(&id).filter(of_unit);
        return letter.map(row).ok_or_else(|| Refusal::field("红字确认单不存在"));
    }
    let rows: Vec<Value> = visit.book.red_letters.values().filter(of_unit).map(row).collect();
    Ok(json!({ "total": rows.len(), "hzqrxxList": rows }))
}
