//! `/quotas` (授信额度管理): balances, the bureau's figures beside ours, and how each unit's credit is managed.

use std::{iter::Peekable, sync::Arc};

use axum::extract::State;
use serde::Serialize;

use super::{
    ApiState,
    auth::{Admin, Viewer},
    fields::{Body, Fields, Query, Segment},
    page::{Page, PageRequest, Time},
    problem::Problem,
    reply::{Outcome, Reply},
    units::{Mode, tax_no_of},
};
use crate::{
    domain::{Money, Period, TaxNo},
    quota::{Percent, Settings, Transfers},
    store::ledger::{Account, AccountFilter, AccountKey},
    unit::{Unit, UnitChange},
};

/// A taxpayer's credit of a month as shown. Figures are null while no balance was ever seen.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    tax_no: TaxNo,
    name: Option<String>,
    period: Period,
    mode: Option<&'static str>,
    settings: Option<ShownSettings>,
    available: Option<Money>,
    downloaded: Option<Money>,
    issued: Option<Money>,
    reserved: Option<Money>,
    used_elsewhere: Option<Money>,
    pending_return: Option<Money>,
    on_demand: bool,
    bureau_total: Option<Money>,
    bureau_available: Option<Money>,
    bureau_downloaded: Option<Money>,
    bureau_unused: Option<Money>,
    difference: Option<Money>,
    suspended: bool,
    valid_from: Option<String>,
    valid_to: Option<String>,
    closed_for: Vec<String>,
    stale: bool,
    synced_at: Option<Time>,
    updated_at: Option<Time>,
}

