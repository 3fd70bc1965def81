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
        units::{QuotaMode, UnitRow, UnitTable},
        value::{get, instant, parse, parse_opt},
    },
};

const INSERT: &str = "INSERT INTO unit (tax_no, name, access_unit, platform_id, province, quota_mode, sealed_key, \
    sealed_sandbox_key, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const UPDATE: &str = "UPDATE unit SET name = $2, access_unit = $3, platform_id = $4, province = $5, quota_mode = $6, \
    sealed_key = $7, sealed_sandbox_key = $8, created_at = $9, updated_at = $10 WHERE tax_no = $1";
const DELETE: &str = "DELETE FROM unit WHERE tax_no = $1";

/// The table of units.
pub(in crate::store) struct Units(pub(in crate::store) Tables);

impl UnitTable for Units {
    fn all(&self) -> BoxFuture<'_, Result<Vec<UnitRow>, StoreError>> {
        Box::pin(async {
            let rows = self.0.rows(Statement::new("SELECT * FROM unit ORDER BY tax_no")).await?;
            rows.iter().map(unit).collect()
        })
    }

    fn insert(&self, row: UnitRow, audit: AuditRow) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.0.write(move |mut session| {
            let (row, audit) = (row.clone(), audit.clone());
            Box::pin(async move { put(&mut session, INSERT, &row, &audit).await.map(drop) })
        }))
    }

    fn update(&self, row: UnitRow, audit: AuditRow) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.0.write(move |mut session| {
            let (row, audit) = (row.clone(), audit.clone());
            Box::pin(async move { put(&mut session, UPDATE, &row, &audit).await })
        }))
    }

    fn delete(&self, tax_no: TaxNo, audit: AuditRow) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.0.write(move |mut session| {
            let (tax_no, audit) = (tax_no.clone(), audit.clone());
            Box::pin(async move {
                let deleted = session.execute(Statement::new(DELETE).bind(tax_no.as_str())).await?;
                noted(&mut session, deleted, &audit).await
            })
        }))
    }
}

async fn put(
    session: &mut Session<'_>,
    sql: &'static str,
    row: &UnitRow,
    audit: &AuditRow,
) -> Result<bool, StoreError> {
    let statement = Statement::new(sql)
        .bind(row.tax_no.to_string())
        .bind(row.name.clone())
        .bind(row.access_unit.as_ref().map(ToString::to_string))
        .bind(row.platform_id.to_string())
        .bind(row.province.to_string())
        .bind(row.quota_mode.as_str())
        .bind(row.sealed_key.clone())
        .bind(row.sealed_sandbox_key.clone())
        .bind(row.created_at)
        .bind(row.updated_at);
    let changed = session.execute(statement).await?;
    noted(session, changed, audit).await
}

/// Writes the audit row when something was changed, and says whether it was.
async fn noted(session: &mut Session<'_>, changed: u64, audit: &AuditRow) -> Result<bool, StoreError> {
    if changed > 0 {
        audit::append(session, audit).await?;
    }
    Ok(changed > 0)
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
