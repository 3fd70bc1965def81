//! Confirmations as the planes use them: every step is committed before it is sent, and again when its outcome is known.

use std::sync::Arc;

use super::{
    CallEnded, Filter, Platform, Row, Totals,
    state::{self, Outcome, State, Step, StepError},
};
use crate::{
    clock::Clock,
    domain::{Period, PlatformId, TaxNo},
    leqi::{
        Verdict,
        messages::{SummaryAction, SummaryQuery, SummaryUpload},
    },
    quota::Ledger,
    store::{StoreError, audit::AuditRow, confirmations::ConfirmationTable},
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
pub struct Confirmations(Arc<Inner>);

struct Inner {
    table: Arc<dyn ConfirmationTable>,
    ledger: Ledger,
    platform: Arc<dyn Platform>,
    clock: Clock,
}

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
        for interrupted in [State::Submitting, State::Cancelling] {
            let filter = Filter { state: Some(interrupted), ..Filter::default() };
            for mut row in table.list(&filter, None, usize::MAX).await? {
                tracing::warn!(tax_no = %row.tax_no, period = %row.period, "the gateway stopped during a confirmation; its outcome is unknown");
                row.state = State::Unknown;
                row.updated_at = clock.now();
                table.update(row, None).await?;
            }
        }
        Ok(Self(Arc::new(Inner { table, ledger, platform, clock })))
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
        let identity =
            self.0.platform.identity(tax_no).ok_or_else(|| ConfirmationError::UnknownUnit(tax_no.clone()))?;
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
        let row = match &upload.action {
            SummaryAction::Confirm(totals) => Row { sent: Some(*totals), ..row },
            SummaryAction::Cancel => row,
        };
        let cancels = matches!(upload.action, SummaryAction::Cancel);
        self.0.conclude(row, before, cancels, outcome, refusal).await.map(drop)
    }
}

impl Inner {
    async fn confirm(&self, id: i64, totals: Option<Totals>, actor: &str) -> Result<Row, ConfirmationError> {
        let row = self.row(id).await?;
        let before = row.state;
        let Step::Send(sending) = state::confirm(before, row.period, self.clock.now())? else {
            return Ok(row);
        };
        let totals = match totals {
            Some(totals) => totals,
            None => self.ours(&row).await?,
        };
        let upload = self.upload(&row, SummaryAction::Confirm(totals))?;
        let row = Row { state: sending, sent: Some(totals), submitted_at: Some(self.clock.now()), ..row };
        let row = self.store(row, Some((actor, "confirmation.confirm"))).await?;
        self.send(row, before, &upload).await
    }

    async fn cancel(&self, id: i64, actor: &str) -> Result<Row, ConfirmationError> {
        let row = self.row(id).await?;
        let before = row.state;
        let Step::Send(sending) = state::cancel(before, row.period, self.clock.now())? else {
            return Ok(row);
        };
        let upload = self.upload(&row, SummaryAction::Cancel)?;
        let row = Row { state: sending, submitted_at: Some(self.clock.now()), ..row };
        let row = self.store(row, Some((actor, "confirmation.cancel"))).await?;
        self.send(row, before, &upload).await
    }

    async fn sync(&self, id: i64, actor: &str) -> Result<Row, ConfirmationError> {
        let row = self.row(id).await?;
        let query = SummaryQuery {
            seller: row.tax_no.clone(),
            province: self.identity(&row.tax_no)?.province,
            platform_id: Some(row.platform_id.clone()),
            period: Some(row.period),
        };
        let list = self.platform.query(&query).await?;
        let found =
            list.summaries.iter().find(|s| s.period == row.period && s.platform_id == row.platform_id);
        let now = self.clock.now();
        let state = state::synced(row.state, found.is_some(), row.confirmed_at.is_some(), row.period, now);
        let confirmed_at = row.confirmed_at.or(found.map(|_| now));
        let platform = found.map(|summary| summary.totals);
        let row = Row { state, platform, confirmed_at, synced_at: Some(now), ..row };
        let row = self.store(row, Some((actor, "confirmation.sync"))).await?;
        self.tell_ledger(&row).await?;
        Ok(row)
    }

