//! One measurement: accounts with their balances, callers, and the books afterwards.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use futures_util::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use leqi_gateway::{
    clock::Clock,
    domain::{ExchangeIds, InvoiceNo, Money, Period, TaxNo},
    leqi::messages::QuotaBalance,
    quota::{self, Claim, Ledger, Mode, QuotaSource, Upload},
    store::{self, Store, ledger::AccountFilter},
    telemetry::metrics::Metrics,
};

use crate::{
    Figures,
    engine::{Engine, Stat, TICKS},
};

/// What each reservation holds.
const CREDIT: Money = Money::from_fen(100);
/// What each account has: enough for whatever is reserved of it.
const DOWNLOADED: Money = Money::from_fen(100_000_000_000);

/// One gateway's part.
struct Gateway {
    store: Store,
    ledger: Ledger,
    ids: ExchangeIds,
}

impl Gateway {
    async fn open(url: &str, clock: &Clock) -> anyhow::Result<Self> {
        let metrics = Metrics::new()?;
        let config = store::Config { url: url.to_owned(), ..store::Config::default() };
        let store = store::open(&config, &store::Metrics::register(&metrics)?).await?;
        let metrics = quota::Metrics::register(&metrics)?;
        let ledger =
            Ledger::new(Arc::clone(&store.ledger), clock.clone(), quota::Config::default(), &metrics);
        let ids = ExchangeIds::of(store.node(), None);
        Ok(Self { store, ledger, ids })
    }
}

/// Every account has its balance: whoever asks for one has found a fault.
struct Nobody;

impl QuotaSource for Nobody {
    fn balance<'a>(&'a self, issuer: &'a TaxNo) -> BoxFuture<'a, Result<QuotaBalance, String>> {
        Box::pin(async move { Err(format!("the balance of {issuer} is not in the books")) })
    }
}

/// So many accounts, so many gateways on one database.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) accounts: u64,
    pub(crate) gateways: usize,
}

/// So many callers at each gateway, which reserve so often altogether.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) callers: usize,
    pub(crate) reservations: u64,
}

impl Case {
    /// Measures one load after the other on a new database, and looks at its books.
    pub(crate) async fn run(self, engine: &Engine, loads: &[Load]) -> anyhow::Result<Vec<Figures>> {
        let clock = Clock::system();
        let period = clock.period();
        let (url, remove) = engine.database()?;
        let mut gateways = Vec::new();
        for _ in 0..self.gateways {
            gateways.push(Arc::new(Gateway::open(&url, &clock).await?));
        }
        self.fund(&gateways[0], period).await?;
        let (mut measured, mut reserved) = (Vec::new(), 0);
        for load in loads {
            let numbers = reserved..reserved + load.reservations;
            reserved = numbers.end;
            measured.push(self.measure(engine, &gateways, &clock, load.callers, numbers).await?);
        }
        self.verify(&gateways[0], period, reserved).await?;
        for gateway in gateways {
            gateway.store.close().await;
        }
        remove.now()?;
        Ok(measured)
    }

