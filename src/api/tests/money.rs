//! Balances and the invoices behind them.

use futures_util::future::BoxFuture;
use serde_json::json;

use super::{
    documents::assert_shape,
    harness::{ACCESS, Api},
};
use crate::{
    clock::Clock,
    domain::{ExchangeId, Money, TaxNo},
    leqi::messages::QuotaBalance,
    quota::{Claim, Mode, QuotaSource, Settlement, Upload},
};

/// A platform whose taxpayers all have 1000 yuan downloaded.
struct Bureau(Clock);

impl QuotaSource for Bureau {
    fn balance<'a>(&'a self, _: &'a TaxNo) -> BoxFuture<'a, Result<QuotaBalance, String>> {
        Box::pin(async {
            Ok(QuotaBalance {
                suspended: false,
                month_total: Money::ON_DEMAND,
                available: Money::ON_DEMAND,
                downloaded: Money::from_fen(100_000),
                unused: Money::from_fen(100_000),
                period: self.0.period(),
            })
        })
    }
}

async fn upload(api: &Api, number: u64, fen: i64) {
    let now = api.state.clock.now();
    let year = api.state.clock.today().year() % 100;
    let upload = Upload {
        exchange: ExchangeId::first_at(now),
        issuer: ACCESS.parse().unwrap(),
        mode: Mode::Enforce,
        claims: vec![Claim {
            invoice_no: format!("{year:02}{number:018}").parse().unwrap(),
            dated_at: now,
            platform_id: String::new(),
            red: false,
            net: Money::from_fen(fen),
            tax: Money::ZERO,
            credit: Money::from_fen(fen),
            reversed_no: None,
            allowance: false,
        }],
        allowance_returns: false,
        intent: None,
    };
    let reservation = api.state.ledger.reserve(&upload, &Bureau(api.state.clock.clone())).await.unwrap();
    let settlement = Settlement::Accepted { acceptance_no: Some("sl1".into()) };
    api.state.ledger.settle(reservation, settlement).await.unwrap();
}

#[tokio::test]
async fn balances_are_listed_and_read_with_amounts_as_decimal_strings() {
    let api = Api::with_unit().await;
    let unseen = api.get(&api.viewer, &format!("/quotas/{ACCESS}")).await.ok(200);
    assert_shape(&unseen, "Quota");
    assert_eq!((&unseen["available"], &unseen["mode"]), (&json!(null), &json!("enforce")));

    upload(&api, 1, 12_345).await;
    let shown = api.get(&api.viewer, &format!("/quotas/{ACCESS}")).await.ok(200);
    assert_eq!(shown["downloaded"], "1000.00");
    assert_eq!(shown["reserved"], "123.45");
    assert_eq!(shown["available"], "876.55");
    assert_eq!(shown["on_demand"], true);
    let list = api.get(&api.viewer, "/quotas").await.ok(200);
    assert_eq!(list["items"], json!([shown]));

    let past = api.get(&api.viewer, &format!("/quotas/{ACCESS}?period=2020-01")).await.ok(200);
    assert_eq!((&past["period"], &past["downloaded"]), (&json!("2020-01"), &json!(null)));
    let answer = api.get(&api.viewer, &format!("/quotas/{ACCESS}?period=2020-13")).await;
    assert_eq!(answer.problem(422, "invalid-field").as_deref(), Some("period"));
    api.get(&api.viewer, "/quotas/123456789012345").await.problem(404, "not-found");
}

#[tokio::test]
async fn the_invoices_of_a_month_are_listed_page_by_page() {
    let api = Api::with_unit().await;
    for number in 1..=3 {
        upload(&api, number, 100).await;
    }
    let path = format!("/quotas/{ACCESS}/entries?limit=2&state=reserved");
    let first = api.get(&api.viewer, &path).await.ok(200);
    assert_shape(&first["items"][0], "Entry");
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = api.get(&api.viewer, &format!("{path}&cursor={cursor}")).await.ok(200);
    assert_eq!(second["items"].as_array().unwrap().len(), 1);
    assert_eq!(second["next_cursor"], json!(null));
    let issued = api.get(&api.viewer, &format!("/quotas/{ACCESS}/entries?state=issued")).await.ok(200);
    assert_eq!(issued["items"], json!([]));
    let answer = api.get(&api.viewer, &format!("/quotas/{ACCESS}/entries?state=lost")).await;
    assert_eq!(answer.problem(422, "invalid-field").as_deref(), Some("state"));
}

#[tokio::test]
async fn how_strict_the_gate_is_can_be_changed() {
    let api = Api::with_unit().await;
    let path = format!("/quotas/{ACCESS}");
    let changed = api.patch(&api.admin, &path, &json!({ "mode": "observe" })).await.ok(200);
    assert_eq!(changed["mode"], "observe");
    assert_eq!(api.get(&api.viewer, &format!("/units/{ACCESS}")).await.ok(200)["quota_mode"], "observe");
    let answer = api.patch(&api.admin, &path, &json!({ "mode": "loose" })).await;
    assert_eq!(answer.problem(422, "invalid-field").as_deref(), Some("mode"));
}
