//! The ledger, naively: what each invoice holds and which of its uploads are not proven.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Month,
    platform::{Paper, RED},
};
use crate::leqi::messages::InvoiceStatus;

#[derive(Default)]
pub(super) struct Reference {
    /// Month and credit of every invoice as last described.
    pub(super) known: BTreeMap<u64, (Month, i64)>,
    pub(super) held: BTreeSet<u64>,
    pub(super) issued: BTreeSet<u64>,
    pub(super) sends: BTreeMap<u64, Vec<(i64, Option<String>)>>,
    last_acceptance: BTreeMap<u64, String>,
}

impl Reference {
    pub(super) fn reserved(&self, month: Month) -> i64 {
        self.sum(&self.held, month, |credit| credit.max(0))
    }

    pub(super) fn returning(&self, month: Month) -> i64 {
        self.sum(&self.held, month, |credit| (-credit).max(0))
    }

    pub(super) fn issued(&self, month: Month) -> i64 {
        self.sum(&self.issued, month, |credit| credit)
    }

    fn sum(&self, of: &BTreeSet<u64>, month: Month, part: impl Fn(i64) -> i64) -> i64 {
        of.iter().filter_map(|n| self.known.get(n)).filter(|known| known.0 == month).map(|k| part(k.1)).sum()
    }

    /// What the invoice uses: a red one gives back what its blue one of the same month holds or has used.
    pub(super) fn credit(&self, paper: &Paper) -> i64 {
        if paper.n < RED {
            return paper.amount;
        }
        let blue = paper.n - RED;
        let lives = self.held.contains(&blue) || self.issued.contains(&blue);
        let known = self.known.get(&blue).filter(|known| lives && known.0 == paper.month);
        known.map_or(0, |(_, credit)| paper.amount.max(-credit.max(&0)))
    }

    /// What the upload needs of each month; None when an invoice is held in another month.
    pub(super) fn needs(&self, papers: &[Paper]) -> Option<BTreeMap<Month, i64>> {
        let mut needs = BTreeMap::new();
        for paper in papers.iter().filter(|paper| !self.issued.contains(&paper.n)) {
            let held = self.known.get(&paper.n).filter(|_| self.held.contains(&paper.n));
            if held.is_some_and(|held| held.0 != paper.month) {
                return None;
            }
            let before = held.map_or(0, |held| held.1.max(0));
            let after = self.credit(paper).max(held.map_or(i64::MIN, |held| held.1)).max(0);
            *needs.entry(paper.month).or_default() += after - before;
        }
        Some(needs)
    }

    pub(super) fn reserve(&mut self, exchange: i64, papers: &[Paper]) {
        let credits: Vec<i64> = papers.iter().map(|paper| self.credit(paper)).collect();
        for (paper, credit) in papers.iter().zip(credits) {
            if self.issued.contains(&paper.n) {
                continue;
            }
            if self.held.insert(paper.n) {
                self.known.insert(paper.n, (paper.month, credit));
                self.sends.insert(paper.n, Vec::new());
                self.last_acceptance.remove(&paper.n);
            } else if let Some(known) = self.known.get_mut(&paper.n) {
                known.1 = known.1.max(credit);
            }
            self.sends.entry(paper.n).or_default().push((exchange, None));
        }
    }

    pub(super) fn accept(&mut self, n: u64, exchange: i64, acceptance_no: &str) {
        if self.issued.contains(&n) || !self.known.contains_key(&n) {
            return;
        }
        let sends = self.sends.entry(n).or_default();
        if self.held.contains(&n) {
            if let Some(send) = sends.iter_mut().find(|send| send.0 == exchange) {
                send.1 = Some(acceptance_no.to_owned());
            }
        } else if self.last_acceptance.get(&n).is_some_and(|last| last == acceptance_no) {
            return;
        } else {
            *sends = vec![(exchange, Some(acceptance_no.to_owned()))];
            self.held.insert(n);
        }
        self.last_acceptance.insert(n, acceptance_no.to_owned());
    }

    pub(super) fn not_taken(&mut self, n: u64, exchange: i64) {
        let Some(sends) = self.sends.get_mut(&n) else { return };
        let before = sends.len();
        sends.retain(|send| send.0 != exchange);
        if sends.len() < before && sends.is_empty() {
            self.held.remove(&n);
        }
    }

    /// Whether an accepted upload of the number waits for its result.
    pub(super) fn waits_for(&self, n: u64) -> bool {
        self.sends.get(&n).is_some_and(|sends| sends.iter().any(|send| send.1.is_some()))
    }

    /// The platform has the number already.
    pub(super) fn there_already(&mut self, n: u64, exchange: i64) {
        let Some(sends) = self.sends.get_mut(&n) else { return };
        if self.held.contains(&n) && sends.iter().any(|send| send.0 != exchange && send.1.is_some()) {
            sends.retain(|send| send.0 != exchange);
        } else {
            self.issue(n);
        }
    }

    pub(super) fn see(&mut self, acceptance_no: &str, n: u64, status: &InvoiceStatus) {
        match status {
            InvoiceStatus::Issued => self.issue(n),
            InvoiceStatus::UploadedBefore => {
                let other = |send: &(i64, Option<String>)| send.1.as_deref() != Some(acceptance_no);
                let accepted = |send: &(i64, Option<String>)| other(send) && send.1.is_some();
                match self.sends.get_mut(&n).filter(|sends| sends.iter().any(accepted)) {
                    Some(sends) if self.held.contains(&n) => sends.retain(other),
                    _ => self.issue(n),
                }
            }
            InvoiceStatus::Failed => {
                let Some(sends) = self.sends.get_mut(&n) else { return };
                let of_it = |send: &(i64, Option<String>)| send.1.as_deref() == Some(acceptance_no);
                let Some(place) = sends.iter().rposition(of_it) else { return };
                let later = sends.split_off(place + 1);
                sends.retain(|send| send.1.as_ref().is_some_and(|other| other != acceptance_no));
                sends.extend(later);
                if sends.is_empty() {
                    self.held.remove(&n);
                }
            }
            InvoiceStatus::Processing | InvoiceStatus::Other(_) => {}
        }
    }

    pub(super) fn issue(&mut self, n: u64) {
        if self.known.contains_key(&n) {
            self.held.remove(&n);
            self.sends.remove(&n);
            self.issued.insert(n);
        }
    }

    pub(super) fn release(&mut self, n: u64) {
        self.held.remove(&n);
        self.sends.insert(n, Vec::new());
    }
}
