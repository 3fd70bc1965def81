//! 开票额度: no invoice leaves without downloaded credit, no credit is spent twice, none is lost.
//!
//! | file | what |
//! |---|---|
//! | `claims` | what an upload asks for: issuing party, month and credit of each invoice (pure) |
//! | `rules` | how reservations, answers, results and balances change the books (pure, protocol.md §4) |
//! | `ledger` | the service: carries rules to the store, asks for balances that are missing |
//! | `transfers` | downloads, returns, validity, top-ups, and what resolves unknown outcomes |
//! | `settings` | how the credit of each unit is managed |
//! | `refusal` | every sentence that the gate says no with |
//!
//! The life of an invoice's entry: *reserved* before the first byte is sent; *issued* on a result `00` or `03`;
//! *released* when it is proven that no upload of it was taken. Each upload is remembered until its outcome is
//! proven; whatever is unclear keeps its credit held. `available = downloaded − elsewhere − issued − reserved`.

mod bureau;
mod claims;
mod evidence;
mod job;
mod ledger;
mod metrics;
mod observe;
mod read;
mod refusal;
mod reservation;
pub mod rules;
mod settings;
mod sync;
mod transfer_request;
pub mod transfers;

pub use self::{
    bureau::{Bureau, Ids, NoCaller},
    claims::{Claim, MAX_INVOICES, claims},
    ledger::{Config, Ledger, ReserveError},
    metrics::Metrics,
    refusal::Refusal,
    reservation::Reservation,
    rules::{Mark, Mode, Observed, SerialReused, Settlement, Upload},
    settings::{Percent, Settings},
    sync::{QuotaSource, SyncError},
    transfer_request::read_transfer,
    transfers::Transfers,
};

#[cfg(test)]
mod tests;
