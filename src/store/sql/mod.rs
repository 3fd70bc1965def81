//! SQL that both engines understand: the tables that are written rarely, one file each, all queries, and the deletion
//! of old exchanges.
//!
//! A write is a closure over a [`session::Session`] that has a savepoint of its own; parameters are `$1`, `$2`, ….
//! What both engines spell differently is compared here in the form that both have (`lower(…)` for letters of
//! either case).

pub(super) mod audit;
pub(super) mod confirmations;
pub(super) mod exchange_keys;
pub(super) mod exchange_purge;
pub(super) mod exchange_rows;
pub(super) mod exchange_search;
pub(super) mod exchanges;
pub(super) mod idempotency;
pub(super) mod jobs;
pub(super) mod ledger;
pub(super) mod ledger_rows;
pub(super) mod ledger_transfers;
pub(super) mod quota_settings;
pub(super) mod session;
pub(super) mod tokens;
pub(super) mod units;

#[cfg(test)]
mod idempotency_tests;
#[cfg(test)]
mod ledger_tests;
