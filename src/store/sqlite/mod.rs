//! The store on SQLite: WAL, every commit flushed, one writer, a few readers.
//!
//! How a group of tables writes:
//! - *often* (reservations, rows of the log): a [`Command`](super::writer::Command) whose waiting instances share their statements;
//! - *rarely* (units, tokens, …): [`Writer::write`](super::writer::Writer::write) with a closure that has a savepoint of its own.

mod checkpoint;
mod exchange_keys;
mod exchange_rows;
mod exchanges;
mod leases;
mod ledger;
mod ledger_rows;
mod ledger_transfers;
mod open;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use self::open::database;
pub(super) use self::open::{Database, claim, open, reader};
