//! The service on a real database.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;

use super::{at, balance, blue, issuer, now, number, period, yuan};
use crate::{
    clock::Clock,
    domain::{ExchangeId, Money, TaxNo},
    leqi::messages::{Direction, QuotaBalance, QuotaTransfer, QuotaTransferAnswer},
    quota::{
        Claim, Config, Ledger, Metrics, Mode, QuotaSource, Refusal, Reservation, ReserveError, Settlement,
        Upload,
    },
    store::{self, Store},
    telemetry,
};

/// A platform that tells a balance of so many yuan, and how many of them are used, and counts how often it was asked.
#[derive(Default)]
pub(super) struct Bureau {
    pub(super) credit: AtomicI64,
    pub(super) used: i64,
    pub(super) asked: AtomicUsize,
    pub(super) fails: bool,
}

impl Bureau {
    pub(super) fn with(credit: i64) -> Self {
        Self { credit: AtomicI64::new(credit), ..Self::default() }
    }
}

impl QuotaSource for Bureau {
    fn balance<'a>(&'a self, _: &'a TaxNo) -> BoxFuture<'a, Result<QuotaBalance, String>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let credit = self.credit.load(Ordering::SeqCst);
        Box::pin(async move {
            tokio::task::yield_now().await;
            if self.fails {
                Err("4067 出口地址未登记".to_owned())
            } else {
                Ok(balance(credit, credit - self.used))
            }
        })
    }
}

pub(super) struct Bench {
    pub(super) ledger: Ledger,
    pub(super) store: Store,
    _directory: Option<tempfile::TempDir>,
}

pub(super) async fn open(path: &std::path::Path, cooldown: Duration) -> Bench {
    let telemetry = telemetry::metrics::Metrics::new().unwrap();
    let config = store::testing::config(path);
    let store = store::open(&config, &store::Metrics::register(&telemetry).unwrap()).await.unwrap();
    let metrics = Metrics::register(&telemetry).unwrap();
    let table = Arc::clone(&store.ledger);
    let clock = Clock::starting_at(now());
    let config = Config { cooldown, ..Config::default() };
    let ledger = Ledger::new(table, clock, config, &metrics);
    Bench { ledger, store, _directory: None }
}

async fn bench_with(cooldown: Duration) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let bench = open(&directory.path().join("gateway.db"), cooldown).await;
    Bench { _directory: Some(directory), ..bench }
}

async fn bench() -> Bench {
    bench_with(Duration::from_secs(60)).await
}

pub(super) fn upload(exchange: i64, claims: Vec<Claim>) -> Upload {
    Upload {
        exchange: ExchangeId::from_number(exchange),
        issuer: issuer(),
        mode: Mode::Enforce,
        claims,
        allowance_returns: true,
        intent: None,
    }
}

impl Bench {
    async fn reserve(
        &self,
        exchange: i64,
        claims: Vec<Claim>,
        bureau: &Bureau,
    ) -> Result<Reservation, ReserveError> {
        self.ledger.reserve(&upload(exchange, claims), bureau).await
    }

    async fn available(&self) -> Money {
        self.ledger.balance(&issuer(), period()).await.unwrap().unwrap().available()
    }

    /// Waits until the credit available is this, as a release in the background makes it.
    async fn becomes_available(&self, amount: Money) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while self.available().await != amount {
            assert!(tokio::time::Instant::now() < deadline, "{} is available", self.available().await);
            tokio::task::yield_now().await;
        }
    }
}

