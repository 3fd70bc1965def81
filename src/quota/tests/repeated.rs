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
    store::{self, ledger::TransferFilter},
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
async fn a_round_is_remembered_for_its_whole_month() {
    let counter = Counter::open(1000).await;
    counter.at("2026-11-01 00:05:00");
    counter.transfers.month_start(&issuer(), "job").await.unwrap().unwrap();
    counter.transfers.give_back(order(None), Return::All).await.unwrap();
    counter.at("2026-11-28 00:05:00");
    assert!(counter.transfers.month_start(&issuer(), "job").await.unwrap().is_none());
    assert_eq!(counter.arrived().len(), 2);
}
