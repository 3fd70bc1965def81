//! Rows of the registry of units. Keys are sealed before they come here.

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{StoreError, audit::AuditRow};
use crate::domain::{Invalid, PlatformId, ProvinceCode, TaxNo};

/// How the credit of a unit is treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum QuotaMode {
    /// No invoice leaves without credit.
    #[default]
    Enforce,
    /// The books are kept; a shortage is noted and the call goes on.
    Observe,
    /// No books.
    Off,
}

impl QuotaMode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Enforce, Self::Observe, Self::Off];

    /// The name in the store, in config and in the management API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
            Self::Off => "off",
        }
    }

    /// The mode of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|m| m.as_str() == text)
            .ok_or(Invalid::new("quota mode must be enforce, observe or off"))
    }
}

/// One unit as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct UnitRow {
    /// Its tax number; the key of the table.
    pub tax_no: TaxNo,
    /// Its name.
    pub name: String,
    /// A using unit's access unit; `None` for an access unit.
    pub access_unit: Option<TaxNo>,
    /// Its platform id; no two units have the same.
    pub platform_id: PlatformId,
    /// Its provincial tax authority.
    pub province: ProvinceCode,
    /// How its credit is treated.
    pub quota_mode: QuotaMode,
    /// An access unit's production key, sealed.
    pub sealed_key: Option<Vec<u8>>,
    /// An access unit's sandbox key, sealed.
    pub sealed_sandbox_key: Option<Vec<u8>>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl std::fmt::Debug for UnitRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnitRow")
            .field("tax_no", &self.tax_no)
            .field("platform_id", &self.platform_id)
            .finish_non_exhaustive()
    }
}

/// How often units or their credit settings were changed, by whatever gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version(pub(in crate::store) i64);

/// What became of a change that was decided on units as they were at a [`Version`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is kept.
    Done,
    /// There is no such unit.
    Missing,
    /// Another gateway has changed something since: nothing was done, read again and decide again.
    Overtaken,
}

/// The table of units.
pub trait UnitTable: Send + Sync {
    /// The version now: when it is another one than before, something was changed.
    fn version(&self) -> BoxFuture<'_, Result<Version, StoreError>>;

    /// All units, by tax number; no older than the version that [`Self::version`] gave before.
    fn all(&self) -> BoxFuture<'_, Result<Vec<UnitRow>, StoreError>>;

    /// Adds a unit, unless something was changed since `seen`.
    fn insert(
        &self,
        row: UnitRow,
        audit: AuditRow,
        seen: Version,
    ) -> BoxFuture<'_, Result<Changed, StoreError>>;

    /// Replaces the unit of the row's tax number, unless something was changed since `seen`.
    fn update(
        &self,
        row: UnitRow,
        audit: AuditRow,
        seen: Version,
    ) -> BoxFuture<'_, Result<Changed, StoreError>>;

    /// Deletes a unit, unless something was changed since `seen`.
    fn delete(
        &self,
        tax_no: TaxNo,
        audit: AuditRow,
        seen: Version,
    ) -> BoxFuture<'_, Result<Changed, StoreError>>;
}
