//! Idempotency keys on SQLite.

use futures_util::future::BoxFuture;
use jiff::{Span, Timestamp};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{open::Database, value::get};
use crate::store::{
    StoreError,
    idempotency::{Begun, IdempotencyTable, KeyedRequest, StoredAnswer},
};

/// Hours after which a key is forgotten.
const FORGET_HOURS: i64 = 24;
/// Minutes after which a key without an answer is fresh again.
const GIVE_UP_MINUTES: i64 = 10;

/// The table of keys.
pub(super) struct Idempotency(pub(super) Database);

impl IdempotencyTable for Idempotency {
    fn begin(&self, request: KeyedRequest, now: Timestamp) -> BoxFuture<'_, Result<Begun, StoreError>> {
        Box::pin(self.0.writer.write(move |connection| {
            let request = request.clone();
            Box::pin(async move { begin(connection, &request, now).await })
        }))
    }

    fn forget(&self, now: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(
            self.0.writer.write(move |connection| Box::pin(async move { forget(connection, now).await })),
        )
    }

    fn finish(&self, request: KeyedRequest, answer: StoredAnswer) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.0.writer.write(move |connection| {
            let (request, answer) = (request.clone(), answer.clone());
            Box::pin(async move {
                sqlx::query(
                    "UPDATE idempotency SET status = ?3, content_type = ?4, body = ?5 WHERE actor = ?1 AND key = ?2",
                )
                .bind(request.actor)
                .bind(request.key)
                .bind(i64::from(answer.status))
                .bind(answer.content_type)
                .bind(answer.body)
                .execute(connection)
                .await?;
                Ok(())
            })
        }))
    }

    fn abandon(&self, request: KeyedRequest) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.0.writer.write(move |connection| {
            let request = request.clone();
            Box::pin(async move {
                sqlx::query("DELETE FROM idempotency WHERE actor = ?1 AND key = ?2 AND status IS NULL")
                    .bind(request.actor)
                    .bind(request.key)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        }))
    }
}

async fn begin(
    connection: &mut SqliteConnection,
    request: &KeyedRequest,
    now: Timestamp,
) -> Result<Begun, StoreError> {
    forget(connection, now).await?;
    let known = sqlx::query("SELECT * FROM idempotency WHERE actor = ?1 AND key = ?2")
        .bind(request.actor.clone())
        .bind(request.key.clone())
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(row) = known {
        return begun(&row, request);
    }
    sqlx::query("INSERT INTO idempotency (actor, key, fingerprint, begun_at) VALUES (?1, ?2, ?3, ?4)")
        .bind(request.actor.clone())
        .bind(request.key.clone())
        .bind(request.fingerprint.to_vec())
        .bind(now.as_microsecond())
        .execute(connection)
        .await?;
    Ok(Begun::Fresh)
}

async fn forget(connection: &mut SqliteConnection, now: Timestamp) -> Result<u64, StoreError> {
    let before = |span: Span| now.saturating_sub(span).map_or(i64::MIN, Timestamp::as_microsecond);
    let done =
        sqlx::query("DELETE FROM idempotency WHERE begun_at < ?1 OR (status IS NULL AND begun_at < ?2)")
            .bind(before(Span::new().hours(FORGET_HOURS)))
            .bind(before(Span::new().minutes(GIVE_UP_MINUTES)))
            .execute(connection)
            .await?;
    Ok(done.rows_affected())
}

fn begun(row: &SqliteRow, request: &KeyedRequest) -> Result<Begun, StoreError> {
    let fingerprint: Vec<u8> = get(row, "fingerprint")?;
    if fingerprint != request.fingerprint {
        return Ok(Begun::Mismatch);
    }
    let Some(status) = get::<Option<i64>>(row, "status")? else { return Ok(Begun::InProgress) };
    Ok(Begun::Replay(StoredAnswer {
        status: u16::try_from(status).map_err(|error| StoreError::value("status", error))?,
        content_type: get::<Option<String>>(row, "content_type")?.unwrap_or_default(),
        body: get::<Option<Vec<u8>>>(row, "body")?.unwrap_or_default(),
    }))
}
