//! One history: steps, what they do to the platform, the rules and the naive ledger, and what must hold after each.

use jiff::Timestamp;

use super::{
    Month,
    mutants::Rules,
    platform::{Paper, Pending, Platform, RED},
    random::Random,
    reference::Reference,
};
use crate::{
    domain::{ExchangeId, Money, Period},
    leqi::messages::{Direction, InvoiceStatus, QuotaBalance, QuotaTransfer, QuotaTransferAnswer},
    quota::{
        Claim, Mark, Mode, Settlement, Upload,
        rules::{self, Begun, Comparison},
        tests::{at, blue, issuer, number, red, result, yuan},
    },
    store::ledger::{AccountKey, Books, EntryKey, EntryState, Figures, Transfer, Way},
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
    Resume(Fate),
    SlowAnswer,
    Transfer(Way, i64, Fate),
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

    pub(super) fn choose(&self, random: &mut Random) -> Step {
        match random.below(40) {
            0..=10 => self.upload(random),
            11..=13 => self.reversal(random),
            14..=19 => Step::Decide { bits: random.next(), seen: random.below(4) > 0 },
            20..=21 => Step::Repeat(random.next()),
            22..=24 => Step::Ask { later: random.coin() },
            25..=26 => Step::Answer,
            27..=28 => Step::Compare,
            29..=30 => Step::Transfer(Way::Download, small(random, 80), fate(random)),
            31..=32 => Step::Transfer(Way::Return, small(random, 80), fate(random)),
            33..=34 => Step::Resume(fate(random)),
            35 => Step::Outside(small(random, 40)),
            36 => Step::Validity(random.coin()),
            37 => Step::SlowAnswer,
            38 if self.month == 0 => Step::Month,
            38 => Step::Expire,
            _ => Step::SlowAnswer,
        }
    }

    fn upload(&self, random: &mut Random) -> Step {
        let mut papers: Vec<Paper> = Vec::new();
        for _ in 0..=random.below(3) {
            let n = random.below(6);
            // mostly this month's; last month's too, until it is given up
            let month = if random.below(5) == 0 { 1 - self.month.min(1) } else { self.month };
            let month = month.min(self.month).max(u8::from(self.expired));
            if papers.iter().all(|paper| paper.n != n) {
                papers.push(Paper { n, month, amount: small(random, 60) });
            }
        }
        Step::Upload(papers, fate(random))
    }

    fn reversal(&self, random: &mut Random) -> Step {
        let blue: Vec<_> = self.platform.issued.iter().filter(|(n, _)| **n < RED).collect();
        let Some((n, (_, credit))) = blue.get(usize::try_from(random.next() % 8).unwrap()) else {
            return self.upload(random);
        };
        let paper = Paper { n: *n + RED, month: self.month, amount: -credit };
        Step::Upload(vec![paper], fate(random))
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
            Step::Resume(fate) => self.resume(*fate),
            Step::SlowAnswer => {
                if let Some((exchange, acceptance_no, numbers)) = self.slow.pop() {
                    self.accept(exchange, &acceptance_no, &numbers);
                }
            }
            Step::Transfer(way, amount, fate) => self.transfer(*way, *amount, *fate),
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
                rules::validity(&mut self.books, &key(self.month), Some(period.first_day()), Some(to), now);
            }
        }
        self.check()
    }

    fn send(&mut self, papers: &[Paper], fate: Fate) -> Checked {
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
                let there: Vec<u64> =
                    numbers.iter().copied().filter(|n| self.platform.issued.contains_key(n)).collect();
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
    fn is_affordable(&self, papers: &[Paper]) -> bool {
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

    fn left(&self, month: Month) -> i64 {
        let Some(account) = self.books.account(&key(month)).filter(|account| account.synced_at.is_some())
        else {
            return -1;
        };
        let figures = account.figures;
        (figures.downloaded.fen() - figures.elsewhere.fen()) / 100
            - self.reference.issued(month)
            - self.reference.reserved(month)
    }

    fn accept(&mut self, exchange: i64, acceptance_no: &str, numbers: &[u64]) {
        numbers.iter().for_each(|n| self.reference.accept(*n, exchange, acceptance_no));
        let acceptance_no = Some(acceptance_no.to_owned());
        self.settle(exchange, numbers, &Settlement::Accepted { acceptance_no });
    }

    fn settle(&mut self, exchange: i64, numbers: &[u64], settlement: &Settlement) {
        let numbers: Vec<_> = numbers.iter().map(|n| number(*n)).collect();
        let (exchange, now) = (ExchangeId::from_number(exchange), self.now());
        (self.rules.settle)(&mut self.books, &issuer(), exchange, &numbers, settlement, now);
    }

    fn see(&mut self, acceptance_no: &str, results: &[(u64, InvoiceStatus)]) {
        results.iter().for_each(|(n, status)| self.reference.see(acceptance_no, *n, status));
        let results: Vec<_> = results.iter().map(|(n, status)| result(*n, status.clone())).collect();
        let now = self.now();
        (self.rules.results)(&mut self.books, Some(&issuer()), acceptance_no, &results, now);
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

    fn transfer(&mut self, way: Way, amount: i64, fate: Fate) {
        self.exchange += 1;
        let request = QuotaTransfer {
            tax_no: issuer(),
            platform_id: "a".repeat(20).parse().unwrap(),
            direction: if way == Way::Download { Direction::Download } else { Direction::Return },
            amount: yuan(amount),
            serial: format!("T{}", self.exchange),
        };
        let now = self.now();
        let begun = (self.rules.begin)(&mut self.books, &request, &key(self.month), None, "test", now);
        if let Begun::Fresh(transfer) = begun {
            self.carry_out(&transfer, fate);
        }
    }

    fn resume(&mut self, fate: Fate) {
        let now = self.now();
        if let Some(open) = (self.rules.resume)(&mut self.books, &issuer(), &key(self.month), now) {
            self.carry_out(&open, fate);
        }
    }

    fn carry_out(&mut self, transfer: &Transfer, fate: Fate) {
        let request = QuotaTransfer {
            tax_no: issuer(),
            platform_id: transfer.platform_id.parse().unwrap(),
            direction: if transfer.way == Way::Download { Direction::Download } else { Direction::Return },
            amount: transfer.amount,
            serial: transfer.serial.clone(),
        };
        let arrives = matches!(fate, Fate::Accepted | Fate::Already | Fate::Slow | Fate::Lost(true));
        let done =
            arrives && self.platform.transfer(&transfer.serial, transfer.way, transfer.amount, self.month);
        let (mark, now) = (self.mark(), self.now());
        match fate {
            Fate::Accepted | Fate::Already | Fate::Slow if done => {
                let answer = QuotaTransferAnswer::default();
                // the answer is seen once more, as a repetition would show it
                for _ in 0..=u8::from(matches!(fate, Fate::Slow)) {
                    (self.rules.transfer)(&mut self.books, &request, &answer, &mark, now);
                }
            }
            Fate::Lost(_) => rules::transfer_unclear(&mut self.books, &request, &mark, "lost", now),
            _ => (self.rules.transfer_refused)(&mut self.books, &request, "1", "", now),
        }
    }

    fn check(&self) -> Checked {
        for month in 0..=self.month {
            self.check_month(month)?;
        }
        for n in (0..6).chain(RED..RED + 6) {
            let state = self.state(n);
            let expected = match (self.reference.held.contains(&n), self.reference.issued.contains(&n)) {
                (true, _) => Some(EntryState::Reserved),
                (_, true) => Some(EntryState::Issued),
                _ => state.filter(|state| *state == EntryState::Released),
            };
            ensure!(state == expected, "invoice {n} is {state:?}, not {expected:?}");
        }
        Ok(())
    }

    fn check_month(&self, month: Month) -> Checked {
        let account = self.books.account(&key(month)).ok_or("no account")?;
        let figures = account.figures;
        ensure!(
            figures == self.rebuilt(month),
            "the events add up to {:?}, not {figures:?}",
            self.rebuilt(month)
        );
        let naive =
            (self.reference.issued(month), self.reference.reserved(month), self.reference.returning(month));
        let ours = (figures.issued, figures.reserved, figures.pending_return);
        ensure!(
            ours == (yuan(naive.0), yuan(naive.1), yuan(naive.2)),
            "month {month}: {ours:?}, not {naive:?}"
        );
        let parts = [figures.elsewhere, figures.issued, figures.reserved, account.available()];
        let sum = parts.into_iter().fold(Money::ZERO, Money::saturating_add);
        ensure!(sum == figures.downloaded, "month {month}: the parts are not the whole");
        let truth = self.platform.downloaded(month);
        ensure!(
            figures.downloaded <= yuan(truth),
            "month {month}: {} downloaded, not {truth}",
            figures.downloaded
        );
        let given_up = month == 0 && self.expired;
        let exposure = self.platform.exposure(month);
        ensure!(given_up || exposure <= truth, "month {month}: oversold, {exposure} of {truth}");
        let open = self.books.open_transfer(&issuer()).is_some();
        if month == self.month && self.reference.held.is_empty() && !open {
            self.check_quiet(month)?;
        }
        Ok(())
    }

    /// With nothing under way a balance makes the books exact.
    fn check_quiet(&self, month: Month) -> Checked {
        let mut books = Books::of(self.books.account(&key(month)).cloned(), [], []);
        let (mark, seen, now) = (self.mark(), self.seen(), self.now());
        (self.rules.balance)(&mut books, &issuer(), &seen, &mark, now);
        let available = books.account(&key(month)).ok_or("no account")?.available();
        let lost =
            self.platform.pending.iter().any(|pending| pending.papers.iter().any(|p| p.month == month));
        ensure!(
            lost || available == seen.unused,
            "month {month}: {available} available, not {}",
            seen.unused
        );
        Ok(())
    }

    fn rebuilt(&self, month: Month) -> Figures {
        let key = key(month);
        let mut sum = Figures::default();
        for event in self.books.events().iter().filter(|event| event.key == key) {
            sum.downloaded = sum.downloaded.saturating_add(event.delta.downloaded);
            sum.elsewhere = sum.elsewhere.saturating_add(event.delta.elsewhere);
            sum.issued = sum.issued.saturating_add(event.delta.issued);
            sum.reserved = sum.reserved.saturating_add(event.delta.reserved);
            sum.pending_return = sum.pending_return.saturating_add(event.delta.pending_return);
        }
        sum
    }

    fn state(&self, n: u64) -> Option<EntryState> {
        self.books.entry(&entry_key(n)).map(|entry| entry.state)
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

fn key(month: Month) -> AccountKey {
    AccountKey { issuer: issuer(), period: period(month) }
}

fn entry_key(n: u64) -> EntryKey {
    EntryKey { issuer: issuer(), invoice_no: number(n) }
}

fn period(month: Month) -> Period {
    Period::at(time(month, 0))
}

fn time(month: Month, minute: i64) -> Timestamp {
    thread_local! {
        static STARTS: [Timestamp; 2] = [at("2026-11-23 10:00:00"), at("2026-12-01 10:00:00")];
    }
    let start = STARTS.with(|starts| starts[usize::from(month)]);
    start.checked_add(jiff::SignedDuration::from_mins(minute)).unwrap()
}

/// Odd blue numbers are dated in the second half of their month.
fn claim(paper: &Paper) -> Claim {
    thread_local! {
        static DATES: [[Timestamp; 2]; 2] = [
            [at("2026-11-10 10:00:00"), at("2026-11-25 10:00:00")],
            [at("2026-12-10 10:00:00"), at("2026-12-25 10:00:00")],
        ];
    }
    let half = usize::from(paper.n < RED && paper.n % 2 == 1);
    let dated_at = DATES.with(|dates| dates[usize::from(paper.month)][half]);
    let claim =
        if paper.n < RED { blue(paper.n, paper.amount) } else { red(paper.n, -paper.amount, paper.n - RED) };
    Claim { dated_at, ..claim }
}

fn small(random: &mut Random, end: u64) -> i64 {
    i64::try_from(random.below(end)).unwrap() + 1
}

fn fate(random: &mut Random) -> Fate {
    match random.below(12) {
        0..=4 => Fate::Accepted,
        5 => Fate::Slow,
        6 => Fate::Already,
        7 => Fate::NotSent,
        8..=9 => Fate::Refused,
        _ => Fate::Lost(random.coin()),
    }
}
