//! Three months across New Year.

use leqi_gateway::{
    domain::{Money, Period},
    simulator::{
        books::{ConfirmationState, Direction},
        faults::{Fault, Kind},
    },
    store::ledger::TransferState,
};
use serde_json::json;

use crate::{
    company::Company,
    stage::{CREDIT, Stage, beijing},
};

/// What an on-demand taxpayer downloads each month, for whom the bureau names no total.
const ON_DEMAND: Money = Money::from_fen(5_000_000);

fn month(text: &str) -> Period {
    text.parse().unwrap()
}

fn yuan(amount: i64) -> Money {
    Money::from_fen(amount * 100)
}

/// What a company downloads at a month's start.
fn first_download(company: &Company) -> Money {
    if company.unit.credit.is_on_demand() { ON_DEMAND } else { Money::from_fen(CREDIT.fen() / 100 * 80) }
}

/// Whether the company returns what is unused: every second one.
fn returns(place: usize) -> bool {
    place.is_multiple_of(2)
}

async fn set_up() -> (Stage, Vec<Company>) {
    let stage = Stage::at("2026-11-28 10:00:00").await;
    let companies = Company::all(&stage);
    for (place, company) in companies.iter().enumerate() {
        let on_demand = company.unit.credit.is_on_demand();
        let change = |settings: &mut leqi_gateway::quota::Settings| {
            settings.return_unused = returns(place);
            settings.month_start_amount = on_demand.then_some(ON_DEMAND);
        };
        stage.parts().transfers.change_settings(company.tax_no(), change, "test").await.unwrap();
    }
    (stage, companies)
}

/// The platform carried out one download of the month, of what was set; nothing else.
fn downloaded_once(stage: &Stage, companies: &[Company], month: Period) {
    for company in companies {
        let downloads = company.moved(stage, month, Direction::Download);
        let amounts: Vec<_> = downloads.iter().map(|transfer| transfer.amount).collect();
        assert_eq!(amounts, [first_download(company)], "{} {month}", company.unit.name);
    }
}

/// Ledger and platform agree on what is downloaded and used, and nothing is open.
async fn books_agree(stage: &Stage, companies: &[Company], month: Period) {
    for company in companies {
        let (name, ledger) = (&company.unit.name, company.in_ledger(stage, month).await.unwrap());
        let platform = company.at_platform(stage, month).unwrap();
        assert_eq!(ledger.figures.downloaded, platform.downloaded, "{name} {month}: {ledger:?} {platform:?}");
        assert_eq!(ledger.figures.issued, platform.used, "{name} {month}: {ledger:?} {platform:?}");
        assert_eq!(ledger.figures.reserved, Money::ZERO, "{name} {month}: {ledger:?}");
    }
    assert_eq!(stage.parts().ledger.verify(month).await.unwrap(), []);
}

