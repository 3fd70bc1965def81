//! Invoices of unknown outcome: asked about while the platform knows their acceptance, else compared with the balance.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{Calls, Desk, Transfers};
use crate::{
    domain::{Period, TaxNo},
    leqi::client::CallEnded,
    quota::{
        job::run,
        ledger::LAST_UPLOADS,
        rules::{self, Comparison, Settled},
    },
    store::{
        StoreError,
        ledger::{AccountKey, Entry, EntryKey, LedgerKeys, OwnTransfers},
    },
};

/// How long `CXQDFPSCJG` knows an acceptance (protocol.md §3).
const ACCEPTANCE_GOOD: SignedDuration = SignedDuration::from_hours(rules::ACCEPTANCE_HOURS);
/// Only invoices that nothing happened to for so long are settled by a balance: no upload of them is still on its way.
const QUIET: SignedDuration = SignedDuration::from_mins(30);
/// After so long somebody must look: the invoice can no longer be uploaded either (protocol.md §4).
const OVERDUE: SignedDuration = SignedDuration::from_hours(48);
/// Pauses between questions about one acceptance grow from the first to the last.
const PAUSES: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(30), SignedDuration::from_mins(30));
/// Entries of one page, and pages of one go.
const PAGE: (u32, usize) = (500, 200);
/// Overdue invoices that are logged by number in one go.
const NAMED: usize = 20;

/// What a go came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Open invoices that were looked at.
    pub open: usize,
    /// Questions about acceptances that were asked.
    pub asked: usize,
    /// Balances that were compared.
    pub compared: usize,
    /// Invoices now known to be issued.
    pub issued: usize,
    /// Invoices whose credit is free again.
    pub released: usize,
    /// Invoices that have been open for 48 hours or more.
    pub overdue: usize,
}

/// What was given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Invoices of months that take no more uploads.
    pub invoices: usize,
}

/// What the reconciler remembers from one go to the next. Lost at a restart, which costs a few questions more.
#[derive(Default)]
pub(super) struct Memory {
    /// When to ask about an acceptance next, and after which pause it was.
    asked: HashMap<String, (Timestamp, SignedDuration)>,
    /// When a taxpayer's balance was last compared.
    compared: HashMap<TaxNo, Timestamp>,
    /// Overdue invoices that were logged.
    named: HashSet<EntryKey>,
}

/// What the open invoices ask for.
#[derive(Default)]
struct Work {
    acceptances: BTreeMap<String, TaxNo>,
    compare: BTreeSet<TaxNo>,
    overdue: Vec<EntryKey>,
    open: usize,
}

impl Transfers {
    /// Resolves what it can of the open invoices, within the calls it may make.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reconcile(&self, calls: &mut Calls) -> Result<Reconciled, StoreError> {
        self.refresh_settings().await?;
        let work = self.0.work().await?;
        let mut done = Reconciled { open: work.open, overdue: work.overdue.len(), ..Reconciled::default() };
        self.0.alert(&work.overdue);
        let mut unreachable = false;
        for (acceptance_no, issuer) in &work.acceptances {
            if unreachable || !self.0.is_due(acceptance_no) || !calls.take() {
                continue;
            }
            done.asked += 1;
            match self.0.ask_results(issuer, acceptance_no).await {
                Ok(settled) => done.count(&settled, &self.0, "result"),
                Err(Asked::Store(error)) => return Err(error),
                Err(Asked::Unreachable) => unreachable = true,
                Err(Asked::Nothing) => {}
            }
        }
        for issuer in &work.compare {
            if unreachable || !self.0.may_compare(issuer) || !calls.take() {
                continue;
            }
            done.compared += 1;
            done.count(&self.0.compare_balance(issuer).await?, &self.0, "balance");
        }
        self.0.forget(&work);
        Ok(done)
    }

    /// Gives up what is still reserved of months that take no more uploads (protocol.md §4: the 13th, 0:00). Their
    /// credit is of no use any more; a success that is seen later is still booked, with an alarm.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expire(&self, actor: &str) -> Result<Expired, StoreError> {
        let mut expired = Expired::default();
        let closed = closed_months(self.0.now());
        loop {
            let open = self.0.ledger.0.table.open_until(closed, PAGE.0).await?;
            if open.is_empty() {
                break;
            }
            let keys: Vec<_> = open.iter().map(|entry| entry.key.clone()).collect();
            let loaded = LedgerKeys { entries: keys.clone(), ..LedgerKeys::default() };
            let now = self.0.now();
            let decide = move |books: &mut _| rules::expire(books, &keys, now);
            let count = run(&*self.0.ledger.0.table, loaded, decide, |count| count).await?;
            expired.invoices += count;
            for entry in open.iter().take(NAMED) {
                tracing::error!(issuer = %entry.key.issuer, invoice_no = %entry.key.invoice_no, period = %entry.period,
                    "the month of an invoice takes no more uploads and its outcome was never known; its credit is given up");
            }
            let detail = serde_json::json!({ "invoices": count, "until": closed });
            if let Some(entry) = open.first() {
                self.0.note(actor, "quota.expire", &entry.key.issuer, &detail).await?;
            }
        }
        self.0.count_resolved("expiry", "released", expired.invoices);
        Ok(expired)
    }
}

