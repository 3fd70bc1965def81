//! `/quotas` (授信额度管理): balances, the invoices behind them, and how strict the gate is.

use std::{iter::Peekable, sync::Arc};

use axum::extract::State;
use serde::Serialize;

use super::{
    ApiState,
    auth::{Admin, Viewer},
    exchanges::named,
    fields::{Body, Fields, Query, Segment},
    page::{Page, PageRequest, Time},
    problem::Problem,
    reply::{Outcome, Reply},
    units::{Mode, tax_no_of},
};
use crate::{
    domain::{ExchangeId, InvoiceNo, Money, Period, TaxNo},
    store::ledger::{Account, AccountFilter, AccountKey, Entry, EntryFilter, EntryState},
    unit::{Unit, UnitChange},
};

/// A taxpayer's credit of a month as shown. Figures are null while no balance was ever seen.
#[derive(Debug, Serialize)]
struct Shown {
    tax_no: TaxNo,
    name: Option<String>,
    period: Period,
    mode: Option<&'static str>,
    available: Option<Money>,
    downloaded: Option<Money>,
    issued: Option<Money>,
    reserved: Option<Money>,
    used_elsewhere: Option<Money>,
    pending_return: Option<Money>,
    on_demand: bool,
    bureau_total: Option<Money>,
    bureau_available: Option<Money>,
    suspended: bool,
    valid_from: Option<String>,
    valid_to: Option<String>,
    closed_for: Vec<String>,
    stale: bool,
    synced_at: Option<Time>,
    updated_at: Option<Time>,
}

impl Shown {
    fn new(tax_no: TaxNo, period: Period, unit: Option<&Unit>, account: Option<Account>) -> Self {
        let figures = account.as_ref().map(|account| account.figures);
        let bureau_available = account.as_ref().and_then(|account| account.bureau_available);
        Self {
            tax_no,
            name: unit.map(|unit| unit.name.clone()),
            period,
            mode: unit.map(|unit| unit.quota_mode.as_str()),
            available: account.as_ref().map(Account::available),
            downloaded: figures.map(|figures| figures.downloaded),
            issued: figures.map(|figures| figures.issued),
            reserved: figures.map(|figures| figures.reserved),
            used_elsewhere: figures.map(|figures| figures.elsewhere),
            pending_return: figures.map(|figures| figures.pending_return),
            on_demand: bureau_available.is_some_and(Money::is_on_demand),
            bureau_total: account.as_ref().and_then(|account| account.bureau_total),
            bureau_available,
            suspended: account.as_ref().is_some_and(|account| account.suspended),
            valid_from: account.as_ref().and_then(|account| account.valid_from).map(|day| day.to_string()),
            valid_to: account.as_ref().and_then(|account| account.valid_to).map(|day| day.to_string()),
            stale: account.as_ref().is_some_and(|account| account.stale),
            synced_at: account.as_ref().and_then(|account| account.synced_at).map(Time),
            updated_at: account.as_ref().map(|account| Time(account.updated_at)),
            closed_for: account.map(|account| account.closed_for).unwrap_or_default(),
        }
    }
}

/// An invoice of the ledger as shown.
#[derive(Debug, Serialize)]
struct ShownEntry {
    invoice_no: InvoiceNo,
    period: Period,
    platform_id: String,
    state: &'static str,
    red: bool,
    net: Money,
    tax: Money,
    credit: Money,
    reversed_invoice_no: Option<InvoiceNo>,
    unresolved_sends: Vec<ShownSend>,
    acceptance_no: Option<String>,
    result_code: Option<String>,
    result_text: Option<String>,
    dated_at: Time,
    created_at: Time,
    updated_at: Time,
}

#[derive(Debug, Serialize)]
struct ShownSend {
    exchange: ExchangeId,
    acceptance_no: Option<String>,
}

impl From<Entry> for ShownEntry {
    fn from(entry: Entry) -> Self {
        let sends = entry.sends.into_iter();
        Self {
            invoice_no: entry.key.invoice_no,
            period: entry.period,
            platform_id: entry.platform_id,
            state: entry.state.as_str(),
            red: entry.red,
            net: entry.net,
            tax: entry.tax,
            credit: entry.credit,
            reversed_invoice_no: entry.reversed_no,
            unresolved_sends: sends
                .map(|send| ShownSend { exchange: send.exchange, acceptance_no: send.acceptance_no })
                .collect(),
            acceptance_no: entry.acceptance_no,
            result_code: entry.result_code,
            result_text: entry.result_text,
            dated_at: Time(entry.dated_at),
            created_at: Time(entry.created_at),
            updated_at: Time(entry.updated_at),
        }
    }
}