/// At the month's end those that return what is unused have returned it, the others nothing.
fn returned_as_set(stage: &Stage, companies: &[Company], month: Period) {
    for (place, company) in companies.iter().enumerate() {
        let account = company.at_platform(stage, month).unwrap();
        let returned = company.moved(stage, month, Direction::Return);
        let name = &company.unit.name;
        assert_eq!(returned.len(), usize::from(returns(place)), "{name} {month}: {returned:?}");
        let unused =
            if returns(place) { Money::ZERO } else { first_download(company).saturating_sub(account.used) };
        assert_eq!(account.unused(), unused, "{name} {month}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_months_over_new_year_with_stops_and_lost_answers() {
    let (mut stage, companies) = set_up().await;
    let (november, december) = (month("2026-11"), month("2026-12"));
    let (january, february) = (month("2027-01"), month("2027-02"));

    // the gateway is new: the month that has begun is left alone until somebody asks
    stage.settled().await;
    assert!(companies.iter().all(|company| company.moved(&stage, november, Direction::Download).is_empty()));
    stage.api("POST", "/jobs/month_start/run").await;
    stage.settled().await;
    downloaded_once(&stage, &companies, november);
    for company in &companies {
        company.issue(&stage, yuan(1000)).await;
    }

    // the last evening of November: what is unused goes back, and one answer is lost on the way
    let lost = |service: &str| Fault { processed: true, ..Fault::next(Kind::ResetAfterRead, service) };
    stage.simulator.faults.set(vec![lost("XZTHSXED")]);
    stage.pass_to("2026-11-30 23:40:01").await;
    stage.pass_to("2026-11-30 23:46:00").await;
    assert!(stage.simulator.faults.left().is_empty(), "the fault struck");
    returned_as_set(&stage, &companies, november);
    let last = stage.last("expiry").await;
    assert_eq!((&last["result"], &last["summary"]["failed"]), (&json!("ok"), &json!(0)), "{last}");

    // December: the first download, of which two answers are lost; nobody downloads twice
    stage.simulator.faults.set(vec![lost("XZTHSXED"), Fault { skip: 2, ..lost("XZTHSXED") }]);
    stage.pass_to("2026-12-01 00:05:01").await;
    stage.stop().await;
    stage.start().await;
    stage.pass_to("2026-12-01 00:12:00").await;
    assert!(stage.simulator.faults.left().is_empty(), "both faults struck");
    downloaded_once(&stage, &companies, december);
    let last = stage.last("month_start").await;
    assert_eq!(last["result"], "ok", "{last}");

    // the past month's confirmations are made and wait for somebody
    stage.pass_to("2026-12-01 08:30:01").await;
    for company in &companies {
        let confirmation = company.confirmation(&stage, november).await.unwrap();
        assert_eq!(
            (&confirmation["state"], &confirmation["ours"]["blue_count"]),
            (&json!("draft"), &json!(1))
        );
    }
    let first = companies[0].confirmation(&stage, november).await.unwrap();
    let confirmed = stage.api("POST", &format!("/confirmations/{}/confirm", first["id"])).await;
    assert_eq!(confirmed["state"], "confirmed", "{confirmed}");

    // invoices in December: one whose answer is lost although it was taken, one that never arrived
    stage.pass_to("2026-12-10 10:00:00").await;
    for company in &companies {
        company.issue(&stage, yuan(2000)).await;
    }
    stage.simulator.faults.set(vec![lost("QDFPSC")]);
    let answer = companies[1].upload(&stage, yuan(300)).await;
    assert_eq!(answer.code(), "GW-UP-HEAD", "{answer:?}");
    stage.simulator.faults.set(vec![Fault { processed: false, ..lost("QDFPSC") }]);
    let answer = companies[2].upload(&stage, yuan(400)).await;
    assert_eq!(answer.code(), "GW-UP-HEAD", "{answer:?}");
    let held = companies[2].in_ledger(&stage, december).await.unwrap().figures.reserved;
    assert_eq!(held, yuan(400), "what may be at the platform stays held");
    for time in ["2026-12-10 11:00:00", "2026-12-10 13:00:00", "2026-12-11 10:00:00", "2026-12-12 08:31:00"] {
        stage.pass_to(time).await;
    }

    // on the 13th the platform has confirmed the rest by itself, and the gateway finds out
    stage.pass_to("2026-12-13 08:31:00").await;
    for (place, company) in companies.iter().enumerate() {
        let (state, seen) = if place == 0 {
            (ConfirmationState::Confirmed, "confirmed")
        } else {
            (ConfirmationState::Automatic, "auto_confirmed")
        };
        assert_eq!(company.confirmed(&stage, november), Some(state), "{}", company.unit.name);
        assert_eq!(
            company.confirmation(&stage, november).await.unwrap()["state"],
            seen,
            "{}",
            company.unit.name
        );
    }
    books_agree(&stage, &companies, november).await;

    // down over New Year: January's download is made up once, December's rest could not be returned
    stage.pass_to("2026-12-30 18:00:00").await;
    stage.stop().await;
    stage.clock.set(beijing("2027-01-03 08:00:00"));
    stage.start().await;
    stage.settled().await;
    downloaded_once(&stage, &companies, january);
    for company in &companies {
        assert!(company.moved(&stage, december, Direction::Return).is_empty());
        assert_eq!(company.confirmation(&stage, december).await.unwrap()["state"], "draft");
        company.issue(&stage, yuan(100)).await;
    }
    // and not a second time at the next stops and turns
    for time in ["2027-01-03 12:00:00", "2027-01-04 00:06:00"] {
        stage.stop().await;
        stage.clock.set(beijing(time));
        stage.start().await;
        stage.settled().await;
    }
    downloaded_once(&stage, &companies, january);

    // after the 13th nothing of December is open any more
    stage.pass_to("2027-01-13 00:21:00").await;
    stage.pass_to("2027-01-13 08:31:00").await;
    books_agree(&stage, &companies, december).await;

    // the end of January and the beginning of February, this time without trouble
    stage.pass_to("2027-01-31 23:40:01").await;
    returned_as_set(&stage, &companies, january);
    stage.pass_to("2027-02-01 00:05:01").await;
    downloaded_once(&stage, &companies, february);
    stage.pass_to("2027-02-01 08:30:01").await;
    stage.pass_to("2027-02-13 08:31:00").await;
    books_agree(&stage, &companies, january).await;

    for past in [november, december, january] {
        for company in &companies {
            let settled = company.confirmation(&stage, past).await.unwrap();
            assert!(settled["state"].as_str().unwrap().ends_with("confirmed"), "{settled}");
        }
    }
    let open = leqi_gateway::store::ledger::TransferFilter {
        state: Some(TransferState::Open),
        limit: 10,
        ..leqi_gateway::store::ledger::TransferFilter::default()
    };
    assert_eq!(stage.parts().transfers.list(&open).await.unwrap(), []);
    let audit = stage.last("audit").await;
    assert_eq!((&audit["result"], &audit["error"]), (&json!("ok"), &json!(null)), "{audit}");
    stage.stop().await;
}
