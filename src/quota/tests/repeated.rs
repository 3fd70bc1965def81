//! What is done once: for how long a request's key and a month's round stand for their transfer.

use super::{
    issuer,
    office::{Counter, Fault, order},
    yuan,
};
use crate::{
    quota::{
        rules,
        transfers::{Calls, Return, TransferError, Want},
    },
    store::{
        self,
        ledger::{TransferFilter, TransferState},
    },
};

#[tokio::test]
async fn a_key_that_is_used_again_after_a_day_orders_a_new_transfer() {
    assert_eq!(rules::REMEMBERED, store::idempotency::REMEMBERED);
    let counter = Counter::open(1000).await;
    let download =
        async || counter.transfers.download(order(Some("k")), Want::Amount(yuan(300))).await.unwrap();
    counter.at("2026-11-10 09:00:00");
    let first = download().await;
    counter.at("2026-11-11 08:59:00");
    assert_eq!(download().await.serial, first.serial);
    counter.at("2026-11-11 09:01:00");
    let second = download().await;
    assert_ne!(second.serial, first.serial);
    counter.at("2026-11-11 10:00:00");
    assert_eq!(download().await.serial, second.serial, "and is remembered from there");
    assert_eq!(counter.arrived().len(), 2);
    assert_eq!(counter.available().await, yuan(600));
    let filter = TransferFilter { limit: 10, ..TransferFilter::default() };
    assert_eq!(counter.transfers.list(&filter).await.unwrap().len(), 2);
    counter.check().await;
}

#[tokio::test]
async fn a_key_is_remembered_from_the_outcome_on_however_late_that_is_known() {
    let counter = Counter::open(1000).await;
    counter.at("2026-11-10 09:00:00");
    counter.fail([Fault::Lost]);
    let want = Want::Amount(yuan(300));
    let open = counter.transfers.download(order(Some("k")), want).await.unwrap_err();
    assert!(matches!(open, TransferError::Open(_)), "{open}");
    counter.at("2026-11-12 09:00:00");
    counter.transfers.resume(&mut Calls::new(1)).await.unwrap();
    counter.at("2026-11-12 10:00:00");
    counter.transfers.download(order(Some("k")), want).await.unwrap();
    assert_eq!(counter.available().await, yuan(300), "the request is the one of two days ago");
}

#[tokio::test]
async fn a_key_that_stands_for_another_transfer_is_refused_and_says_which() {
    let counter = Counter::open(1000).await;
    let first = counter.transfers.download(order(Some("k")), Want::Amount(yuan(300))).await.unwrap();
    let errors = [
        counter.transfers.download(order(Some("k")), Want::Amount(yuan(200))).await.unwrap_err(),
        counter.transfers.give_back(order(Some("k")), Return::Amount(yuan(300))).await.unwrap_err(),
    ];
    for error in errors {
        let TransferError::Field { field: "Idempotency-Key", reason } = &error else { panic!("{error}") };
        assert!(reason.contains("download of 300.00") && reason.contains(&first.serial), "{reason}");
    }
    assert_eq!(counter.arrived().len(), 1);
}

#[tokio::test]
async fn a_key_whose_transfer_was_open_until_now_is_not_the_answer_to_another_request() {
    let counter = Counter::open(1000).await;
    counter.fail([Fault::Lost]);
    let half = Want::Share(crate::quota::Percent::new(50).unwrap());
    let open = counter.transfers.download(order(Some("k")), half).await.unwrap_err();
    assert!(matches!(open, TransferError::Open(_)), "{open}");
    let error = counter.transfers.give_back(order(Some("k")), Return::Amount(yuan(200))).await.unwrap_err();
    let TransferError::Field { field: "Idempotency-Key", reason } = &error else { panic!("{error}") };
    assert!(reason.contains("download of 500.00"), "{reason}");
    assert_eq!(counter.available().await, yuan(500), "nothing was returned");

    counter.fail([Fault::Lost]);
    let open = counter.transfers.download(order(Some("l")), half).await.unwrap_err();
    assert!(matches!(open, TransferError::Open(_)), "{open}");
    let done = counter.transfers.download(order(Some("l")), half).await.unwrap();
    assert_eq!(done.amount, yuan(250), "half of what there was, not of what is left now");
    assert_eq!(counter.available().await, yuan(750));
    counter.check().await;
}

