//! What moving a unit's credit came to, as a step of a job.

use super::Step;
use crate::{domain::TaxNo, quota::transfers::TransferError, store::ledger::Transfer};

/// The step that a transfer was. One whose outcome is not known is no failure of the job: the reconciliation sends it
/// again until it is.
pub(super) fn step(what: &str, tax_no: &TaxNo, done: Result<Option<Transfer>, TransferError>) -> Step {
    match done {
        Ok(Some(transfer)) => {
            tracing::info!(%tax_no, amount = %transfer.amount, serial = transfer.serial, "{what}");
            Step::Done
        }
        Ok(None) => Step::Nothing,
        Err(error) => Step::Failed(format!("{tax_no} {what}: {error}")),
    }
}
