//! The sandbox control service (`/access/sandbox_kzfw/v1/…`): tests are started here, and get their credit.

use serde_json::{Value, json};

use super::Visit;
use crate::{
    domain::Period,
    simulator::{refusal::Refusal, wire},
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
            let account = visit.book.account(&access.tax_no, Period::at(now));
            account.month_total = account.month_total.saturating_add(amount);
            account.at_bureau = account.at_bureau.saturating_add(amount);
        }
        _ => {}
    }
    Ok(json!({ "nsrsbh": access.tax_no, "nsrmc": access.name }))
}
