//! The truth: a platform with its own books, two months long.

use std::collections::BTreeMap;

use super::Month;
use crate::{domain::Money, leqi::messages::InvoiceStatus, store::ledger::Way};

/// An invoice as the platform gets it; amounts in yuan, negative when red.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paper {
    pub(super) n: u64,
    pub(super) month: Month,
    pub(super) amount: i64,
}

/// Numbers of red invoices begin here; the blue one has the rest.
pub(super) const RED: u64 = 100;

/// An upload that the platform has and has not worked on.
pub(super) struct Pending {
    pub(super) acceptance_no: String,
    pub(super) papers: Vec<Paper>,
    pub(super) sent_at: i64,
}

/// Results of one upload.
pub(super) type Results = (String, Vec<(u64, InvoiceStatus)>);

#[derive(Default)]
pub(super) struct Platform {
    pub(super) downloaded: BTreeMap<Month, i64>,
    pub(super) outside: BTreeMap<Month, i64>,
    pub(super) pending: Vec<Pending>,
    /// Issued invoices with their month and the credit they use.
    pub(super) issued: BTreeMap<u64, (Month, i64)>,
    pub(super) answers: Vec<Results>,
    transfers: BTreeMap<String, (Way, i64)>,
}

impl Platform {
    pub(super) fn used(&self, month: Month) -> i64 {
        let issued = self.issued.values().filter(|(of, _)| *of == month).map(|(_, credit)| credit);
        self.outside.get(&month).copied().unwrap_or_default() + issued.sum::<i64>()
    }

    /// Whether it has the number: issued, or still to be worked on.
    pub(super) fn knows(&self, n: u64) -> bool {
        let mut pending = self.pending.iter().flat_map(|pending| &pending.papers);
        self.issued.contains_key(&n) || pending.any(|paper| paper.n == n)
    }

    pub(super) fn downloaded(&self, month: Month) -> i64 {
        self.downloaded.get(&month).copied().unwrap_or_default()
    }

    /// The most that it may count once everything it has is issued, each number once.
    pub(super) fn exposure(&self, month: Month) -> i64 {
        let mut most: BTreeMap<u64, i64> = BTreeMap::new();
        for paper in self.pending.iter().flat_map(|pending| &pending.papers) {
            if paper.month == month && !self.issued.contains_key(&paper.n) {
                let amount = most.entry(paper.n).or_default();
                *amount = (*amount).max(paper.amount);
            }
        }
        self.used(month) + most.values().sum::<i64>()
    }

    /// Works on its oldest upload: bit by bit, which of its invoices it issues.
    pub(super) fn decide(&mut self, bits: u64) -> Option<Results> {
        if self.pending.is_empty() {
            return None;
        }
        let Pending { acceptance_no, papers, .. } = self.pending.remove(0);
        let results = papers.iter().enumerate().map(|(place, paper)| {
            let status = if self.issued.contains_key(&paper.n) {
                InvoiceStatus::UploadedBefore
            } else if bits >> (place % 8) & 1 == 1 && self.may_issue(paper) {
                self.issued.insert(paper.n, (paper.month, self.credit(paper)));
                InvoiceStatus::Issued
            } else {
                InvoiceStatus::Failed
            };
            (paper.n, status)
        });
        let results: Vec<_> = results.collect::<Vec<_>>();
        self.answers.push((acceptance_no.clone(), results.clone()));
        Some((acceptance_no, results))
    }

    fn may_issue(&self, paper: &Paper) -> bool {
        paper.n < RED || self.issued.contains_key(&(paper.n - RED))
    }

    /// A red invoice gives back what its blue one of the same month used.
    fn credit(&self, paper: &Paper) -> i64 {
        if paper.n < RED {
            return paper.amount;
        }
        let blue = self.issued.get(&(paper.n - RED)).filter(|(month, _)| *month == paper.month);
        blue.map_or(0, |(_, credit)| paper.amount.max(-credit))
    }

    /// Carries out a transfer of the month, once per serial. Whether it is carried out.
    pub(super) fn transfer(&mut self, serial: &str, way: Way, amount: Money, month: Month) -> bool {
        let amount = amount.fen() / 100;
        if self.transfers.contains_key(serial) {
            return true;
        }
        let signed = match way {
            Way::Download => amount,
            Way::Return if self.downloaded(month) - self.used(month) >= amount => -amount,
            Way::Return => return false,
        };
        *self.downloaded.entry(month).or_default() += signed;
        self.transfers.insert(serial.to_owned(), (way, amount));
        true
    }
}
