//! Invoices of unknown outcome: asked about, compared, left alone, given up.

use super::{
    blue, issuer,
    office::{Counter, order},
    red, result, yuan,
};
use crate::{
    domain::Money,
    leqi::messages::InvoiceStatus,
    quota::transfers::{Calls, Expired, Reconciled, Want},
    store::ledger::EntryState,
};

impl Counter {
    /// So much credit, seen by a balance while nothing was under way.
    async fn with_credit(amount: i64) -> Self {
        let counter = Self::open(amount).await;
        counter.transfers.download(order(None), Want::Amount(yuan(amount))).await.unwrap();
        counter.transfers.sync(&issuer(), "clerk").await.unwrap();
        counter
    }

    fn later(&self, minutes: i64) {
        let later = self.clock.now().checked_add(jiff::SignedDuration::from_mins(minutes)).unwrap();
        self.clock.set(later);
    }

    async fn reconcile(&self) -> Reconciled {
        let done = self.transfers.reconcile(&mut Calls::new(100)).await.unwrap();
        self.check().await;
        done
    }

    async fn state(&self, n: u64) -> EntryState {
        let entry = self.transfers.ledger().entry(&issuer(), &super::number(n)).await.unwrap();
        entry.unwrap().state
    }

    fn use_credit(&self, amount: i64) {
        let mut books = self.office.books();
        books.used = books.used.saturating_add(yuan(amount));
    }
}

/// protocol.md §3: the acceptance is good for 12 hours.
#[tokio::test]
async fn results_are_asked_for_while_the_acceptance_is_good_with_growing_pauses() {
    let counter = Counter::with_credit(1000).await;
    counter.send(vec![blue(1, 100), blue(2, 50)], Some("S1")).await;
    counter.office.books().results.insert("S1".to_owned(), vec![result(1, InvoiceStatus::Processing)]);
    assert_eq!(counter.reconcile().await.asked, 0, "the invoicing system asks first");
    counter.later(2);
    assert_eq!(counter.reconcile().await.asked, 1);
    assert_eq!(counter.reconcile().await.asked, 0, "not again at once");
    counter.later(1);
    let results = vec![result(1, InvoiceStatus::Issued), result(2, InvoiceStatus::Failed)];
    counter.office.books().results.insert("S1".to_owned(), results);
    let done = counter.reconcile().await;
    assert_eq!((done.asked, done.issued, done.released), (1, 1, 1));
    assert_eq!(counter.available().await, yuan(900));
    assert_eq!(counter.reconcile().await, Reconciled::default());
}

#[tokio::test]
async fn no_more_calls_are_made_than_allowed() {
    let counter = Counter::with_credit(1000).await;
    for n in 1..=5 {
        counter.send(vec![blue(n, 1)], Some(&format!("S{n}"))).await;
    }
    counter.later(5);
    let mut calls = Calls::new(3);
    assert_eq!(counter.transfers.reconcile(&mut calls).await.unwrap().asked, 3);
    assert_eq!(counter.office.books().asked.len(), 3);
}

#[tokio::test]
async fn lost_answers_are_decided_by_a_balance_that_all_or_none_explain() {
    for (used, state, available) in [(150, EntryState::Issued, 850), (0, EntryState::Released, 1000)] {
        let counter = Counter::with_credit(1000).await;
        counter.send(vec![blue(1, 100)], None).await;
        counter.send(vec![blue(2, 50)], None).await;
        counter.use_credit(used);
        counter.later(29);
        assert_eq!(counter.reconcile().await.compared, 0, "uploads may still be on their way");
        counter.later(2);
        assert_eq!(counter.reconcile().await.compared, 1);
        assert_eq!((counter.state(1).await, counter.state(2).await), (state, state));
        assert_eq!(counter.available().await, yuan(available));
    }
}

#[tokio::test]
async fn a_balance_that_some_could_explain_proves_nothing_and_is_asked_for_hourly() {
    let counter = Counter::with_credit(1000).await;
    counter.send(vec![blue(1, 100)], None).await;
    counter.send(vec![blue(2, 50)], None).await;
    counter.use_credit(50);
    counter.later(31);
    assert_eq!(counter.reconcile().await.compared, 1);
    assert_eq!(counter.state(1).await, EntryState::Reserved);
    counter.later(58);
    assert_eq!(counter.reconcile().await.compared, 0);
    counter.later(2);
    assert_eq!(counter.reconcile().await.compared, 1);
    assert_eq!(counter.state(2).await, EntryState::Reserved);
    assert_eq!(counter.available().await, yuan(850));
}

#[tokio::test]
async fn credit_used_elsewhere_meanwhile_leaves_the_matter_open() {
    let counter = Counter::with_credit(1000).await;
    counter.send(vec![blue(1, 100)], None).await;
    counter.use_credit(200);
    for minutes in [31, 61, 61] {
        counter.later(minutes);
        // by now it looks as if all were taken, but the credit used elsewhere is only a guess
        assert_eq!(counter.reconcile().await.compared, 1);
        assert_eq!(counter.state(1).await, EntryState::Reserved);
        assert_eq!(counter.available().await, yuan(800));
    }
}

#[tokio::test]
async fn an_open_red_invoice_is_decided_where_the_ends_tell() {
    let counter = Counter::with_credit(1000).await;
    counter.send(vec![blue(1, 100)], Some("S1")).await;
    counter.use_credit(100);
    counter.office.books().results.insert("S1".to_owned(), vec![result(1, InvoiceStatus::Issued)]);
    counter.later(2);
    counter.reconcile().await;
    counter.transfers.sync(&issuer(), "clerk").await.unwrap();
    counter.send(vec![red(2, 100, 1)], None).await;
    counter.use_credit(-100);
    counter.later(31);
    counter.reconcile().await;
    assert_eq!(counter.state(2).await, EntryState::Issued);
    assert_eq!(counter.available().await, yuan(1000));
}

#[tokio::test]
async fn after_48_hours_somebody_is_told_and_the_credit_stays_held() {
    let counter = Counter::with_credit(1000).await;
    counter.send(vec![blue(1, 100)], None).await;
    counter.use_credit(30);
    counter.later(47 * 60);
    assert_eq!(counter.reconcile().await.overdue, 0);
    counter.later(2 * 60);
    assert_eq!(counter.reconcile().await.overdue, 1);
    assert_eq!(counter.state(1).await, EntryState::Reserved);
}

/// protocol.md §4: last month's invoices no later than the 13th, 0:00.
#[tokio::test]
async fn a_month_that_takes_no_more_uploads_gives_up_what_is_open_and_books_what_comes_late() {
    let counter = Counter::with_credit(1000).await;
    counter.send(vec![blue(1, 100)], Some("S1")).await;
    counter.at("2026-12-12 23:59:59");
    assert_eq!(counter.transfers.expire("job").await.unwrap(), Expired::default());
    counter.at("2026-12-13 00:00:00");
    assert_eq!(counter.transfers.expire("job").await.unwrap(), Expired { invoices: 1 });
    assert_eq!(counter.state(1).await, EntryState::Released);
    let november = counter.clock.period().previous();
    let ledger = counter.transfers.ledger();
    let results = [result(1, InvoiceStatus::Issued)];
    let late = ledger.observe_results(Some(&issuer()), "S1", &results).await.unwrap();
    assert_eq!((late.issued, late.late.len()), (1, 1));
    let account = ledger.balance(&issuer(), november).await.unwrap().unwrap();
    assert_eq!((account.figures.issued, account.figures.reserved), (yuan(100), Money::ZERO));
    assert_eq!(ledger.verify(november).await.unwrap(), []);
}
