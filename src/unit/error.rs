//! Why a change to the registry was not made.

use super::MasterKeyError;
use crate::domain::{ProvinceCode, TaxNo};
use crate::store::StoreError;

/// Why a change to the registry was not made; the sentence says what to do instead.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// The tax number that was given as access unit's belongs to a using unit.
    #[error("{0} is a using unit; access_unit must name an access unit")]
    AccessUnitIsUsing(TaxNo),
    /// The access unit does not exist.
    #[error("access unit {0} is not registered; register the access unit first, then its using units")]
    AccessUnitUnknown(TaxNo),
    /// The unit exists.
    #[error("unit {0} is registered already; change it instead")]
    Exists(TaxNo),
    /// The unit's calls have no key in that world.
    #[error("the {environment} SM4 key of access unit {access_unit} is not known; set it on that unit")]
    NoKey {
        /// The access unit.
        access_unit: TaxNo,
        /// `production` or `sandbox`.
        environment: &'static str,
    },
    /// The access unit still has using units.
    #[error("access unit {tax_no} still has using units ({}); delete them or give them another access unit first", list(.using))]
    HasUsingUnits {
        /// The access unit.
        tax_no: TaxNo,
        /// Its using units.
        using: Vec<TaxNo>,
    },
    /// A using unit was given the platform id of its own access unit: the two ids were mixed up.
    #[error(
        "platform_id is that of the access unit {access_unit}: the two platform ids are the wrong way round; give the using unit its own id (使用单位的乐企ID), not that of the access unit"
    )]
    IdsSwapped {
        /// The access unit whose id it is.
        access_unit: TaxNo,
    },
    /// A key was given for a using unit.
    #[error("using units have no keys of their own; set the key on the access unit")]
    KeyOnUsingUnit,
    /// An access unit without any key.
    #[error("an access unit needs sm4_key or sandbox_sm4_key, 32 hex digits each")]
    KeyMissing,
    /// A stored key does not open.
    #[error(
        "the SM4 key of unit {tax_no} cannot be opened: the master key file is not the one that it was sealed with. Restore the right master key file ([secrets] master_key_file), or delete the unit and register it again"
    )]
    KeyNotOpened {
        /// The unit.
        tax_no: TaxNo,
        /// What failed.
        source: MasterKeyError,
    },
    /// A key could not be sealed.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The name is empty or longer than 200 characters.
    #[error("name must have 1 to 200 characters")]
    Name,
    /// An access unit was given an access unit.
    #[error("an access unit has no access unit; its own platform id is the one calls go out with")]
    NotUsingUnit,
    /// Another unit has the platform id.
    #[error("platform id belongs to unit {owner} ({name}) already; every unit has an id of its own")]
    PlatformIdTaken {
        /// Its tax number.
        owner: TaxNo,
        /// Its name.
        name: String,
    },
    /// The code is of no provincial tax authority.
    #[error(
        "province code {0} is of no provincial tax authority; take it from the platform's table, such as 14400000000 for Guangdong"
    )]
    Province(ProvinceCode),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The unit does not exist.
    #[error("unit {0} is not registered")]
    Unknown(TaxNo),
}

fn list(units: &[TaxNo]) -> String {
    units.iter().map(TaxNo::as_str).collect::<Vec<_>>().join(", ")
}
