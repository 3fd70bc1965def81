//! The store on PostgreSQL, which any number of gateways share.
//!
//! Every gateway has two writers (see [`super::writer`]): one for the ledger and one for everything else, so that
//! bodies on their way into the request log hold up no reservation. What is written often goes in and out as arrays,
//! one statement for any number of rows. Queries and rare writes are shared with SQLite ([`super::sql`]).

mod bulk;
mod copy;
mod exchanges;
mod leases;
mod ledger;
mod node;
mod open;
mod partitions;
mod purge;
mod server;
mod spooled;

#[cfg(test)]
mod ledger_tests;
#[cfg(test)]
mod node_tests;
#[cfg(test)]
mod purge_tests;
#[cfg(test)]
mod spooled_tests;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use self::open::database;
pub(super) use self::{
    copy::copy,
    open::{Database, open},
};
