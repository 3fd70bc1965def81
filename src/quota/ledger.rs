//! The service: carries the rules to the store and asks for balances that are missing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use jiff::SignedDuration;

use super::{
    Metrics, Refusal, Reservation,
    evidence::Evidence,
    job::{Beside, run, run_with},
    rules::{self, Mark, Mode, NotReserved, Observed, Reserved, Settled, Settlement, Upload},
    sync::{Flights, QuotaSource, SyncError},
};
use crate::{
    clock::Clock,
    domain::{ExchangeId, InvoiceNo, Money, Period, TaxNo},
    leqi::messages::QuotaBalance,
    store::{
        StoreError,
        ledger::{Account, AccountKey, EntryKey, LedgerKeys, LedgerTable, OwnTransfers},
    },
};

/// Settings of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long after a balance query a shortage does not make another one, per taxpayer.
    pub cooldown: Duration,
    /// How often the gateway asks for a balance by itself at most, per taxpayer (protocol.md §4: once an hour).
    pub balance_interval: Duration,
    /// How long an upload that lacks credit waits for a download.
    pub top_up_wait: Duration,
    /// How long after its acceptance the gateway itself asks for an upload's results.
    pub result_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cooldown: Duration::from_secs(60),
            balance_interval: Duration::from_secs(3600),
            top_up_wait: Duration::from_secs(10),
            result_after: Duration::from_secs(60),
        }
    }
}

/// Why an upload was not reserved.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// The gate says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database failed: nothing is known to be held.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The credit ledger. Cheap to clone.
#[derive(Clone)]
pub struct Ledger(pub(super) Arc<Inner>);

/// What reservations hold on to.
pub(super) struct Inner {
    pub(super) table: Arc<dyn LedgerTable>,
    pub(super) clock: Clock,
    pub(super) config: ArcSwap<Config>,
    pub(super) metrics: Metrics,
    flights: Flights,
}

/// How often a balance is asked for again because something else changed the books meanwhile.
const OVERTAKEN_RETRIES: u8 = 3;

impl Ledger {
    /// A ledger on these tables.
    #[must_use]
    pub fn new(table: Arc<dyn LedgerTable>, clock: Clock, config: Config, metrics: &Metrics) -> Self {
        let (metrics, flights) = (metrics.clone(), Flights::default());
        let config = ArcSwap::from_pointee(config);
        Self(Arc::new(Inner { table, clock, config, metrics, flights }))
    }

    /// Works with these settings from now on.
    pub fn configure(&self, config: Config) {
        self.0.config.store(Arc::new(config));
    }

    /// Holds the credit of all invoices of the upload or of none, committed when this returns. A month that was never
    /// seen is asked for first; a shortage is asked about once per cooldown.
    ///
    /// # Errors
    /// The gate's refusal, or that the database failed.
    pub async fn reserve(
        &self,
        upload: &Upload,
        source: &dyn QuotaSource,
    ) -> Result<Reservation, ReserveError> {
        let started = Instant::now();
        let outcome = self.reserve_with(upload, source).await;
        self.0.metrics.seconds.observe(started.elapsed().as_secs_f64());
        match &outcome {
            Ok(reservation) => {
                let invoices = u64::try_from(reservation.invoices.len()).unwrap_or(u64::MAX);
                self.0.metrics.reserved.inc_by(invoices);
            }
            Err(ReserveError::Refused(refusal)) => {
                self.0.metrics.refused.with_label_values(&[refusal.code()]).inc();
            }
            Err(ReserveError::Store(_)) => {}
        }
        outcome
    }

    async fn reserve_with(
        &self,
        upload: &Upload,
        source: &dyn QuotaSource,
    ) -> Result<Reservation, ReserveError> {
        let refusal = match self.0.try_reserve(upload).await? {
            Ok(reservation) => return Ok(reservation),
            Err(NotReserved::Unknown(key)) => {
                self.0.check_month(upload, key.period)?;
                self.ask_unknown(&key, source).await?;
                None
            }
            Err(NotReserved::Refused(refusal)) => {
                let short = refusal.short_of();
                let asked = match &short {
                    Some(key) => self.ask_short(key, source).await?,
                    None => false,
                };
                (!asked).then_some(refusal)
            }
        };
        if let Some(refusal) = refusal {
            return Err(refusal.into());
        }
        match self.0.try_reserve(upload).await? {
            Ok(reservation) => Ok(reservation),
            Err(NotReserved::Refused(refusal)) => Err(refusal.into()),
            Err(NotReserved::Unknown(AccountKey { issuer, period })) => {
                let reason = "平台返回的税款所属期不是该月".to_owned();
                Err(Refusal::NoBalance { issuer, period, reason }.into())
            }
        }
    }

