//! Rows of monthly summary confirmations (汇总确认).

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{StoreError, audit::AuditRow};
use crate::domain::{Invalid, Period, PlatformId, TaxNo, Totals};

/// Where a confirmation stands (protocol.md §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConfirmationState {
    /// The platform confirmed by itself on the 13th.
    AutoConfirmed,
    /// Cancelled at the platform; may be confirmed again.
    Cancelled,
    /// A cancellation is on its way.
    Cancelling,
    /// Confirmed at the platform.
    Confirmed,
    /// Nothing was sent yet.
    #[default]
    Draft,
    /// The platform refused the totals.
    Refused,
    /// A confirmation is on its way.
    Submitting,
    /// It was sent, and what the platform made of it is not known; a query will tell.
    Unknown,
}

impl ConfirmationState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::AutoConfirmed,
        Self::Cancelled,
        Self::Cancelling,
        Self::Confirmed,
        Self::Draft,
        Self::Refused,
        Self::Submitting,
        Self::Unknown,
    ];

    /// The name in the store and in the management API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AutoConfirmed => "auto_confirmed",
            Self::Cancelled => "cancelled",
            Self::Cancelling => "cancelling",
            Self::Confirmed => "confirmed",
            Self::Draft => "draft",
            Self::Refused => "refused",
            Self::Submitting => "submitting",
            Self::Unknown => "unknown",
        }
    }

    /// The state of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or(Invalid::new("unknown confirmation state"))
    }
}

/// One confirmation as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfirmationRow {
    /// Its number; 0 before it is stored.
    pub id: i64,
    /// The seller.
    pub tax_no: TaxNo,
    /// The platform (`ptbh`) whose totals they are: the access unit's id.
    pub platform_id: PlatformId,
    /// The month.
    pub period: Period,
    /// Where it stands.
    pub state: ConfirmationState,
    /// The totals last sent.
    pub sent: Option<Totals>,
    /// The totals that the platform last showed.
    pub platform: Option<Totals>,
    /// The code of the platform's last refusal.
    pub refusal_code: Option<String>,
    /// The words of the platform's last refusal.
    pub refusal_text: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When it was last sent to the platform.
    pub submitted_at: Option<Timestamp>,
    /// When the platform confirmed it.
    pub confirmed_at: Option<Timestamp>,
    /// When the platform was last asked.
    pub synced_at: Option<Timestamp>,
    /// Rises with every change; a change of an older version is refused, so that two people cannot both send.
    pub version: i64,
}

/// What a list of confirmations asks for.
#[derive(Clone, Debug, Default)]
pub struct ConfirmationFilter {
    /// Of this seller.
    pub tax_no: Option<TaxNo>,
    /// Of this month.
    pub period: Option<Period>,
    /// In this state.
    pub state: Option<ConfirmationState>,
}

/// The table of confirmations.
pub trait ConfirmationTable: Send + Sync {
    /// Adds a row unless seller, platform and month have one already; gives the row that is there and whether it is new.
    fn create(
        &self,
        row: ConfirmationRow,
        audit: Option<AuditRow>,
    ) -> BoxFuture<'_, Result<(ConfirmationRow, bool), StoreError>>;

    /// One row.
    fn by_id(&self, id: i64) -> BoxFuture<'_, Result<Option<ConfirmationRow>, StoreError>>;

    /// The row of seller, platform and month.
    fn by_month(
        &self,
        tax_no: TaxNo,
        platform_id: PlatformId,
        period: Period,
    ) -> BoxFuture<'_, Result<Option<ConfirmationRow>, StoreError>>;

    /// Rows, newest first, with numbers below `before`, at most `limit`.
    fn list<'a>(
        &'a self,
        filter: &'a ConfirmationFilter,
        before: Option<i64>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<ConfirmationRow>, StoreError>>;

    /// Replaces the row if its version is still the given row's; the stored version is one more. `false` when
    /// somebody else was first.
    fn update(
        &self,
        row: ConfirmationRow,
        audit: Option<AuditRow>,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;
}
