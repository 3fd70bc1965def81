//! `/confirmations` (汇总确认): the months, what was sent, what the platform has, and what this gateway saw.

use axum::extract::State;
use serde::Serialize;

use super::{
    ApiState,
    auth::{Operator, Viewer},
    exchange_view::Explained,
    exchanges::named,
    fields::{Body, Fields, Query, Segment},
    idempotency::once,
    page::{Page, PageRequest, Time},
    problem::Problem,
    reply::{Outcome, Reply},
};
use crate::{
    confirmation::{Filter, Row, State as Stage, View, state::deadline},
    domain::{Money, Period, PlatformId, TaxNo, Totals},
    leqi::catalogue,
};

/// A confirmation as shown.
#[derive(Debug, Serialize)]
struct Shown {
    id: i64,
    tax_no: TaxNo,
    name: Option<String>,
    platform_id: PlatformId,
    period: Period,
    state: &'static str,
    deadline: Time,
    ours: ShownTotals,
    sent: Option<ShownTotals>,
    platform: Option<ShownTotals>,
    refusal: Option<Refusal>,
    created_at: Time,
    updated_at: Time,
    submitted_at: Option<Time>,
    confirmed_at: Option<Time>,
    synced_at: Option<Time>,
}

/// Six totals as shown.
#[derive(Debug, Serialize)]
struct ShownTotals {
    blue_count: i64,
    blue_net: Money,
    blue_tax: Money,
    red_count: i64,
    red_net: Money,
    red_tax: Money,
}

/// The platform's last refusal, with what it means.
#[derive(Debug, Serialize)]
struct Refusal {
    code: Option<String>,
    text: Option<String>,
    explanation: Option<Explained>,
}

impl From<Totals> for ShownTotals {
    fn from(totals: Totals) -> Self {
        let Totals { blue_count, blue_net, blue_tax, red_count, red_net, red_tax } = totals;
        Self { blue_count, blue_net, blue_tax, red_count, red_net, red_tax }
    }
}

impl Refusal {
    fn of(row: &mut Row) -> Option<Self> {
        let (code, text) = (row.refusal_code.take(), row.refusal_text.take());
        if code.is_none() && text.is_none() {
            return None;
        }
        let known =
            catalogue::explain(code.as_deref().unwrap_or_default(), text.as_deref().unwrap_or_default());
        Some(Self { explanation: known.map(Explained::from), code, text })
    }
}

impl Shown {
    fn new(state: &ApiState, view: View) -> Self {
        let View { mut row, ours } = view;
        Self {
            id: row.id,
            name: state.registry.by_tax_no(&row.tax_no).map(|unit| unit.name.clone()),
            refusal: Refusal::of(&mut row),
            tax_no: row.tax_no,
            platform_id: row.platform_id,
            period: row.period,
            state: row.state.as_str(),
            deadline: Time(deadline(row.period)),
            ours: ours.into(),
            sent: row.sent.map(ShownTotals::from),
            platform: row.platform.map(ShownTotals::from),
            created_at: Time(row.created_at),
            updated_at: Time(row.updated_at),
            submitted_at: row.submitted_at.map(Time),
            confirmed_at: row.confirmed_at.map(Time),
            synced_at: row.synced_at.map(Time),
        }
    }
}

/// GET `/confirmations`
pub(super) async fn list(State(state): State<ApiState>, _: Viewer, Query(mut query): Query) -> Outcome {
    let page = PageRequest::<i64>::take(&mut query)?;
    let filter = Filter {
        tax_no: query.optional("tax_no")?,
        period: query.optional("period")?,
        state: named(&mut query, "state", Stage::parse)?,
    };
    query.finish()?;
    let rows = state.confirmations.list(&filter, page.cursor, page.limit + 1).await?;
    let rows = Page::cut(rows, page.limit, |row| row.id.to_string(), |row| row.id);
    let mut items = Vec::with_capacity(rows.items.len());
    for id in rows.items {
        items.push(Shown::new(&state, state.confirmations.get(id).await?));
    }
    Reply::ok(&Page { items, next_cursor: rows.next_cursor })
}

/// POST `/confirmations`: the record of a month; nothing is sent.
pub(super) async fn create(
    State(state): State<ApiState>,
    Operator(actor): Operator,
    mut body: Body,
) -> Outcome {
    let tax_no: TaxNo = body.fields.required("tax_no")?;
    let period: Period = body.fields.required("period")?;
    body.fields.finish()?;
    let (row, new) = state.confirmations.create(&tax_no, period, &actor.0).await?;
    let shown = Shown::new(&state, state.confirmations.get(row.id).await?);
    if new { Reply::created(&shown) } else { Reply::ok(&shown) }
}

/// GET `/confirmations/{id}`
pub(super) async fn read(State(state): State<ApiState>, _: Viewer, Segment(id): Segment) -> Outcome {
    Reply::ok(&Shown::new(&state, state.confirmations.get(number(&id)?).await?))
}

/// POST `/confirmations/{id}/confirm`
pub(super) async fn confirm(
    State(state): State<ApiState>,
    Operator(actor): Operator,
    Segment(id): Segment,
    mut body: Body,
) -> Outcome {
    let id = number(&id)?;
    let totals = body.fields.object("totals")?.map(totals).transpose()?;
    body.fields.finish()?;
    let (this, who) = (state.clone(), actor.clone());
    once(&state, &actor, &body, async move {
        let row = this.confirmations.confirm(id, totals, &who.0).await?;
        after(&this, row).await
    })
    .await
}

/// POST `/confirmations/{id}/cancel`
pub(super) async fn cancel(
    State(state): State<ApiState>,
    Operator(actor): Operator,
    Segment(id): Segment,
    body: Body,
) -> Outcome {
    let id = number(&id)?;
    body.fields.finish()?;
    let (this, who) = (state.clone(), actor.clone());
    once(&state, &actor, &body, async move {
        let row = this.confirmations.cancel(id, &who.0).await?;
        after(&this, row).await
    })
    .await
}

/// POST `/confirmations/{id}/sync`
pub(super) async fn sync(
    State(state): State<ApiState>,
    Operator(actor): Operator,
    Segment(id): Segment,
    body: Body,
) -> Outcome {
    let id = number(&id)?;
    body.fields.finish()?;
    let (this, who) = (state.clone(), actor.clone());
    once(&state, &actor, &body, async move {
        let row = this.confirmations.sync(id, &who.0).await?;
        after(&this, row).await
    })
    .await
}

/// The confirmation after a step.
async fn after(state: &ApiState, row: Row) -> Outcome {
    Reply::ok(&Shown::new(state, state.confirmations.get(row.id).await?))
}

fn totals(mut fields: Fields) -> Result<Totals, Problem> {
    let totals = Totals {
        blue_count: fields.required("blue_count")?,
        blue_net: fields.required("blue_net")?,
        blue_tax: fields.required("blue_tax")?,
        red_count: fields.required("red_count")?,
        red_net: fields.required("red_net")?,
        red_tax: fields.required("red_tax")?,
    };
    fields.finish()?;
    Ok(totals)
}

fn number(id: &str) -> Result<i64, Problem> {
    id.parse().map_err(|_| Problem::field("id", "must be a number"))
}
