//! The platform's books: one consistent set per environment, changed under one lock.
//!
//! Nothing here runs by itself. What time brings about (uploads decided, serials expired, months confirmed on the
//! 13th) is caught up by [`Book::advance`] before each look at the books, in the order in which it fell due, so
//! that a moved clock gives the same books as waiting.

mod calls;
mod credit;
mod invoices;
mod numbers;
mod red_letters;
mod summaries;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

pub use calls::{Call, Calls};
pub use credit::{Account, Direction, Transfer};
pub use invoices::{Decision, Draft, Invoice, State, Upload};
pub use numbers::NumberRange;
pub use red_letters::{RedLetter, RedLetterState};
pub use summaries::{Confirmation, ConfirmationState, Totals};

use super::world::World;
use crate::domain::{Environment, InvoiceNo, Period, TaxNo};

/// What the platform's rules leave to settings.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How long after its acceptance an upload is decided.
    pub decision_delay: Duration,
    /// How long an acceptance serial is good for: 12 hours (protocol.md §3).
    pub result_lifetime: Duration,
    /// How long after its date an invoice may be uploaded: 48 hours (protocol.md §4).
    pub upload_window: Duration,
    /// The day of the month on which VAT filing ends; credit downloaded before the filing is valid until then.
    pub filing_day: i8,
    /// The day at whose first instant the platform confirms last month by itself: the 13th.
    pub closing_day: i8,
    /// Whether a red invoice must name a red-letter confirmation that is in the books.
    pub red_letter_required: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            decision_delay: Duration::from_secs(2),
            result_lifetime: Duration::from_secs(12 * 3600),
            upload_window: Duration::from_secs(48 * 3600),
            filing_day: 15,
            closing_day: 13,
            red_letter_required: false,
        }
    }
}

/// The books of one environment.
#[derive(Debug)]
pub struct Book {
    /// The settings.
    pub rules: Rules,
    world: Arc<World>,
    /// Credit per taxpayer and month.
    pub accounts: BTreeMap<(TaxNo, Period), Account>,
    /// Downloads and returns by their serial (`ywlsh`).
    pub transfers: BTreeMap<String, Transfer>,
    /// Ranges of numbers given out, by their first number.
    pub ranges: BTreeMap<InvoiceNo, NumberRange>,
    range_requests: HashMap<String, InvoiceNo>,
    next_numbers: HashMap<String, u64>,
    /// Every invoice ever accepted.
    pub invoices: BTreeMap<InvoiceNo, Invoice>,
    /// Every accepted upload by its acceptance serial (`sllsh`).
    pub uploads: HashMap<String, Upload>,
    due: BTreeMap<(Timestamp, u64), String>,
    totals: BTreeMap<summaries::Key, Totals>,
    /// Confirmations by taxpayer, platform id (lower case) and month.
    pub confirmations: BTreeMap<summaries::Key, Confirmation>,
    closed_until: Period,
    filed: BTreeSet<(TaxNo, Period)>,
    /// Red-letter confirmations by their uuid.
    pub red_letters: BTreeMap<String, RedLetter>,
    /// Sandbox tests by the access unit's platform id (lower case): when each was started.
    pub sandbox_tests: BTreeMap<String, Timestamp>,
    sequence: u64,
}

impl Book {
    fn new(world: Arc<World>, rules: Rules, now: Timestamp) -> Self {
        Self {
            rules,
            world,
            accounts: BTreeMap::new(),
            transfers: BTreeMap::new(),
            ranges: BTreeMap::new(),
            range_requests: HashMap::new(),
            next_numbers: HashMap::new(),
            invoices: BTreeMap::new(),
            uploads: HashMap::new(),
            due: BTreeMap::new(),
            totals: BTreeMap::new(),
            confirmations: BTreeMap::new(),
            // what lies before the simulated world's beginning was confirmed long ago
            closed_until: Period::at(now).previous().previous(),
            filed: BTreeSet::new(),
            red_letters: BTreeMap::new(),
            sandbox_tests: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// Catches up with what fell due until now.
    pub fn advance(&mut self, now: Timestamp) {
        while let Some((&(at, _), _)) = self.due.first_key_value().filter(|((at, _), _)| *at <= now) {
            self.close_months(at);
            if let Some(((at, _), serial)) = self.due.pop_first() {
                self.decide(&serial, at);
            }
        }
        self.close_months(now);
    }

    /// A number that no other thing in these books has.
    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// A serial of 32 hex digits, unlike any other and not to be guessed from the one before.
    fn next_serial(&mut self, purpose: &str) -> String {
        let sequence = self.next_sequence();
        let digest = aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA256,
            format!("{purpose}/{sequence}/{}", self.closed_until).as_bytes(),
        );
        super::hex(digest.as_ref().get(..16).unwrap_or_default())
    }
}

/// Everything that the lock guards.
#[derive(Debug)]
pub struct Books {
    /// Real invoices.
    pub production: Book,
    /// Test invoices.
    pub sandbox: Book,
}

impl Books {
    /// The books of the environment.
    pub const fn of(&mut self, environment: Environment) -> &mut Book {
        match environment {
            Environment::Production => &mut self.production,
            Environment::Sandbox => &mut self.sandbox,
        }
    }
}

/// The books as everyone holds them; cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedBooks {
    books: Arc<Mutex<Books>>,
    /// Every call that was received.
    pub calls: Calls,
    clock: crate::clock::Clock,
}

impl SharedBooks {
    /// Empty books.
    #[must_use]
    pub fn new(world: &Arc<World>, rules: Rules, kept_calls: usize, clock: crate::clock::Clock) -> Self {
        let book = || Book::new(Arc::clone(world), rules, clock.now());
        let books = Books { production: book(), sandbox: book() };
        Self { books: Arc::new(Mutex::new(books)), calls: Calls::new(kept_calls), clock }
    }

    /// The books, caught up with the clock.
    pub fn lock(&self) -> MutexGuard<'_, Books> {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        books.production.advance(now);
        books.sandbox.advance(now);
        books
    }

    /// Everything as `GET /_sim/books` shows it; `calls` can be left out.
    #[must_use]
    pub fn view(&self, with_calls: bool) -> serde_json::Value {
        let now = self.clock.now();
        let mut view = view::books(&self.lock(), now);
        let calls = if with_calls { self.calls.all() } else { Vec::new() };
        if let Some(fields) = view.as_object_mut() {
            fields.insert("calls_received".to_owned(), self.calls.received().into());
            fields.insert("calls".to_owned(), serde_json::to_value(calls).unwrap_or_default());
        }
        view
    }
}

/// The instant so much later.
fn later(instant: Timestamp, by: Duration) -> Timestamp {
    instant.checked_add(by).unwrap_or(Timestamp::MAX)
}
