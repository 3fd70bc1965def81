//! The sandbox control service (`/access/sandbox_kzfw/v1/…`): tests are started here, and get their credit.

use serde_json::{Value, json};

use super::Visit;
use crate::{
    domain::{Money, Period, ServiceClass},
    simulator::{
        refusal::{self, Refusal},
        wire,
    },
};

/// Initialises, tops up, or shows the virtual partner.
pub(super) fn control(visit: &mut Visit<'_>) -> Result<Value, Refusal> {
    let (access, now) = (visit.call.access, visit.now);
    match visit.call.target.service.as_str() {
        "LQSX_SWZJ_GT4_QYXXCSH" | "LQSX_SWZJ_GT4_CZQYXX" => {
            visit.book.sandbox_tests.insert(access.platform_id.folded(), now);
        }
        "LQSX_SWZJ_GT4_ZJNSRSXED" => {
            let amount = wire::object(&visit.call.json)?.amount("sxed")?;
            if amount <= Money::ZERO {
                return Err(Refusal::field("sxed必须大于0"));
            }
            let account = visit.book.account(&access.tax_no, Period::at(now));
            if !account.month_total.is_on_demand() {
                account.month_total = account.month_total.saturating_add(amount);
                account.at_bureau = account.at_bureau.saturating_add(amount);
            }
        }
        _ => {}
    }
    Ok(json!({
        "nsrsbh": access.tax_no, "nsrmc": access.name, "xnnsrsbh": virtual_partner(access.tax_no.as_str()),
    }))
}

/// In the sandbox buyer and seller must be the unit or its virtual partner (4063).
pub(super) fn check_parties(visit: &Visit<'_>) -> Result<(), Refusal> {
    if visit.call.class != ServiceClass::Issue {
        return Ok(());
    }
    let unit = visit.call.access.tax_no.as_str();
    let partner = virtual_partner(unit);
    for element in wire::array(&visit.call.json)? {
        let invoice = wire::object(element.get())?;
        for field in ["xsfnsrsbh", "gmfnsrsbh"] {
            let party = invoice.optional(field)?;
            if party.is_some_and(|party| party != unit && party != partner) {
                return Err(Refusal::front_door(refusal::SANDBOX_PARTIES));
            }
        }
    }
    Ok(())
}

/// The number of a unit's virtual partner: 20 characters, its first 16 and four zeros.
fn virtual_partner(tax_no: &str) -> String {
    format!("{}0000", tax_no.get(..16).unwrap_or(tax_no))
}
