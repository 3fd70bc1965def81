//! Credit that has fallen below a unit's low-water mark.

use futures_util::future::BoxFuture;

use super::{Context, Job, JobError, Outcome, credit};
use crate::{quota::Transfers, store::jobs::JobName};

/// Downloads more for the units that have a mark and are below it.
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
            let step =
                |tax_no| async move { credit::step("补充", &tax_no, transfers.top_up(&tax_no, actor).await) };
            context.each(transfers.taxpayers(), outcome, step).await
        })
    }
}