    /// Sends a step that is committed, and commits what became of it.
    async fn send(&self, row: Row, before: State, upload: &SummaryUpload) -> Result<Row, ConfirmationError> {
        let cancels = matches!(upload.action, SummaryAction::Cancel);
        match self.platform.upload(upload).await {
            Ok(()) => self.conclude(row, before, cancels, Outcome::Accepted, None).await,
            Err(CallEnded::Refused { code, text }) => {
                self.conclude(row, before, cancels, Outcome::Refused, Some((code, text))).await
            }
            Err(ended @ CallEnded::NotSent(_)) => {
                self.conclude(row, before, cancels, Outcome::NotSent, None).await?;
                Err(ended.into())
            }
            Err(CallEnded::Unclear(reason)) => {
                tracing::warn!(tax_no = %row.tax_no, period = %row.period, %reason, "what became of a confirmation is not known");
                self.conclude(row, before, cancels, Outcome::Unclear, None).await
            }
        }
    }

    async fn conclude(
        &self,
        row: Row,
        before: State,
        cancels: bool,
        outcome: Outcome,
        refusal: Option<(String, String)>,
    ) -> Result<Row, ConfirmationError> {
        let state =
            if cancels { state::cancelled(before, outcome) } else { state::confirmed(before, outcome) };
        let (refusal_code, refusal_text) = refusal.unzip();
        let confirmed_at = if state == State::Confirmed { Some(self.clock.now()) } else { row.confirmed_at };
        let row = self.store(Row { state, refusal_code, refusal_text, confirmed_at, ..row }, None).await?;
        self.tell_ledger(&row).await?;
        Ok(row)
    }

    /// Uploads of a closed month are refused by the gate.
    async fn tell_ledger(&self, row: &Row) -> Result<(), StoreError> {
        let closed = state::is_closed(row.state);
        self.ledger.observe_month_closed(&row.tax_no, &row.platform_id, row.period, closed).await
    }

    async fn row(&self, id: i64) -> Result<Row, ConfirmationError> {
        self.table.by_id(id).await?.ok_or(ConfirmationError::NotFound)
    }

    async fn ours(&self, row: &Row) -> Result<Totals, StoreError> {
        self.ledger.totals(&row.tax_no, &row.platform_id, row.period).await
    }

    async fn store(&self, row: Row, action: Option<(&str, &str)>) -> Result<Row, ConfirmationError> {
        let row = Row { updated_at: self.clock.now(), ..row };
        let audit = action.map(|(actor, action)| self.audit(actor, action, &row));
        if !self.table.update(row.clone(), audit).await? {
            return Err(ConfirmationError::Changed);
        }
        Ok(Row { version: row.version + 1, ..row })
    }

    fn identity(&self, tax_no: &TaxNo) -> Result<super::Identity, ConfirmationError> {
        self.platform.identity(tax_no).ok_or_else(|| ConfirmationError::UnknownUnit(tax_no.clone()))
    }

    fn upload(&self, row: &Row, action: SummaryAction) -> Result<SummaryUpload, ConfirmationError> {
        let province = self.identity(&row.tax_no)?.province;
        let (seller, platform_id) = (row.tax_no.clone(), row.platform_id.clone());
        Ok(SummaryUpload { seller, province, platform_id, period: row.period, action })
    }

    fn draft(&self, tax_no: TaxNo, platform_id: PlatformId, period: Period) -> Row {
        let now = self.clock.now();
        Row {
            id: 0,
            tax_no,
            platform_id,
            period,
            state: State::Draft,
            sent: None,
            platform: None,
            refusal_code: None,
            refusal_text: None,
            created_at: now,
            updated_at: now,
            submitted_at: None,
            confirmed_at: None,
            synced_at: None,
            version: 0,
        }
    }

    fn audit(&self, actor: &str, action: &str, row: &Row) -> AuditRow {
        AuditRow {
            at: self.clock.now(),
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: row.tax_no.to_string(),
            detail: serde_json::json!({ "period": row.period, "platform_id": row.platform_id }).to_string(),
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
