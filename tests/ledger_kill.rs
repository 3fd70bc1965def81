//! The process is killed while it reserves credit; what it had promised is there afterwards.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like the tests")]

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use leqi_gateway::{
    clock::Clock,
    domain::{ExchangeId, InvoiceNo, Money, Period, TaxNo},
    leqi::messages::QuotaBalance,
    quota::{self, Claim, Ledger, Mode, QuotaSource, Upload},
    store::{self, ledger::EntryState},
    telemetry::metrics::Metrics,
};

const DIRECTORY: &str = "LEDGER_KILL_DIRECTORY";
const FIRST: &str = "LEDGER_KILL_FIRST";

struct Bureau;

impl QuotaSource for Bureau {
    fn balance<'a>(&'a self, _: &'a TaxNo) -> BoxFuture<'a, Result<QuotaBalance, String>> {
        Box::pin(async {
            Ok(QuotaBalance {
                suspended: false,
                month_total: Money::ON_DEMAND,
                available: Money::ON_DEMAND,
                downloaded: Money::from_fen(1_000_000_000),
                unused: Money::from_fen(1_000_000_000),
                period: period(),
            })
        })
    }
}

fn issuer() -> TaxNo {
    TaxNo::parse("91350100M000100Y43").unwrap()
}

fn now() -> jiff::Timestamp {
    "2026-11-23T02:00:00Z".parse().unwrap()
}

fn period() -> Period {
    Period::at(now())
}

fn number(n: u64) -> InvoiceNo {
    InvoiceNo::parse(&format!("26{n:018}")).unwrap()
}

async fn open(directory: &Path) -> (store::Store, Ledger) {
    let metrics = Metrics::new().unwrap();
    let url = format!("sqlite://{}", directory.join("gateway.db").display());
    let config = store::Config { url, ..store::Config::default() };
    let store = store::open(&config, &store::Metrics::register(&metrics).unwrap()).await.unwrap();
    let table = Arc::clone(&store.ledger);
    let metrics = quota::Metrics::register(&metrics).unwrap();
    let ledger = Ledger::new(table, Clock::starting_at(now()), quota::Config::default(), &metrics);
    (store, ledger)
}

/// Not a test of its own: the process that is killed. Prints every number whose credit is held.
#[test]
fn child_that_reserves_until_it_is_killed() {
    let (Ok(directory), Ok(first)) = (std::env::var(DIRECTORY), std::env::var(FIRST)) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (_store, ledger) = open(Path::new(&directory)).await;
        let first: u64 = first.parse().unwrap();
        let tasks = (0..8).map(|task| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                for n in 0_u64.. {
                    reserve_and_tell(&ledger, first + n * 8 + task).await;
                }
            })
        });
        futures_util::future::join_all(tasks.collect::<Vec<_>>()).await;
    });
}

async fn reserve_and_tell(ledger: &Ledger, n: u64) {
    let claim = Claim {
        invoice_no: number(n),
        dated_at: now(),
        platform_id: "a".repeat(20),
        red: false,
        net: Money::from_fen(100),
        tax: Money::ZERO,
        credit: Money::from_fen(100),
        reversed_no: None,
        allowance: false,
    };
    let exchange = ExchangeId::from_number(i64::try_from(n).unwrap() + 1);
    let (issuer, claims) = (issuer(), vec![claim]);
    let upload =
        Upload { exchange, issuer, mode: Mode::Enforce, claims, allowance_returns: false, intent: None };
    let mut reservation = ledger.reserve(&upload, &Bureau).await.unwrap();
    reservation.sending();
    let mut out = std::io::stdout().lock();
    writeln!(out, "held {n}").unwrap();
    out.flush().unwrap();
}

#[test]
fn ten_kills_lose_no_reservation_that_was_promised() {
    let directory = tempfile::tempdir().unwrap();
    let mut promised = Vec::new();
    for round in 0..10 {
        promised.extend(kill_after(directory.path(), round * 1_000_000, 20 + round * 37));
    }
    assert!(promised.len() > 1000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (_store, ledger) = open(directory.path()).await;
        for n in &promised {
            let entry = ledger.entry(&issuer(), &number(*n)).await.unwrap();
            assert_eq!(entry.map(|entry| entry.state), Some(EntryState::Reserved), "invoice {n}");
        }
        assert_eq!(ledger.verify(period()).await.unwrap(), [], "entries and events rebuild the balances");
        let figures = ledger.balance(&issuer(), period()).await.unwrap().unwrap().figures;
        assert!(figures.reserved.fen() >= 100 * i64::try_from(promised.len()).unwrap());
    });
}

/// Lets the child reserve from `first` on, kills it once it has promised so many, and gives all that it promised.
fn kill_after(directory: &Path, first: u64, promises: u64) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_reserves_until_it_is_killed", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut promised = Vec::new();
    // a line that the kill cut short promises nothing
    for line in BufReader::new(child.stdout.take().unwrap()).split(b'\n').map_while(Result::ok) {
        let text = String::from_utf8_lossy(&line);
        let number = text.split("held ").nth(1).and_then(|n| n.parse::<u64>().ok());
        promised.extend(number.filter(|n| (first..first + 1_000_000).contains(n)));
        if promised.len() as u64 == promises {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    promised
}
