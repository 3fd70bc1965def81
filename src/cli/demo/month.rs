//! The month ends: confirmation, a difference, cancellation, and a month that takes no more invoices.

use serde_json::{Value, json};

use super::{claims::Claims, invoicing::Invoicing, stage::Stage};
use crate::simulator::{
    books::{Confirmation, ConfirmationState},
    world::Unit,
};

/// Confirms the month of every company through the management API.
pub(super) async fn end(stage: &Stage, systems: &[Invoicing<'_>], claims: &mut Claims) -> anyhow::Result<()> {
    stage.set_clock(stage.month.next(), 3, 9)?;
    claims.part(&format!("6. The month is confirmed, {} 汇总确认", stage.month));
    let [first, .., last] = systems else { anyhow::bail!("three companies are needed") };
    differ(stage, first, claims).await?;
    for system in systems {
        let shown = act(stage, system.unit, "confirm", "confirm-1", &json!({})).await?;
        let platform = platform(stage, system.unit);
        let ours = &shown["ours"];
        claims.claim(
            &system.unit.name,
            &format!(
                "{} 已确认: blue 蓝字 {} × {}, red 红字 {} × {}",
                text(&shown["state"]),
                ours["blue_count"],
                text(&ours["blue_net"]),
                ours["red_count"],
                text(&ours["red_net"]),
            ),
            shown["state"] == "confirmed"
                && platform.is_some_and(|row| {
                    row.state == ConfirmationState::Confirmed && json!(row.totals) == *ours
                }),
        );
    }
    cancel(stage, last, claims).await?;
    let request = json!({
        "xsfnsrsbh": last.unit.tax_no, "xsfsjswjgdm": last.unit.province_code, "yf": stage.month,
    });
    let listed = last.ask("CXFPHZQRXX", &request).await?;
    claims.claim(
        "asked by the invoicing system",
        "CXFPHZQRXX lists the month 可查询到该月确认信息",
        listed["fphzqrxxList"].as_array().is_some_and(|rows| rows.len() == 1),
    );
    Ok(())
}

/// Totals that are not the platform's are refused, and the refusal is explained.
async fn differ(stage: &Stage, system: &Invoicing<'_>, claims: &mut Claims) -> anyhow::Result<()> {
    let wrong = json!({"totals": {
        "blue_count": 1, "blue_net": "1.00", "blue_tax": "0.13", "red_count": 0, "red_net": "0.00", "red_tax": "0.00",
    }});
    let shown = act(stage, system.unit, "confirm", "wrong", &wrong).await?;
    let refusal = &shown["refusal"];
    claims.claim("difference refused 差异被拒", &text(&refusal["text"]), shown["state"] == "refused");
    claims.claim(
        "explained 说明",
        &text(&refusal["explanation"]["zh"]),
        refusal["explanation"]["zh"].is_string() && platform(stage, system.unit).is_none(),
    );
    Ok(())
}

/// Cancels a confirmation and confirms again.
async fn cancel(stage: &Stage, system: &Invoicing<'_>, claims: &mut Claims) -> anyhow::Result<()> {
    let shown = act(stage, system.unit, "cancel", "cancel", &json!({})).await?;
    let cancelled = platform(stage, system.unit).is_some_and(|row| row.state == ConfirmationState::Cancelled);
    claims.claim(
        &system.unit.name,
        &format!("{} 已取消确认", text(&shown["state"])),
        shown["state"] == "cancelled" && cancelled,
    );
    let shown = act(stage, system.unit, "confirm", "confirm-2", &json!({})).await?;
    let again = platform(stage, system.unit).is_some_and(|row| row.state == ConfirmationState::Confirmed);
    claims.claim(
        &system.unit.name,
        &format!("{} again 已重新确认", text(&shown["state"])),
        shown["state"] == "confirmed" && again,
    );
    Ok(())
}

/// A step on the unit's confirmation of the month, which is made when there is none.
async fn act(stage: &Stage, unit: &Unit, step: &str, key: &str, body: &Value) -> anyhow::Result<Value> {
    let new = json!({"tax_no": unit.tax_no, "period": stage.month});
    let record = stage.api.post_once("/confirmations", &format!("new-{}-{key}", unit.tax_no), &new).await?;
    let path = format!("/confirmations/{}/{step}", record["id"]);
    stage.api.post_once(&path, &format!("{key}-{}", unit.tax_no), body).await
}

/// What the platform's books say about the unit's month.
fn platform(stage: &Stage, unit: &Unit) -> Option<Confirmation> {
    let key = (unit.tax_no.clone(), unit.access_platform_id.folded(), stage.month);
    stage.simulator.books.lock().production.confirmations.get(&key).cloned()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
