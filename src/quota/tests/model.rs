//! Random lives of invoices against a platform that keeps its own books and a ledger that is computed naively.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;

use super::{
    balance, blue, issuer, number, period, red, result,
    service::{Bench, Bureau, open, upload},
    yuan,
};
use crate::{
    leqi::messages::InvoiceStatus,
    quota::{Claim, Refusal, ReserveError, Settlement},
    store::ledger::EntryState,
};

/// What becomes of an upload once its credit is held.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Accepted,
    /// The process dies; the platform has it or not.
    Crash(bool),
    NotSent,
    Refused,
    /// The answer is lost; the platform has it or not.
    Unclear(bool),
}

#[derive(Clone, Debug)]
enum Step {
    /// The platform's figures are seen.
    Balance,
    /// The platform works on the oldest upload: which of its invoices it issues.
    Decide(u8),
    /// More credit is downloaded, seen by the next balance.
    Download(i64),
    /// Somebody else uses credit.
    Outside(i64),
    /// Results seen again.
    Repeat(usize),
    Upload(Vec<(u64, i64)>, Fate),
    /// A red invoice of a blue one.
    Reverse(u64, Fate),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        5 => Just(Fate::Accepted),
        1 => any::<bool>().prop_map(Fate::Crash),
        1 => Just(Fate::NotSent),
        2 => Just(Fate::Refused),
        2 => any::<bool>().prop_map(Fate::Unclear),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let batch = prop::collection::btree_map(0_u64..8, 1_i64..60, 1..4);
    prop_oneof![
        6 => (batch, fate()).prop_map(|(batch, fate)| Step::Upload(batch.into_iter().collect(), fate)),
        2 => (0_u64..8, fate()).prop_map(|(n, fate)| Step::Reverse(n, fate)),
        5 => any::<u8>().prop_map(Step::Decide),
        2 => any::<usize>().prop_map(Step::Repeat),
        2 => Just(Step::Balance),
        1 => (1_i64..40).prop_map(Step::Outside),
        1 => (1_i64..100).prop_map(Step::Download),
    ]
}

/// An upload that the platform has and has not worked on.
struct Pending {
    acceptance_no: String,
    claims: Vec<Claim>,
}

/// The truth.
#[derive(Default)]
struct Platform {
    downloaded: i64,
    outside: i64,
    pending: Vec<Pending>,
    /// Issued invoices with the credit they use.
    issued: BTreeMap<u64, i64>,
    answers: Vec<(String, Vec<(u64, InvoiceStatus)>)>,
}

impl Platform {
    fn used(&self) -> i64 {
        self.outside + self.issued.values().sum::<i64>()
    }

    /// The most that it may count once everything it has is issued, each number once.
    fn exposure(&self) -> i64 {
        let mut most: BTreeMap<u64, i64> = BTreeMap::new();
        for claim in self.pending.iter().flat_map(|pending| &pending.claims) {
            let n = n_of(claim);
            if !self.issued.contains_key(&n) {
                let amount = most.entry(n).or_default();
                *amount = (*amount).max(claim.credit.fen() / 100);
            }
        }
        self.issued.values().sum::<i64>() + most.values().sum::<i64>()
    }

    /// Works on its oldest upload.
    fn decide(&mut self, bits: u8) -> Option<(String, Vec<(u64, InvoiceStatus)>)> {
        if self.pending.is_empty() {
            return None;
        }
        let Pending { acceptance_no, claims } = self.pending.remove(0);
        let mut results = Vec::new();
        for (place, claim) in claims.iter().enumerate() {
            let n = n_of(claim);
            let reversible = !claim.red || self.issued.contains_key(&(n - 100));
            let status = if self.issued.contains_key(&n) {
                InvoiceStatus::UploadedBefore
            } else if bits >> (place % 8) & 1 == 1 && reversible {
                let blue = self.issued.get(&(n.wrapping_sub(100))).copied().unwrap_or_default();
                let credit = claim.credit.fen() / 100;
                self.issued.insert(n, if claim.red { credit.max(-blue) } else { credit });
                InvoiceStatus::Issued
            } else {
                InvoiceStatus::Failed
            };
            results.push((n, status));
        }
        self.answers.push((acceptance_no.clone(), results.clone()));
        Some((acceptance_no, results))
    }
}

fn n_of(claim: &Claim) -> u64 {
    claim.invoice_no.as_str()[2..].parse().unwrap()
}

/// The ledger, naively: what each invoice holds and which of its uploads are not proven.
#[derive(Default)]
struct Reference {
    held: BTreeMap<u64, i64>,
    sends: BTreeMap<u64, Vec<(i64, Option<String>)>>,
    issued: BTreeMap<u64, i64>,
    resolved: BTreeSet<u64>,
}