    /// The platform tells the current month's balance only.
    async fn ask_unknown(&self, key: &AccountKey, source: &dyn QuotaSource) -> Result<(), ReserveError> {
        let (issuer, period) = (key.issuer.clone(), key.period);
        if period != self.0.clock.period() {
            return Err(Refusal::PastMonth { issuer, period }.into());
        }
        match self.0.ask(&key.issuer, Duration::ZERO, source).await {
            Ok(_) => Ok(()),
            Err(SyncError::Store(error)) => Err(error.into()),
            Err(SyncError::Source(reason)) => Err(Refusal::NoBalance { issuer, period, reason }.into()),
        }
    }

    /// Whether a newer balance was taken over, so that it is worth trying again.
    async fn ask_short(&self, key: &AccountKey, source: &dyn QuotaSource) -> Result<bool, StoreError> {
        if key.period != self.0.clock.period() {
            return Ok(false);
        }
        let account = self.0.table.account(key).await?;
        let stale = account.is_some_and(|account| account.stale);
        let cooldown = if stale { Duration::ZERO } else { self.0.config.load().cooldown };
        match self.0.ask(&key.issuer, cooldown, source).await {
            Ok(asked) => Ok(asked),
            Err(SyncError::Store(error)) => Err(error),
            Err(SyncError::Source(reason)) => {
                tracing::warn!(issuer = %key.issuer, %reason, "credit is short and the balance could not be asked for");
                Ok(false)
            }
        }
    }

    /// Settles an upload, committed when this returns.
    ///
    /// # Errors
    /// When the database failed: the credit stays held.
    pub async fn settle(
        &self,
        mut reservation: Reservation,
        settlement: Settlement,
    ) -> Result<Settled, StoreError> {
        // what is unclear changes nothing, and needs no commit
        if reservation.invoices.is_empty() || settlement == Settlement::Unclear {
            reservation.settled = true;
            return Ok(Settled::default());
        }
        let (issuer, exchange) = (reservation.issuer.clone(), reservation.exchange);
        let invoices = reservation.invoices.clone();
        let settled = self.0.settle(issuer.clone(), exchange, invoices.clone(), settlement.clone()).await;
        reservation.settled = true;
        match settled {
            Err(error) => {
                let evidence = Evidence::Settlement { issuer, exchange, invoices, settlement };
                self.keep(evidence, error).await.map(|()| Settled::default())
            }
            settled => settled,
        }
    }

    /// Asks the platform for the taxpayer's balance now and follows it.
    ///
    /// # Errors
    /// When the platform could not be asked, or the database failed.
    pub async fn sync(&self, issuer: &TaxNo, source: &dyn QuotaSource) -> Result<Option<Account>, SyncError> {
        self.0.ask(issuer, Duration::ZERO, source).await?;
        let key = AccountKey { issuer: issuer.clone(), period: self.0.clock.period() };
        Ok(self.0.table.account(&key).await?)
    }
}

/// The day of the next month from which on a month takes no more uploads, at 0:00 (protocol.md §4).
pub(super) const LAST_UPLOADS: i8 = 13;
/// How far the clocks of invoicing systems may be ahead.
const SKEW: SignedDuration = SignedDuration::from_mins(10);

impl Inner {
    /// The month of an invoice must have begun, and be this one or the last.
    fn check_month(&self, upload: &Upload, period: Period) -> Result<(), Refusal> {
        let (now, this) = (self.clock.now(), self.clock.period());
        let latest = Period::at(now.checked_add(SKEW).unwrap_or(now));
        let wrong = upload.claims.iter().find(|claim| claim.period() == period);
        let wrong = wrong.filter(|_| !(this.previous()..=latest).contains(&period));
        wrong.map_or(Ok(()), |claim| {
            let (invoice_no, date) = (claim.invoice_no.clone(), claim.day());
            Err(Refusal::Date { invoice_no, date, today: self.clock.today() })
        })
    }

    async fn try_reserve(
        self: &Arc<Self>,
        upload: &Upload,
    ) -> Result<Result<Reservation, NotReserved>, StoreError> {
        let reservation = {
            let (ledger, issuer, exchange) = (Arc::clone(self), upload.issuer.clone(), upload.exchange);
            move |Reserved { invoices, held, left }| Reservation {
                ledger,
                issuer,
                exchange,
                invoices,
                held,
                left,
                sending: false,
                settled: false,
            }
        };
        if upload.mode == Mode::Off {
            return Ok(Ok(reservation(Reserved { invoices: Vec::new(), held: Money::ZERO, left: None })));
        }
        let (now, upload) = (self.clock.now(), upload.clone());
        let keys = upload.keys();
        let intent = upload.intent.clone();
        let beside = intent.map(|record| Beside { record, when: Result::<Reserved, NotReserved>::is_ok });
        let decide = move |books: &mut _| rules::reserve(books, &upload, now);
        let made = move |decided: Result<_, _>| decided.map(reservation);
        run_with(&*self.table, keys, beside, decide, made).await
    }

