//! Monthly confirmations.

use futures_util::future::BoxFuture;
use serde_json::json;

use super::{
    audit,
    session::{Row, Session, Statement, Tables},
};
use crate::{
    domain::{Money, Period, PlatformId, TaxNo, Totals},
    store::{
        StoreError,
        audit::AuditRow,
        confirmations::{ConfirmationFilter, ConfirmationRow, ConfirmationState, ConfirmationTable},
        value::{get, instant, instant_opt, parse},
    },
};

const INSERT: &str = "INSERT INTO confirmation (tax_no, platform_id, period, state, sent, platform, refusal_code, \
    refusal_text, created_at, updated_at, submitted_at, confirmed_at, synced_at, version) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING";
const UPDATE: &str = "UPDATE confirmation SET state = $4, sent = $5, platform = $6, refusal_code = $7, \
    refusal_text = $8, created_at = $9, updated_at = $10, submitted_at = $11, confirmed_at = $12, synced_at = $13, \
    version = $14 + 1 WHERE tax_no = $1 AND lower(platform_id) = lower($2) AND period = $3 AND version = $14";
const BY_MONTH: &str =
    "SELECT * FROM confirmation WHERE tax_no = $1 AND lower(platform_id) = lower($2) AND period = $3";

/// The table of confirmations.
pub(in crate::store) struct Confirmations(pub(in crate::store) Tables);

impl ConfirmationTable for Confirmations {
    fn create(
        &self,
        row: ConfirmationRow,
        audit: Option<AuditRow>,
    ) -> BoxFuture<'_, Result<(ConfirmationRow, bool), StoreError>> {
        Box::pin(self.0.write(move |mut session| {
            let (row, audit) = (row.clone(), audit.clone());
            Box::pin(async move {
                let new = put(&mut session, INSERT, &row, audit.as_ref()).await?;
                let stored = session.row(by_month(&row.tax_no, &row.platform_id, row.period)).await?;
                let stored = stored.ok_or(StoreError::Sql(sqlx::Error::RowNotFound))?;
                Ok((confirmation(&stored)?, new))
            })
        }))
    }

    fn by_id(&self, id: i64) -> BoxFuture<'_, Result<Option<ConfirmationRow>, StoreError>> {
        Box::pin(async move {
            let statement = Statement::new("SELECT * FROM confirmation WHERE id = $1").bind(id);
            self.0.row(statement).await?.as_ref().map(confirmation).transpose()
        })
    }

    fn by_month(
        &self,
        tax_no: TaxNo,
        platform_id: PlatformId,
        period: Period,
    ) -> BoxFuture<'_, Result<Option<ConfirmationRow>, StoreError>> {
        Box::pin(async move {
            let row = self.0.row(by_month(&tax_no, &platform_id, period)).await?;
            row.as_ref().map(confirmation).transpose()
        })
    }

    fn list<'a>(
        &'a self,
        filter: &'a ConfirmationFilter,
        before: Option<i64>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<ConfirmationRow>, StoreError>> {
        Box::pin(async move {
            let statement = Statement::new(
                "SELECT * FROM confirmation WHERE ($1 IS NULL OR tax_no = $1) AND ($2 IS NULL OR period = $2) \
                 AND ($3 IS NULL OR state = $3) AND id < $4 ORDER BY id DESC LIMIT $5",
            )
            .bind(filter.tax_no.as_ref().map(TaxNo::as_str))
            .bind(filter.period.map(Period::number))
            .bind(filter.state.map(ConfirmationState::as_str))
            .bind(before.unwrap_or(i64::MAX))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
            self.0.rows(statement).await?.iter().map(confirmation).collect()
        })
    }

    fn update(
        &self,
        row: ConfirmationRow,
        audit: Option<AuditRow>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.0.write(move |mut session| {
            let (row, audit) = (row.clone(), audit.clone());
            Box::pin(async move { put(&mut session, UPDATE, &row, audit.as_ref()).await })
        }))
    }
}

fn by_month(tax_no: &TaxNo, platform_id: &PlatformId, period: Period) -> Statement {
    Statement::new(BY_MONTH).bind(tax_no.as_str()).bind(platform_id.as_str()).bind(period.number())
}

async fn put(
    session: &mut Session<'_>,
    sql: &'static str,
    row: &ConfirmationRow,
    audit: Option<&AuditRow>,
) -> Result<bool, StoreError> {
    let statement = Statement::new(sql)
        .bind(row.tax_no.to_string())
        .bind(row.platform_id.to_string())
        .bind(row.period.number())
        .bind(row.state.as_str())
        .bind(row.sent.as_ref().map(written))
        .bind(row.platform.as_ref().map(written))
        .bind(row.refusal_code.clone())
        .bind(row.refusal_text.clone())
        .bind(row.created_at)
        .bind(row.updated_at)
        .bind(row.submitted_at)
        .bind(row.confirmed_at)
        .bind(row.synced_at)
        .bind(row.version);
    let changed = session.execute(statement).await? > 0;
    if let Some(audit) = audit.filter(|_| changed) {
        audit::append(session, audit).await?;
    }
    Ok(changed)
}

fn confirmation(row: &Row) -> Result<ConfirmationRow, StoreError> {
    Ok(ConfirmationRow {
        id: get(row, "id")?,
        tax_no: parse(row, "tax_no", TaxNo::parse)?,
        platform_id: parse(row, "platform_id", PlatformId::parse)?,
        period: Period::from_number(get(row, "period")?)
            .map_err(|error| StoreError::value("period", error))?,
        state: parse(row, "state", ConfirmationState::parse)?,
        sent: totals(row, "sent")?,
        platform: totals(row, "platform")?,
        refusal_code: get(row, "refusal_code")?,
        refusal_text: get(row, "refusal_text")?,
        created_at: instant(row, "created_at")?,
        updated_at: instant(row, "updated_at")?,
        submitted_at: instant_opt(row, "submitted_at")?,
        confirmed_at: instant_opt(row, "confirmed_at")?,
        synced_at: instant_opt(row, "synced_at")?,
        version: get(row, "version")?,
    })
}

fn written(totals: &Totals) -> String {
    json!([
        totals.blue_count,
        totals.blue_net.fen(),
        totals.blue_tax.fen(),
        totals.red_count,
        totals.red_net.fen(),
        totals.red_tax.fen()
    ])
    .to_string()
}

fn totals(row: &Row, column: &'static str) -> Result<Option<Totals>, StoreError> {
    let Some(text) = get::<Option<String>>(row, column)? else { return Ok(None) };
    let six: [i64; 6] = serde_json::from_str(&text).map_err(|error| StoreError::value(column, error))?;
    let [blue_count, blue_net, blue_tax, red_count, red_net, red_tax] = six;
    Ok(Some(Totals {
        blue_count,
        blue_net: Money::from_fen(blue_net),
        blue_tax: Money::from_fen(blue_tax),
        red_count,
        red_net: Money::from_fen(red_net),
        red_tax: Money::from_fen(red_tax),
    }))
}
