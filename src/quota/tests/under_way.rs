//! Own transfers whose outcome is open, and balances that are seen meanwhile.

use super::{
    issuer,
    office::{Counter, Fault, order},
    yuan,
};
use crate::{
    quota::transfers::{Calls, Resumed, Return, Want},
    store::ledger::{TransferFilter, TransferState},
};

#[tokio::test]
async fn a_balance_does_not_put_the_credit_of_an_open_return_on_sale() {
    let counter = Counter::open(1000).await;
    counter.transfers.download(order(None), Want::Amount(yuan(500))).await.unwrap();
    counter.fail([Fault::Swallowed]);
    counter.transfers.give_back(order(None), Return::Amount(yuan(200))).await.unwrap_err();
    for _ in 0..2 {
        counter.transfers.sync(&issuer(), "clerk").await.unwrap();
        assert_eq!(counter.available().await, yuan(300));
        assert_eq!(counter.account().await.bureau_downloaded, Some(yuan(500)), "as the platform says");
    }
    counter.transfers.resume(&mut Calls::new(1)).await.unwrap();
    assert_eq!(counter.available().await, yuan(300));
    counter.transfers.sync(&issuer(), "clerk").await.unwrap();
    assert_eq!(counter.available().await, yuan(300));
    assert_eq!(counter.office.books().downloaded, yuan(300));
    counter.check().await;
}

#[tokio::test]
async fn a_refused_return_is_put_back_also_after_a_balance() {
    let counter = Counter::open(1000).await;
    counter.transfers.download(order(None), Want::Amount(yuan(500))).await.unwrap();
    counter.fail([Fault::Swallowed, Fault::Refused("99")]);
    counter.transfers.give_back(order(None), Return::Amount(yuan(200))).await.unwrap_err();
    counter.transfers.sync(&issuer(), "clerk").await.unwrap();
    let resumed = counter.transfers.resume(&mut Calls::new(1)).await.unwrap();
    assert_eq!(resumed, Resumed { refused: 1, ..Resumed::default() });
    assert_eq!(counter.available().await, yuan(500));
    counter.check().await;
}

#[tokio::test]
async fn a_download_that_is_not_to_be_repeated_ends_with_the_balance_and_holds_up_no_other_one() {
    for (first, elsewhere, available) in [(Fault::Swallowed, 50, 50), (Fault::Lost, 50, 350)] {
        let counter = Counter::open(1000).await;
        counter.fail([first, Fault::Refused("4067")]);
        counter.transfers.download(order(None), Want::Amount(yuan(300))).await.unwrap_err();
        // somebody else downloads too: the figure tells of neither
        let downloaded = counter.office.books().downloaded;
        counter.office.books().downloaded = downloaded.saturating_add(yuan(elsewhere));
        let resumed = counter.transfers.resume(&mut Calls::new(1)).await.unwrap();
        assert_eq!(resumed, Resumed { refused: 1, ..Resumed::default() });
        assert_eq!(counter.available().await, yuan(available));
        counter.transfers.download(order(None), Want::Amount(yuan(10))).await.unwrap();
        assert_eq!(counter.available().await, yuan(available + 10));
        let filter = TransferFilter { limit: 10, ..TransferFilter::default() };
        let states: Vec<_> = counter.transfers.list(&filter).await.unwrap().iter().map(|t| t.state).collect();
        assert_eq!(states, [TransferState::Done, TransferState::Refused]);
        let serials: Vec<_> = counter.arrived().into_iter().map(|request| request.serial).collect();
        assert_eq!((serials.len(), &serials[0]), (3, &serials[1]));
        assert_ne!(serials[1], serials[2]);
        counter.check().await;
    }
}
