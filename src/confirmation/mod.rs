//! The monthly summary confirmation (汇总确认): created, confirmed, cancelled and compared with the platform.

pub mod state;

pub use state::{Outcome, State, StepError};

pub use crate::store::confirmations::{
    ConfirmationFilter as Filter, ConfirmationRow as Row, SixTotals as Totals,
};
