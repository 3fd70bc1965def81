//! How the small numbers of a history are called in the books.

use jiff::Timestamp;

use super::super::{
    Month,
    platform::{Paper, RED},
};
use crate::{
    domain::Period,
    quota::{
        Claim,
        tests::{at, blue, issuer, number, red},
    },
    store::ledger::{AccountKey, EntryKey},
};

pub(super) fn key(month: Month) -> AccountKey {
    AccountKey { issuer: issuer(), period: period(month) }
}

pub(super) fn entry_key(n: u64) -> EntryKey {
    EntryKey { issuer: issuer(), invoice_no: number(n) }
}

pub(super) fn period(month: Month) -> Period {
    Period::at(time(month, 0))
}

pub(super) fn time(month: Month, minute: i64) -> Timestamp {
    thread_local! {
        static STARTS: [Timestamp; 2] = [at("2026-11-23 10:00:00"), at("2026-12-01 10:00:00")];
    }
    let start = STARTS.with(|starts| starts[usize::from(month)]);
    start.checked_add(jiff::SignedDuration::from_mins(minute)).unwrap()
}

/// Odd blue numbers are dated in the second half of their month.
pub(super) fn claim(paper: &Paper) -> Claim {
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
