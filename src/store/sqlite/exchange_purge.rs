//! Deleting the oldest exchanges. Whole buckets of keys go at a time (2.3 hours), so nothing is searched for: what is
//! deleted lies at the beginning of every tree, and its pages are used again by what is written next.

use sqlx::{Row, SqliteConnection};

use crate::{
    domain::ExchangeId,
    store::{
        StoreError,
        exchanges::Purged,
        sql::exchange_keys::{BUCKET_SHIFT, KEYS_EACH},
    },
};

/// Deletes at most `limit` exchanges of buckets that lie wholly before the id, and a portion of their keys.
pub(super) async fn purge(
    connection: &mut SqliteConnection,
    before: ExchangeId,
    limit: usize,
) -> Result<Purged, StoreError> {
    let bucket = before.number() >> BUCKET_SHIFT;
    let exchanges = exchanges(connection, bucket << BUCKET_SHIFT, limit).await?;
    let keys_left = keys(connection, bucket, limit.saturating_mul(KEYS_EACH)).await?;
    Ok(Purged { exchanges, more: keys_left || exchanges > 0 })
}

/// How many exchanges with ids below were deleted.
async fn exchanges(connection: &mut SqliteConnection, below: i64, limit: usize) -> Result<u64, StoreError> {
    let last: Option<i64> = sqlx::query_scalar(
        "SELECT max(id) FROM (SELECT id FROM exchange WHERE id < ?1 ORDER BY id LIMIT ?2)",
    )
    .bind(below)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_one(&mut *connection)
    .await?;
    let Some(last) = last else { return Ok(0) };
    for table in ["exchange_request", "exchange_response"] {
        let sql = format!("DELETE FROM {table} WHERE id <= ?1");
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(last).execute(&mut *connection).await?;
    }
    let deleted = sqlx::query("DELETE FROM exchange WHERE id <= ?1").bind(last).execute(connection).await?;
    Ok(deleted.rows_affected())
}

/// Whether keys of buckets before this one are left.
async fn keys(connection: &mut SqliteConnection, bucket: i64, limit: usize) -> Result<bool, StoreError> {
    let end = sqlx::query(
        "SELECT bucket, kind, value, exchange FROM exchange_key WHERE bucket < ?1 \
         ORDER BY bucket, kind, value, exchange LIMIT 1 OFFSET ?2",
    )
    .bind(bucket)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_optional(&mut *connection)
    .await?;
    let Some(end) = end else {
        sqlx::query("DELETE FROM exchange_key WHERE bucket < ?1").bind(bucket).execute(connection).await?;
        return Ok(false);
    };
    sqlx::query("DELETE FROM exchange_key WHERE (bucket, kind, value, exchange) < (?1, ?2, ?3, ?4)")
        .bind(end.try_get::<i64, _>(0)?)
        .bind(end.try_get::<i64, _>(1)?)
        .bind(end.try_get::<String, _>(2)?)
        .bind(end.try_get::<i64, _>(3)?)
        .execute(connection)
        .await?;
    Ok(true)
}
