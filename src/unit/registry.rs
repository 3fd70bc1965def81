//! The registry: look-ups in memory, changes through the store.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use super::{
    IdCheck, Keys, MasterKey, NewRole, NewUnit, Unit, UnitChange, UnitError, diagnose, snapshot::Snapshot,
};
use crate::clock::Clock;
use crate::domain::{CapabilityCode, Environment, PlatformId, ProvinceCode, TaxNo};
use crate::leqi::{Sm4Key, catalogue, client::Caller};
use crate::store::{
    audit::AuditRow,
    units::{UnitRow, UnitTable},
};

/// All units. Look-ups take no lock; changes are made one at a time, each with its audit row in one transaction.
pub struct Registry {
    table: Arc<dyn UnitTable>,
    master: MasterKey,
    clock: Clock,
    snapshot: ArcSwap<Snapshot>,
    changing: Mutex<()>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("units", &self.list().len()).finish_non_exhaustive()
    }
}

impl Registry {
    /// Reads all units and opens their keys.
    ///
    /// # Errors
    /// When the store fails, or the unit whose key does not open with this master key.
    pub async fn open(
        table: Arc<dyn UnitTable>,
        master: MasterKey,
        clock: Clock,
    ) -> Result<Arc<Self>, UnitError> {
        let snapshot = Snapshot::build(table.all().await?, &master)?;
        Ok(Arc::new(Self {
            table,
            master,
            clock,
            snapshot: ArcSwap::from_pointee(snapshot),
            changing: Mutex::new(()),
        }))
    }

    /// The unit of that platform id, written in either case; `None` also when the text is no platform id.
    #[must_use]
    pub fn by_platform_id(&self, id: &str) -> Option<Arc<Unit>> {
        let id = PlatformId::parse(id).ok()?;
        self.snapshot.load().by_platform_id(&id).map(Arc::clone)
    }

    /// The unit of that tax number.
    #[must_use]
    pub fn by_tax_no(&self, tax_no: &TaxNo) -> Option<Arc<Unit>> {
        self.snapshot.load().unit(tax_no).map(Arc::clone)
    }

    /// The key for calls of the access unit with that platform id (`jrdwptbh`).
    #[must_use]
    pub fn key_for(&self, access_platform_id: &str, environment: Environment) -> Option<Sm4Key> {
        let id = PlatformId::parse(access_platform_id).ok()?;
        let snapshot = self.snapshot.load();
        let unit = snapshot.by_platform_id(&id)?;
        snapshot.keys(&unit.tax_no)?.of(environment).cloned()
    }

    /// The keys that calls of this unit go out with: its own, or its access unit's.
    #[must_use]
    pub fn keys_of(&self, unit: &Unit) -> Option<Keys> {
        self.snapshot.load().keys(unit.access_unit()).cloned()
    }

    /// In whose name the gateway calls for this taxpayer: ids and key of its unit and access unit.
    ///
    /// # Errors
    /// When no unit has the tax number, or its access unit has no key in that world.
    pub fn caller_for(
        &self,
        tax_no: &TaxNo,
        capability: CapabilityCode,
        environment: Environment,
    ) -> Result<Caller, UnitError> {
        let snapshot = self.snapshot.load();
        let using = snapshot.unit(tax_no).ok_or_else(|| UnitError::Unknown(tax_no.clone()))?;
        let access = snapshot
            .unit(using.access_unit())
            .ok_or_else(|| UnitError::AccessUnitUnknown(using.access_unit().clone()))?;
        let key = snapshot.keys(&access.tax_no).and_then(|keys| keys.of(environment)).cloned().ok_or_else(
            || UnitError::NoKey { access_unit: access.tax_no.clone(), environment: environment.as_str() },
        )?;
        Ok(Caller {
            access_id: access.platform_id.clone(),
            using_id: using.platform_id.clone(),
            key,
            capability,
        })
    }

    /// What the two platform ids of a call say about each other.
    #[must_use]
    pub fn diagnose_ids(&self, access_id: &str, using_id: &str) -> IdCheck {
        diagnose::diagnose(&self.snapshot.load(), access_id, using_id)
    }

