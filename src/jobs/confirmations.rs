//! 汇总确认: the past month's records are there on the 1st, and whoever forgets them is reminded until the 13th.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Context, Figure, Job, JobError, Outcome, Step};
use crate::{
    clock::Clock,
    confirmation::{Confirmations, Filter, Row, State},
    domain::{Period, TaxNo, beijing_day},
    quota::Ledger,
    store::{
        jobs::JobName,
        ledger::{EntryFilter, EntryState},
    },
    unit::Registry,
};

/// The platform confirms by itself what it has on this day.
const DEADLINE: i8 = 13;
/// Confirmations that one page of the list has.
const PAGE: usize = 500;

/// Creates the past month's confirmations, reminds, and confirms where that is asked for.
pub struct ConfirmationsJob {
    /// The units.
    pub registry: Arc<Registry>,
    /// The confirmations.
    pub confirmations: Confirmations,
    /// The invoices of the month.
    pub ledger: Ledger,
    /// The clock.
    pub clock: Clock,
    /// Whether drafts are sent by themselves.
    pub confirm: bool,
}

impl Job for ConfirmationsJob {
    fn name(&self) -> JobName {
        JobName::Confirmations
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        outcome: &'a mut Outcome,
    ) -> BoxFuture<'a, Result<(), JobError>> {
        Box::pin(async move {
            let day = beijing_day(self.clock.now()).day();
            let month = self.clock.period().previous();
            if day < DEADLINE {
                let units = self.registry.list().into_iter().map(|unit| unit.tax_no.clone()).collect();
                context.each(units, outcome, |tax_no| self.create(tax_no, month, context)).await?;
            }
            // also the new ones: a confirmation that passed while the database was away is known to the platform alone
            let open = self.open(month, is_open).await?;
            let known = open.into_iter().filter(|row| self.has_key(&row.tax_no)).collect();
            context.each(known, outcome, |row| self.follow(row, context)).await?;
            if day < DEADLINE && self.confirm {
                let drafts = self.open(month, |state| state == State::Draft).await?;
                context.each(drafts, outcome, |row| self.confirm(row, context)).await?;
            }
            let open = self.open(month, is_open).await?;
            for row in open.iter().filter(|_| day < DEADLINE) {
                let (tax_no, state, days) = (&row.tax_no, row.state.as_str(), DEADLINE - day);
                tracing::warn!(%tax_no, %month, state, days, "a month is not confirmed; VAT cannot be filed before it is");
                outcome.note(format!("{tax_no} {month}：尚未确认（{state}），距截止还有 {days} 天"));
            }
            let count = i64::try_from(open.len()).unwrap_or(i64::MAX);
            outcome.figures.insert(Figure::OpenConfirmations.as_str(), count);
            Ok(())
        })
    }
}

impl ConfirmationsJob {
    fn has_key(&self, tax_no: &TaxNo) -> bool {
        let unit = self.registry.by_tax_no(tax_no);
        let keys = unit.and_then(|unit| self.registry.keys_of(&unit));
        keys.is_some_and(|keys| keys.production.is_some())
    }

    /// Asks the platform: the month may have been confirmed without passing here, or by itself.
    async fn follow(&self, row: Row, context: &Context) -> Step {
        let before = row.state;
        match self.confirmations.sync(row.id, &context.actor).await {
            Ok(row) if row.state == before => Step::Nothing,
            Ok(_) => Step::Done,
            Err(error) => Step::Failed(format!("{} {}: {error}", row.tax_no, row.period)),
        }
    }

    async fn create(&self, tax_no: TaxNo, month: Period, context: &Context) -> Step {
        match self.confirmations.create(&tax_no, month, &context.actor).await {
            Ok((_, true)) => Step::Done,
            Ok((_, false)) => Step::Nothing,
            Err(error) => Step::Failed(format!("{tax_no} {month}: {error}")),
        }
    }

    /// Confirms with the ledger's totals once the outcome of every invoice of the month is known.
    async fn confirm(&self, row: Row, context: &Context) -> Step {
        let (tax_no, month) = (row.tax_no.clone(), row.period);
        let reserved = EntryFilter {
            issuer: tax_no.clone(),
            period: Some(month),
            state: Some(EntryState::Reserved),
            invoice_no: None,
            exchange: None,
            from: None,
            to: None,
            after: None,
            limit: 1,
        };
        match self.ledger.entries(&reserved).await {
            Ok(unresolved) if !unresolved.is_empty() => return Step::Nothing,
            Ok(_) => {}
            Err(error) => return Step::Failed(format!("{tax_no} {month}: {error}")),
        }
        match self.confirmations.confirm(row.id, None, &context.actor).await {
            Ok(row) if row.state == State::Confirmed => Step::Done,
            Ok(row) => {
                let words = row.refusal_text.unwrap_or_default();
                Step::Failed(format!("{tax_no} {month}: {} {words}", row.state.as_str()))
            }
            Err(error) => Step::Failed(format!("{tax_no} {month}: {error}")),
        }
    }

    /// The month's confirmations in these states.
    async fn open(&self, month: Period, wanted: impl Fn(State) -> bool) -> Result<Vec<Row>, JobError> {
        let filter = Filter { period: Some(month), ..Filter::default() };
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let page = self.confirmations.list(&filter, before, PAGE).await?;
            before = page.last().map(|row| row.id);
            let whole = page.len() < PAGE;
            found.extend(page.into_iter().filter(|row| wanted(row.state)));
            if whole {
                return Ok(found);
            }
        }
    }
}

/// Whether the platform has not confirmed it as far as is known.
fn is_open(state: State) -> bool {
    match state {
        State::AutoConfirmed | State::Confirmed => false,
        State::Cancelled
        | State::Cancelling
        | State::Draft
        | State::Refused
        | State::Submitting
        | State::Unknown => true,
    }
}
