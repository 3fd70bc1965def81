//! The steps of a confirmation: each is committed before it is sent, and again when its outcome is known.

use std::sync::Arc;

use jiff::{Span, Timestamp};

use super::{
    CallEnded, Identity, Platform, Row, Totals,
    service::ConfirmationError,
    state::{self, Outcome, State, Step, StepError},
};
use crate::{
    clock::Clock,
    domain::{Period, PlatformId, TaxNo},
    leqi::messages::{Summary, SummaryAction, SummaryQuery, SummaryUpload},
    quota::Ledger,
    store::{StoreError, audit::AuditRow, confirmations::ConfirmationTable},
};

/// Minutes for which a step counts as under way; longer than any call may take.
const UNDER_WAY_MINUTES: i64 = 10;

/// Times that an outcome is stored again when somebody else changed the row meanwhile.
const ATTEMPTS: u32 = 10;

/// What the steps work with.
pub(super) struct Steps {
    pub(super) table: Arc<dyn ConfirmationTable>,
    pub(super) ledger: Ledger,
    pub(super) platform: Arc<dyn Platform>,
    pub(super) clock: Clock,
}

/// What became of an upload, ours or one seen passing.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    /// Whether it was a cancellation.
    pub(super) cancels: bool,
    /// What the platform made of it.
    pub(super) outcome: Outcome,
    /// Code and words of its refusal.
    pub(super) refusal: Option<(String, String)>,
    /// The totals that were sent.
    pub(super) sent: Option<Totals>,
}

/// A step before anything is sent.
enum Begun {
    /// It is done already.
    Nothing(Row),
    /// It is committed and must be sent.
    Sending { row: Row, before: State, upload: SummaryUpload },
}

/// What somebody wants of a confirmation.
#[derive(Clone, Copy)]
enum Wish {
    Cancel,
    /// With these totals, or with the ledger's.
    Confirm(Option<Totals>),
}

