//! Jobs that only some companies want: confirmations that are sent by themselves, and credit that is topped up.

use leqi_gateway::{
    domain::{Money, Period},
    simulator::{
        books::{ConfirmationState, Direction},
        faults::{Fault, Kind},
    },
};
use serde_json::json;

use crate::{company::Company, stage::Stage};

fn yuan(amount: i64) -> Money {
    Money::from_fen(amount * 100)
}

/// Sets what every company downloads at a month's start, and has it downloaded.
async fn begin(stage: &Stage, companies: &[Company], amount: Money) {
    for company in companies {
        let change =
            |settings: &mut leqi_gateway::quota::Settings| settings.month_start_amount = Some(amount);
        stage.parts().transfers.change_settings(company.tax_no(), change, "test").await.unwrap();
    }
    stage.settled().await;
    stage.api("POST", "/jobs/month_start/run").await;
    stage.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_is_confirmed_by_itself_only_where_that_is_asked_for_and_once_nothing_of_it_is_open() {
    let november: Period = "2026-11".parse().unwrap();
    let stage = Stage::with("2026-11-30 23:10:00", "confirm = true\n").await;
    let companies = Company::all(&stage);
    begin(&stage, &companies, yuan(5000)).await;
    for company in &companies {
        company.issue(&stage, yuan(1000)).await;
    }
    // of one company an invoice is open: nobody can ask for its result
    let (open, clear) = companies.split_first().unwrap();
    let deaf = Fault { times: 0, ..Fault::next(Kind::Status, "CXQDFPSCJG") };
    stage.simulator.faults.set(vec![deaf]);
    assert_eq!(open.upload(&stage, yuan(300)).await.code(), "00");

    stage.pass_to("2026-12-01 08:30:01").await;
    for company in clear {
        assert_eq!(company.confirmed(&stage, november), Some(ConfirmationState::Confirmed));
        let shown = company.confirmation(&stage, november).await.unwrap();
        assert_eq!(
            (&shown["state"], &shown["sent"]["blue_count"]),
            (&json!("confirmed"), &json!(1)),
            "{shown}"
        );
        assert_eq!(shown["sent"]["blue_net"], "1000.00", "{shown}");
    }
    assert_eq!(open.confirmed(&stage, november), None, "what is open would be missing in the totals");
    assert_eq!(open.confirmation(&stage, november).await.unwrap()["state"], "draft");
    let last = stage.last("confirmations").await;
    assert_eq!(last["summary"]["figures"]["open_confirmations"], 1, "{last}");

    stage.simulator.faults.set(Vec::new());
    stage.pass_to("2026-12-01 08:40:00").await;
    assert_eq!(open.confirmed(&stage, november), None, "it is not due");
    stage.pass_to("2026-12-02 08:30:01").await;
    assert_eq!(open.confirmed(&stage, november), Some(ConfirmationState::Confirmed));
    let shown = open.confirmation(&stage, november).await.unwrap();
    assert_eq!(
        (&shown["sent"]["blue_count"], &shown["sent"]["blue_net"]),
        (&json!(2), &json!("1300.00")),
        "{shown}"
    );
    let last = stage.last("confirmations").await;
    assert_eq!(
        (&last["result"], &last["summary"]["figures"]["open_confirmations"]),
        (&json!("ok"), &json!(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn credit_below_the_mark_is_topped_up_once_also_when_the_answer_is_lost() {
    let november: Period = "2026-11".parse().unwrap();
    let mut stage = Stage::at("2026-11-20 10:00:00").await;
    let companies = Company::all(&stage);
    begin(&stage, &companies, yuan(2000)).await;
    let [marked, unmarked] = [0, 1].map(|place| &companies[place]);
    let change = |settings: &mut leqi_gateway::quota::Settings| {
        settings.low_water = Some(yuan(1000));
        settings.top_up_amount = Some(yuan(5000));
    };
    stage.parts().transfers.change_settings(marked.tax_no(), change, "test").await.unwrap();
    let downloads = |stage: &Stage, company: &Company| {
        let mut moved = company.moved(stage, november, Direction::Download);
        moved.sort_by_key(|transfer| transfer.amount);
        moved.into_iter().map(|transfer| transfer.amount).collect::<Vec<_>>()
    };

    stage.pass_to("2026-11-20 10:20:00").await;
    assert_eq!(downloads(&stage, marked), [yuan(2000)], "there is enough");
    // other software of the company issues invoices; an upload through the gateway would be topped up for at once
    for company in [marked, unmarked] {
        let key = (company.tax_no().clone(), november);
        stage.simulator.books.lock().production.accounts.get_mut(&key).unwrap().used = yuan(1500);
        stage.api("POST", &format!("/quotas/{}/sync", company.tax_no())).await;
    }
    // carried out, but the answer is lost, and so is that of the repetition
    let lost = Fault { processed: true, times: 2, ..Fault::next(Kind::ResetAfterRead, "XZTHSXED") };
    stage.simulator.faults.set(vec![lost]);
    stage.pass_to("2026-11-20 10:31:00").await;
    stage.stop().await;
    stage.start().await;
    for time in ["2026-11-20 10:33:00", "2026-11-20 10:42:00", "2026-11-20 10:53:00"] {
        stage.pass_to(time).await;
    }
    assert!(stage.simulator.faults.left().is_empty(), "both answers were lost");
    assert_eq!(downloads(&stage, marked), [yuan(2000), yuan(5000)]);
    assert_eq!(downloads(&stage, unmarked), [yuan(2000)], "who has no mark is left alone");
    let account = marked.in_ledger(&stage, november).await.unwrap();
    assert_eq!((account.figures.downloaded, account.available()), (yuan(7000), yuan(5500)), "{account:?}");
    assert_eq!(stage.last("top_up").await["result"], "ok");

    // a mark that the usual amount does not reach
    let change = |settings: &mut leqi_gateway::quota::Settings| settings.low_water = Some(yuan(20_000));
    stage.parts().transfers.change_settings(marked.tax_no(), change, "test").await.unwrap();
    stage.pass_to("2026-11-20 12:00:00").await;
    assert_eq!(downloads(&stage, marked), [yuan(2000), yuan(5000), yuan(14_500)]);
    stage.stop().await;
}
