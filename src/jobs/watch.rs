//! What somebody should know before it hurts: units that cannot be called for, credit that runs out.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Context, Figure, Job, JobError, Outcome};
use crate::{
    clock::Clock,
    domain::{Money, beijing_day},
    quota::Ledger,
    store::{jobs::JobName, ledger::Account},
    unit::{QuotaMode, Registry, Unit},
};

/// Looks at every unit's key and at its credit of this month.
pub struct Watch {
    /// The units.
    pub registry: Arc<Registry>,
    /// Their credit.
    pub ledger: Ledger,
    /// The clock.
    pub clock: Clock,
}

/// What is found, counted.
#[derive(Default)]
struct Found {
    without_key: i64,
    low: i64,
    suspended: i64,
}

impl Job for Watch {
    fn name(&self) -> JobName {
        JobName::Watch
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        outcome: &'a mut Outcome,
    ) -> BoxFuture<'a, Result<(), JobError>> {
        Box::pin(async move {
            let mut found = Found::default();
            for unit in self.registry.list() {
                context.go_on()?;
                self.look(&unit, &mut found, outcome).await?;
                outcome.done += 1;
            }
            outcome.figures.insert(Figure::UnitsWithoutKey.as_str(), found.without_key);
            outcome.figures.insert(Figure::UnitsLowOnCredit.as_str(), found.low);
            outcome.figures.insert(Figure::SuspendedUnits.as_str(), found.suspended);
            Ok(())
        })
    }
}

impl Watch {
    async fn look(&self, unit: &Unit, found: &mut Found, outcome: &mut Outcome) -> Result<(), JobError> {
        let (tax_no, name) = (&unit.tax_no, &unit.name);
        if self.registry.keys_of(unit).is_none_or(|keys| keys.production.is_none()) {
            found.without_key += 1;
            tracing::warn!(%tax_no, "the unit's access unit has no production key: nothing can be done in its name");
            outcome.note(format!("{tax_no} {name}：接入单位没有生产密钥"));
        }
        if unit.quota_mode == QuotaMode::Off {
            return Ok(());
        }
        let period = self.clock.period();
        let Some(account) = self.ledger.balance(tax_no, period).await? else { return Ok(()) };
        if account.suspended {
            found.suspended += 1;
            tracing::warn!(%tax_no, %period, "the tax bureau has suspended the unit's credit; what is downloaded lasts");
            outcome.note(format!("{tax_no} {name}：授信额度已被税局暂停"));
        }
        let day = i64::from(beijing_day(self.clock.now()).day());
        if is_low(&account, day) {
            found.low += 1;
            let available = account.available();
            tracing::warn!(%tax_no, %period, %available, "the unit's credit lasts less than a day at this month's rate");
            outcome.note(format!("{tax_no} {name}：剩余额度 {available} 元，按本月用量不足一天"));
        }
        Ok(())
    }
}

/// Whether what is left is less than what an average day of this month, of which `day` days have begun, has used.
fn is_low(account: &Account, day: i64) -> bool {
    let figures = account.figures;
    let used = figures.issued.saturating_add(figures.reserved).saturating_add(figures.elsewhere);
    used > Money::ZERO && account.available().fen().saturating_mul(day) < used.fen()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ledger::AccountKey;

    #[test]
    fn credit_is_low_when_it_lasts_less_than_an_average_day() {
        let now = crate::domain::parse_beijing("2026-12-10 08:00:00").unwrap();
        let issuer = "91350100M000100Y43".parse().unwrap();
        let mut account = Account::new(AccountKey { issuer, period: "2026-12".parse().unwrap() }, now);
        assert!(!is_low(&account, 10), "nothing downloaded and nothing used is no alarm");
        account.figures.downloaded = Money::from_fen(1_100);
        account.figures.issued = Money::from_fen(1_000);
        assert!(!is_low(&account, 10), "100 left of which a day uses 100");
        account.figures.reserved = Money::from_fen(1);
        assert!(is_low(&account, 10));
    }
}
