//! Deleting the oldest exchanges row by row. Whole buckets of keys go at a time (2.3 hours), so nothing is searched for:
//! what is deleted lies at the beginning of every index, and on SQLite its pages are used again by what is written next.

use super::{
    exchange_keys::BUCKET_SHIFT,
    session::{Session, Statement},
};
use crate::{
    domain::ExchangeId,
    store::{StoreError, exchanges::Purged, value::at},
};

/// Keys that are deleted with each exchange of a portion, at most: an upload has one for each of its invoices, and four
/// more.
const KEYS_EACH: usize = 20;

/// The last exchange of a portion.
pub(in crate::store) const LAST: &str =
    "SELECT max(id) FROM (SELECT id FROM exchange WHERE id < $1 ORDER BY id LIMIT $2) AS oldest";

/// The first key that is left for the next portion.
pub(in crate::store) const KEYS_END: &str = "SELECT bucket, kind, value, exchange FROM exchange_key \
    WHERE bucket < $1 ORDER BY bucket, kind, value, exchange LIMIT 1 OFFSET $2";

/// Deletes the keys before that one.
pub(in crate::store) const DELETE_KEYS: &str =
    "DELETE FROM exchange_key WHERE (bucket, kind, value, exchange) < ($1, $2, $3, $4)";

/// Deletes all keys of old buckets.
pub(in crate::store) const DELETE_ALL_KEYS: &str = "DELETE FROM exchange_key WHERE bucket < $1";

/// Deletes at most `limit` exchanges of buckets that lie wholly before the id, and a portion of their keys.
pub(in crate::store) async fn delete(
    session: &mut Session<'_>,
    before: ExchangeId,
    limit: usize,
) -> Result<Purged, StoreError> {
    let bucket = before.number() >> BUCKET_SHIFT;
    let exchanges = exchanges(session, bucket << BUCKET_SHIFT, limit).await?;
    let keys_left = keys(session, bucket, limit.saturating_mul(KEYS_EACH)).await?;
    Ok(Purged { exchanges, more: keys_left || exchanges > 0 })
}

/// How many exchanges with ids below were deleted.
async fn exchanges(session: &mut Session<'_>, below: i64, limit: usize) -> Result<u64, StoreError> {
    let last = session.row(Statement::new(LAST).bind(below).bind(number(limit))).await?;
    let last: Option<i64> = last.as_ref().map(|row| at(row, 0)).transpose()?.flatten();
    let Some(last) = last else { return Ok(0) };
    for sql in ["DELETE FROM exchange_request WHERE id <= $1", "DELETE FROM exchange_response WHERE id <= $1"]
    {
        session.execute(Statement::new(sql).bind(last)).await?;
    }
    session.execute(Statement::new("DELETE FROM exchange WHERE id <= $1").bind(last)).await
}

/// Whether keys of buckets before this one are left.
async fn keys(session: &mut Session<'_>, bucket: i64, limit: usize) -> Result<bool, StoreError> {
    let Some(end) = session.row(Statement::new(KEYS_END).bind(bucket).bind(number(limit))).await? else {
        session.execute(Statement::new(DELETE_ALL_KEYS).bind(bucket)).await?;
        return Ok(false);
    };
    let delete = Statement::new(DELETE_KEYS)
        .bind(at::<i64>(&end, 0)?)
        .bind(at::<i64>(&end, 1)?)
        .bind(at::<&str>(&end, 2)?)
        .bind(at::<i64>(&end, 3)?);
    session.execute(delete).await?;
    Ok(true)
}

/// A limit as the engines take it.
fn number(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
