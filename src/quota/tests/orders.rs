//! Downloads, returns, top-ups and rounds against an office that loses answers, on a real database.

use std::sync::Arc;

use super::{
    blue, issuer,
    office::{Counter, Fault, order},
    service::upload,
    yuan,
};
use crate::{
    domain::Money,
    leqi::{client::CallEnded, messages::Direction},
    quota::{
        Percent, Refusal, ReserveError,
        transfers::{Calls, Resumed, Return, TransferError, Want},
    },
    store::ledger::{TransferFilter, TransferState},
};

fn share(percent: u8) -> Want {
    Want::Share(Percent::new(percent).unwrap())
}

fn field(error: &TransferError) -> &'static str {
    let TransferError::Field { field, .. } = error else { panic!("{error}") };
    field
}

/// protocol.md §3: the same `ywlsh` with the same type and amount returns the original result.
#[tokio::test]
async fn after_a_lost_answer_the_same_serial_type_and_amount_are_sent_again() {
    for fault in [Fault::Lost, Fault::Swallowed] {
        let counter = Counter::open(1000).await;
        counter.fail([fault]);
        let error = counter.transfers.download(order(Some("k")), Want::Amount(yuan(300))).await.unwrap_err();
        assert!(matches!(error, TransferError::Open(_)), "{error}");
        let done = counter.transfers.download(order(Some("k")), Want::Amount(yuan(300))).await.unwrap();
        assert_eq!(done.state, TransferState::Done);
        let arrived = counter.arrived();
        assert_eq!(arrived.len(), 2);
        assert_eq!(arrived[0], arrived[1]);
        assert_eq!(counter.available().await, yuan(300));
        assert_eq!(counter.office.books().downloaded, yuan(300));
        counter.check().await;
    }
}

#[tokio::test]
async fn a_crash_between_store_and_answer_is_resumed_with_the_same_serial() {
    let mut counter = Counter::open(1000).await;
    counter.fail([Fault::Lost]);
    counter.transfers.download(order(None), Want::Amount(yuan(300))).await.unwrap_err();
    counter = counter.restarted().await;
    let resumed = counter.transfers.resume(&mut Calls::new(10)).await.unwrap();
    assert_eq!(resumed, Resumed { done: 1, ..Resumed::default() });
    assert_eq!(counter.available().await, yuan(300));
    assert_eq!(counter.transfers.resume(&mut Calls::new(10)).await.unwrap(), Resumed::default());
    assert_eq!(counter.arrived().len(), 2);
}

#[tokio::test]
async fn while_a_transfer_is_open_no_other_one_is_sent() {
    let counter = Counter::open(1000).await;
    counter.fail([Fault::Swallowed, Fault::Swallowed]);
    counter.transfers.download(order(Some("a")), Want::Amount(yuan(300))).await.unwrap_err();
    let error = counter.transfers.give_back(order(Some("b")), Return::Amount(yuan(1))).await.unwrap_err();
    assert_eq!(field(&error), "amount", "nothing is there to return");
    let error = counter.transfers.download(order(Some("b")), Want::Amount(yuan(200))).await.unwrap_err();
    assert!(matches!(error, TransferError::Open(_)), "{error}");
    let arrived = counter.arrived();
    assert_eq!(arrived.len(), 2);
    assert_eq!(arrived[0].serial, arrived[1].serial);
    // once the first one is known the second goes out
    counter.transfers.download(order(Some("b")), Want::Amount(yuan(200))).await.unwrap();
    let serials: std::collections::HashSet<_> =
        counter.arrived().into_iter().map(|request| request.serial).collect();
    assert_eq!(serials.len(), 2);
    assert_eq!(counter.office.books().downloaded, yuan(500));
    assert_eq!(counter.available().await, yuan(500));
}