#[tokio::test]
async fn a_round_is_remembered_for_its_whole_month() {
    let counter = Counter::open(1000).await;
    counter.at("2026-11-01 00:05:00");
    counter.transfers.month_start(&issuer(), "job").await.unwrap().unwrap();
    counter.transfers.give_back(order(None), Return::All).await.unwrap();
    counter.at("2026-11-28 00:05:00");
    assert!(counter.transfers.month_start(&issuer(), "job").await.unwrap().is_none());
    assert_eq!(counter.arrived().len(), 2);
}

#[tokio::test]
async fn credit_that_comes_after_the_month_has_begun_is_downloaded_when_the_bureau_is_asked_again() {
    for suspended in [false, true] {
        let mut counter = Counter::open(if suspended { 1000 } else { 0 }).await;
        counter.office.books().suspended = suspended;
        counter.at("2026-12-01 00:05:00");
        assert!(counter.transfers.month_start(&issuer(), "job").await.unwrap().is_none());
        {
            let mut books = counter.office.books();
            (books.at_bureau, books.suspended) = (yuan(1000), false);
        }
        assert!(counter.transfers.late_start(&issuer(), "job").await.unwrap().is_none());
        assert_eq!(counter.office.books().balances, 1, "it was asked less than an hour ago");
        // a process that has not asked yet
        counter = counter.restarted().await;
        let late = counter.transfers.late_start(&issuer(), "job").await.unwrap().unwrap();
        assert_eq!((late.amount, late.origin.as_deref()), (yuan(800), Some("month_start:2026-12")));
        assert_eq!(counter.office.books().balances, 2);
        counter = counter.restarted().await;
        assert!(counter.transfers.late_start(&issuer(), "job").await.unwrap().is_none());
        assert!(counter.transfers.month_start(&issuer(), "job").await.unwrap().is_none());
        assert_eq!((counter.arrived().len(), counter.available().await), (1, yuan(800)));
        counter.check().await;
    }
}

#[tokio::test]
async fn an_upload_that_finds_the_credit_first_does_not_keep_the_month_from_beginning() {
    let counter = Counter::open(0).await;
    counter.at("2026-12-01 00:05:00");
    assert!(counter.transfers.month_start(&issuer(), "job").await.unwrap().is_none());
    counter.office.books().at_bureau = yuan(1000);
    counter.transfers.sync(&issuer(), "clerk").await.unwrap();
    assert_eq!(counter.account().await.bureau_available, Some(yuan(1000)));
    // uploads ask so often that the job never comes to ask itself
    let late = counter.transfers.late_start(&issuer(), "job").await.unwrap().unwrap();
    assert_eq!((late.amount, counter.office.books().balances), (yuan(800), 2));
}

#[tokio::test]
async fn a_month_that_was_started_in_vain_is_remembered_by_every_gateway() {
    let mut counter = Counter::open(0).await;
    counter.at("2026-12-01 00:05:00");
    for _ in 0..2 {
        assert!(counter.transfers.month_start(&issuer(), "job").await.unwrap().is_none());
    }
    let filter = TransferFilter { limit: 10, ..TransferFilter::default() };
    let noted = counter.transfers.list(&filter).await.unwrap();
    let [noted] = noted.as_slice() else { panic!("{noted:?}") };
    assert_eq!((noted.state, noted.amount, noted.booked), (TransferState::Refused, yuan(0), yuan(0)));
    assert_eq!((noted.code.as_deref(), noted.actor.as_str()), (Some("GW-NOTHING"), "job"));
    counter.office.books().at_bureau = yuan(1000);
    counter.transfers.sync(&issuer(), "clerk").await.unwrap();
    counter = counter.restarted().await;
    let late = counter.transfers.late_start(&issuer(), "job").await.unwrap().unwrap();
    assert_eq!((late.amount, late.origin.as_deref()), (yuan(800), Some("month_start:2026-12")));
    assert_eq!((counter.arrived().len(), counter.available().await), (1, yuan(800)));
    counter.check().await;
}

