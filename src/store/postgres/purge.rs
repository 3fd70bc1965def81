//! Deleting the oldest exchanges: whole months are dropped with their partitions, the rest row by row.
//!
//! Neither may hold up the writer, nor other gateways: a month is counted outside of it and once, its partitions are not
//! waited for, the tables that they belong to not long, and rows go by whole buckets of keys, as on SQLite, so that the
//! next ones are found at the beginning of their index.

use std::sync::PoisonError;

use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::{
    open::Database,
    partitions::{TABLES, first_id},
};
use crate::{
    domain::{ExchangeId, Period},
    store::{
        StoreError,
        exchanges::Purged,
        sql::exchange_keys::{BUCKET_SHIFT, KEYS_EACH},
    },
};

const MONTHS: &str =
    "SELECT substr(c.relname, 10) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'exchange'::regclass ORDER BY c.relname";

/// How long a month's end may wait for each of the four tables, while calls wait behind it: a second together.
const DROP_WAIT: &str = "250ms";

pub(super) const LAST: &str =
    "SELECT max(id) FROM (SELECT id FROM exchange WHERE id < $1 ORDER BY id LIMIT $2) AS oldest";

/// The first key that is left for the next portion.
pub(super) const KEYS_END: &str = "SELECT bucket, kind, value, exchange FROM exchange_key WHERE bucket < $1
ORDER BY bucket, kind, value, exchange LIMIT 1 OFFSET $2";

pub(super) const DELETE_KEYS: &str =
    "DELETE FROM exchange_key WHERE (bucket, kind, value, exchange) < ($1, $2, $3, $4)";

const DELETE_ALL_KEYS: &str = "DELETE FROM exchange_key WHERE bucket < $1";

impl Database {
    /// Deletes the oldest exchanges.
    pub(in crate::store) async fn purge(
        &self,
        before: ExchangeId,
        limit: usize,
    ) -> Result<Purged, StoreError> {
        let months: Vec<String> =
            sqlx::query_scalar(MONTHS).fetch_all(&self.readers).await.map_err(|e| self.explain(e))?;
        let oldest = months.iter().find_map(|month| Period::parse(month).ok());
        let Some(month) = oldest.filter(|month| first_id(month.next()) <= before.number()) else {
            return self
                .writer
                .write(move |connection| Box::pin(async move { delete(connection, before, limit).await }))
                .await;
        };
        let exchanges = self.counted(month).await?;
        self.writer
            .write(move |connection| Box::pin(async move { drop_month(month, connection).await }))
            .await?;
        self.months.forget();
        // records that come late make the month anew
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(Purged { exchanges, more: true })
    }

    /// How many exchanges a month has; counted once, however often its partitions are still being read.
    async fn counted(&self, month: Period) -> Result<u64, StoreError> {
        let known = *self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, exchanges)) = known.filter(|(known, _)| *known == month) {
            return Ok(exchanges);
        }
        let exchanges = self.count(month).await?;
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some((month, exchanges));
        Ok(exchanges)
    }

    /// Counts them, which takes long where there are many.
    async fn count(&self, month: Period) -> Result<u64, StoreError> {
        // the name is a number of our own; names cannot be parameters
        let sql = AssertSqlSafe(format!("SELECT count(*) FROM exchange_{}", month.compact()));
        let count: i64 = sqlx::query_scalar(sql)
            .persistent(false)
            .fetch_one(&self.readers)
            .await
            .map_err(|e| self.explain(e))?;
        Ok(u64::try_from(count).unwrap_or_default())
    }
}

/// Takes every lock before anything is dropped, in the order in which queries take them. Whoever reads the month through
/// its tables is waited for at those; whoever has partitions of it then, such as a backup, is not waited for.
async fn lock_month(partitions: &[String], connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let tables = format!("ONLY {}", TABLES.join(", ONLY "));
    let partitions = partitions.join(", ");
    // names cannot be parameters
    for sql in [
        format!("LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"),
        format!("LOCK TABLE {partitions} IN ACCESS EXCLUSIVE MODE NOWAIT"),
    ] {
        sqlx::query(AssertSqlSafe(sql)).persistent(false).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn drop_month(month: Period, connection: &mut PgConnection) -> Result<(), StoreError> {
    const WAIT: &str = "SELECT set_config('lock_timeout', $1, true)";
    const THERE: &str = "SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NOT NULL";
    let name = month.compact();
    let partitions = TABLES.map(|table| format!("{table}_{name}")).to_vec();
    let partitions: Vec<String> =
        sqlx::query_scalar(THERE).bind(partitions).fetch_all(&mut *connection).await?;
    if partitions.is_empty() {
        return Ok(());
    }
    let usual: String = sqlx::query_scalar("SHOW lock_timeout").fetch_one(&mut *connection).await?;
    sqlx::query(WAIT).bind(DROP_WAIT).execute(&mut *connection).await?;
    lock_month(&partitions, connection).await?;
    let sql = AssertSqlSafe(format!("DROP TABLE {}", partitions.join(", ")));
    sqlx::query(sql).persistent(false).execute(&mut *connection).await?;
    // other commands of the transaction wait as ever
    sqlx::query(WAIT).bind(usual).execute(connection).await?;
    Ok(())
}

/// Deletes at most `limit` exchanges of buckets that lie wholly before the id, and a portion of their keys.
async fn delete(
    connection: &mut PgConnection,
    before: ExchangeId,
    limit: usize,
) -> Result<Purged, StoreError> {
    let bucket = before.number() >> BUCKET_SHIFT;
    let exchanges = exchanges(connection, bucket << BUCKET_SHIFT, limit).await?;
    let keys_left = keys(connection, bucket, limit.saturating_mul(KEYS_EACH)).await?;
    Ok(Purged { exchanges, more: keys_left || exchanges > 0 })
}

/// How many exchanges with ids below were deleted.
async fn exchanges(connection: &mut PgConnection, below: i64, limit: usize) -> Result<u64, StoreError> {
    let last: Option<i64> = sqlx::query_scalar(LAST)
        .bind(below)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_one(&mut *connection)
        .await?;
    let Some(last) = last else { return Ok(0) };
    for sql in ["DELETE FROM exchange_request WHERE id <= $1", "DELETE FROM exchange_response WHERE id <= $1"]
    {
        sqlx::query(sql).bind(last).execute(&mut *connection).await?;
    }
    let deleted = sqlx::query("DELETE FROM exchange WHERE id <= $1").bind(last).execute(connection).await?;
    Ok(deleted.rows_affected())
}

/// Whether keys of buckets before this one are left.
async fn keys(connection: &mut PgConnection, bucket: i64, limit: usize) -> Result<bool, StoreError> {
    let end = sqlx::query(KEYS_END)
        .bind(bucket)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_optional(&mut *connection)
        .await?;
    let Some(end) = end else {
        sqlx::query(DELETE_ALL_KEYS).bind(bucket).execute(connection).await?;
        return Ok(false);
    };
    sqlx::query(DELETE_KEYS)
        .bind(end.try_get::<i64, _>(0)?)
        .bind(end.try_get::<i64, _>(1)?)
        .bind(end.try_get::<String, _>(2)?)
        .bind(end.try_get::<i64, _>(3)?)
        .execute(connection)
        .await?;
    Ok(true)
}