#[tokio::test]
async fn an_order_that_is_repeated_with_its_key_is_one_transfer_also_after_a_restart() {
    let mut counter = Counter::open(1000).await;
    let first = counter.transfers.download(order(Some("k")), share(50)).await.unwrap();
    counter = counter.restarted().await;
    let second = counter.transfers.download(order(Some("k")), share(50)).await.unwrap();
    assert_eq!((first.serial, first.amount), (second.serial, yuan(500)));
    assert_eq!(counter.arrived().len(), 1);
}

#[tokio::test]
async fn proven_refusals_and_calls_that_never_left_close_the_transfer() {
    let counter = Counter::open(1000).await;
    counter.fail([Fault::NotSent, Fault::Refused("99")]);
    let error = counter.transfers.download(order(None), Want::Amount(yuan(300))).await.unwrap_err();
    assert!(matches!(error, TransferError::Platform(CallEnded::NotSent(_))), "{error}");
    let error = counter.transfers.download(order(None), Want::Amount(yuan(300))).await.unwrap_err();
    assert!(matches!(error, TransferError::Platform(CallEnded::Refused { .. })), "{error}");
    assert_eq!(counter.transfers.resume(&mut Calls::new(10)).await.unwrap(), Resumed::default());
    let filter = TransferFilter { limit: 10, ..TransferFilter::default() };
    let states: Vec<_> = counter.transfers.list(&filter).await.unwrap().iter().map(|t| t.state).collect();
    assert_eq!(states, [TransferState::Refused; 2]);
}

#[tokio::test]
async fn a_refused_repetition_is_decided_by_the_downloaded_figure() {
    for (first, state, available) in
        [(Fault::Lost, TransferState::Done, 300), (Fault::Swallowed, TransferState::Refused, 0)]
    {
        let counter = Counter::open(1000).await;
        counter.fail([first, Fault::Refused("4067")]);
        counter.transfers.download(order(None), Want::Amount(yuan(300))).await.unwrap_err();
        counter.transfers.resume(&mut Calls::new(1)).await.unwrap();
        let filter = TransferFilter { limit: 10, ..TransferFilter::default() };
        assert_eq!(counter.transfers.list(&filter).await.unwrap()[0].state, state);
        assert_eq!(counter.available().await, yuan(available));
        counter.check().await;
    }
}

#[tokio::test]
async fn an_open_transfer_of_a_month_that_is_over_is_not_sent_in_the_next_one() {
    let counter = Counter::open(1000).await;
    counter.at("2026-11-30 23:59:58");
    counter.fail([Fault::Swallowed]);
    counter.transfers.download(order(None), Want::Amount(yuan(300))).await.unwrap_err();
    counter.at("2026-12-01 00:00:30");
    let resumed = counter.transfers.resume(&mut Calls::new(10)).await.unwrap();
    assert_eq!(resumed, Resumed { expired: 1, ..Resumed::default() });
    counter.transfers.download(order(None), Want::Amount(yuan(200))).await.unwrap();
    assert_eq!(counter.arrived().iter().filter(|request| request.amount == yuan(300)).count(), 1);
}

#[tokio::test]
async fn the_credit_of_a_return_is_gone_while_its_answer_is_lost() {
    let counter = Counter::open(1000).await;
    counter.transfers.download(order(None), Want::Amount(yuan(500))).await.unwrap();
    counter.fail([Fault::Lost]);
    counter.transfers.give_back(order(None), Return::Amount(yuan(200))).await.unwrap_err();
    assert_eq!(counter.available().await, yuan(300));
    counter.transfers.resume(&mut Calls::new(1)).await.unwrap();
    assert_eq!(counter.available().await, yuan(300));
    counter.transfers.give_back(order(None), Return::All).await.unwrap();
    assert_eq!(counter.available().await, Money::ZERO);
    assert_eq!(counter.office.books().downloaded, Money::ZERO);
    counter.check().await;
}

