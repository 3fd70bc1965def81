//! The registry at one moment, in memory: what the data plane looks things up in, without a lock.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;

use super::{MasterKey, MasterKeyError, QuotaMode, UnitError};
use crate::domain::{Environment, PlatformId, ProvinceCode, TaxNo};
use crate::leqi::Sm4Key;
use crate::store::units::{UnitRow, Version};

/// One unit, without its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its tax number.
    pub tax_no: TaxNo,
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Its platform id.
    pub platform_id: PlatformId,
    /// Its provincial tax authority.
    pub province: ProvinceCode,
    /// How its credit is treated.
    pub quota_mode: QuotaMode,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Unit {
    /// The tax number of the unit whose key and platform id its calls go out with: its own for an access unit.
    #[must_use]
    pub const fn access_unit(&self) -> &TaxNo {
        match &self.role {
            Role::Access { .. } => &self.tax_no,
            Role::Using { access_unit } => access_unit,
        }
    }
}

/// What a unit is at the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// 接入单位: holds the keys and may call for itself and its using units.
    Access {
        /// Whether its production key is known.
        has_key: bool,
        /// Whether its sandbox key is known.
        has_sandbox_key: bool,
    },
    /// 使用单位: is called for by its access unit.
    Using {
        /// Its access unit's tax number.
        access_unit: TaxNo,
    },
}

/// The keys of one access unit, opened.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// For production routes.
    pub production: Option<Sm4Key>,
    /// For sandbox routes.
    pub sandbox: Option<Sm4Key>,
}

impl Keys {
    /// The key of that world.
    #[must_use]
    pub const fn of(&self, environment: Environment) -> Option<&Sm4Key> {
        match environment {
            Environment::Production => self.production.as_ref(),
            Environment::Sandbox => self.sandbox.as_ref(),
        }
    }
}

/// All units and opened keys.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// How often the store had changed when this was read.
    pub(super) version: Version,
    by_tax_no: HashMap<TaxNo, Arc<Unit>>,
    by_platform_id: HashMap<PlatformId, Arc<Unit>>,
    keys: HashMap<TaxNo, Keys>,
    rows: HashMap<TaxNo, UnitRow>,
}

impl Snapshot {
    /// Opens every key.
    ///
    /// # Errors
    /// The unit whose key the master key does not open.
    pub(super) fn build(version: Version, rows: Vec<UnitRow>, master: &MasterKey) -> Result<Self, UnitError> {
        let mut snapshot = Self { version, ..Self::default() };
        for row in rows {
            let unit = Arc::new(unit_of(&row));
            if matches!(unit.role, Role::Access { .. }) {
                snapshot.keys.insert(row.tax_no.clone(), open_keys(&row, master)?);
            }
            snapshot.by_platform_id.insert(row.platform_id.clone(), Arc::clone(&unit));
            snapshot.by_tax_no.insert(row.tax_no.clone(), unit);
            snapshot.rows.insert(row.tax_no.clone(), row);
        }
        Ok(snapshot)
    }

    pub(super) fn unit(&self, tax_no: &TaxNo) -> Option<&Arc<Unit>> {
        self.by_tax_no.get(tax_no)
    }

    pub(super) fn row(&self, tax_no: &TaxNo) -> Option<&UnitRow> {
        self.rows.get(tax_no)
    }

    pub(super) fn by_platform_id(&self, id: &PlatformId) -> Option<&Arc<Unit>> {
        self.by_platform_id.get(id)
    }

    pub(super) fn keys(&self, access_unit: &TaxNo) -> Option<&Keys> {
        self.keys.get(access_unit)
    }

    /// All units by tax number.
    pub(super) fn list(&self) -> Vec<Arc<Unit>> {
        let mut units: Vec<_> = self.by_tax_no.values().map(Arc::clone).collect();
        units.sort_by(|a, b| a.tax_no.cmp(&b.tax_no));
        units
    }

    /// The using units of an access unit, by tax number.
    pub(super) fn using_units(&self, access_unit: &TaxNo) -> Vec<TaxNo> {
        let uses = |u: &&Arc<Unit>| matches!(&u.role, Role::Using { access_unit: a } if a == access_unit);
        let mut units: Vec<_> = self.by_tax_no.values().filter(uses).map(|u| u.tax_no.clone()).collect();
        units.sort();
        units
    }
}

fn unit_of(row: &UnitRow) -> Unit {
    let role = match &row.access_unit {
        Some(access_unit) => Role::Using { access_unit: access_unit.clone() },
        None => Role::Access {
            has_key: row.sealed_key.is_some(),
            has_sandbox_key: row.sealed_sandbox_key.is_some(),
        },
    };
    Unit {
        tax_no: row.tax_no.clone(),
        name: row.name.clone(),
        role,
        platform_id: row.platform_id.clone(),
        province: row.province.clone(),
        quota_mode: row.quota_mode,
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}

fn open_keys(row: &UnitRow, master: &MasterKey) -> Result<Keys, UnitError> {
    let open =
        |sealed: &Option<Vec<u8>>, environment| {
            sealed.as_deref().map(|s| master.open_key(s, &row.tax_no, environment)).transpose().map_err(
                |source: MasterKeyError| UnitError::KeyNotOpened { tax_no: row.tax_no.clone(), source },
            )
        };
    Ok(Keys {
        production: open(&row.sealed_key, Environment::Production)?,
        sandbox: open(&row.sealed_sandbox_key, Environment::Sandbox)?,
    })
}