    /// All units, by tax number.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Unit>> {
        self.snapshot.load().list()
    }

    /// Registers a unit.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence that says what to do instead.
    pub async fn create(&self, new: NewUnit, actor: &str) -> Result<Arc<Unit>, UnitError> {
        let _one_at_a_time = self.changing.lock().await;
        let snapshot = self.snapshot.load_full();
        if snapshot.unit(&new.tax_no).is_some() {
            return Err(UnitError::Exists(new.tax_no));
        }
        let now = self.clock.now();
        let mut row = UnitRow {
            tax_no: new.tax_no,
            name: new.name.trim().to_owned(),
            access_unit: None,
            platform_id: new.platform_id,
            province: new.province,
            quota_mode: new.quota_mode,
            sealed_key: None,
            sealed_sandbox_key: None,
            created_at: now,
            updated_at: now,
        };
        match new.role {
            NewRole::Access { key: None, sandbox_key: None } => return Err(UnitError::KeyMissing),
            NewRole::Access { key, sandbox_key } => {
                self.seal_into(&mut row, key.as_ref(), sandbox_key.as_ref())?;
            }
            NewRole::Using { access_unit } => row.access_unit = Some(access_unit),
        }
        check(&snapshot, &row)?;
        let audit = self.audit(actor, "unit.create", &row.tax_no, &described(&row));
        let tax_no = row.tax_no.clone();
        self.table.insert(row, audit).await?;
        self.reread(&tax_no).await
    }

    /// Changes a unit.
    ///
    /// # Errors
    /// What is wrong with the change, as a sentence that says what to do instead.
    pub async fn update(
        &self,
        tax_no: &TaxNo,
        change: UnitChange,
        actor: &str,
    ) -> Result<Arc<Unit>, UnitError> {
        let _one_at_a_time = self.changing.lock().await;
        let snapshot = self.snapshot.load_full();
        let Some(mut row) = snapshot.row(tax_no).cloned() else {
            return Err(UnitError::Unknown(tax_no.clone()));
        };
        let (new_key, new_sandbox_key) = (change.key.is_some(), change.sandbox_key.is_some());
        self.apply(&mut row, change)?;
        check(&snapshot, &row)?;
        let mut detail = described(&row);
        detail["key_changed"] = new_key.into();
        detail["sandbox_key_changed"] = new_sandbox_key.into();
        let audit = self.audit(actor, "unit.update", tax_no, &detail);
        if !self.table.update(row, audit).await? {
            return Err(UnitError::Unknown(tax_no.clone()));
        }
        self.reread(tax_no).await
    }

    /// Deletes a unit.
    ///
    /// # Errors
    /// When it does not exist, or is an access unit that still has using units.
    pub async fn delete(&self, tax_no: &TaxNo, actor: &str) -> Result<(), UnitError> {
        let _one_at_a_time = self.changing.lock().await;
        let snapshot = self.snapshot.load_full();
        let row = snapshot.row(tax_no).ok_or_else(|| UnitError::Unknown(tax_no.clone()))?;
        let using = snapshot.using_units(tax_no);
        if !using.is_empty() {
            return Err(UnitError::HasUsingUnits { tax_no: tax_no.clone(), using });
        }
        let audit = self.audit(actor, "unit.delete", tax_no, &described(row));
        self.table.delete(tax_no.clone(), audit).await?;
        self.snapshot.store(Arc::new(Snapshot::build(self.table.all().await?, &self.master)?));
        Ok(())
    }

    fn apply(&self, row: &mut UnitRow, change: UnitChange) -> Result<(), UnitError> {
        let is_using = row.access_unit.is_some();
        if is_using && (change.key.is_some() || change.sandbox_key.is_some()) {
            return Err(UnitError::KeyOnUsingUnit);
        }
        if let Some(access_unit) = change.access_unit {
            if !is_using {
                return Err(UnitError::NotUsingUnit);
            }
            row.access_unit = Some(access_unit);
        }
        if let Some(name) = change.name {
            name.trim().clone_into(&mut row.name);
        }
        if let Some(platform_id) = change.platform_id {
            row.platform_id = platform_id;
        }
        if let Some(province) = change.province {
            row.province = province;
        }
        if let Some(quota_mode) = change.quota_mode {
            row.quota_mode = quota_mode;
        }
        row.updated_at = self.clock.now();
        self.seal_into(row, change.key.as_ref(), change.sandbox_key.as_ref())
    }

    fn seal_into(
        &self,
        row: &mut UnitRow,
        key: Option<&Sm4Key>,
        sandbox_key: Option<&Sm4Key>,
    ) -> Result<(), UnitError> {
        if let Some(key) = key {
            row.sealed_key = Some(self.master.seal_key(key, &row.tax_no, Environment::Production)?);
        }
        if let Some(key) = sandbox_key {
            row.sealed_sandbox_key = Some(self.master.seal_key(key, &row.tax_no, Environment::Sandbox)?);
        }
        Ok(())
    }

    async fn reread(&self, tax_no: &TaxNo) -> Result<Arc<Unit>, UnitError> {
        let snapshot = Arc::new(Snapshot::build(self.table.all().await?, &self.master)?);
        self.snapshot.store(Arc::clone(&snapshot));
        snapshot.unit(tax_no).map(Arc::clone).ok_or_else(|| UnitError::Unknown(tax_no.clone()))
    }

    fn audit(&self, actor: &str, action: &str, subject: &TaxNo, detail: &serde_json::Value) -> AuditRow {
        AuditRow {
            at: self.clock.now(),
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: subject.to_string(),
            detail: detail.to_string(),
        }
    }
}

/// The rules that every stored unit keeps.
fn check(snapshot: &Snapshot, row: &UnitRow) -> Result<(), UnitError> {
    if row.name.is_empty() || row.name.chars().count() > 200 {
        return Err(UnitError::Name);
    }
    check_province(&row.province)?;
    if let Some(access_unit) = &row.access_unit {
        let access = snapshot.unit(access_unit).ok_or_else(|| access_missing(access_unit))?;
        if access.access_unit() != access_unit || *access_unit == row.tax_no {
            return Err(UnitError::AccessUnitIsUsing(access_unit.clone()));
        }
        if access.platform_id == row.platform_id {
            return Err(UnitError::IdsSwapped { access_unit: access_unit.clone() });
        }
    }
    match snapshot.by_platform_id(&row.platform_id) {
        Some(owner) if owner.tax_no != row.tax_no => {
            Err(UnitError::PlatformIdTaken { owner: owner.tax_no.clone(), name: owner.name.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

fn access_missing(access_unit: &TaxNo) -> UnitError {
    UnitError::AccessUnitUnknown(access_unit.clone())
}

fn check_province(province: &ProvinceCode) -> Result<(), UnitError> {
    match catalogue::province_name(province.as_str()) {
        Some(_) => Ok(()),
        None => Err(UnitError::Province(province.clone())),
    }
}

/// What an audit row says of a unit: everything but the keys.
fn described(row: &UnitRow) -> serde_json::Value {
    serde_json::json!({
        "name": row.name,
        "role": if row.access_unit.is_some() { "using" } else { "access" },
        "access_unit": row.access_unit,
        "platform_id": row.platform_id,
        "province_code": row.province,
        "quota_mode": row.quota_mode.as_str(),
    })
}
