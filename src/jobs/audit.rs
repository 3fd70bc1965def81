//! The invariant of the ledger: balances are what entries and events add up to. Proven every day.

use futures_util::future::BoxFuture;

use super::{Context, Figure, Job, JobError, Outcome};
use crate::{clock::Clock, quota::Ledger, store::jobs::JobName};

/// Rebuilds the accounts of this and the past month and compares.
pub struct Audit {
    /// The ledger.
    pub ledger: Ledger,
    /// The clock.
    pub clock: Clock,
}

impl Job for Audit {
    fn name(&self) -> JobName {
        JobName::Audit
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        outcome: &'a mut Outcome,
    ) -> BoxFuture<'a, Result<(), JobError>> {
        Box::pin(async move {
            let now = self.clock.period();
            let mut mismatched = 0;
            for period in [now.previous(), now] {
                context.go_on()?;
                let found = self.ledger.verify(period).await?;
                for mismatch in &found {
                    tracing::error!(issuer = %mismatch.key.issuer, %period, account = ?mismatch.account,
                        entries = ?mismatch.entries, events = ?mismatch.events,
                        "an account of the ledger is not what its entries and events add up to");
                    outcome.note(format!("{} {period}: 账户余额与明细不符", mismatch.key.issuer));
                }
                mismatched += i64::try_from(found.len()).unwrap_or(i64::MAX);
                outcome.done += 1;
            }
            outcome.figures.insert(Figure::MismatchedAccounts.as_str(), mismatched);
            match mismatched {
                0 => Ok(()),
                n => Err(JobError::Failed(format!("{n} accounts of the ledger do not add up"))),
            }
        })
    }
}
