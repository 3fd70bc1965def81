//! Uploads: whether they may be sent, what becomes of them, and what their results say.

use super::{
    super::{
        Month,
        platform::{Paper, Pending, RED},
    },
    Checked, Fate, World, ensure,
    names::{claim, key},
};
use crate::{
    domain::ExchangeId,
    leqi::messages::InvoiceStatus,
    quota::{
        Mode, Settlement, Upload,
        tests::{issuer, number, result},
    },
};

impl World {
    /// Whether the platform is made to say so: of numbers that are issued, and of those that it still works on as far as
    /// the gateway knows their acceptance. Where the answer was lost the rules take it for issued, which is a guess.
    fn says_it_is_there(&self, n: u64) -> bool {
        self.platform.issued.contains_key(&n) || (self.platform.knows(n) && self.reference.waits_for(n))
    }

    pub(super) fn send(&mut self, papers: &[Paper], fate: Fate) -> Checked {
        self.exchange += 1;
        let exchange = self.exchange;
        let expected = self.is_affordable(papers);
        let claims = papers.iter().map(claim).collect();
        let upload = Upload {
            exchange: ExchangeId::from_number(exchange),
            issuer: issuer(),
            mode: Mode::Enforce,
            claims,
            allowance_returns: true,
            intent: None,
        };
        let now = self.now();
        let reserved = (self.rules.reserve)(&mut self.books, &upload, now);
        ensure!(reserved.is_ok() == expected, "{papers:?}: {reserved:?}, expected {expected}");
        if !expected {
            return Ok(());
        }
        self.reference.reserve(exchange, papers);
        let numbers: Vec<u64> = papers.iter().map(|paper| paper.n).collect();
        let acceptance_no = format!("S{exchange}");
        let taken = matches!(fate, Fate::Accepted | Fate::Slow | Fate::Lost(true));
        if taken {
            let (acceptance_no, papers) = (acceptance_no.clone(), papers.to_vec());
            self.platform.pending.push(Pending { acceptance_no, papers, sent_at: self.minute });
        }
        let refused = || Settlement::Refused { code: "1".to_owned(), text: String::new() };
        match fate {
            Fate::Accepted => self.accept(exchange, &acceptance_no, &numbers),
            Fate::Already => {
                let there: Vec<u64> = numbers.iter().copied().filter(|n| self.says_it_is_there(*n)).collect();
                for n in &numbers {
                    if there.contains(n) {
                        self.reference.there_already(*n, exchange);
                    } else {
                        self.reference.not_taken(*n, exchange);
                    }
                }
                let invoice_nos: Vec<_> = there.iter().map(|n| number(*n)).collect();
                let already =
                    Settlement::AlreadyUploaded { invoice_nos, code: "1".to_owned(), text: String::new() };
                self.settle(exchange, &numbers, &if there.is_empty() { refused() } else { already });
            }
            Fate::Lost(_) => self.settle(exchange, &numbers, &Settlement::Unclear),
            Fate::NotSent | Fate::Refused => {
                numbers.iter().for_each(|n| self.reference.not_taken(*n, exchange));
                let not_sent = matches!(fate, Fate::NotSent);
                self.settle(exchange, &numbers, &if not_sent { Settlement::NotSent } else { refused() });
            }
            Fate::Slow => self.slow.push((exchange, acceptance_no, numbers)),
        }
        Ok(())
    }

    /// All or nothing, by the naive ledger and what the account says is downloaded.
    pub(super) fn is_affordable(&self, papers: &[Paper]) -> bool {
        let Some(needs) = self.reference.needs(papers) else { return false };
        let good = |paper: &Paper| {
            let late = paper.n < RED && paper.n % 2 == 1;
            paper.amount <= 0
                || self.reference.issued.contains(&paper.n)
                || !(late && self.first_half[usize::from(paper.month)])
        };
        papers.iter().all(good)
            && needs.iter().all(|(month, needed)| *needed == 0 || *needed <= self.left(*month))
    }

    pub(super) fn left(&self, month: Month) -> i64 {
        let Some(account) = self.books.account(&key(month)).filter(|account| account.synced_at.is_some())
        else {
            return -1;
        };
        let figures = account.figures;
        (figures.downloaded.fen() - figures.elsewhere.fen()) / 100
            - self.reference.issued(month)
            - self.reference.reserved(month)
    }

    pub(super) fn accept(&mut self, exchange: i64, acceptance_no: &str, numbers: &[u64]) {
        numbers.iter().for_each(|n| self.reference.accept(*n, exchange, acceptance_no));
        let acceptance_no = Some(acceptance_no.to_owned());
        self.settle(exchange, numbers, &Settlement::Accepted { acceptance_no });
    }

    pub(super) fn settle(&mut self, exchange: i64, numbers: &[u64], settlement: &Settlement) {
        let numbers: Vec<_> = numbers.iter().map(|n| number(*n)).collect();
        let (exchange, now) = (ExchangeId::from_number(exchange), self.now());
        (self.rules.settle)(&mut self.books, &issuer(), exchange, &numbers, settlement, now);
    }

    pub(super) fn see(&mut self, acceptance_no: &str, results: &[(u64, InvoiceStatus)]) {
        results.iter().for_each(|(n, status)| self.reference.see(acceptance_no, *n, status));
        let results: Vec<_> = results.iter().map(|(n, status)| result(*n, status.clone())).collect();
        let now = self.now();
        (self.rules.results)(&mut self.books, Some(&issuer()), acceptance_no, &results, now);
    }
}