#[tokio::test]
async fn credit_that_is_held_for_open_invoices_is_not_returned() {
    let counter = Counter::open(1000).await;
    counter.transfers.download(order(None), Want::Amount(yuan(500))).await.unwrap();
    counter.send(vec![blue(1, 400)], None).await;
    let error = counter.transfers.give_back(order(None), Return::Amount(yuan(101))).await.unwrap_err();
    assert_eq!(field(&error), "amount");
    let all = counter.transfers.give_back(order(None), Return::All).await.unwrap();
    assert_eq!(all.amount, yuan(100));
}

#[tokio::test]
async fn amounts_that_make_no_sense_are_refused_by_field_before_anything_is_sent() {
    let counter = Counter::open(1000).await;
    for amount in [Money::ZERO, yuan(-1), Money::ON_DEMAND, yuan(1001)] {
        let error = counter.transfers.download(order(None), Want::Amount(amount)).await.unwrap_err();
        assert_eq!(field(&error), "amount", "{amount}");
        let error = counter.transfers.give_back(order(None), Return::Amount(amount)).await.unwrap_err();
        assert_eq!(field(&error), "amount", "{amount}");
    }
    let other = crate::domain::TaxNo::parse("91440300MA5EXAMP0X").ok();
    if let Some(other) = other {
        let order = crate::quota::transfers::Order { issuer: other, ..order(None) };
        let error = counter.transfers.download(order, Want::Amount(yuan(1))).await.unwrap_err();
        assert!(matches!(error, TransferError::Caller(_)), "{error}");
    }
    let (next, last) = (counter.clock.period().next(), counter.clock.period().previous());
    for period in [next, last] {
        let error = counter.transfers.adjust_validity(&issuer(), Some(period), "clerk").await.unwrap_err();
        assert_eq!(field(&error), "period");
    }
    assert!(counter.arrived().is_empty());
}

/// protocol.md §4: on-demand taxpayers have no total and still must download.
#[tokio::test]
async fn an_on_demand_taxpayer_downloads_amounts_and_no_shares() {
    let counter = Counter::open(0).await;
    counter.office.books().at_bureau = Money::ON_DEMAND;
    let error = counter.transfers.download(order(None), share(80)).await.unwrap_err();
    assert_eq!(field(&error), "share");
    assert!(counter.transfers.month_start(&issuer(), "job").await.unwrap().is_none());
    let amount = Some(yuan(250));
    counter.transfers.change_settings(&issuer(), |s| s.month_start_amount = amount, "clerk").await.unwrap();
    counter.transfers.month_start(&issuer(), "job").await.unwrap().unwrap();
    assert_eq!(counter.available().await, yuan(250));
}