/// The latest month that takes no more uploads.
fn closed_months(now: Timestamp) -> Period {
    let last = Period::at(now).previous();
    if crate::domain::beijing_day(now).day() >= LAST_UPLOADS { last } else { last.previous() }
}

/// Why a question told nothing.
enum Asked {
    Nothing,
    Store(StoreError),
    Unreachable,
}

impl Reconciled {
    fn count(&mut self, settled: &Settled, desk: &Desk, by: &str) {
        self.issued += settled.issued;
        self.released += settled.released;
        desk.count_resolved(by, "issued", settled.issued);
        desk.count_resolved(by, "released", settled.released);
    }
}

impl Desk {
    fn count_resolved(&self, by: &str, outcome: &str, invoices: usize) {
        let invoices = u64::try_from(invoices).unwrap_or(u64::MAX);
        self.ledger.0.metrics.resolved.with_label_values(&[by, outcome]).inc_by(invoices);
    }

    async fn work(&self) -> Result<Work, StoreError> {
        let (now, mut work, mut after) = (self.now(), Work::default(), None);
        let since = before(now, signed(self.ledger.0.config.load().result_after));
        for _ in 0..PAGE.1 {
            let page = self.ledger.open_entries(since, after, PAGE.0).await?;
            let full = page.len() >= usize::try_from(PAGE.0).unwrap_or(usize::MAX);
            after = page.last().map(|entry| (entry.updated_at, entry.key.clone()));
            page.iter().for_each(|entry| work.add(entry, now));
            if !full {
                break;
            }
        }
        Ok(work)
    }

    /// Shows how many are overdue, and names each once.
    fn alert(&self, overdue: &[EntryKey]) {
        self.ledger.0.metrics.overdue.set(i64::try_from(overdue.len()).unwrap_or(i64::MAX));
        let mut memory = self.memory();
        memory.named.retain(|key| overdue.contains(key));
        for key in overdue {
            if memory.named.len() >= NAMED || !memory.named.insert(key.clone()) {
                continue;
            }
            tracing::error!(issuer = %key.issuer, invoice_no = %key.invoice_no,
                "what became of an invoice is unknown after 48 hours; its credit stays held: look at the platform and settle it there");
        }
    }

    fn is_due(&self, acceptance_no: &str) -> bool {
        self.memory().asked.get(acceptance_no).is_none_or(|(next, _)| *next <= self.now())
    }