fn refusal(error: ReserveError) -> Refusal {
    match error {
        ReserveError::Refused(refusal) => refusal,
        ReserveError::Store(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_concurrent_uploads_never_oversell_one_account() {
    let bench = Arc::new(bench().await);
    let bureau = Arc::new(Bureau::with(120 * 7));
    let mut tasks = Vec::new();
    for n in 0..200_u32 {
        let (bench, bureau) = (Arc::clone(&bench), Arc::clone(&bureau));
        tasks.push(tokio::spawn(async move {
            bench.reserve(i64::from(n) + 1, vec![blue(u64::from(n), 7)], &bureau).await
        }));
    }
    let mut held = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(reservation) => held.push(reservation),
            Err(error) => assert!(matches!(refusal(error), Refusal::Short { .. })),
        }
    }
    assert_eq!(held.len(), 120);
    assert_eq!(bench.available().await, Money::ZERO);
    assert!(bench.ledger.verify(period()).await.unwrap().is_empty());
    for (n, reservation) in held.into_iter().enumerate() {
        let settlement = if n % 2 == 0 {
            Settlement::NotSent
        } else {
            Settlement::Refused { code: "1".to_owned(), text: String::new() }
        };
        assert_eq!(bench.ledger.settle(reservation, settlement).await.unwrap().released, 1);
    }
    assert_eq!(bench.available().await, yuan(120 * 7));
    assert!(bench.ledger.verify(period()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_month_that_was_never_seen_is_asked_for_once_by_many() {
    let bench = bench().await;
    let bureau = Bureau::with(1000);
    let tries = (0..20).map(|n| bench.reserve(n, vec![blue(u64::try_from(n).unwrap(), 10)], &bureau));
    let reservations = futures_util::future::join_all(tries).await;
    assert!(reservations.iter().all(Result::is_ok));
    assert_eq!(bureau.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_shortage_asks_once_per_cooldown() {
    let bench = bench().await;
    let bureau = Bureau::with(100);
    let _held = bench.reserve(1, vec![blue(1, 100)], &bureau).await.unwrap();
    bureau.credit.store(500, Ordering::SeqCst);
    for n in 2..6 {
        let error = bench.reserve(n, vec![blue(9, 10)], &bureau).await.unwrap_err();
        assert!(matches!(refusal(error), Refusal::Short { .. }));
    }
    // the first query of the month was less than a cooldown ago
    assert_eq!(bureau.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_shortage_after_the_cooldown_finds_credit_that_was_downloaded_elsewhere() {
    let bench = bench_with(Duration::ZERO).await;
    let bureau = Bureau::with(100);
    let _held = bench.reserve(1, vec![blue(1, 100)], &bureau).await.unwrap();
    bureau.credit.store(500, Ordering::SeqCst);
    bench.reserve(2, vec![blue(2, 400)], &bureau).await.unwrap();
}

#[tokio::test]
async fn a_past_month_that_was_never_seen_is_refused_with_the_remedy() {
    let bench = bench().await;
    let october = Claim { dated_at: at("2026-10-31 12:00:00"), ..blue(1, 10) };
    let error = refusal(bench.reserve(1, vec![october], &Bureau::with(1000)).await.unwrap_err());
    assert!(matches!(&error, Refusal::PastMonth { .. }) && error.message().contains("observe"), "{error}");
}

#[tokio::test]
async fn without_a_balance_nothing_leaves_and_the_reason_is_told() {
    let bench = bench().await;
    let bureau = Bureau { fails: true, ..Bureau::with(1000) };
    let error = refusal(bench.reserve(1, vec![blue(1, 10)], &bureau).await.unwrap_err());
    assert!(matches!(&error, Refusal::NoBalance { .. }) && error.message().contains("4067"), "{error}");
    assert!(bench.ledger.entry(&issuer(), &number(1)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_reservation_that_is_dropped_before_sending_gives_its_credit_free() {
    let bench = bench().await;
    let reservation = bench.reserve(1, vec![blue(1, 10)], &Bureau::with(1000)).await.unwrap();
    assert_eq!(bench.available().await, yuan(990));
    drop(reservation);
    bench.becomes_available(yuan(1000)).await;
}

#[tokio::test]
async fn a_reservation_that_is_dropped_while_sending_stays_held() {
    let bench = bench().await;
    let bureau = Bureau::with(1000);
    let mut reservation = bench.reserve(1, vec![blue(1, 10)], &bureau).await.unwrap();
    reservation.sending();
    drop(reservation);
    let unclear = bench.reserve(2, vec![blue(2, 10)], &bureau).await.unwrap();
    bench.ledger.settle(unclear, Settlement::Unclear).await.unwrap();
    let other = bench.reserve(3, vec![blue(3, 10)], &bureau).await.unwrap();
    bench.ledger.settle(other, Settlement::NotSent).await.unwrap();
    assert_eq!(bench.available().await, yuan(980));
}

#[tokio::test]
async fn a_caller_that_goes_away_while_reserving_leaves_nothing_held() {
    let bench = Arc::new(bench().await);
    let bureau = Arc::new(Bureau::with(1000));
    drop(bench.reserve(1, vec![blue(1, 10)], &bureau).await.unwrap());
    for n in 2..60 {
        let (bench, bureau) = (Arc::clone(&bench), Arc::clone(&bureau));
        let task = tokio::spawn(async move { bench.reserve(n, vec![blue(5, 10)], &bureau).await });
        for _ in 0..n % 7 {
            tokio::task::yield_now().await;
        }
        task.abort();
    }
    bench.becomes_available(yuan(1000)).await;
}

#[tokio::test]
async fn a_unit_that_is_off_keeps_no_books() {
    let bench = bench().await;
    let upload = Upload { mode: Mode::Off, ..upload(1, vec![blue(1, 10)]) };
    let reservation = bench.ledger.reserve(&upload, &Bureau::default()).await.unwrap();
    assert!(reservation.invoices().is_empty());
    assert!(bench.ledger.balance(&issuer(), period()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_closed_database_refuses_reservations_with_an_error() {
    let bench = bench().await;
    let bureau = Bureau::with(1000);
    let _held = bench.reserve(1, vec![blue(1, 10)], &bureau).await.unwrap();
    bench.store.close().await;
    let error = bench.reserve(2, vec![blue(2, 10)], &bureau).await.unwrap_err();
    assert!(matches!(error, ReserveError::Store(store::StoreError::Closed)), "{error:?}");
}

#[tokio::test]
async fn totals_count_issued_invoices_of_the_platform_only() {
    let bench = bench().await;
    let (bureau, platform) = (Bureau::with(1000), "A".repeat(20).parse().unwrap());
    let other = Claim { platform_id: "b".repeat(20), ..blue(4, 10) };
    let claims = vec![blue(1, 10), blue(2, 20), super::red(3, 10, 1), other, blue(5, 40)];
    let reservation = bench.reserve(1, claims, &bureau).await.unwrap();
    let acceptance_no = Some("S1".to_owned());
    bench.ledger.settle(reservation, Settlement::Accepted { acceptance_no }).await.unwrap();
    assert_eq!(bench.ledger.entries_by_acceptance("S1").await.unwrap().len(), 5);
    let issued = crate::leqi::messages::InvoiceStatus::Issued;
    let results: Vec<_> = (1..5).map(|n| super::result(n, issued.clone())).collect();
    assert_eq!(bench.ledger.observe_results(None, "S1", &results).await.unwrap().issued, 4);
    let totals = bench.ledger.totals(&issuer(), &platform, period()).await.unwrap();
    assert_eq!((totals.blue_count, totals.blue_net), (2, yuan(30)));
    assert_eq!((totals.red_count, totals.red_net), (1, yuan(-10)));
}

#[tokio::test]
async fn a_transfer_is_remembered_across_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.db");
    let request = QuotaTransfer {
        tax_no: issuer(),
        platform_id: "a".repeat(20).parse().unwrap(),
        direction: Direction::Download,
        amount: yuan(500),
        serial: "A".to_owned(),
    };
    let answer = QuotaTransferAnswer::default();
    let bench = open(&path, Duration::ZERO).await;
    bench.ledger.sync(&issuer(), &Bureau::with(1000)).await.unwrap();
    bench.ledger.begin_transfer(&request).await.unwrap().unwrap();
    let bench = open(&path, Duration::ZERO).await;
    for _ in 0..2 {
        let mark = bench.ledger.begin_transfer(&request).await.unwrap().unwrap();
        bench.ledger.observe_transfer(&request, &answer, &mark).await.unwrap();
        assert_eq!(bench.available().await, yuan(1500));
    }
    bench.ledger.observe_transfer_refused(&request, "X", "不行").await.unwrap();
    bench
        .ledger
        .observe_transfer_unclear(&request, &bench.ledger.mark(&issuer()).await.unwrap(), "cut")
        .await
        .unwrap();
    assert_eq!(bench.available().await, yuan(1500));
    assert!(bench.ledger.verify(period()).await.unwrap().is_empty());
}

/// protocol.md §4: credit is never used across months.
#[tokio::test]
async fn invoices_of_months_that_have_not_begun_or_are_long_over_are_refused_by_their_date() {
    let bench = bench().await;
    let bureau = Bureau::with(1000);
    for date in ["2026-09-30 23:59:59", "2025-11-23 10:00:00", "2026-12-01 00:00:00"] {
        let claim = Claim { dated_at: at(date), ..blue(1, 10) };
        let told = refusal(bench.reserve(1, vec![claim], &bureau).await.unwrap_err());
        assert!(matches!(told, Refusal::Date { .. }) && told.message().contains("kprq"), "{date}: {told}");
    }
    assert_eq!(bureau.asked.load(Ordering::SeqCst), 0);
}