/// protocol.md §4 (guide): 80 % of `kysyed` when the month has none.
#[tokio::test]
async fn the_month_starts_with_its_share_once() {
    let mut counter = Counter::open(1000).await;
    let first = counter.transfers.month_start(&issuer(), "job").await.unwrap().unwrap();
    assert_eq!((first.amount, first.origin.as_deref()), (yuan(800), Some("month_start:2026-11")));
    counter = counter.restarted().await;
    assert!(counter.transfers.month_start(&issuer(), "job").await.unwrap().is_none());
    assert_eq!(counter.arrived().len(), 1);
    // what somebody else has downloaded counts as well
    counter.at("2026-12-01 00:05:00");
    assert!(counter.transfers.month_start(&issuer(), "job").await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_unused_at_month_end_is_returned_where_the_unit_wants_that() {
    let counter = Counter::open(1000).await;
    counter.transfers.download(order(None), Want::Amount(yuan(500))).await.unwrap();
    let month = counter.clock.period();
    assert!(counter.transfers.month_end(&issuer(), month, "job").await.unwrap().is_none());
    counter.transfers.change_settings(&issuer(), |s| s.return_unused = true, "clerk").await.unwrap();
    let returned = counter.transfers.month_end(&issuer(), month, "job").await.unwrap().unwrap();
    assert_eq!(returned.amount, yuan(500));
    assert!(counter.transfers.month_end(&issuer(), month, "job").await.unwrap().is_none());
}

#[tokio::test]
async fn what_a_month_leaves_unused_is_never_taken_out_of_the_next_one() {
    let counter = Counter::open(1000).await;
    counter.transfers.download(order(None), Want::Amount(yuan(500))).await.unwrap();
    counter.transfers.change_settings(&issuer(), |s| s.return_unused = true, "clerk").await.unwrap();
    let month = counter.clock.period();
    counter.at("2026-11-30 23:59:59");
    // midnight passes while the unit's balance is asked for
    counter.office.books().midnight = Some(super::at("2026-12-01 00:00:00"));
    let error = counter.transfers.month_end(&issuer(), month, "job").await.unwrap_err();
    assert!(error.to_string().contains("2026-11"), "{error}");
    // and the next unit's turn comes after it
    assert!(counter.transfers.month_end(&issuer(), month, "job").await.unwrap().is_none());
    assert_eq!(counter.arrived().len(), 1, "the download");
    assert_eq!(counter.available().await, yuan(500));
}

#[tokio::test]
async fn what_was_returned_at_month_end_is_not_downloaded_again_for_the_low_water_mark() {
    for fault in [None, Some(Fault::Swallowed)] {
        let counter = Counter::open(1000).await;
        counter.transfers.download(order(None), Want::Amount(yuan(500))).await.unwrap();
        let set = |s: &mut crate::quota::Settings| (s.return_unused, s.low_water) = (true, Some(yuan(100)));
        counter.transfers.change_settings(&issuer(), set, "clerk").await.unwrap();
        counter.at("2026-11-30 23:40:00");
        let lost = fault.is_some();
        counter.fail(fault);
        let returned = counter.transfers.month_end(&issuer(), counter.clock.period(), "job").await;
        assert_eq!(returned.is_err(), lost, "{returned:?}");
        assert!(counter.transfers.top_up(&issuer(), "job").await.unwrap().is_none());
        assert_eq!(counter.arrived().len(), 2, "the download and the return");
        counter.at("2026-12-01 00:20:00");
        counter.office.books().downloaded = Money::ZERO;
        counter.transfers.sync(&issuer(), "clerk").await.unwrap();
        let downloaded = counter.transfers.top_up(&issuer(), "job").await.unwrap();
        assert!(downloaded.is_some(), "a new month has its own mark");
    }
}

#[tokio::test]
async fn one_download_serves_all_uploads_that_wait_for_credit() {
    // by default the share; else no more than what those that wait need, which they may tell one after the other
    for (top_up_amount, downloaded, most) in [(None, 8000, 1), (Some(yuan(1)), 200, 19)] {
        let counter = Counter::open(10_000).await;
        let set = |s: &mut crate::quota::Settings| {
            (s.top_up_on_demand, s.top_up_amount) = (true, top_up_amount);
        };
        counter.transfers.change_settings(&issuer(), set, "clerk").await.unwrap();
        counter.transfers.sync(&issuer(), "clerk").await.unwrap();
        let uploads =
            (1..=20).map(|n| counter.transfers.reserve(upload(n, vec![blue(n.unsigned_abs(), 10)])));
        let reserved = futures_util::future::join_all(uploads).await;
        assert!(reserved.iter().all(Result::is_ok), "{reserved:?}");
        assert!(counter.arrived().len() <= most, "{:?}", counter.arrived());
        assert_eq!(counter.office.books().downloaded, yuan(downloaded));
        std::mem::forget(reserved);
        counter.check().await;
    }
}

#[tokio::test]
async fn uploads_go_on_when_the_answer_of_their_download_is_lost() {
    let counter = Counter::open(1000).await;
    counter.transfers.change_settings(&issuer(), |s| s.top_up_on_demand = true, "clerk").await.unwrap();
    counter.fail([Fault::Lost]);
    let reservation = counter.transfers.reserve(upload(1, vec![blue(1, 10)])).await.unwrap();
    assert_eq!(reservation.held(), yuan(10));
    let arrived = counter.arrived();
    assert_eq!(arrived.len(), 2);
    assert_eq!(arrived[0], arrived[1]);
}

#[tokio::test]
async fn uploads_that_no_download_can_help_are_refused_with_the_reason() {
    let counter = Counter::open(100).await;
    let short = async |n| match counter.transfers.reserve(upload(n, vec![blue(1, 101)])).await {
        Err(ReserveError::Refused(refusal @ Refusal::Short { .. })) => refusal.message(),
        other => panic!("{other:?}"),
    };
    assert!(short(1).await.contains("局端尚可下载100.00元"));
    counter.transfers.change_settings(&issuer(), |s| s.top_up_on_demand = true, "clerk").await.unwrap();
    short(2).await;
    assert!(counter.arrived().is_empty(), "the bureau has too little");
    counter.office.books().at_bureau = yuan(1000);
    counter.transfers.sync(&issuer(), "clerk").await.unwrap();
    counter.office.books().suspended = true;
    let told = short(3).await;
    assert!(told.contains("自动下载未成功") && told.contains("99"), "{told}");
}

#[tokio::test]
async fn credit_below_the_low_water_mark_is_topped_up_by_itself() {
    let counter = Arc::new(Counter::open(1000).await);
    counter.transfers.download(order(None), Want::Amount(yuan(100))).await.unwrap();
    let set = |s: &mut crate::quota::Settings| {
        (s.low_water, s.top_up_amount) = (Some(yuan(50)), Some(yuan(300)));
    };
    counter.transfers.change_settings(&issuer(), set, "clerk").await.unwrap();
    assert!(counter.transfers.top_up(&issuer(), "job").await.unwrap().is_none());
    counter.send(vec![blue(1, 60)], None).await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while counter.available().await != yuan(340) {
        assert!(tokio::time::Instant::now() < deadline, "{}", counter.available().await);
        tokio::task::yield_now().await;
    }
    assert_eq!(counter.arrived().iter().filter(|r| r.direction == Direction::Download).count(), 2);
}

#[tokio::test]
async fn settings_are_kept_checked_and_written_down() {
    let mut counter = Counter::open(1).await;
    let error = counter
        .transfers
        .change_settings(&issuer(), |s| s.low_water = Some(yuan(-1)), "clerk")
        .await
        .unwrap_err();
    assert_eq!(field(&error), "low_water");
    counter.transfers.change_settings(&issuer(), |s| s.low_water = Some(yuan(5)), "clerk").await.unwrap();
    counter = counter.restarted().await;
    assert_eq!(counter.transfers.settings(&issuer()).low_water, Some(yuan(5)));
    let audit = counter.store.audit.list(Some(issuer().as_str()), None, 10).await.unwrap();
    assert!(audit.iter().any(|entry| entry.row.action == "quota.settings" && entry.row.actor == "clerk"));
}

#[tokio::test]
async fn settings_that_two_gateways_change_at_the_same_time_are_all_kept() {
    let counter = Counter::open(1).await;
    let other = counter.again().await;
    for n in 1..=10 {
        let issuer = issuer();
        let (one, two) = tokio::join!(
            counter.transfers.change_settings(&issuer, |s| s.low_water = Some(yuan(n)), "clerk"),
            other.change_settings(&issuer, |s| s.top_up_amount = Some(yuan(n)), "clerk"),
        );
        one.unwrap();
        two.unwrap();
        counter.transfers.refresh_settings().await.unwrap();
        let kept = counter.transfers.settings(&issuer);
        assert_eq!((kept.low_water, kept.top_up_amount), (Some(yuan(n)), Some(yuan(n))));
    }
}
