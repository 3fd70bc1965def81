//! Changes of the registry: each with its audit row in one transaction, decided on what is in the store at that moment,
//! also when several gateways change it.

use std::sync::Arc;

use super::{NewRole, NewUnit, Registry, Unit, UnitChange, UnitError, snapshot::Snapshot};
use crate::domain::{Environment, ProvinceCode, TaxNo};
use crate::leqi::{Sm4Key, catalogue};
use crate::store::{
    audit::AuditRow,
    units::{Changed, UnitRow},
};

/// What is to be written.
enum Write {
    Insert(UnitRow),
    Update(UnitRow),
    Delete(TaxNo),
}

impl Registry {
    /// Registers a unit.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence that says what to do instead.
    pub async fn create(&self, new: NewUnit, actor: &str) -> Result<Arc<Unit>, UnitError> {
        let tax_no = new.tax_no.clone();
        let row = self.new_row(new)?;
        self.change(&tax_no, |snapshot| {
            if snapshot.unit(&tax_no).is_some() {
                return Err(UnitError::Exists(tax_no.clone()));
            }
            check(snapshot, &row)?;
            let audit = self.audit(actor, "unit.create", &tax_no, &described(&row));
            Ok((Write::Insert(row.clone()), audit))
        })
        .await?;
        self.by_tax_no(&tax_no).ok_or(UnitError::Unknown(tax_no))
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
        self.change(tax_no, |snapshot| {
            let mut row = snapshot.row(tax_no).cloned().ok_or_else(|| UnitError::Unknown(tax_no.clone()))?;
            self.apply(&mut row, change.clone())?;
            check(snapshot, &row)?;
            let mut detail = described(&row);
            detail["key_changed"] = change.key.is_some().into();
            detail["sandbox_key_changed"] = change.sandbox_key.is_some().into();
            let audit = self.audit(actor, "unit.update", tax_no, &detail);
            Ok((Write::Update(row), audit))
        })
        .await?;
        self.by_tax_no(tax_no).ok_or_else(|| UnitError::Unknown(tax_no.clone()))
    }

    /// Deletes a unit.
    ///
    /// # Errors
    /// When it does not exist, or is an access unit that still has using units.
    pub async fn delete(&self, tax_no: &TaxNo, actor: &str) -> Result<(), UnitError> {
        self.change(tax_no, |snapshot| {
            let row = snapshot.row(tax_no).ok_or_else(|| UnitError::Unknown(tax_no.clone()))?;
            let using = snapshot.using_units(tax_no);
            if !using.is_empty() {
                return Err(UnitError::HasUsingUnits { tax_no: tax_no.clone(), using });
            }
            let audit = self.audit(actor, "unit.delete", tax_no, &described(row));
            Ok((Write::Delete(tax_no.clone()), audit))
        })
        .await
    }

    /// Decides and writes, once more whenever another gateway was faster.
    async fn change(
        &self,
        tax_no: &TaxNo,
        decide: impl Fn(&Snapshot) -> Result<(Write, AuditRow), UnitError>,
    ) -> Result<(), UnitError> {
        let _one_at_a_time = self.changing.lock().await;
        loop {
            self.catch_up().await?;
            let (seen, decided) = {
                let snapshot = self.snapshot.load();
                (snapshot.version, decide(&snapshot)?)
            };
            let changed = match decided {
                (Write::Insert(row), audit) => self.table.insert(row, audit, seen).await?,
                (Write::Update(row), audit) => self.table.update(row, audit, seen).await?,
                (Write::Delete(tax_no), audit) => self.table.delete(tax_no, audit, seen).await?,
            };
            match changed {
                Changed::Done => return self.catch_up().await,
                Changed::Missing => return Err(UnitError::Unknown(tax_no.clone())),
                Changed::Overtaken => {}
            }
        }
    }

    fn new_row(&self, new: NewUnit) -> Result<UnitRow, UnitError> {
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
        Ok(row)
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
