//! How the credit of each unit is managed, kept in memory because every upload asks.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;

use super::transfers::TransferError;
use crate::{
    clock::Clock,
    domain::{Money, TaxNo},
    store::{
        StoreError,
        audit::AuditRow,
        quota_settings::{QuotaSettingRow, QuotaSettingTable},
        units::Changed,
    },
};

/// The settings of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Percent of what the bureau has left that is downloaded at month start; 0 downloads nothing.
    pub month_start_share: Percent,
    /// Instead of the share; what on-demand taxpayers need, whose bureau names no total.
    pub month_start_amount: Option<Money>,
    /// Below this, credit is topped up by itself.
    pub low_water: Option<Money>,
    /// What a top-up downloads at least; else the share of what the bureau has left.
    pub top_up_amount: Option<Money>,
    /// Whether an upload that lacks credit starts a download and waits for it.
    pub top_up_on_demand: bool,
    /// Whether what is unused at month end is returned.
    pub return_unused: bool,
    /// Whether red invoices for sales allowances (销售折让) give credit back (protocol.md §4: not everywhere). Where they
    /// do and this is off, the next balance shows it.
    pub allowance_returns: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            month_start_share: Percent(80),
            month_start_amount: None,
            low_water: None,
            top_up_amount: None,
            top_up_on_demand: false,
            return_unused: false,
            allowance_returns: false,
        }
    }
}

/// A whole number of percent, 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(u8);

impl Percent {
    /// So many percent, if they are no more than 100.
    #[must_use]
    pub fn new(percent: u8) -> Option<Self> {
        (percent <= 100).then_some(Self(percent))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// That share of the amount, in whole fen, rounded down.
    #[must_use]
    pub fn of(self, amount: Money) -> Money {
        let share = i128::from(amount.fen()) * i128::from(self.0) / 100;
        Money::from_fen(i64::try_from(share).unwrap_or(i64::MAX))
    }
}

impl std::str::FromStr for Percent {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().ok().and_then(Self::new).ok_or("must be a whole number of percent, 0 to 100")
    }
}

/// The settings of all units.
pub(super) struct Book {
    table: Arc<dyn QuotaSettingTable>,
    clock: Clock,
    all: ArcSwap<HashMap<TaxNo, Settings>>,
    changing: tokio::sync::Mutex<()>,
}

impl Book {
    pub(super) async fn open(table: Arc<dyn QuotaSettingTable>, clock: Clock) -> Result<Self, StoreError> {
        let book = Self { table, clock, all: ArcSwap::default(), changing: tokio::sync::Mutex::default() };
        book.reread().await?;
        Ok(book)
    }

    pub(super) async fn reread(&self) -> Result<(), StoreError> {
        let rows = self.table.all().await?;
        self.all.store(Arc::new(rows.into_iter().map(|row| (row.tax_no.clone(), settings(&row))).collect()));
        Ok(())
    }

    pub(super) fn of(&self, issuer: &TaxNo) -> Settings {
        self.all.load().get(issuer).cloned().unwrap_or_default()
    }

    /// Changes the settings that are there, once more whenever another gateway was faster.
    pub(super) async fn put(
        &self,
        issuer: &TaxNo,
        change: impl Fn(&mut Settings) + Send,
        actor: &str,
    ) -> Result<Settings, TransferError> {
        let _one_at_a_time = self.changing.lock().await;
        loop {
            let seen = self.table.version().await?;
            self.reread().await?;
            let mut settings = self.of(issuer);
            change(&mut settings);
            check(&settings)?;
            let at = self.clock.now();
            let audit = AuditRow {
                at,
                actor: actor.to_owned(),
                action: "quota.settings".to_owned(),
                subject: issuer.to_string(),
                detail: described(&settings).to_string(),
            };
            if self.table.put(row(issuer, &settings, at), audit, seen).await? != Changed::Overtaken {
                self.reread().await?;
                return Ok(settings);
            }
        }
    }
}

fn check(settings: &Settings) -> Result<(), TransferError> {
    let amounts = [
        ("month_start_amount", settings.month_start_amount),
        ("low_water", settings.low_water),
        ("top_up_amount", settings.top_up_amount),
    ];
    for (field, amount) in amounts {
        if let Some(amount) = amount {
            super::transfers::check_amount(field, amount)?;
        }
    }
    Ok(())
}

fn described(settings: &Settings) -> serde_json::Value {
    serde_json::json!({
        "month_start_share": settings.month_start_share.get(),
        "month_start_amount": settings.month_start_amount,
        "low_water": settings.low_water,
        "top_up_amount": settings.top_up_amount,
        "top_up_on_demand": settings.top_up_on_demand,
        "return_unused": settings.return_unused,
        "allowance_returns": settings.allowance_returns,
    })
}

fn settings(row: &QuotaSettingRow) -> Settings {
    Settings {
        month_start_share: Percent(row.month_start_share.min(100)),
        month_start_amount: row.month_start_amount,
        low_water: row.low_water,
        top_up_amount: row.top_up_amount,
        top_up_on_demand: row.top_up_on_demand,
        return_unused: row.return_unused,
        allowance_returns: row.allowance_returns,
    }
}

fn row(issuer: &TaxNo, settings: &Settings, updated_at: jiff::Timestamp) -> QuotaSettingRow {
    QuotaSettingRow {
        tax_no: issuer.clone(),
        month_start_share: settings.month_start_share.get(),
        month_start_amount: settings.month_start_amount,
        low_water: settings.low_water,
        top_up_amount: settings.top_up_amount,
        top_up_on_demand: settings.top_up_on_demand,
        return_unused: settings.return_unused,
        allowance_returns: settings.allowance_returns,
        updated_at,
    }
}
