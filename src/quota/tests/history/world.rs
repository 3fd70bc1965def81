//! One history: steps, and what they do to the platform, the rules and the naive ledger.

mod checks;
mod choice;
mod names;
mod transfers;
mod uploads;

use jiff::Timestamp;

use self::names::{entry_key, key, period, time};
use super::{
    Month,
    mutants::Rules,
    platform::{Paper, Platform},
    random::Random,
    reference::Reference,
};
use crate::{
    leqi::messages::QuotaBalance,
    quota::{
        Mark,
        rules::{self, Comparison},
        tests::{issuer, yuan},
    },
    store::ledger::{Books, EntryState, Way},
};

/// What becomes of an upload once its credit is held, or of a transfer once it is noted. `bool`: the platform has it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Accepted,
    /// Accepted, and the answer comes later.
    Slow,
    /// Refused because numbers are there already, where some are.
    Already,
    NotSent,
    Refused,
    /// The answer is lost, or the process dies.
    Lost(bool),
}

#[derive(Debug)]
pub(super) enum Step {
    /// The platform's figures are asked for; the answer may come later, with figures of now or of then.
    Ask {
        later: bool,
    },
    Answer,
    Compare,
    /// The platform works on the oldest upload; its results are seen now or later.
    Decide {
        bits: u64,
        seen: bool,
    },
    Expire,
    Month,
    Outside(i64),
    Repeat(u64),
    /// `bool`: a balance is seen after the transfer is noted and before the platform works on it.
    Resume(Fate, bool),
    SlowAnswer,
    Transfer(Way, i64, Fate, bool),
    Upload(Vec<Paper>, Fate),
    Validity(bool),
}

pub(super) struct World {
    rules: Rules,
    books: Books,
    platform: Platform,
    reference: Reference,
    exchange: i64,
    month: Month,
    minute: i64,
    asked: Option<(Mark, Option<QuotaBalance>)>,
    slow: Vec<(i64, String, Vec<u64>)>,
    /// Only the first half of the month is good.
    first_half: [bool; 2],
    expired: bool,
}

type Checked = Result<(), String>;

macro_rules! ensure {
    ($holds:expr, $($why:tt)*) => {
        if !$holds {
            return Err(format!($($why)*));
        }
    };
}
use ensure;

impl World {
    pub(super) fn new(rules: Rules) -> Self {
        let mut platform = Platform::default();
        platform.downloaded.insert(0, 200);
        let mut world = Self {
            rules,
            books: Books::default(),
            platform,
            reference: Reference::default(),
            exchange: 0,
            month: 0,
            minute: 0,
            asked: None,
            slow: Vec::new(),
            first_half: [false; 2],
            expired: false,
        };
        world.balance();
        world
    }

    pub(super) fn step(&mut self, step: &Step, random: &mut Random) -> Checked {
        self.minute += 1;
        match step {
            Step::Answer => self.answer(),
            Step::Ask { later: false } => self.balance(),
            Step::Ask { later: true } => {
                let then = random.coin().then(|| self.seen());
                self.asked = Some((self.mark(), then));
            }
            Step::Compare => self.compare()?,
            Step::Decide { bits, seen } => {
                if let Some((acceptance_no, results)) = self.platform.decide(*bits)
                    && *seen
                {
                    self.see(&acceptance_no, &results);
                }
            }
            Step::Expire => self.expire(),
            Step::Month => {
                (self.month, self.asked) = (1, None);
                self.platform.downloaded.insert(1, 100);
                self.balance();
            }
            Step::Outside(amount) => self.outside(*amount),
            Step::Repeat(which) => {
                let answers = &self.platform.answers;
                let place = usize::try_from(*which).unwrap() % answers.len().max(1);
                if let Some((acceptance_no, results)) = answers.get(place).cloned() {
                    self.see(&acceptance_no, &results);
                }
            }
            Step::Resume(fate, asked) => self.resume(*fate, *asked),
            Step::SlowAnswer => {
                if let Some((exchange, acceptance_no, numbers)) = self.slow.pop() {
                    self.accept(exchange, &acceptance_no, &numbers);
                }
            }
            Step::Transfer(way, amount, fate, asked) => self.transfer(*way, *amount, *fate, *asked),
            Step::Upload(papers, fate) => self.send(papers, *fate)?,
            Step::Validity(first_half) => {
                self.first_half[usize::from(self.month)] = *first_half;
                let period = period(self.month);
                let to = if *first_half {
                    period.first_day().with().day(15).build().unwrap()
                } else {
                    period.last_day()
                };
                let now = self.now();
                rules::validity(
                    &mut self.books,
                    &key(self.month),
                    Some(period.first_day()),
                    Some(to),
                    now,
                    now,
                );
            }
        }
        self.check()
    }

