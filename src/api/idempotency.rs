//! `Idempotency-Key`: a POST that acts at the platform is done once, however often it is sent.

use aws_lc_rs::digest;

use super::{
    ApiState,
    auth::Actor,
    fields::Body,
    problem::{self, Kind, Problem},
    reply::{Outcome, Reply},
};
use crate::store::idempotency::{Begun, KeyedRequest, StoredAnswer};

/// Acts once per key; without a key, once per request. What has begun runs to its end also when the client is gone:
/// the platform may have been asked by then.
///
/// Kept are success and the platform's refusal. Everything else did nothing or is not known, and may be tried again.
///
/// # Errors
/// Those of the action; [`Kind::IdempotencyInProgress`] and [`Kind::IdempotencyMismatch`] of the key.
pub(super) async fn once<F>(state: &ApiState, actor: &Actor, body: &Body, action: F) -> Outcome
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let Some(request) = keyed(actor, body)? else { return ended(tokio::spawn(action).await) };
    match state.store.idempotency.begin(request.clone(), state.clock.now()).await? {
        Begun::Fresh => {}
        Begun::InProgress => {
            let detail =
                "the same request with this Idempotency-Key is being worked on; ask again in a moment";
            return Err(Problem::new(Kind::IdempotencyInProgress, detail));
        }
        Begun::Mismatch => {
            let detail = "this Idempotency-Key was used for another request; use a new key for a new request";
            return Err(Problem::new(Kind::IdempotencyMismatch, detail));
        }
        Begun::Replay(kept) => return Reply::replay(kept),
    }
    let table = std::sync::Arc::clone(&state.store.idempotency);
    let task = tokio::spawn(async move {
        let outcome = action.await;
        let closed = match kept(&outcome) {
            Some(answer) => table.finish(request, answer).await,
            None => table.abandon(request).await,
        };
        if let Err(error) = closed {
            tracing::error!(%error, "the answer to an Idempotency-Key could not be kept");
        }
        outcome
    });
    ended(task.await)
}

fn ended(joined: Result<Outcome, tokio::task::JoinError>) -> Outcome {
    joined.unwrap_or_else(|error| Err(Problem::internal(&error)))
}

fn kept(outcome: &Outcome) -> Option<StoredAnswer> {
    match outcome {
        Ok(reply) => Some(reply.kept()),
        Err(problem) if problem.kind == Kind::PlatformRefused => Some(StoredAnswer {
            status: problem.kind.status().as_u16(),
            content_type: problem::CONTENT_TYPE.to_owned(),
            body: problem.body(),
        }),
        Err(_) => None,
    }
}

fn keyed(actor: &Actor, body: &Body) -> Result<Option<KeyedRequest>, Problem> {
    let Some(key) = &body.idempotency_key else { return Ok(None) };
    if key.is_empty() || key.len() > 255 {
        return Err(Problem::field("Idempotency-Key", "must have 1 to 255 characters"));
    }
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [body.method.as_str().as_bytes(), body.target.as_bytes(), &body.bytes] {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(context.finish().as_ref());
    Ok(Some(KeyedRequest { actor: actor.0.clone(), key: key.clone(), fingerprint }))
}
