//! What is not known: calls of a gateway that died, transfers whose answer was lost, invoices whose outcome nobody saw.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Context, Job, JobError, Outcome};
use crate::{
    quota::{Transfers, transfers::Calls},
    store::{exchanges::ExchangeTable, jobs::JobName},
};

/// Calls that one run makes to the platform at most.
const CALLS: u32 = 60;

/// Marks calls of gateways that died, sends open transfers again, with the same serial, and asks about open invoices.
pub struct Reconciliation {
    /// The request log.
    pub exchanges: Arc<dyn ExchangeTable>,
    /// What knows them.
    pub transfers: Transfers,
}

impl Job for Reconciliation {
    fn name(&self) -> JobName {
        JobName::Reconciliation
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        outcome: &'a mut Outcome,
    ) -> BoxFuture<'a, Result<(), JobError>> {
        Box::pin(async move {
            let interrupted = self.exchanges.interrupt_gone().await?;
            if interrupted > 0 {
                outcome.done += interrupted;
                outcome.note(format!("{interrupted} 次调用因所在网关停止而中断，结果未知"));
            }
            context.go_on()?;
            let mut calls = Calls::new(CALLS);
            let resumed = self.transfers.resume(&mut calls).await?;
            let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
            outcome.done += count(resumed.done + resumed.refused + resumed.expired);
            outcome.nothing += count(resumed.open);
            context.go_on()?;
            let reconciled = self.transfers.reconcile(&mut calls).await?;
            let resolved = reconciled.issued + reconciled.released;
            outcome.done += count(resolved);
            outcome.nothing += count(reconciled.open.saturating_sub(resolved));
            if resumed.open > 0 {
                outcome.note(format!("{} 笔额度申请结果未知，将继续核对", resumed.open));
            }
            if reconciled.overdue > 0 {
                outcome.note(format!("{} 张发票超过 48 小时未得到结果", reconciled.overdue));
            }
            Ok(())
        })
    }
}