/// GET `/quotas`: every registered unit, and every account of the month whose taxpayer is not registered.
pub(super) async fn list(State(state): State<ApiState>, _: Viewer, Query(mut query): Query) -> Outcome {
    let page = PageRequest::<TaxNo>::take(&mut query)?;
    let period = period(&state, &mut query)?;
    query.finish()?;
    let filter = AccountFilter {
        period: Some(period),
        after: page.cursor.clone().map(|issuer| AccountKey { issuer, period }),
        limit: u32::try_from(page.limit + 1).unwrap_or(u32::MAX),
    };
    let accounts = state.ledger.accounts(&filter).await?.into_iter().peekable();
    let units = state.registry.list().into_iter();
    let units =
        units.filter(|unit| page.cursor.as_ref().is_none_or(|cursor| unit.tax_no > *cursor)).peekable();
    let rows: Vec<_> = Merged { units, accounts, period }.take(page.limit + 1).collect();
    Reply::ok(&Page::cut(rows, page.limit, |shown| shown.tax_no.to_string(), |shown| shown))
}

/// Units and accounts, both in the order of their tax numbers, as one list.
struct Merged<U: Iterator<Item = Arc<Unit>>, A: Iterator<Item = Account>> {
    units: Peekable<U>,
    accounts: Peekable<A>,
    period: Period,
}

impl<U: Iterator<Item = Arc<Unit>>, A: Iterator<Item = Account>> Iterator for Merged<U, A> {
    type Item = Shown;

    fn next(&mut self) -> Option<Shown> {
        let unit = self.units.peek().map(|unit| &unit.tax_no);
        let account = self.accounts.peek().map(|account| &account.key.issuer);
        let next = match (unit, account) {
            (Some(unit), Some(account)) => unit.min(account),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return None,
        };
        let next = next.clone();
        let unit = self.units.next_if(|unit| unit.tax_no == next);
        let account = self.accounts.next_if(|account| account.key.issuer == next);
        Some(Shown::new(next, self.period, unit.as_deref(), account))
    }
}

/// GET `/quotas/{tax_no}`
pub(super) async fn read(
    State(state): State<ApiState>,
    _: Viewer,
    Segment(tax_no): Segment,
    Query(mut query): Query,
) -> Outcome {
    let tax_no = tax_no_of(&tax_no)?;
    let period = period(&state, &mut query)?;
    query.finish()?;
    Reply::ok(&shown(&state, tax_no, period).await?)
}

/// PATCH `/quotas/{tax_no}`: settings.
pub(super) async fn update(
    State(state): State<ApiState>,
    Admin(actor): Admin,
    Segment(tax_no): Segment,
    mut body: Body,
) -> Outcome {
    let tax_no = tax_no_of(&tax_no)?;
    let Mode(mode) = body.fields.required("mode")?;
    body.fields.finish()?;
    let change = UnitChange { quota_mode: Some(mode), ..UnitChange::default() };
    state.registry.update(&tax_no, change, &actor.0).await?;
    Reply::ok(&shown(&state, tax_no, state.clock.period()).await?)
}

/// GET `/quotas/{tax_no}/entries`
pub(super) async fn entries(
    State(state): State<ApiState>,
    _: Viewer,
    Segment(tax_no): Segment,
    Query(mut query): Query,
) -> Outcome {
    let issuer = tax_no_of(&tax_no)?;
    let page = PageRequest::<InvoiceNo>::take(&mut query)?;
    let filter = EntryFilter {
        issuer,
        period: Some(period(&state, &mut query)?),
        invoice_no: query.optional("invoice_no")?,
        exchange: query.optional("exchange")?,
        from: query.optional("from")?,
        to: query.optional("to")?,
        state: named(&mut query, "state", EntryState::parse)?,
        after: page.cursor,
        limit: u32::try_from(page.limit + 1).unwrap_or(u32::MAX),
    };
    query.finish()?;
    let rows = state.ledger.entries(&filter).await?;
    Reply::ok(&Page::cut(rows, page.limit, |entry| entry.key.invoice_no.to_string(), ShownEntry::from))
}

async fn shown(state: &ApiState, tax_no: TaxNo, period: Period) -> Result<Shown, Problem> {
    let unit = state.registry.by_tax_no(&tax_no);
    let account = state.ledger.balance(&tax_no, period).await?;
    if unit.is_none() && account.is_none() {
        return Err(Problem::not_found("unit or balance of", tax_no.as_str()));
    }
    Ok(Shown::new(tax_no, period, unit.as_deref(), account))
}

/// `period`, or this month in Beijing.
fn period(state: &ApiState, query: &mut Fields) -> Result<Period, Problem> {
    Ok(query.optional("period")?.unwrap_or_else(|| state.clock.period()))
}
