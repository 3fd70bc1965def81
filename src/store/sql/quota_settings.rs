//! Credit settings of units.

use futures_util::future::BoxFuture;

use super::{
    audit,
    session::{Row, Statement, Tables},
    units::{raise_version_if, version},
};
use crate::{
    domain::{Money, TaxNo},
    store::{
        StoreError,
        audit::AuditRow,
        quota_settings::{QuotaSettingRow, QuotaSettingTable},
        units::{Changed, Version},
        value::{get, instant, parse},
    },
};

const PUT: &str = "INSERT INTO quota_setting (tax_no, month_start_share, month_start_amount, low_water, \
    top_up_amount, top_up_on_demand, return_unused, allowance_returns, updated_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (tax_no) DO UPDATE SET \
    month_start_share = excluded.month_start_share, month_start_amount = excluded.month_start_amount, \
    low_water = excluded.low_water, top_up_amount = excluded.top_up_amount, \
    top_up_on_demand = excluded.top_up_on_demand, return_unused = excluded.return_unused, \
    allowance_returns = excluded.allowance_returns, updated_at = excluded.updated_at";

/// The table of settings.
pub(in crate::store) struct QuotaSettings(pub(in crate::store) Tables);

impl QuotaSettingTable for QuotaSettings {
    fn version(&self) -> BoxFuture<'_, Result<Version, StoreError>> {
        Box::pin(version(&self.0))
    }

    fn all(&self) -> BoxFuture<'_, Result<Vec<QuotaSettingRow>, StoreError>> {
        Box::pin(async {
            let all = Statement::new("SELECT * FROM quota_setting ORDER BY tax_no");
            self.0.rows(all).await?.iter().map(setting).collect()
        })
    }

    fn put(
        &self,
        row: QuotaSettingRow,
        audit: AuditRow,
        seen: Version,
    ) -> BoxFuture<'_, Result<Changed, StoreError>> {
        Box::pin(self.0.write(move |mut session| {
            let (row, audit) = (row.clone(), audit.clone());
            Box::pin(async move {
                let statement = Statement::new(PUT)
                    .bind(row.tax_no.as_str())
                    .bind(i64::from(row.month_start_share))
                    .bind(row.month_start_amount.map(Money::fen))
                    .bind(row.low_water.map(Money::fen))
                    .bind(row.top_up_amount.map(Money::fen))
                    .bind(row.top_up_on_demand)
                    .bind(row.return_unused)
                    .bind(row.allowance_returns)
                    .bind(row.updated_at);
                if !raise_version_if(&mut session, seen).await? {
                    return Ok(Changed::Overtaken);
                }
                session.execute(statement).await?;
                audit::append(&mut session, &audit).await?;
                Ok(Changed::Done)
            })
        }))
    }
}

fn setting(row: &Row) -> Result<QuotaSettingRow, StoreError> {
    let money = |column| get::<Option<i64>>(row, column).map(|fen| fen.map(Money::from_fen));
    let share: i64 = get(row, "month_start_share")?;
    Ok(QuotaSettingRow {
        tax_no: parse(row, "tax_no", TaxNo::parse)?,
        month_start_share: u8::try_from(share).map_err(|e| StoreError::value("month_start_share", e))?,
        month_start_amount: money("month_start_amount")?,
        low_water: money("low_water")?,
        top_up_amount: money("top_up_amount")?,
        top_up_on_demand: get(row, "top_up_on_demand")?,
        return_unused: get(row, "return_unused")?,
        allowance_returns: get(row, "allowance_returns")?,
        updated_at: instant(row, "updated_at")?,
    })
}
