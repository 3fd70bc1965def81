//! What moving a unit's credit came to, as a step of a job.

use super::Step;
use crate::{
    domain::TaxNo,
    quota::transfers::TransferError,
    store::ledger::{Transfer, TransferState},
};

/// The step that a transfer was. One whose outcome is not known has not worked yet: the reconciliation sends it again
/// until it is known, and the next run of the job finds it done.
pub(super) fn step(what: &str, tax_no: &TaxNo, done: Result<Option<Transfer>, TransferError>) -> Step {
    match done {
        Ok(Some(transfer)) => match transfer.state {
            TransferState::Done => Step::Done,
            TransferState::Expired | TransferState::Open | TransferState::Refused => {
                let why = [transfer.state.as_str(), transfer.code.as_deref().unwrap_or_default()].join(" ");
                let text = transfer.text.unwrap_or_default();
                Step::Failed(format!("{tax_no} {what} {} 元：{why} {text}", transfer.amount))
            }
        },
        Ok(None) => Step::Nothing,
        Err(error) => Step::Failed(format!("{tax_no} {what}: {error}")),
    }
}
