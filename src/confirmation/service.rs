//! Confirmations as the planes use them.

use std::sync::Arc;

use super::{
    CallEnded, Filter, Platform, Row, Totals,
    state::{Outcome, StepError},
    steps::{Ended, Steps},
};
use crate::{
    clock::Clock,
    domain::{Period, TaxNo},
    leqi::{
        Verdict,
        messages::{Summary, SummaryAction, SummaryList, SummaryQuery, SummaryUpload},
    },
    quota::Ledger,
    store::{StoreError, confirmations::ConfirmationTable},
};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmationError {
    /// Somebody else changed the confirmation at the same time.
    #[error("the confirmation was changed by somebody else at the same time; look at it again")]
    Changed,
    /// No confirmation has that id.
    #[error("no confirmation has this id")]
    NotFound,
    /// The call did not reach the platform, or its answer cannot be relied on.
    #[error(transparent)]
    Platform(#[from] CallEnded),
    /// The step makes no sense now.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No unit has the tax number.
    #[error("no unit with tax number {0} is registered; register it first (/api/v1/units)")]
    UnknownUnit(TaxNo),
}

/// A confirmation with what the gateway itself saw go through.
#[derive(Clone, Debug)]
pub struct View {
    /// As stored.
    pub row: Row,
    /// The six totals over the invoices of the month that the ledger knows as issued.
    pub ours: Totals,
}

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct Confirmations(Arc<Steps>);

impl std::fmt::Debug for Confirmations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Confirmations").finish_non_exhaustive()
    }
}

impl Confirmations {
    /// Opens the service. Steps that a stop interrupted have an unknown outcome.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open(
        table: Arc<dyn ConfirmationTable>,
        ledger: Ledger,
        platform: Arc<dyn Platform>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let steps = Steps { table, ledger, platform, clock };
        steps.recover().await?;
        Ok(Self(Arc::new(steps)))
    }

    /// The confirmation of a month, made when there is none; says whether it is new.
    ///
    /// # Errors
    /// When no unit has the tax number, or the database fails.
    pub async fn create(
        &self,
        tax_no: &TaxNo,
        period: Period,
        actor: &str,
    ) -> Result<(Row, bool), ConfirmationError> {
        let identity = self.0.identity(tax_no)?;
        let row = self.0.draft(tax_no.clone(), identity.platform_id, period);
        let audit = self.0.audit(actor, "confirmation.create", &row);
        Ok(self.0.table.create(row, Some(audit)).await?)
    }

    /// Confirmations, newest first, with ids below `before`, at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list(
        &self,
        filter: &Filter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.0.table.list(filter, before, limit).await
    }

    /// One confirmation beside what the gateway saw.
    ///
    /// # Errors
    /// When there is none, or the database fails.
    pub async fn get(&self, id: i64) -> Result<View, ConfirmationError> {
        let row = self.0.row(id).await?;
        let ours = self.0.ours(&row).await?;
        Ok(View { row, ours })
    }

    /// Confirms the month with the given totals, or with the ledger's. A refusal is no error: it is in the row.
    ///
    /// # Errors
    /// When the step makes no sense now, nothing could be sent, or the database fails.
    pub async fn confirm(
        &self,
        id: i64,
        totals: Option<Totals>,
        actor: &str,
    ) -> Result<Row, ConfirmationError> {
        let (inner, actor) = (Arc::clone(&self.0), actor.to_owned());
        run_to_end(async move { inner.confirm(id, totals, &actor).await }).await
    }

    /// Cancels the confirmation at the platform. A refusal is no error: it is in the row.
    ///
    /// # Errors
    /// When the step makes no sense now, nothing could be sent, or the database fails.
    pub async fn cancel(&self, id: i64, actor: &str) -> Result<Row, ConfirmationError> {
        let (inner, actor) = (Arc::clone(&self.0), actor.to_owned());
        run_to_end(async move { inner.cancel(id, &actor).await }).await
    }

    /// Asks the platform what is confirmed, and follows it.
    ///
    /// # Errors
    /// When the platform could not be asked or refused, or the database fails.
    pub async fn sync(&self, id: i64, actor: &str) -> Result<Row, ConfirmationError> {
        let (inner, actor) = (Arc::clone(&self.0), actor.to_owned());
        run_to_end(async move { inner.sync(id, &actor).await }).await
    }

    /// Follows a confirmation or cancellation that an invoicing system sent through the gateway.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn observe(&self, upload: &SummaryUpload, verdict: &Verdict) -> Result<(), ConfirmationError> {
        let draft = self.0.draft(upload.seller.clone(), upload.platform_id.clone(), upload.period);
        let audit = self.0.audit("gateway", "confirmation.observe", &draft);
        let (row, _) = self.0.table.create(draft, Some(audit)).await?;
        let before = row.state;
        let (outcome, refusal) = match verdict {
            Verdict::Accepted { .. } => (Outcome::Accepted, None),
            Verdict::Refused { code, text } | Verdict::AlreadyUploaded { code, text, .. } => {
                (Outcome::Refused, Some((code.clone(), text.clone())))
            }
            Verdict::Unclear { .. } => (Outcome::Unclear, None),
        };
        let sent = match &upload.action {
            SummaryAction::Confirm(totals) => Some(*totals),
            SummaryAction::Cancel => None,
        };
        let ended = Ended { cancels: sent.is_none(), outcome, refusal, sent };
        self.0.conclude(row, before, ended).await.map(drop)
    }

    /// Follows the answer to a query that an invoicing system sent through the gateway: what it shows is confirmed;
    /// the month that it asked for and that is not shown is not.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn observe_list(
        &self,
        query: &SummaryQuery,
        list: &SummaryList,
    ) -> Result<(), ConfirmationError> {
        for shown in &list.summaries {
            let draft = self.0.draft(query.seller.clone(), shown.platform_id.clone(), shown.period);
            let audit = self.0.audit("gateway", "confirmation.observe", &draft);
            let (row, _) = self.0.table.create(draft, Some(audit)).await?;
            self.observe_shown(row, Some(shown)).await?;
        }
        let (Some(platform_id), Some(period)) = (&query.platform_id, query.period) else { return Ok(()) };
        if list.summaries.iter().any(|s| s.platform_id == *platform_id && s.period == period) {
            return Ok(());
        }
        match self.0.table.by_month(query.seller.clone(), platform_id.clone(), period).await? {
            Some(row) => self.observe_shown(row, None).await,
            None => Ok(()),
        }
    }

    async fn observe_shown(&self, row: Row, shown: Option<&Summary>) -> Result<(), ConfirmationError> {
        // the answer may be older than a step that is under way
        if self.0.is_under_way(&row) {
            return Ok(());
        }
        match self.0.follow(row, shown, None).await {
            // whoever was first knows more
            Ok(_) | Err(ConfirmationError::Changed) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// In a task of its own: whoever waits may leave, the step goes on to its end.
async fn run_to_end<F>(step: F) -> Result<Row, ConfirmationError>
where
    F: Future<Output = Result<Row, ConfirmationError>> + Send + 'static,
{
    match tokio::spawn(step).await {
        Ok(done) => done,
        Err(error) => Err(CallEnded::Unclear(format!("the step was stopped: {error}")).into()),
    }
}
