//! The end of credit: months that take no more uploads are closed; on a month's last day the unused rest goes back.

use futures_util::future::BoxFuture;

use super::{Context, Job, JobError, Outcome, credit};
use crate::{
    clock::Clock,
    quota::{Transfers, transfers::month_ending},
    store::jobs::JobName,
};

/// Gives up what is still reserved in closed months; returns what is unused where a unit is set so.
pub struct Expiry {
    /// What moves credit.
    pub transfers: Transfers,
    /// The clock.
    pub clock: Clock,
}

impl Job for Expiry {
    fn name(&self) -> JobName {
        JobName::Expiry
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        outcome: &'a mut Outcome,
    ) -> BoxFuture<'a, Result<(), JobError>> {
        Box::pin(async move {
            let ending = month_ending(&self.clock);
            let expired = self.transfers.expire(&context.actor).await?;
            outcome.done += u64::try_from(expired.invoices).unwrap_or(u64::MAX);
            if expired.invoices > 0 {
                outcome.note(format!("{} 张发票所属月份已截止，占用额度已释放", expired.invoices));
            }
            let Some(month) = ending else { return Ok(()) };
            context.go_on()?;
            self.transfers.refresh_settings().await?;
            let (transfers, actor) = (&self.transfers, context.actor.as_str());
            let step = |tax_no| async move {
                credit::step("退回", &tax_no, transfers.month_end(&tax_no, month, actor).await)
            };
            context.each(transfers.taxpayers(), outcome, step).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_returned_on_the_last_evening_of_a_month_in_beijing() {
        for (now, end) in [
            ("2027-02-28 23:40:00", true),
            ("2027-02-28 00:20:00", false),
            ("2027-02-27 23:40:00", false),
            ("2028-02-28 23:40:00", false),
            ("2026-12-31 20:00:00", true),
            ("2027-01-01 00:20:00", false),
        ] {
            let clock = Clock::starting_at(crate::domain::parse_beijing(now).unwrap());
            assert_eq!(month_ending(&clock), end.then(|| clock.period()), "{now}");
        }
    }
}