    async fn ask_results(&self, issuer: &TaxNo, acceptance_no: &str) -> Result<Settled, Asked> {
        self.put_off(acceptance_no);
        match self.bureau.results(issuer, acceptance_no).await {
            Ok(answer) => {
                let settled = self.ledger.observe_results(Some(issuer), acceptance_no, &answer.results).await;
                settled.map_err(Asked::Store)
            }
            Err(CallEnded::NotSent(reason)) => {
                tracing::warn!(%reason, "the platform cannot be asked about open invoices");
                Err(Asked::Unreachable)
            }
            Err(error @ (CallEnded::Refused { .. } | CallEnded::Unclear(_))) => {
                tracing::warn!(%issuer, %error, "the platform did not tell what became of an upload");
                Err(Asked::Nothing)
            }
        }
    }

    /// The next question about the acceptance is later, by a pause that grows.
    fn put_off(&self, acceptance_no: &str) {
        let now = self.now();
        let mut memory = self.memory();
        let pause = memory.asked.get(acceptance_no).map_or(PAUSES.0, |(_, last)| (*last * 2).min(PAUSES.1));
        let next = now.checked_add(pause).unwrap_or(Timestamp::MAX);
        memory.asked.insert(acceptance_no.to_owned(), (next, pause));
    }

    fn may_compare(&self, issuer: &TaxNo) -> bool {
        let now = self.now();
        let interval = signed(self.ledger.0.config.load().balance_interval);
        let mut memory = self.memory();
        if memory.compared.get(issuer).is_some_and(|last| now.duration_since(*last) < interval) {
            return false;
        }
        memory.compared.insert(issuer.clone(), now);
        true
    }

    async fn compare_balance(&self, issuer: &TaxNo) -> Result<Settled, StoreError> {
        let mark = self.ledger.mark(issuer).await?;
        let seen = match self.bureau.balance(issuer).await {
            Ok(seen) => seen,
            Err(reason) => {
                tracing::warn!(%issuer, %reason, "no balance to compare open invoices with");
                return Ok(Settled::default());
            }
        };
        let key = AccountKey { issuer: issuer.clone(), period: seen.period };
        let own_transfers = vec![OwnTransfers { issuer: issuer.clone(), origin: None }];
        let keys = LedgerKeys { open_of: vec![key], own_transfers, ..LedgerKeys::default() };
        let (issuer, now) = (issuer.clone(), self.now());
        let quiet_since = before(now, QUIET);
        let decide = {
            let issuer = issuer.clone();
            move |books: &mut _| rules::compare(books, &issuer, &seen, &mark, quiet_since, now)
        };
        match run(&*self.ledger.0.table, keys, decide, |comparison| comparison).await? {
            Comparison::Proven(settled) => {
                self.ledger.0.count(&settled);
                Ok(settled)
            }
            comparison @ (Comparison::Overtaken | Comparison::Undecided) => {
                tracing::info!(%issuer, ?comparison, "the balance does not tell what became of open invoices");
                Ok(Settled::default())
            }
        }
    }

    fn forget(&self, work: &Work) {
        self.memory().asked.retain(|acceptance_no, _| work.acceptances.contains_key(acceptance_no));
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    fn add(&mut self, entry: &Entry, now: Timestamp) {
        self.open += 1;
        let mut can_be_asked = false;
        for send in &entry.sends {
            if let Some(acceptance_no) = &send.acceptance_no
                && now.duration_since(send.exchange.opened_at()) < ACCEPTANCE_GOOD
            {
                can_be_asked = true;
                self.acceptances.insert(acceptance_no.clone(), entry.key.issuer.clone());
            }
        }
        let untouched = now.duration_since(entry.updated_at);
        // the platform tells the balance of this month only
        if !can_be_asked && untouched >= QUIET && entry.period == Period::at(now) {
            self.compare.insert(entry.key.issuer.clone());
        }
        if untouched >= OVERDUE {
            self.overdue.push(entry.key.clone());
        }
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

fn before(now: Timestamp, duration: SignedDuration) -> Timestamp {
    now.checked_sub(duration).unwrap_or(Timestamp::MIN)
}
