//! Credit that an invoicing system moves while the shared database is away: nothing of it is lost or counted twice.

use std::time::{Duration, Instant};

use leqi_gateway::{
    domain::{Money, Period, Totals},
    leqi::messages::{SummaryAction, SummaryUpload},
    simulator::faults::{Fault, Kind},
    store::ledger::Account,
};
use serde_json::{Value, json};

use crate::{common::postgres::Server, company::Company, stage::Stage};

fn yuan(amount: i64) -> Money {
    Money::from_fen(amount * 100)
}

/// Confirms a month without invoices.
fn confirm(company: &Company, month: Period) -> Value {
    let upload = SummaryUpload {
        seller: company.tax_no().clone(),
        province: company.unit.province_code.clone(),
        platform_id: company.unit.access_platform_id.clone(),
        period: month,
        action: SummaryAction::Confirm(Totals::default()),
    };
    serde_json::to_value(upload).unwrap()
}

/// Waits until the ledger's account is as wanted.
async fn becomes(
    stage: &Stage,
    company: &Company,
    month: Period,
    wanted: impl Fn(&Account) -> bool,
) -> Account {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let account = company.in_ledger(stage, month).await.unwrap();
        if wanted(&account) {
            return account;
        }
        assert!(Instant::now() < deadline, "{account:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_invoicing_systems_move_while_the_database_is_away_is_booked_once_when_it_is_back() {
    let (november, december): (Period, Period) = ("2026-11".parse().unwrap(), "2026-12".parse().unwrap());
    let server = Server::start();
    let mut stage = Stage::on("2026-12-05 10:00:00", "", Some(server.database())).await;
    stage.settled().await;
    let companies = Company::all(&stage);
    let [mover, other] = [0, 1].map(|place| &companies[place]);
    let client = mover.client(&stage);
    let tax_no = mover.tax_no().as_str();
    let serial =
        |number: u32| format!("{}{}{number:032}", mover.unit.platform_id, mover.unit.access_platform_id);

    // the credit is good until the filing; then last month is filed
    assert_eq!(client.download(tax_no, "1000.00", &serial(1)).await.code(), "00");
    let account = mover.in_ledger(&stage, december).await.unwrap();
    assert_eq!(account.valid_to.map(|day| day.to_string()).as_deref(), Some("2026-12-15"));
    assert_eq!(client.call("SCFPHZQRXX", &confirm(mover, november)).await.code(), "00");
    stage.simulator.books.lock().production.file(mover.tax_no(), november).unwrap();

    let services = ["XZTHSXED", "TZSXEDYXQ", "SCFPHZQRXX"];
    let slow = services.map(|service| Fault { ms: 3000, ..Fault::next(Kind::Delay, service) });
    stage.simulator.faults.set(slow.to_vec());
    let extend = json!({ "xsfnsrsbh": tax_no, "sxedsq": "2026-12" });
    let (confirming, confirmation) = (other.client(&stage), confirm(other, november));
    let (downloading, extending) = (client.clone(), client.clone());
    let (owner, second) = (tax_no.to_owned(), serial(2));
    let calls = [
        tokio::spawn(async move { downloading.download(&owner, "500.00", &second).await }),
        tokio::spawn(async move { extending.call("TZSXEDYXQ", &extend).await }),
        tokio::spawn(async move { confirming.call("SCFPHZQRXX", &confirmation).await }),
    ];
    let deadline = Instant::now() + Duration::from_secs(20);
    while !stage.simulator.faults.left().is_empty() {
        assert!(Instant::now() < deadline, "all are under way");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::task::block_in_place(|| server.stop("immediate"));
    for call in calls {
        let answer = call.await.unwrap();
        assert_eq!(answer.code(), "00", "what the platform answered is told: {answer:?}");
    }
    // nothing more is sent meanwhile
    assert_eq!(client.download(tax_no, "1.00", &serial(3)).await.code(), "GW-STORE");
    tokio::task::block_in_place(|| server.start_again());

    let account = becomes(&stage, mover, december, |account| account.figures.downloaded == yuan(1500)).await;
    assert_eq!(account.available(), yuan(1500));
    let account = becomes(&stage, mover, december, |account| {
        account.valid_to.is_some_and(|day| day == december.last_day())
    })
    .await;
    assert!(!account.stale, "{account:?}");
    // neither the same download once more nor the platform's own word counts it again
    assert_eq!(client.download(tax_no, "500.00", &serial(2)).await.code(), "00");
    let account = mover.in_ledger(&stage, december).await.unwrap();
    assert_eq!(account.figures.downloaded, yuan(1500));
    let synced = stage.api("POST", &format!("/quotas/{tax_no}/sync")).await;
    assert_eq!(
        (&synced["downloaded"], &synced["difference"]),
        (&json!("1500.00"), &json!("0.00")),
        "{synced}"
    );
    assert_eq!(mover.at_platform(&stage, december).unwrap().downloaded, yuan(1500));
    let transfers = stage.api("GET", &format!("/quotas/{tax_no}/transfers")).await;
    let states: Vec<_> = transfers["items"].as_array().unwrap().iter().map(|row| &row["state"]).collect();
    assert_eq!(states, [&json!("done"), &json!("done")], "{transfers}");

    // a confirmation seen meanwhile is not kept: the job asks the platform
    stage.pass_to("2026-12-06 08:30:01").await;
    let seen = other.confirmation(&stage, november).await.unwrap();
    assert_eq!(seen["state"], "confirmed", "{seen}");
    // beyond the old interval
    stage.pass_to("2026-12-20 10:00:00").await;
    mover.issue(&stage, yuan(200)).await;
    assert_eq!(stage.parts().ledger.verify(december).await.unwrap(), []);
    stage.stop().await;
}
