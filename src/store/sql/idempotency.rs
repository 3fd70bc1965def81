//! Idempotency keys.

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};

use super::session::{Row, Session, Statement, Tables};
use crate::store::{
    StoreError,
    idempotency::{Begun, IdempotencyTable, KeyedRequest, REMEMBERED, StoredAnswer},
    value::get,
};

/// How old a key without an answer is when it is fresh again.
const GIVE_UP: SignedDuration = SignedDuration::from_mins(10);

/// The table of keys.
pub(in crate::store) struct Idempotency(pub(in crate::store) Tables);

impl IdempotencyTable for Idempotency {
    fn begin(&self, request: KeyedRequest, now: Timestamp) -> BoxFuture<'_, Result<Begun, StoreError>> {
        Box::pin(self.0.write(move |mut session| {
            let request = request.clone();
            Box::pin(async move { begin(&mut session, &request, now).await })
        }))
    }

    fn forget(&self, now: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.0.write(move |mut session| Box::pin(async move { forget(&mut session, now).await })))
    }

    fn finish(&self, request: KeyedRequest, answer: StoredAnswer) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.0.write(move |mut session| {
            let (request, answer) = (request.clone(), answer.clone());
            Box::pin(async move {
                let statement = Statement::new(
                    "UPDATE idempotency SET status = $3, content_type = $4, body = $5 WHERE actor = $1 AND key = $2",
                )
                .bind(request.actor)
                .bind(request.key)
                .bind(i64::from(answer.status))
                .bind(answer.content_type)
                .bind(answer.body);
                session.execute(statement).await.map(drop)
            })
        }))
    }

    fn abandon(&self, request: KeyedRequest) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.0.write(move |mut session| {
            let request = request.clone();
            Box::pin(async move {
                let statement = Statement::new(
                    "DELETE FROM idempotency WHERE actor = $1 AND key = $2 AND status IS NULL",
                );
                session.execute(statement.bind(request.actor).bind(request.key)).await.map(drop)
            })
        }))
    }
}

async fn begin(
    session: &mut Session<'_>,
    request: &KeyedRequest,
    now: Timestamp,
) -> Result<Begun, StoreError> {
    forget(session, now).await?;
    // inserted first, because another gateway may have the same request at the same time
    let take = Statement::new(
        "INSERT INTO idempotency (actor, key, fingerprint, begun_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    )
    .bind(request.actor.as_str())
    .bind(request.key.as_str())
    .bind(request.fingerprint.to_vec())
    .bind(now);
    if session.execute(take).await? > 0 {
        return Ok(Begun::Fresh);
    }
    let look = Statement::new("SELECT * FROM idempotency WHERE actor = $1 AND key = $2")
        .bind(request.actor.as_str())
        .bind(request.key.as_str());
    match session.row(look).await? {
        Some(row) => begun(&row, request),
        // whoever had it gave it back between the two statements
        None => Ok(Begun::InProgress),
    }
}

async fn forget(session: &mut Session<'_>, now: Timestamp) -> Result<u64, StoreError> {
    let before = |age: SignedDuration| now.checked_sub(age).map_or(i64::MIN, Timestamp::as_microsecond);
    let forget =
        Statement::new("DELETE FROM idempotency WHERE begun_at < $1 OR (status IS NULL AND begun_at < $2)")
            .bind(before(REMEMBERED))
            .bind(before(GIVE_UP));
    session.execute(forget).await
}

fn begun(row: &Row, request: &KeyedRequest) -> Result<Begun, StoreError> {
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