#[tokio::test]
async fn what_a_clerk_gave_back_is_not_downloaded_again_by_a_late_start() {
    let mut counter = Counter::open(0).await;
    counter.at("2026-12-01 00:05:00");
    assert!(counter.transfers.month_start(&issuer(), "job").await.unwrap().is_none());
    counter.office.books().at_bureau = yuan(1000);
    counter.at("2026-12-05 10:00:00");
    counter.transfers.download(order(None), Want::Amount(yuan(500))).await.unwrap();
    counter.at("2026-12-30 10:00:00");
    counter.transfers.give_back(order(None), Return::All).await.unwrap();
    counter = counter.restarted().await;
    assert!(counter.transfers.late_start(&issuer(), "job").await.unwrap().is_none());
    assert_eq!((counter.arrived().len(), counter.available().await), (2, yuan(0)));
}

#[tokio::test]
async fn no_month_begins_late_when_its_unused_credit_goes_back() {
    for (returns, at, begins) in [
        (true, "2026-12-31 19:59:00", true),
        (true, "2026-12-31 20:01:00", false),
        (false, "2026-12-31 20:01:00", true),
    ] {
        let counter = Counter::open(0).await;
        let set = |s: &mut crate::quota::Settings| s.return_unused = returns;
        counter.transfers.change_settings(&issuer(), set, "clerk").await.unwrap();
        counter.at("2026-12-01 00:05:00");
        assert!(counter.transfers.month_start(&issuer(), "job").await.unwrap().is_none());
        counter.office.books().at_bureau = yuan(1000);
        counter.at(at);
        counter.transfers.sync(&issuer(), "clerk").await.unwrap();
        let late = counter.transfers.late_start(&issuer(), "job").await.unwrap();
        assert_eq!(late.is_some(), begins, "{at}");
    }
}

#[tokio::test]
async fn a_start_that_the_bureau_refused_is_made_up_for_and_no_other_unit_gets_what_nobody_asked_for() {
    let mut counter = Counter::open(1000).await;
    counter.at("2026-12-01 00:05:00");
    assert!(counter.transfers.late_start(&issuer(), "job").await.unwrap().is_none());
    assert_eq!(counter.office.books().balances, 0, "a unit of which nothing is known");
    counter.transfers.sync(&issuer(), "clerk").await.unwrap();
    counter = counter.restarted().await;
    assert!(counter.transfers.late_start(&issuer(), "job").await.unwrap().is_none());
    assert_eq!(counter.office.books().balances, 1, "there was credit, and nobody wanted it");
    counter.fail([Fault::Refused("99")]);
    counter.transfers.month_start(&issuer(), "job").await.unwrap_err();
    counter = counter.restarted().await;
    counter.at("2026-12-01 01:04:00");
    assert!(counter.transfers.late_start(&issuer(), "job").await.unwrap().is_none());
    assert_eq!(counter.arrived().len(), 1, "it was refused less than an hour ago");
    counter.at("2026-12-01 01:06:00");
    let late = counter.transfers.late_start(&issuer(), "job").await.unwrap().unwrap();
    assert_eq!(late.amount, yuan(800));
    counter.transfers.give_back(order(None), Return::All).await.unwrap();
    counter = counter.restarted().await;
    assert!(counter.transfers.late_start(&issuer(), "job").await.unwrap().is_none(), "once a month");
}