    /// Somebody else uses credit. Seen while uploads are under way it could as well be theirs: no ledger can tell.
    fn outside(&mut self, amount: i64) {
        let month = self.month;
        let free = self.platform.downloaded(month) - self.platform.exposure(month);
        let open = self.books.open_transfer(&issuer()).is_some();
        if self.reference.held.is_empty() && self.asked.is_none() && !open && free >= amount {
            *self.platform.outside.entry(month).or_default() += amount;
            self.balance();
        }
    }

    fn seen(&self) -> QuotaBalance {
        let downloaded = self.platform.downloaded(self.month);
        QuotaBalance {
            suspended: false,
            month_total: yuan(1_000_000),
            available: yuan(500_000),
            downloaded: yuan(downloaded),
            unused: yuan(downloaded - self.platform.used(self.month)),
            period: period(self.month),
        }
    }

    fn mark(&self) -> Mark {
        rules::mark(key(self.month), self.books.account(&key(self.month)))
    }

    fn balance(&mut self) {
        let (mark, seen, now) = (self.mark(), self.seen(), self.now());
        (self.rules.balance)(&mut self.books, &issuer(), &seen, &mark, now);
    }

    fn answer(&mut self) {
        let Some((mark, then)) = self.asked.take() else { return };
        let (seen, now) = (then.unwrap_or_else(|| self.seen()), self.now());
        (self.rules.balance)(&mut self.books, &issuer(), &seen, &mark, now);
    }

    /// What a comparison settles must be the truth.
    fn compare(&mut self) -> Checked {
        let quiet = self.platform.pending.iter().map(|pending| pending.sent_at - 1).min();
        let quiet_since = time(self.month, quiet.unwrap_or(self.minute));
        let (mark, seen, now) = (self.mark(), self.seen(), self.now());
        // the acceptances of these histories are never asked about again
        let now = now.checked_add(jiff::SignedDuration::from_hours(24)).unwrap();
        let held: Vec<u64> = self.reference.held.iter().copied().collect();
        let told = (self.rules.compare)(&mut self.books, &issuer(), &seen, &mark, quiet_since, now);
        for n in held {
            let state = self.state(n);
            let taken = self.platform.issued.contains_key(&n);
            match state {
                Some(EntryState::Issued) if taken => self.reference.issue(n),
                Some(EntryState::Released) if !taken => self.reference.release(n),
                Some(EntryState::Reserved) => {}
                other => return Err(format!("{told:?} made {n} {other:?}, taken: {taken}")),
            }
        }
        if let Comparison::Overtaken = told {
            return Err("nothing was between question and answer".to_owned());
        }
        Ok(())
    }

    fn expire(&mut self) {
        self.expired = true;
        let of_november = |n: &u64| self.reference.known.get(n).is_some_and(|known| known.0 == 0);
        let open: Vec<u64> = self.reference.held.iter().copied().filter(of_november).collect();
        open.iter().for_each(|n| self.reference.release(*n));
        let keys: Vec<_> = open.iter().map(|n| entry_key(*n)).collect();
        let now = self.now();
        (self.rules.expire)(&mut self.books, &keys, now);
    }

    fn now(&self) -> Timestamp {
        time(self.month, self.minute)
    }

    pub(super) fn described(&self) -> String {
        let figures = self.books.account(&key(self.month)).map(|account| account.figures);
        format!(
            "{figures:?} platform: {} downloaded, {} used, {} pending",
            self.platform.downloaded(self.month),
            self.platform.used(self.month),
            self.platform.pending.len()
        )
    }
}
