//! The management API under `/api/v1` (design.md §1): one file per resource, and around them what all share.
//!
//! JSON in snake_case, times in RFC 3339 with Beijing's offset, amounts as decimal strings in yuan, lists as
//! `{"items": […], "next_cursor": …}`, errors as RFC 9457 problems ([`problem`]), bearer tokens with roles ([`auth`]).
//! Handlers say what is done; the services do it, and write the audit rows.

mod audit;
pub mod auth;
mod confirmations;
mod exchange_view;
mod exchanges;
pub mod fields;
mod idempotency;
mod jobs;
mod mapping;
pub mod page;
pub mod problem;
mod quota_entries;
mod quota_transfers;
mod quotas;
pub mod reload;
pub mod reply;
mod routes;
mod status;
mod tokens;
mod units;

use std::sync::Arc;

use jiff::Timestamp;

pub use routes::router;

use crate::{
    clock::Clock,
    confirmation::Confirmations,
    quota::{Ledger, Transfers},
    request_log::RequestLog,
    store::Store,
    unit::{Registry, token::Tokens},
};

/// What the API works with.
#[derive(Clone)]
pub struct ApiState {
    /// Units and keys.
    pub registry: Arc<Registry>,
    /// Bearer tokens.
    pub tokens: Arc<Tokens>,
    /// The request log.
    pub log: Arc<RequestLog>,
    /// Credit.
    pub ledger: Ledger,
    /// What moves credit.
    pub transfers: Transfers,
    /// Monthly confirmations.
    pub confirmations: Confirmations,
    /// The database: changes, kept answers, and whether it answers.
    pub store: Store,
    /// The clock.
    pub clock: Clock,
    /// Who takes over a new configuration.
    pub reload: Arc<dyn reload::Reload>,
    /// When the gateway started.
    pub started_at: Timestamp,
}

#[cfg(test)]
mod tests;