impl Reference {
    fn reserve(&mut self, exchange: i64, claims: &[Claim], credit_of: impl Fn(&Claim) -> i64) {
        for claim in claims {
            let n = n_of(claim);
            if self.issued.contains_key(&n) {
                continue;
            }
            let credit = credit_of(claim);
            let held = self.held.entry(n).or_insert(credit);
            *held = (*held).max(credit);
            self.sends.entry(n).or_default().push((exchange, None));
        }
    }

    fn drop_send(&mut self, n: u64, exchange: i64) {
        let Some(sends) = self.sends.get_mut(&n) else { return };
        sends.retain(|(x, _)| *x != exchange);
        self.release(n);
    }

    fn release(&mut self, n: u64) {
        if self.sends.get(&n).is_some_and(Vec::is_empty) {
            self.sends.remove(&n);
            self.held.remove(&n);
        }
    }

    fn see(&mut self, acceptance_no: &str, n: u64, status: &InvoiceStatus) {
        if self.issued.contains_key(&n) {
            return;
        }
        match status {
            InvoiceStatus::Failed => {
                let Some(sends) = self.sends.get_mut(&n) else { return };
                let of_it = |(_, acc): &(i64, Option<String>)| acc.as_deref() == Some(acceptance_no);
                if let Some(place) = sends.iter().rposition(of_it) {
                    let later = sends.split_off(place + 1);
                    sends.retain(|send| send.1.as_ref().is_some_and(|other| other != acceptance_no));
                    sends.extend(later);
                }
                self.release(n);
            }
            InvoiceStatus::Processing | InvoiceStatus::Other(_) => {}
            InvoiceStatus::Issued | InvoiceStatus::UploadedBefore => {
                let other = |send: &(i64, Option<String>)| send.1.as_deref() != Some(acceptance_no);
                if *status == InvoiceStatus::UploadedBefore
                    && let Some(sends) = self.sends.get_mut(&n)
                    && sends.iter().any(|send| other(send) && send.1.is_some())
                {
                    sends.retain(other);
                    return;
                }
                if let Some(held) = self.held.remove(&n) {
                    self.sends.remove(&n);
                    self.issued.insert(n, held);
                    assert!(self.resolved.insert(n), "every invoice is issued once");
                }
            }
        }
    }
}

