//! Units.

use futures_util::future::BoxFuture;

use super::{
    audit,
    session::{Row, Session, Statement, Tables},
};
use crate::{
    domain::{PlatformId, ProvinceCode, TaxNo},
    store::{
        StoreError,
        audit::AuditRow,
        units::{Changed, QuotaMode, UnitRow, UnitTable, Version},
        value::{get, instant, parse, parse_opt},
    },
};

const INSERT: &str = "INSERT INTO unit (tax_no, name, access_unit, platform_id, province, quota_mode, sealed_key, \
    sealed_sandbox_key, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const UPDATE: &str = "UPDATE unit SET name = $2, access_unit = $3, platform_id = $4, province = $5, quota_mode = $6, \
    sealed_key = $7, sealed_sandbox_key = $8, created_at = $9, updated_at = $10 WHERE tax_no = $1";
const DELETE: &str = "DELETE FROM unit WHERE tax_no = $1";

// always the first statement of a change: its row's lock keeps gateways from waiting for one another in a circle
const RAISE_IF: &str = "UPDATE unit_version SET version = version + 1 WHERE version = $1";

/// The table of units.
pub(in crate::store) struct Units(pub(in crate::store) Tables);

impl UnitTable for Units {
    fn version(&self) -> BoxFuture<'_, Result<Version, StoreError>> {
        Box::pin(version(&self.0))
    }

    fn all(&self) -> BoxFuture<'_, Result<Vec<UnitRow>, StoreError>> {
        Box::pin(async {
            let rows = self.0.rows(Statement::new("SELECT * FROM unit ORDER BY tax_no")).await?;
            rows.iter().map(unit).collect()
        })
    }

    fn insert(
        &self,
        row: UnitRow,
        audit: AuditRow,
        seen: Version,
    ) -> BoxFuture<'_, Result<Changed, StoreError>> {
        self.change(put(INSERT, &row), audit, seen)
    }

    fn update(
        &self,
        row: UnitRow,
        audit: AuditRow,
        seen: Version,
    ) -> BoxFuture<'_, Result<Changed, StoreError>> {
        self.change(put(UPDATE, &row), audit, seen)
    }

    fn delete(
        &self,
        tax_no: TaxNo,
        audit: AuditRow,
        seen: Version,
    ) -> BoxFuture<'_, Result<Changed, StoreError>> {
        self.change(Statement::new(DELETE).bind(tax_no.as_str()), audit, seen)
    }
}

impl Units {
    /// Carries out the statement with its audit row, unless something was changed since `seen`.
    fn change(
        &self,
        statement: Statement,
        audit: AuditRow,
        seen: Version,
    ) -> BoxFuture<'_, Result<Changed, StoreError>> {
        Box::pin(self.0.write(move |mut session| {
            let (statement, audit) = (statement.clone(), audit.clone());
            Box::pin(async move {
                if !raise_version_if(&mut session, seen).await? {
                    return Ok(Changed::Overtaken);
                }
                if session.execute(statement).await? == 0 {
                    return Ok(Changed::Missing);
                }
                audit::append(&mut session, &audit).await?;
                Ok(Changed::Done)
            })
        }))
    }
}

/// The version of units and their settings together.
pub(super) async fn version(tables: &Tables) -> Result<Version, StoreError> {
    let rows = tables.rows(Statement::new("SELECT version FROM unit_version")).await?;
    let row = rows.first().ok_or_else(|| StoreError::value("unit_version", "there is no row"))?;
    get(row, "version").map(Version)
}

/// Raises the version, unless something was changed since `seen`. Whether it did.
pub(super) async fn raise_version_if(session: &mut Session<'_>, seen: Version) -> Result<bool, StoreError> {
    Ok(session.execute(Statement::new(RAISE_IF).bind(seen.0)).await? > 0)
}

fn put(sql: &'static str, row: &UnitRow) -> Statement {
    Statement::new(sql)
        .bind(row.tax_no.to_string())
        .bind(row.name.clone())
        .bind(row.access_unit.as_ref().map(ToString::to_string))
        .bind(row.platform_id.to_string())
        .bind(row.province.to_string())
        .bind(row.quota_mode.as_str())
        .bind(row.sealed_key.clone())
        .bind(row.sealed_sandbox_key.clone())
        .bind(row.created_at)
        .bind(row.updated_at)
}

fn unit(row: &Row) -> Result<UnitRow, StoreError> {
    Ok(UnitRow {
        tax_no: parse(row, "tax_no", TaxNo::parse)?,
        name: get(row, "name")?,
        access_unit: parse_opt(row, "access_unit", TaxNo::parse)?,
        platform_id: parse(row, "platform_id", PlatformId::parse)?,
        province: parse(row, "province", ProvinceCode::parse)?,
        quota_mode: parse(row, "quota_mode", QuotaMode::parse)?,
        sealed_key: get(row, "sealed_key")?,
        sealed_sandbox_key: get(row, "sealed_sandbox_key")?,
        created_at: instant(row, "created_at")?,
        updated_at: instant(row, "updated_at")?,
    })
}