impl Steps {
    /// Steps that a stop interrupted have an unknown outcome.
    pub(super) async fn recover(&self) -> Result<(), StoreError> {
        for interrupted in [State::Submitting, State::Cancelling] {
            let filter = super::Filter { state: Some(interrupted), ..super::Filter::default() };
            for row in self.table.list(&filter, None, usize::MAX).await? {
                tracing::warn!(tax_no = %row.tax_no, period = %row.period, "the gateway stopped during a confirmation; its outcome is unknown");
                let row = Row { state: State::Unknown, updated_at: self.clock.now(), ..row };
                self.table.update(row, None).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn confirm(
        &self,
        id: i64,
        totals: Option<Totals>,
        actor: &str,
    ) -> Result<Row, ConfirmationError> {
        self.take(id, Wish::Confirm(totals), actor).await
    }

    pub(super) async fn cancel(&self, id: i64, actor: &str) -> Result<Row, ConfirmationError> {
        self.take(id, Wish::Cancel, actor).await
    }

    /// Takes a step. It is begun again when the row was changed meanwhile, for a query that finds nothing new must not
    /// turn a person away: nothing was sent yet, and the state says anew whether the step makes sense.
    async fn take(&self, id: i64, wish: Wish, actor: &str) -> Result<Row, ConfirmationError> {
        let mut attempt = 1;
        let begun = loop {
            match self.begin(id, wish, actor).await {
                Err(ConfirmationError::Changed) if attempt < ATTEMPTS => attempt += 1,
                begun => break begun?,
            }
        };
        match begun {
            Begun::Nothing(row) => Ok(row),
            Begun::Sending { row, before, upload } => self.send(row, before, &upload).await,
        }
    }

    /// Commits that a step is about to be sent, if it makes sense now.
    async fn begin(&self, id: i64, wish: Wish, actor: &str) -> Result<Begun, ConfirmationError> {
        let row = self.row(id).await?;
        let (before, now) = (row.state, self.clock.now());
        let (step, action) = match wish {
            Wish::Cancel => (state::cancel(before, row.period, now)?, "confirmation.cancel"),
            Wish::Confirm(_) => (state::confirm(before, row.period, now)?, "confirmation.confirm"),
        };
        let Step::Send(sending) = step else { return Ok(Begun::Nothing(row)) };
        let sent = match wish {
            Wish::Cancel => SummaryAction::Cancel,
            Wish::Confirm(Some(totals)) => SummaryAction::Confirm(totals),
            Wish::Confirm(None) => SummaryAction::Confirm(self.ours(&row).await?),
        };
        let upload = self.upload(&row, sent)?;
        let row = Row { state: sending, submitted_at: Some(now), ..row };
        let row = self.store(row, Some((actor, action))).await?;
        Ok(Begun::Sending { row, before, upload })
    }

    pub(super) async fn sync(&self, id: i64, actor: &str) -> Result<Row, ConfirmationError> {
        let row = self.row(id).await?;
        if self.is_under_way(&row) {
            return Err(StepError::Busy.into());
        }
        let query = SummaryQuery {
            seller: row.tax_no.clone(),
            province: self.identity(&row.tax_no)?.province,
            platform_id: Some(row.platform_id.clone()),
            period: Some(row.period),
        };
        let list = self.platform.query(&query).await?;
        let shown =
            list.summaries.iter().find(|s| s.period == row.period && s.platform_id == row.platform_id);
        self.follow(row, shown, Some((actor, "confirmation.sync"))).await
    }

    /// Brings the row to what a query of the platform shows of its month.
    pub(super) async fn follow(
        &self,
        row: Row,
        shown: Option<&Summary>,
        action: Option<(&str, &str)>,
    ) -> Result<Row, ConfirmationError> {
        let now = self.clock.now();
        let state = state::synced(row.state, shown.is_some(), row.confirmed_at.is_some(), row.period, now);
        let confirmed_at = row.confirmed_at.or(shown.map(|_| now));
        let platform = shown.map(|summary| summary.totals);
        let row = Row { state, platform, confirmed_at, synced_at: Some(now), ..row };
        let row = self.store(row, action).await?;
        self.tell_ledger(&row).await?;
        Ok(row)
    }

    /// Sends a step that is committed, and commits what became of it.
    async fn send(&self, row: Row, before: State, upload: &SummaryUpload) -> Result<Row, ConfirmationError> {
        let sent = match &upload.action {
            SummaryAction::Confirm(totals) => Some(*totals),
            SummaryAction::Cancel => None,
        };
        let ended = |outcome, refusal| Ended { cancels: sent.is_none(), outcome, refusal, sent };
        match self.platform.upload(upload).await {
            Ok(()) => self.conclude(row, before, ended(Outcome::Accepted, None)).await,
            Err(CallEnded::Refused { code, text }) => {
                self.conclude(row, before, ended(Outcome::Refused, Some((code, text)))).await
            }
            Err(failed @ CallEnded::NotSent(_)) => {
                self.conclude(row, before, ended(Outcome::NotSent, None)).await?;
                Err(failed.into())
            }
            Err(CallEnded::Unclear(reason)) => {
                tracing::warn!(tax_no = %row.tax_no, period = %row.period, %reason, "what became of a confirmation is not known");
                self.conclude(row, before, ended(Outcome::Unclear, None)).await
            }
        }
    }

    /// Commits what became of an upload. What the platform said must not get lost because the row was changed
    /// meanwhile (by traffic, a query), so it is applied to the row as it is then.
    pub(super) async fn conclude(
        &self,
        mut row: Row,
        mut before: State,
        ended: Ended,
    ) -> Result<Row, ConfirmationError> {
        let id = row.id;
        for _ in 0..ATTEMPTS {
            let next = self.concluded(row, before, &ended);
            match self.store(next, None).await {
                Ok(stored) => {
                    self.tell_ledger(&stored).await?;
                    return Ok(stored);
                }
                Err(ConfirmationError::Changed) => row = self.row(id).await?,
                Err(error) => return Err(error),
            }
            if !matches!(row.state, State::Cancelling | State::Submitting) {
                before = row.state;
            }
        }
        Err(ConfirmationError::Changed)
    }

    fn concluded(&self, row: Row, before: State, ended: &Ended) -> Row {
        let (cancels, outcome) = (ended.cancels, ended.outcome);
        let state =
            if cancels { state::cancelled(before, outcome) } else { state::confirmed(before, outcome) };
        let confirmed = !cancels && outcome == Outcome::Accepted;
        let row =
            Row { confirmed_at: if confirmed { Some(self.clock.now()) } else { row.confirmed_at }, ..row };
        if outcome == Outcome::NotSent {
            // what the platform last said still stands
            return Row { state, ..row };
        }
        let (refusal_code, refusal_text) = ended.refusal.clone().unzip();
        Row { state, refusal_code, refusal_text, sent: ended.sent.or(row.sent), ..row }
    }

    /// Whether a step of this row is on its way right now.
    pub(super) fn is_under_way(&self, row: &Row) -> bool {
        let limit = Span::new().minutes(UNDER_WAY_MINUTES);
        let began_lately = |at: Timestamp| at.saturating_add(limit).is_ok_and(|end| self.clock.now() < end);
        matches!(row.state, State::Cancelling | State::Submitting)
            && row.submitted_at.is_some_and(began_lately)
    }

    /// Uploads of a closed month are refused by the gate.
    async fn tell_ledger(&self, row: &Row) -> Result<(), StoreError> {
        let closed = state::is_closed(row.state);
        self.ledger.observe_month_closed(&row.tax_no, &row.platform_id, row.period, closed).await
    }

    pub(super) async fn row(&self, id: i64) -> Result<Row, ConfirmationError> {
        self.table.by_id(id).await?.ok_or(ConfirmationError::NotFound)
    }

    pub(super) async fn ours(&self, row: &Row) -> Result<Totals, StoreError> {
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

    pub(super) fn identity(&self, tax_no: &TaxNo) -> Result<Identity, ConfirmationError> {
        self.platform.identity(tax_no).ok_or_else(|| ConfirmationError::UnknownUnit(tax_no.clone()))
    }

    fn upload(&self, row: &Row, action: SummaryAction) -> Result<SummaryUpload, ConfirmationError> {
        let province = self.identity(&row.tax_no)?.province;
        let (seller, platform_id) = (row.tax_no.clone(), row.platform_id.clone());
        Ok(SummaryUpload { seller, province, platform_id, period: row.period, action })
    }

    pub(super) fn draft(&self, tax_no: TaxNo, platform_id: PlatformId, period: Period) -> Row {
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

    pub(super) fn audit(&self, actor: &str, action: &str, row: &Row) -> AuditRow {
        AuditRow {
            at: self.clock.now(),
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: row.tax_no.to_string(),
            detail: serde_json::json!({ "period": row.period, "platform_id": row.platform_id }).to_string(),
        }
    }
}
