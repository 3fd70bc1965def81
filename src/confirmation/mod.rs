//! The monthly summary confirmation (汇总确认): created, confirmed, cancelled and compared with the platform.

mod platform;
mod service;
pub mod state;
mod steps;
#[cfg(test)]
mod tests;

pub use platform::{Identity, Platform};
pub use service::{ConfirmationError, Confirmations, View};
pub use state::{Outcome, State, StepError};

pub use crate::domain::Totals;
pub use crate::leqi::client::CallEnded;
pub use crate::store::confirmations::{ConfirmationFilter as Filter, ConfirmationRow as Row};
