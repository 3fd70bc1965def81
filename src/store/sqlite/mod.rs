//! The store on SQLite: WAL, every commit flushed, one writer, a few readers.
//!
//! How a group of tables writes:
//! - *often* (reservations, rows of the log): a [`writer::Command`] whose waiting instances share their statements;
//! - *rarely* (units, tokens, …): [`writer::Writer::write`] with a closure that has a savepoint of its own.

mod audit;
mod confirmations;
mod exchange_keys;
mod exchange_purge;
mod exchange_rows;
mod exchange_search;
mod exchanges;
mod idempotency;
mod jobs;
mod leases;
mod ledger;
mod ledger_rows;
mod ledger_transfers;
mod open;
mod pile;
mod quota_settings;
mod rare;
mod tokens;
mod units;
mod value;
mod writer;

#[cfg(test)]
mod idempotency_tests;
#[cfg(test)]
mod tests;

pub(super) use self::open::{claim, open};
