//! Credit that has fallen below a unit's low-water mark, or that the bureau did not have when the month began.

use futures_util::future::BoxFuture;

use super::{Context, Job, JobError, Outcome, credit};
use crate::{quota::Transfers, store::jobs::JobName};

/// Downloads more for the units that have a mark and are below it, and the month's first credit for those that could get
/// none at its start.
pub struct TopUp {
    /// What moves credit.
    pub transfers: Transfers,
}

impl Job for TopUp {
    fn name(&self) -> JobName {
        JobName::TopUp
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
                match transfers.late_start(&tax_no, actor).await {
                    Ok(None) => credit::step("补充", &tax_no, transfers.top_up(&tax_no, actor).await),
                    started => credit::step("下载", &tax_no, started),
                }
            };
            context.each(transfers.taxpayers(), outcome, step).await
        })
    }
}