struct World {
    directory: tempfile::TempDir,
    bench: Bench,
    platform: Platform,
    reference: Reference,
    exchange: i64,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bench = open(&directory.path().join("gateway.db"), Duration::from_secs(600)).await;
        let platform = Platform { downloaded: 200, ..Platform::default() };
        let mut world = Self { directory, bench, platform, reference: Reference::default(), exchange: 0 };
        world.balance().await;
        world
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Balance => self.balance().await,
            Step::Decide(bits) => {
                if let Some((acceptance_no, results)) = self.platform.decide(bits) {
                    self.see(&acceptance_no, &results).await;
                }
            }
            Step::Download(amount) => self.platform.downloaded += amount,
            Step::Outside(amount) => {
                // seen while uploads are under way, it could as well be theirs: no ledger can tell
                let free = self.platform.downloaded - self.platform.outside - self.platform.exposure();
                if self.reference.held.is_empty() && free >= amount {
                    self.platform.outside += amount;
                    self.balance().await;
                }
            }
            Step::Repeat(which) => {
                let answers = &self.platform.answers;
                if let Some((acceptance_no, results)) = answers.get(which % answers.len().max(1)).cloned() {
                    self.see(&acceptance_no, &results).await;
                }
            }
            Step::Upload(batch, fate) => {
                self.upload(batch.into_iter().map(|(n, amount)| blue(n, amount)).collect(), fate).await;
            }
            Step::Reverse(n, fate) => {
                let Some(amount) = self.platform.issued.get(&n).copied() else { return };
                self.upload(vec![red(n + 100, amount, n)], fate).await;
            }
        }
        self.check().await;
    }

    async fn upload(&mut self, claims: Vec<Claim>, fate: Fate) {
        self.exchange += 1;
        let exchange = self.exchange;
        let bureau = Bureau { used: self.platform.used(), ..Bureau::with(self.platform.downloaded) };
        let mut reservation =
            match self.bench.ledger.reserve(&upload(exchange, claims.clone()), &bureau).await {
                Ok(reservation) => reservation,
                Err(ReserveError::Refused(Refusal::Short { available, needed, .. })) => {
                    assert!(needed > available);
                    return;
                }
                Err(error) => panic!("{error}"),
            };
        reservation.sending();
        let blue_credit = |n: u64| {
            let held = self.reference.held.get(&n).or_else(|| self.reference.issued.get(&n));
            held.copied().unwrap_or_default().max(0)
        };
        let credits: BTreeMap<u64, i64> = claims
            .iter()
            .map(|claim| {
                let (n, credit) = (n_of(claim), claim.credit.fen() / 100);
                (n, if claim.red { credit.max(-blue_credit(n - 100)) } else { credit })
            })
            .collect();
        self.reference.reserve(exchange, &claims, |claim| credits[&n_of(claim)]);
        let acceptance_no = format!("S{exchange}");
        if matches!(fate, Fate::Accepted | Fate::Crash(true) | Fate::Unclear(true)) {
            self.platform
                .pending
                .push(Pending { acceptance_no: acceptance_no.clone(), claims: claims.clone() });
        }
        match fate {
            Fate::Accepted => {
                for sends in self.reference.sends.values_mut() {
                    for send in sends.iter_mut().filter(|send| send.0 == exchange) {
                        send.1 = Some(acceptance_no.clone());
                    }
                }
                let acceptance_no = Some(acceptance_no);
                self.bench.ledger.settle(reservation, Settlement::Accepted { acceptance_no }).await.unwrap();
            }
            Fate::NotSent => {
                claims.iter().for_each(|claim| self.reference.drop_send(n_of(claim), exchange));
                self.bench.ledger.settle(reservation, Settlement::NotSent).await.unwrap();
            }
            Fate::Refused => {
                claims.iter().for_each(|claim| self.reference.drop_send(n_of(claim), exchange));
                let refused = Settlement::Refused { code: "1".to_owned(), text: String::new() };
                self.bench.ledger.settle(reservation, refused).await.unwrap();
            }
            Fate::Unclear(_) => {
                self.bench.ledger.settle(reservation, Settlement::Unclear).await.unwrap();
            }
            Fate::Crash(_) => {
                std::mem::forget(reservation);
                self.bench = open(&self.directory.path().join("gateway.db"), Duration::from_secs(600)).await;
            }
        }
    }

    async fn see(&mut self, acceptance_no: &str, results: &[(u64, InvoiceStatus)]) {
        for (n, status) in results {
            self.reference.see(acceptance_no, *n, status);
        }
        let results: Vec<_> = results.iter().map(|(n, status)| result(*n, status.clone())).collect();
        self.bench.ledger.observe_results(Some(&issuer()), acceptance_no, &results).await.unwrap();
    }

    async fn balance(&mut self) {
        let ledger = &self.bench.ledger;
        let mark = ledger.mark(&issuer()).await.unwrap();
        let seen = balance(self.platform.downloaded, self.platform.downloaded - self.platform.used());
        ledger.observe_balance(&issuer(), &seen, &mark).await.unwrap();
        if self.reference.held.is_empty() {
            let account = ledger.balance(&issuer(), period()).await.unwrap().unwrap();
            assert_eq!(account.available(), seen.unused, "nothing is under way, so the figures are exact");
        }
    }

    async fn check(&self) {
        let ledger = &self.bench.ledger;
        assert_eq!(ledger.verify(period()).await.unwrap(), [], "entries and events rebuild the balances");
        let account = ledger.balance(&issuer(), period()).await.unwrap().unwrap();
        let figures = account.figures;
        let held: i64 = self.reference.held.values().filter(|held| **held > 0).sum();
        assert_eq!(figures.reserved, yuan(held));
        assert_eq!(figures.issued, yuan(self.reference.issued.values().sum()));
        let left = figures.downloaded.fen()
            - figures.elsewhere.fen()
            - figures.issued.fen()
            - figures.reserved.fen();
        assert_eq!(account.available().fen(), left);
        for n in (0..8).chain(100..108) {
            let state = ledger.entry(&issuer(), &number(n)).await.unwrap().map(|entry| entry.state);
            let expected =
                match (self.reference.held.contains_key(&n), self.reference.issued.contains_key(&n)) {
                    (true, _) => Some(EntryState::Reserved),
                    (_, true) => Some(EntryState::Issued),
                    _ => state.filter(|state| *state == EntryState::Released),
                };
            assert_eq!(state, expected, "invoice {n}");
        }
        let platform = &self.platform;
        assert!(platform.outside + platform.exposure() <= platform.downloaded, "never oversold");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_agrees_with_the_platform_and_with_the_naive_one(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in steps {
                world.step(step).await;
            }
        });
    }
}
