//! The month's first download of credit, for every unit that has none.

use futures_util::future::BoxFuture;

use super::{Context, Job, JobError, Outcome, credit};
use crate::{quota::Transfers, store::jobs::JobName};

/// Downloads each unit's share on the 1st; once per unit and month, however often it runs.
pub struct MonthStart {
    /// What moves credit.
    pub transfers: Transfers,
}

impl Job for MonthStart {
    fn name(&self) -> JobName {
        JobName::MonthStart
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        outcome: &'a mut Outcome,
    ) -> BoxFuture<'a, Result<(), JobError>> {
        Box::pin(async move {
            self.transfers.refresh_settings().await?;
            let (transfers, actor) = (&self.transfers, context.actor.as_str());
            let step = |tax_no| async move {
                credit::step("下载", &tax_no, transfers.month_start(&tax_no, actor).await)
            };
            context.each(transfers.taxpayers(), outcome, step).await
        })
    }
}
