//! How a unit's credit is managed, one row per unit that has settings of its own.

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{
    StoreError,
    audit::AuditRow,
    units::{Changed, Version},
};
use crate::domain::{Money, TaxNo};

/// The settings of one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaSettingRow {
    /// Whose; the key of the table. Goes with its unit.
    pub tax_no: TaxNo,
    /// Percent of what the bureau has left that is downloaded at month start; 0 downloads nothing.
    pub month_start_share: u8,
    /// Instead of the share.
    pub month_start_amount: Option<Money>,
    /// Below this, credit is topped up by itself.
    pub low_water: Option<Money>,
    /// What a top-up downloads at least; else the share.
    pub top_up_amount: Option<Money>,
    /// Whether an upload that lacks credit starts a download and waits for it.
    pub top_up_on_demand: bool,
    /// Whether what is unused at month end is returned.
    pub return_unused: bool,
    /// Whether red invoices for sales allowances give credit back.
    pub allowance_returns: bool,
    /// When they were last changed.
    pub updated_at: Timestamp,
}

/// The table of settings.
pub trait QuotaSettingTable: Send + Sync {
    /// The version of units and settings together; to be read before the rows that a change is worked out from.
    fn version(&self) -> BoxFuture<'_, Result<Version, StoreError>>;

    /// All of them, by tax number.
    fn all(&self) -> BoxFuture<'_, Result<Vec<QuotaSettingRow>, StoreError>>;

    /// Sets a unit's, unless a unit or its settings were changed since `seen`; [`StoreError::Conflict`] when there is no
    /// such unit.
    fn put(
        &self,
        row: QuotaSettingRow,
        audit: AuditRow,
        seen: Version,
    ) -> BoxFuture<'_, Result<Changed, StoreError>>;
}
