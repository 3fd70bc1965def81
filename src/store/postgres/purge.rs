//! Deleting the oldest exchanges: whole months are dropped with their partitions, the rest row by row.

use sqlx::{AssertSqlSafe, PgConnection};

use super::{
    open::Database,
    partitions::{TABLES, first_id},
};
use crate::{
    domain::{ExchangeId, Period},
    store::{StoreError, exchanges::Purged},
};

const MONTHS: &str =
    "SELECT substr(c.relname, 10) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'exchange'::regclass ORDER BY c.relname";

impl Database {
    /// Deletes the oldest exchanges.
    pub(in crate::store) async fn purge(
        &self,
        before: ExchangeId,
        limit: usize,
    ) -> Result<Purged, StoreError> {
        let purged = self
            .writer
            .write(move |connection| Box::pin(async move { purge(connection, before, limit).await }))
            .await?;
        self.months.forget();
        Ok(purged)
    }
}

async fn purge(
    connection: &mut PgConnection,
    before: ExchangeId,
    limit: usize,
) -> Result<Purged, StoreError> {
    let months: Vec<String> = sqlx::query_scalar(MONTHS).fetch_all(&mut *connection).await?;
    let oldest = months.iter().find_map(|month| Period::parse(month).ok());
    match oldest.filter(|month| first_id(month.next()) <= before.number()) {
        Some(month) => drop_month(month, connection).await,
        None => delete(before.number(), limit, connection).await,
    }
}

async fn drop_month(month: Period, connection: &mut PgConnection) -> Result<Purged, StoreError> {
    let name = month.compact();
    // the name is a number of our own; names cannot be parameters
    let count = AssertSqlSafe(format!("SELECT count(*) FROM exchange_{name}"));
    let count: i64 = sqlx::query_scalar(count).persistent(false).fetch_one(&mut *connection).await?;
    for table in TABLES {
        let sql = AssertSqlSafe(format!("DROP TABLE IF EXISTS {table}_{name}"));
        sqlx::query(sql).persistent(false).execute(&mut *connection).await?;
    }
    Ok(Purged { exchanges: u64::try_from(count).unwrap_or_default(), more: true })
}

async fn delete(below: i64, limit: usize, connection: &mut PgConnection) -> Result<Purged, StoreError> {
    let last: Option<i64> = sqlx::query_scalar(
        "SELECT max(id) FROM (SELECT id FROM exchange WHERE id < $1 ORDER BY id LIMIT $2) AS oldest",
    )
    .bind(below)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_one(&mut *connection)
    .await?;
    let Some(last) = last else { return Ok(Purged { exchanges: 0, more: false }) };
    for sql in [
        "DELETE FROM exchange_key WHERE exchange <= $1",
        "DELETE FROM exchange_request WHERE id <= $1",
        "DELETE FROM exchange_response WHERE id <= $1",
    ] {
        sqlx::query(sql).bind(last).execute(&mut *connection).await?;
    }
    let deleted = sqlx::query("DELETE FROM exchange WHERE id <= $1").bind(last).execute(connection).await?;
    Ok(Purged { exchanges: deleted.rows_affected(), more: true })
}