    pub(super) async fn settle(
        &self,
        issuer: TaxNo,
        exchange: ExchangeId,
        invoices: Vec<InvoiceNo>,
        settlement: Settlement,
    ) -> Result<Settled, StoreError> {
        let now = self.clock.now();
        let named =
            |invoice_no: &InvoiceNo| EntryKey { issuer: issuer.clone(), invoice_no: invoice_no.clone() };
        let keys = LedgerKeys { entries: invoices.iter().map(named).collect(), ..LedgerKeys::default() };
        let decide =
            move |books: &mut _| rules::settle(books, &issuer, exchange, &invoices, &settlement, now);
        let settled = run(&*self.table, keys, decide, |settled| settled).await?;
        self.count(&settled);
        Ok(settled)
    }

    pub(super) async fn ask(
        &self,
        issuer: &TaxNo,
        cooldown: Duration,
        source: &dyn QuotaSource,
    ) -> Result<bool, SyncError> {
        let query = async || {
            let outcome = self.query(issuer, source).await;
            let label = if outcome.is_ok() { "ok" } else { "failed" };
            self.metrics.syncs.with_label_values(&[label]).inc();
            outcome
        };
        self.flights.ask(issuer, cooldown, query).await
    }

    async fn query(&self, issuer: &TaxNo, source: &dyn QuotaSource) -> Result<(), SyncError> {
        for _ in 0..OVERTAKEN_RETRIES {
            let mark = self.mark(issuer).await?;
            let balance = source.balance(issuer).await.map_err(SyncError::Source)?;
            if self.observe_balance(issuer, &balance, &mark).await? == Observed::Applied {
                return Ok(());
            }
        }
        Err(SyncError::Source("额度查询期间余额多次变动，请稍后重试".to_owned()))
    }

    pub(super) async fn mark(&self, issuer: &TaxNo) -> Result<Mark, StoreError> {
        let key = AccountKey { issuer: issuer.clone(), period: self.clock.period() };
        let account = self.table.account(&key).await?;
        Ok(rules::mark(key, account.as_ref()))
    }

    pub(super) async fn observe_balance(
        &self,
        issuer: &TaxNo,
        balance: &QuotaBalance,
        mark: &Mark,
    ) -> Result<Observed, StoreError> {
        let now = self.clock.now();
        let key = AccountKey { issuer: issuer.clone(), period: balance.period };
        let own_transfers = vec![OwnTransfers { issuer: issuer.clone(), origin: None }];
        let keys = LedgerKeys { accounts: vec![key], own_transfers, ..LedgerKeys::default() };
        let (issuer, balance, mark) = (issuer.clone(), balance.clone(), mark.clone());
        let decide = move |books: &mut _| rules::balance(books, &issuer, &balance, &mark, now);
        let observed = run(&*self.table, keys, decide, |observed| observed).await?;
        self.note(observed);
        Ok(observed)
    }

    pub(super) fn note(&self, observed: Observed) {
        if observed == Observed::Overtaken {
            self.metrics.overtaken.inc();
        }
    }

    pub(super) fn count(&self, settled: &Settled) {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        self.metrics.issued.inc_by(count(settled.issued));
        self.metrics.released.inc_by(count(settled.released));
        self.metrics.overdrawn.inc_by(count(settled.overdrawn.len()));
        self.metrics.late.inc_by(count(settled.late.len()));
        self.metrics.contradicted.inc_by(count(settled.contradicted.len()));
        for entry in &settled.contradicted {
            tracing::error!(issuer = %entry.issuer, invoice_no = %entry.invoice_no,
                "the platform says that an invoice failed which counts as issued; look it up there, the books keep it");
        }
        for entry in &settled.late {
            tracing::error!(issuer = %entry.issuer, invoice_no = %entry.invoice_no,
                "an invoice was issued after its credit had been given free; it is booked");
        }
        for entry in &settled.overdrawn {
            tracing::error!(issuer = %entry.issuer, invoice_no = %entry.invoice_no,
                "an invoice was issued after its credit had been given free and used otherwise: the month is overdrawn");
        }
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}