    async fn measure(
        self,
        engine: &Engine,
        gateways: &[Arc<Gateway>],
        clock: &Clock,
        callers: usize,
        numbers: Range<u64>,
    ) -> anyhow::Result<Figures> {
        let reservations = numbers.end - numbers.start;
        let before = (own_ticks()?, engine.server_ticks()?);
        let (elapsed, mut waited) = self.reserve(gateways, clock, callers, numbers).await?;
        let after = (own_ticks()?, engine.server_ticks()?);
        waited.sort_unstable();
        let place = |percent: usize| waited[(waited.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        let each = |ticks: u64| ticks as f64 / TICKS as f64 * 1e6 / reservations as f64;
        Ok(Figures {
            rate: reservations as f64 / elapsed.as_secs_f64(),
            own: each(after.0 - before.0),
            server: each(after.1.saturating_sub(before.1)),
            median: place(50),
            p99: place(99),
        })
    }

    /// Gives every account its balance, as an observed answer of the platform does.
    async fn fund(self, gateway: &Arc<Gateway>, period: Period) -> anyhow::Result<()> {
        let balance = QuotaBalance {
            suspended: false,
            month_total: DOWNLOADED,
            available: Money::ZERO,
            downloaded: DOWNLOADED,
            unused: DOWNLOADED,
            period,
        };
        stream::iter(0..self.accounts)
            .map(|account| {
                let (ledger, balance) = (gateway.ledger.clone(), balance.clone());
                async move {
                    let issuer = issuer(account)?;
                    let mark = ledger.mark(&issuer).await?;
                    ledger.observe_balance(&issuer, &balance, &mark).await.context("a balance")
                }
            })
            .buffer_unordered(256)
            .try_for_each(|_| async { Ok(()) })
            .await
    }

    /// All callers at once, each with one reservation after the other, until all are made; how long it took altogether
    /// and each of them.
    async fn reserve(
        self,
        gateways: &[Arc<Gateway>],
        clock: &Clock,
        callers: usize,
        numbers: Range<u64>,
    ) -> anyhow::Result<(Duration, Vec<Duration>)> {
        let (next, end) = (Arc::new(AtomicU64::new(numbers.start)), numbers.end);
        let start = Instant::now();
        let callers: Vec<_> = gateways
            .iter()
            .flat_map(|gateway| (0..callers).map(move |_| Arc::clone(gateway)))
            .map(|gateway| {
                let (next, clock) = (Arc::clone(&next), clock.clone());
                tokio::spawn(async move {
                    let mut waited = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= end {
                            return anyhow::Ok(waited);
                        }
                        let upload = self.upload(number, &gateway, &clock)?;
                        let asked = Instant::now();
                        let mut reservation = gateway.ledger.reserve(&upload, &Nobody).await?;
                        waited.push(asked.elapsed());
                        // dropped, its credit stays held, as that of an upload whose outcome is not known yet
                        reservation.sending();
                    }
                })
            })
            .collect();
        let mut waited = Vec::new();
        for caller in callers {
            waited.extend(caller.await??);
        }
        Ok((start.elapsed(), waited))
    }

    /// One new invoice of an account at random.
    fn upload(self, number: u64, gateway: &Gateway, clock: &Clock) -> anyhow::Result<Upload> {
        let now = clock.now();
        let year = clock.today().year() % 100;
        let claim = Claim {
            invoice_no: InvoiceNo::parse(&format!("{year:02}{number:018}"))?,
            dated_at: now,
            platform_id: "a".repeat(20),
            red: false,
            net: CREDIT,
            tax: Money::ZERO,
            credit: CREDIT,
            reversed_no: None,
            allowance: false,
        };
        Ok(Upload {
            exchange: gateway.ids.next(now),
            issuer: issuer(scattered(number) % self.accounts)?,
            mode: Mode::Enforce,
            claims: vec![claim],
            allowance_returns: false,
            intent: None,
        })
    }

    /// Accounts, invoices and events must all add up to what was reserved.
    async fn verify(self, gateway: &Gateway, period: Period, reservations: u64) -> anyhow::Result<()> {
        let table = &gateway.store.ledger;
        let mismatches = table.verify(period).await?;
        ensure!(mismatches.is_empty(), "accounts that are not what their invoices add up to: {mismatches:?}");
        let mut filter = AccountFilter { period: Some(period), after: None, limit: 1000 };
        let (mut accounts, mut held) = (0, Money::ZERO);
        loop {
            let page = table.accounts(&filter).await?;
            let Some(last) = page.last() else { break };
            filter.after = Some(last.key.clone());
            accounts += page.len() as u64;
            held = page.iter().fold(held, |held, account| held.saturating_add(account.figures.reserved));
        }
        let expected = CREDIT.fen() * i64::try_from(reservations)?;
        ensure!(
            accounts == self.accounts && held.fen() == expected,
            "{reservations} reservations of {} accounts hold {} fen of {accounts} accounts, not {expected}",
            self.accounts,
            held.fen()
        );
        Ok(())
    }
}

/// Processor time of this process so far, in ticks.
fn own_ticks() -> anyhow::Result<u64> {
    Ok(Stat::of("self").context("/proc/self/stat")?.own)
}

/// The tax number of an account, of the older kind without a check digit.
fn issuer(account: u64) -> anyhow::Result<TaxNo> {
    Ok(TaxNo::parse(&format!("4403{account:011}"))?)
}

/// A number that looks like a random one, the same in every run (splitmix64).
const fn scattered(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
