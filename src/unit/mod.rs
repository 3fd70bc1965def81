//! The registry of units (企业信息): who may call the platform, with which ids and keys, and who may use the gateway.
//!
//! Access units (接入单位) hold the SM4 keys; using units (使用单位) belong to one access unit, which must exist
//! first (protocol.md §4). Keys are write-only: they are sealed with the [`MasterKey`] at rest and leave the
//! registry only as [`Sm4Key`]s for the data plane.

mod change;
mod diagnose;
mod error;
mod master_key;
mod registry;
mod snapshot;
#[cfg(test)]
mod tests;
pub mod token;

pub use diagnose::IdCheck;
pub use error::UnitError;
pub use master_key::{MasterKey, MasterKeyError};
pub use registry::Registry;
pub use snapshot::{Keys, Role, Unit};

pub use crate::store::units::QuotaMode;

use crate::domain::{PlatformId, ProvinceCode, TaxNo};
use crate::leqi::Sm4Key;

/// What a new unit is made of.
#[derive(Clone, Debug)]
pub struct NewUnit {
    /// Its tax number.
    pub tax_no: TaxNo,
    /// Its name.
    pub name: String,
    /// Its platform id (乐企ID).
    pub platform_id: PlatformId,
    /// Its provincial tax authority; must be one of `leqi`'s catalogue.
    pub province: ProvinceCode,
    /// How its credit is treated.
    pub quota_mode: QuotaMode,
    /// Its role, with what belongs to it.
    pub role: NewRole,
}

/// The role of a new unit.
#[derive(Clone, Debug)]
pub enum NewRole {
    /// An access unit, with at least one of the two keys.
    Access {
        /// The production key.
        key: Option<Sm4Key>,
        /// The sandbox key.
        sandbox_key: Option<Sm4Key>,
    },
    /// A using unit.
    Using {
        /// The tax number of its access unit.
        access_unit: TaxNo,
    },
}

/// What is to change of a unit; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct UnitChange {
    /// Another name.
    pub name: Option<String>,
    /// Another platform id.
    pub platform_id: Option<PlatformId>,
    /// Another provincial tax authority.
    pub province: Option<ProvinceCode>,
    /// Another treatment of its credit.
    pub quota_mode: Option<QuotaMode>,
    /// Another production key; only for access units.
    pub key: Option<Sm4Key>,
    /// Another sandbox key; only for access units.
    pub sandbox_key: Option<Sm4Key>,
    /// Another access unit; only for using units.
    pub access_unit: Option<TaxNo>,
}
