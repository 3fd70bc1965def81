//! `/quotas/{tax_no}/download`, `…/return`, `…/adjust-validity`, `…/sync`: what people order, and what was moved.

use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    ApiState,
    auth::{Actor, Operator, Viewer},
    exchanges::named,
    fields::{Body, Query, Segment},
    idempotency::once,
    page::{Page, PageRequest, Time},
    problem::Problem,
    quotas,
    reply::{Outcome, Reply},
    units::tax_no_of,
};
use crate::{
    domain::{Invalid, Money, Period, TaxNo},
    quota::{
        Percent, Transfers,
        transfers::{Order, Origin, Return, TransferError, Want},
    },
    store::ledger::{Transfer, TransferFilter, TransferState},
};

/// A transfer as shown.
#[derive(Debug, Serialize)]
struct Shown {
    serial: String,
    tax_no: TaxNo,
    period: Period,
    direction: &'static str,
    amount: Money,
    state: &'static str,
    own: bool,
    actor: Option<String>,
    code: Option<String>,
    text: Option<String>,
    begun_at: Time,
    updated_at: Time,
}

impl From<Transfer> for Shown {
    fn from(transfer: Transfer) -> Self {
        Self {
            serial: transfer.serial,
            tax_no: transfer.key.issuer,
            period: transfer.key.period,
            direction: transfer.way.as_str(),
            amount: transfer.amount,
            state: transfer.state.as_str(),
            own: transfer.own,
            actor: Some(transfer.actor).filter(|actor| !actor.is_empty()),
            code: transfer.code,
            text: transfer.text,
            begun_at: Time(transfer.begun_at),
            updated_at: Time(transfer.at),
        }
    }
}

/// A transfer that was carried out, and the balance after it.
#[derive(Debug, Serialize)]
struct Moved {
    transfer: Shown,
    quota: quotas::Shown,
}

/// POST `/quotas/{tax_no}/download`
pub(super) async fn download(
    State(state): State<ApiState>,
    Operator(actor): Operator,
    Segment(tax_no): Segment,
    mut body: Body,
) -> Outcome {
    let amount: Option<Money> = body.fields.optional("amount")?;
    let share: Option<Percent> = body.fields.optional("share")?;
    body.fields.finish()?;
    let want = match (amount, share) {
        (Some(amount), None) => Want::Amount(amount),
        (None, Some(share)) if share.get() > 0 => Want::Share(share),
        (None, Some(_)) => return Err(Problem::field("share", "must be 1 to 100 percent")),
        (Some(_), Some(_)) => return Err(Problem::field("share", "give amount or share, not both")),
        (None, None) => return Err(Problem::field("amount", "missing; give amount or share")),
    };
    let carry = |transfers: Transfers, order| async move { transfers.download(order, want).await };
    carry_out(&state, &actor, &tax_no, &body, carry).await
}

/// POST `/quotas/{tax_no}/return`
pub(super) async fn give_back(
    State(state): State<ApiState>,
    Operator(actor): Operator,
    Segment(tax_no): Segment,
    mut body: Body,
) -> Outcome {
    let amount: Option<Money> = body.fields.optional("amount")?;
    let all: Option<bool> = body.fields.optional("all")?;
    body.fields.finish()?;
    let want = match (amount, all.unwrap_or(false)) {
        (Some(amount), false) => Return::Amount(amount),
        (None, true) => Return::All,
        (Some(_), true) => return Err(Problem::field("all", "give amount or all, not both")),
        (None, false) => return Err(Problem::field("amount", "missing; give amount, or all: true")),
    };
    let carry = |transfers: Transfers, order| async move { transfers.give_back(order, want).await };
    carry_out(&state, &actor, &tax_no, &body, carry).await
}

/// POST `/quotas/{tax_no}/adjust-validity`
pub(super) async fn adjust_validity(
    State(state): State<ApiState>,
    Operator(actor): Operator,
    Segment(tax_no): Segment,
    mut body: Body,
) -> Outcome {
    let issuer = tax_no_of(&tax_no)?;
    let period: Option<Period> = body.fields.optional("period")?;
    body.fields.finish()?;
    let (this, who) = (state.clone(), actor.clone());
    once(&state, &actor, &body, async move {
        let account = this.transfers.adjust_validity(&issuer, period, &who.0).await?;
        Reply::ok(&quotas::shown(&this, issuer, account.key.period).await?)
    })
    .await
}

/// POST `/quotas/{tax_no}/sync`
pub(super) async fn sync(
    State(state): State<ApiState>,
    Operator(actor): Operator,
    Segment(tax_no): Segment,
    body: Body,
) -> Outcome {
    let issuer = tax_no_of(&tax_no)?;
    body.fields.finish()?;
    let (this, who) = (state.clone(), actor.clone());
    once(&state, &actor, &body, async move {
        let account = this.transfers.sync(&issuer, &who.0).await?;
        Reply::ok(&quotas::shown(&this, issuer, account.key.period).await?)
    })
    .await
}

/// GET `/quotas/{tax_no}/transfers`
pub(super) async fn list(
    State(state): State<ApiState>,
    _: Viewer,
    Segment(tax_no): Segment,
    Query(mut query): Query,
) -> Outcome {
    let page = PageRequest::<Cursor>::take(&mut query)?;
    let filter = TransferFilter {
        issuer: Some(tax_no_of(&tax_no)?),
        state: named(&mut query, "state", TransferState::parse)?,
        before: page.cursor.map(|cursor| (cursor.0, cursor.1)),
        limit: u32::try_from(page.limit + 1).unwrap_or(u32::MAX),
        ..TransferFilter::default()
    };
    query.finish()?;
    let rows = state.transfers.list(&filter).await?;
    let cursor = |row: &Transfer| format!("{}.{}", row.begun_at.as_microsecond(), row.serial);
    Reply::ok(&Page::cut(rows, page.limit, cursor, Shown::from))
}

/// Where a list of transfers goes on.
struct Cursor(Timestamp, String);

impl std::str::FromStr for Cursor {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        const REASON: Invalid = Invalid::new("must be the next_cursor of the page before");
        let (us, serial) = text.split_once('.').ok_or(REASON)?;
        let at = us.parse().ok().and_then(|us| Timestamp::from_microsecond(us).ok()).ok_or(REASON)?;
        Ok(Self(at, serial.to_owned()))
    }
}

/// Carries an order out and shows what was moved. With the request's key it is one transfer, however often it is given.
async fn carry_out<F>(
    state: &ApiState,
    actor: &Actor,
    tax_no: &str,
    body: &Body,
    carry: impl FnOnce(Transfers, Order) -> F,
) -> Outcome
where
    F: Future<Output = Result<Transfer, TransferError>> + Send + 'static,
{
    let origin = body.idempotency_key.as_ref().map(|key| Origin::Request(format!("api:{}:{key}", actor.0)));
    let order = Order { issuer: tax_no_of(tax_no)?, origin, actor: actor.0.clone() };
    let carried = carry(state.transfers.clone(), order);
    let this = state.clone();
    once(state, actor, body, async move {
        let transfer = carried.await?;
        let quota = quotas::shown(&this, transfer.key.issuer.clone(), transfer.key.period).await?;
        Reply::ok(&Moved { transfer: transfer.into(), quota })
    })
    .await
}
