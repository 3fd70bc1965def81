//! Two gateways on one account: nothing is lost, and waiting changes share their transactions.

use std::time::Instant;

use tokio::sync::oneshot;

use crate::{
    domain::{Money, Period, TaxNo},
    store::{
        Config, Metrics, Store, StoreError,
        ledger::{Account, AccountKey, Books, Cause, EventKind, LedgerJob, LedgerKeys},
        testing::postgres::Server,
    },
    telemetry,
};

fn key() -> AccountKey {
    AccountKey {
        issuer: TaxNo::parse("91350100M000100Y43").unwrap(),
        period: Period::parse("2026-11").unwrap(),
    }
}

/// Holds one fen more.
struct Hold(oneshot::Sender<Result<(), StoreError>>);

impl LedgerJob for Hold {
    fn keys(&self) -> LedgerKeys {
        LedgerKeys { accounts: vec![key()], ..LedgerKeys::default() }
    }

    fn decide(&mut self, books: &mut Books) {
        let at = jiff::Timestamp::UNIX_EPOCH;
        let mut account = books.account(&key()).cloned().unwrap_or_else(|| Account::new(key(), at));
        account.figures.reserved = account.figures.reserved.saturating_add(Money::from_fen(1));
        books.put_account(account, Cause { kind: EventKind::Reserved, invoice_no: None, exchange: None, at });
    }

    fn finish(self: Box<Self>, result: Result<(), StoreError>) {
        let _ = self.0.send(result);
    }
}

async fn hold(store: Store, times: u32) {
    for _ in 0..times {
        let (answer, receipt) = oneshot::channel();
        store.ledger.submit(Box::new(Hold(answer))).await.unwrap();
        receipt.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_with_64_callers_on_one_account_lose_nothing_and_share_transactions() {
    const CALLERS: u32 = 64;
    const EACH: u32 = 60;
    let url = Server::shared().database();
    let metrics = Metrics::register(&telemetry::metrics::Metrics::new().unwrap()).unwrap();
    let config = Config { url, ..Config::default() };
    let stores = [
        crate::store::open(&config, &metrics).await.unwrap(),
        crate::store::open(&config, &metrics).await.unwrap(),
    ];
    let began = Instant::now();
    let callers = (0..CALLERS).map(|n| tokio::spawn(hold(stores[n as usize % 2].clone(), EACH)));
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let took = began.elapsed();
    let account = stores[0].ledger.account(&key()).await.unwrap().unwrap();
    assert_eq!(account.figures.reserved.fen(), i64::from(CALLERS * EACH), "no update is lost");
    let mismatches = stores[1].ledger.verify(key().period).await.unwrap();
    assert!(mismatches.iter().all(|m| m.events == m.account), "the events tell the same: {mismatches:?}");
    let transactions = metrics.transactions.get();
    assert!(
        transactions < u64::from(CALLERS * EACH) / 8,
        "{transactions} transactions for {} changes in {took:?}",
        CALLERS * EACH
    );
}