impl Shown {
    fn new(tax_no: TaxNo, period: Period, unit: Option<(&Unit, Settings)>, account: Option<Account>) -> Self {
        let figures = account.as_ref().map(|account| account.figures);
        let bureau_unused = account.as_ref().and_then(|account| account.bureau_unused);
        let bureau_available = account.as_ref().and_then(|account| account.bureau_available);
        Self {
            tax_no,
            name: unit.as_ref().map(|(unit, _)| unit.name.clone()),
            period,
            mode: unit.as_ref().map(|(unit, _)| unit.quota_mode.as_str()),
            settings: unit.map(|(_, settings)| settings.into()),
            available: account.as_ref().map(Account::available),
            downloaded: figures.map(|figures| figures.downloaded),
            issued: figures.map(|figures| figures.issued),
            reserved: figures.map(|figures| figures.reserved),
            used_elsewhere: figures.map(|figures| figures.elsewhere),
            pending_return: figures.map(|figures| figures.pending_return),
            on_demand: bureau_available.is_some_and(Money::is_on_demand),
            bureau_total: account.as_ref().and_then(|account| account.bureau_total),
            bureau_available,
            bureau_downloaded: account.as_ref().and_then(|account| account.bureau_downloaded),
            bureau_unused,
            difference: bureau_unused
                .zip(account.as_ref())
                .map(|(unused, account)| unused.saturating_sub(account.available())),
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

/// The settings as shown.
#[derive(Debug, Serialize)]
struct ShownSettings {
    month_start_share: u8,
    month_start_amount: Option<Money>,
    low_water: Option<Money>,
    top_up_amount: Option<Money>,
    top_up_on_demand: bool,
    return_unused: bool,
    allowance_returns: bool,
}

impl From<Settings> for ShownSettings {
    fn from(settings: Settings) -> Self {
        Self {
            month_start_share: settings.month_start_share.get(),
            month_start_amount: settings.month_start_amount,
            low_water: settings.low_water,
            top_up_amount: settings.top_up_amount,
            top_up_on_demand: settings.top_up_on_demand,
            return_unused: settings.return_unused,
            allowance_returns: settings.allowance_returns,
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
    let rows: Vec<_> =
        Merged { units, accounts, period, transfers: &state.transfers }.take(page.limit + 1).collect();
    Reply::ok(&Page::cut(rows, page.limit, |shown| shown.tax_no.to_string(), |shown| shown))
}

/// Units and accounts, both in the order of their tax numbers, as one list.
struct Merged<'a, U: Iterator<Item = Arc<Unit>>, A: Iterator<Item = Account>> {
    units: Peekable<U>,
    accounts: Peekable<A>,
    period: Period,
    transfers: &'a Transfers,
}

impl<U: Iterator<Item = Arc<Unit>>, A: Iterator<Item = Account>> Iterator for Merged<'_, U, A> {
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
        let settings = self.transfers.settings(&next);
        Some(Shown::new(next, self.period, unit.as_deref().map(|unit| (unit, settings)), account))
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

/// PATCH `/quotas/{tax_no}`: settings. What is not given stays; null puts an amount back to none.
pub(super) async fn update(
    State(state): State<ApiState>,
    Admin(actor): Admin,
    Segment(tax_no): Segment,
    mut body: Body,
) -> Outcome {
    let tax_no = tax_no_of(&tax_no)?;
    let fields = &mut body.fields;
    let mode: Option<Mode> = fields.optional("mode")?;
    let change = Change::take(fields)?;
    fields.finish()?;
    if mode.is_none() && change == Change::default() {
        return Err(Problem::field("mode", "missing; give at least one setting to change"));
    }
    if state.registry.by_tax_no(&tax_no).is_none() {
        return Err(Problem::not_found("unit", tax_no.as_str()));
    }
    if change != Change::default() {
        state.transfers.change_settings(&tax_no, |settings| change.apply(settings), &actor.0).await?;
    }
    if let Some(Mode(mode)) = mode {
        let change = UnitChange { quota_mode: Some(mode), ..UnitChange::default() };
        state.registry.update(&tax_no, change, &actor.0).await?;
    }
    Reply::ok(&shown(&state, tax_no, state.clock.period()).await?)
}

/// The settings that a request changes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Change {
    month_start_share: Option<Percent>,
    month_start_amount: Option<Option<Money>>,
    low_water: Option<Option<Money>>,
    top_up_amount: Option<Option<Money>>,
    top_up_on_demand: Option<bool>,
    return_unused: Option<bool>,
    allowance_returns: Option<bool>,
}

impl Change {
    fn take(fields: &mut Fields) -> Result<Self, Problem> {
        Ok(Self {
            month_start_share: fields.optional("month_start_share")?,
            month_start_amount: fields.nullable("month_start_amount")?,
            low_water: fields.nullable("low_water")?,
            top_up_amount: fields.nullable("top_up_amount")?,
            top_up_on_demand: fields.optional("top_up_on_demand")?,
            return_unused: fields.optional("return_unused")?,
            allowance_returns: fields.optional("allowance_returns")?,
        })
    }

    fn apply(&self, to: &mut Settings) {
        fn set<T>(to: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *to = value;
            }
        }
        set(&mut to.month_start_share, self.month_start_share);
        set(&mut to.month_start_amount, self.month_start_amount);
        set(&mut to.low_water, self.low_water);
        set(&mut to.top_up_amount, self.top_up_amount);
        set(&mut to.top_up_on_demand, self.top_up_on_demand);
        set(&mut to.return_unused, self.return_unused);
        set(&mut to.allowance_returns, self.allowance_returns);
    }
}

pub(super) async fn shown(state: &ApiState, tax_no: TaxNo, period: Period) -> Result<Shown, Problem> {
    let unit = state.registry.by_tax_no(&tax_no);
    let account = state.ledger.balance(&tax_no, period).await?;
    if unit.is_none() && account.is_none() {
        return Err(Problem::not_found("unit or balance of", tax_no.as_str()));
    }
    let settings = state.transfers.settings(&tax_no);
    Ok(Shown::new(tax_no, period, unit.as_deref().map(|unit| (unit, settings)), account))
}

/// `period`, or this month in Beijing.
pub(super) fn period(state: &ApiState, query: &mut Fields) -> Result<Period, Problem> {
    Ok(query.optional("period")?.unwrap_or_else(|| state.clock.period()))
}
