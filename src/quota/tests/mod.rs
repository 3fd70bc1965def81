//! The rules one by one, the service on a real database, and both against a naive model.

mod claims;
mod history;
mod model;
mod observations;
mod office;
mod orders;
mod overlaps;
mod reconcile;
mod repeated;
mod reservations;
mod service;
mod transfers;
mod under_way;

use jiff::Timestamp;

use super::{
    Claim, Mode, Settlement, Upload,
    rules::{self, NotReserved, Reserved, Settled},
};
use crate::{
    domain::{ExchangeId, InvoiceNo, Money, Period, TaxNo, parse_beijing},
    leqi::messages::{InvoiceResult, InvoiceStatus, QuotaBalance},
    store::ledger::{Account, AccountKey, Books, Entry, EntryKey, EntryState, Figures},
};

const ISSUER: &str = "91350100M000100Y43";

fn issuer() -> TaxNo {
    static PARSED: std::sync::LazyLock<TaxNo> = std::sync::LazyLock::new(|| TaxNo::parse(ISSUER).unwrap());
    PARSED.clone()
}

fn number(n: u64) -> InvoiceNo {
    InvoiceNo::parse(&format!("26{n:018}")).unwrap()
}

fn at(text: &str) -> Timestamp {
    parse_beijing(text).unwrap()
}

/// The time of the tests.
fn now() -> Timestamp {
    at("2026-11-23 10:00:00")
}

fn period() -> Period {
    Period::at(now())
}

fn yuan(amount: i64) -> Money {
    Money::from_fen(amount * 100)
}

fn account_key() -> AccountKey {
    AccountKey { issuer: issuer(), period: period() }
}

fn blue(n: u64, amount: i64) -> Claim {
    Claim {
        invoice_no: number(n),
        dated_at: now(),
        platform_id: "a".repeat(20),
        red: false,
        net: yuan(amount),
        tax: Money::ZERO,
        credit: yuan(amount),
        reversed_no: None,
        allowance: false,
    }
}

fn red(n: u64, amount: i64, reversed: u64) -> Claim {
    Claim { red: true, reversed_no: Some(number(reversed)), ..blue(n, -amount) }
}

fn balance(downloaded: i64, unused: i64) -> QuotaBalance {
    QuotaBalance {
        suspended: false,
        month_total: yuan(1_000_000),
        available: yuan(500_000),
        downloaded: yuan(downloaded),
        unused: yuan(unused),
        period: period(),
    }
}

fn result(n: u64, status: InvoiceStatus) -> InvoiceResult {
    InvoiceResult { invoice_no: number(n), status, message: String::new(), code: None }
}

/// Books and short words for what is done to them.
struct Desk {
    books: Books,
    mode: Mode,
}

impl Desk {
    /// Books that know nothing.
    fn empty() -> Self {
        Self { books: Books::default(), mode: Mode::Enforce }
    }

    /// Books with so much credit, all of it unused.
    fn with_credit(amount: i64) -> Self {
        let mut desk = Self::empty();
        desk.balance(amount, amount);
        desk
    }

    fn mark(&self) -> rules::Mark {
        rules::mark(account_key(), self.books.account(&account_key()))
    }

    fn balance(&mut self, downloaded: i64, unused: i64) -> rules::Observed {
        let mark = self.mark();
        rules::balance(&mut self.books, &issuer(), &balance(downloaded, unused), &mark, now())
    }

    fn reserve(&mut self, exchange: i64, claims: &[Claim]) -> Result<Reserved, NotReserved> {
        let upload = Upload {
            exchange: ExchangeId::from_number(exchange),
            issuer: issuer(),
            mode: self.mode,
            claims: claims.to_vec(),
            allowance_returns: true,
            intent: None,
        };
        rules::reserve(&mut self.books, &upload, now())
    }

    fn settle(&mut self, exchange: i64, numbers: &[u64], settlement: &Settlement) -> Settled {
        let numbers: Vec<_> = numbers.iter().map(|n| number(*n)).collect();
        let exchange = ExchangeId::from_number(exchange);
        rules::settle(&mut self.books, &issuer(), exchange, &numbers, settlement, now())
    }

    fn accept(&mut self, exchange: i64, numbers: &[u64], acceptance_no: &str) {
        let acceptance_no = Some(acceptance_no.to_owned());
        self.settle(exchange, numbers, &Settlement::Accepted { acceptance_no });
    }

    fn refuse(&mut self, exchange: i64, numbers: &[u64]) -> Settled {
        self.settle(exchange, numbers, &Settlement::Refused { code: "X".into(), text: "不行".into() })
    }

    fn result(&mut self, acceptance_no: &str, n: u64, status: InvoiceStatus) -> Settled {
        rules::results(&mut self.books, Some(&issuer()), acceptance_no, &[result(n, status)], now())
    }

    fn account(&self) -> &Account {
        self.books.account(&account_key()).unwrap()
    }

    fn entry(&self, n: u64) -> &Entry {
        self.books.entry(&EntryKey { issuer: issuer(), invoice_no: number(n) }).unwrap()
    }

    /// (available, reserved, issued) in yuan, after checking that the events add up to the figures.
    fn figures(&self) -> (i64, i64, i64) {
        let figures = self.account().figures;
        let mut sum = Figures::default();
        for event in self.books.events().iter().filter(|event| event.key == account_key()) {
            sum.downloaded = sum.downloaded.saturating_add(event.delta.downloaded);
            sum.elsewhere = sum.elsewhere.saturating_add(event.delta.elsewhere);
            sum.issued = sum.issued.saturating_add(event.delta.issued);
            sum.reserved = sum.reserved.saturating_add(event.delta.reserved);
            sum.pending_return = sum.pending_return.saturating_add(event.delta.pending_return);
        }
        assert_eq!(sum, figures, "the events add up to the figures");
        (figures.available().fen() / 100, figures.reserved.fen() / 100, figures.issued.fen() / 100)
    }

    fn state(&self, n: u64) -> EntryState {
        self.entry(n).state
    }
}
