//! One request out, one answer back.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, Version, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::TrySendError};

use super::{
    Body, Phase, SendError, Upstream,
    connection::Connection,
    deadline::{Deadline, within},
    error::Failure,
    pool::Grant,
    request_body::{Progress, RequestBody},
    response_body::ResponseBody,
};

/// What became of a request on one connection.
enum Attempt {
    Answered(Response<Incoming>, Connection),
    Failed(Failure),
    /// The connection gave it back before it was begun.
    Untouched(Box<Request<RequestBody>>, hyper::Error),
}

/// How long a request is waited for, and how far it has got.
#[derive(Clone, Copy)]
struct Patience<'p> {
    progress: &'p Progress,
    /// For the head of the answer, from the last piece of the request that was handed over.
    response: Duration,
    deadline: Option<Deadline>,
}

impl Upstream {
    /// Sends a request whose URI is in origin form (`/path?query`) and waits for the head of the answer. The
    /// `Host` header is replaced; everything else goes out as it is. Dropping the future closes the connection.
    ///
    /// # Errors
    /// [`SendError`], which tells at which step and whether the platform can have seen anything.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Body>, SendError> {
        self.admitted(request).await.map_err(|failure| {
            let Failure { phase, sent, timed_out, retry_after, source, .. } = failure;
            self.metrics.failed(phase, timed_out);
            SendError { upstream: self.name.clone(), phase, sent, retry_after, source }
        })
    }

    /// Asks the breaker first and tells it the outcome.
    async fn admitted(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let pass = self.breaker.admit().map_err(refused)?;
        let deadline = self.total_timeout.map(Deadline::after);
        let (request, progress) = prepare(request, &self.host);
        let patience = Patience { progress: &progress, response: self.response_timeout, deadline };
        match self.exchange(request, patience).await {
            Ok((answer, connection)) => {
                pass.answered();
                Ok(answer.map(|body| {
                    let pool = Arc::clone(&self.pool);
                    ResponseBody::new(body, connection, pool, self.body_timeout, deadline).boxed_unsync()
                }))
            }
            Err(failure) => {
                pass.failed(failure.phase, failure.timed_out);
                Err(failure)
            }
        }
    }

    /// On a kept connection, else on a new one. What a kept one gives back untouched goes out once more, on a new one.
    async fn exchange(
        &self,
        mut request: Request<RequestBody>,
        patience: Patience<'_>,
    ) -> Result<(Response<Incoming>, Connection), Failure> {
        let grant = match within(patience.deadline, self.pool.take()).await? {
            Grant::Kept(connection) => match attempt(connection, request, patience).await {
                Attempt::Answered(answer, connection) => return Ok((answer, connection)),
                Attempt::Failed(failure) => return Err(failure),
                Attempt::Untouched(untouched, _) => {
                    self.metrics.retries.inc();
                    request = *untouched;
                    within(patience.deadline, self.pool.take_new()).await?
                }
            },
            new @ Grant::New(_) => new,
        };
        // boxed: the future of a call on a kept connection is moved about and should not carry this with it
        Box::pin(self.exchange_on_new(grant, request, patience)).await
    }

    async fn exchange_on_new(
        &self,
        grant: Grant,
        request: Request<RequestBody>,
        patience: Patience<'_>,
    ) -> Result<(Response<Incoming>, Connection), Failure> {
        let connection = match grant {
            Grant::Kept(connection) => connection,
            Grant::New(slot) => within(patience.deadline, self.connector.connect(slot)).await?,
        };
        match attempt(connection, request, patience).await {
            Attempt::Answered(answer, connection) => Ok((answer, connection)),
            Attempt::Failed(failure) => Err(failure),
            Attempt::Untouched(_, error) => Err(Failure::before(Phase::Send, describe(&error))),
        }
    }
}

/// The failure of a call that the breaker does not let through.
fn refused(wait: Duration) -> Failure {
    let reason = "many calls have failed in a row, so calls are refused for a while";
    Failure { retry_after: Some(wait), ..Failure::before(Phase::Open, reason) }
}

fn prepare(request: Request<Body>, host: &HeaderValue) -> (Request<RequestBody>, Arc<Progress>) {
    let (mut parts, body) = request.into_parts();
    parts.version = Version::HTTP_11;
    parts.headers.insert(header::HOST, host.clone());
    let (body, progress) = RequestBody::new(body);
    (Request::from_parts(parts, body), progress)
}

async fn attempt(
    mut connection: Connection,
    request: Request<RequestBody>,
    patience: Patience<'_>,
) -> Attempt {
    let before = connection.written();
    let mut watch = connection.take_watch();
    let answer = tokio::select! {
        answer = connection.try_send(request) => answer,
        () = watch.still(patience.progress, patience.response) => {
            return Box::pin(given_up(too_slow(patience), connection, before)).await;
        }
        failure = missed(patience.deadline) => return Box::pin(given_up(failure, connection, before)).await,
    };
    match answer {
        Ok(answer) => {
            connection.put_watch(watch);
            connection.heed(answer.headers());
            Attempt::Answered(answer, connection)
        }
        Err(error) => Box::pin(failed(*error, connection, before, patience.progress)).await,
    }
}

fn too_slow(patience: Patience<'_>) -> Failure {
    let phase = if patience.progress.has_ended() { Phase::Response } else { Phase::Send };
    Failure::too_slow(phase, patience.response)
}

async fn missed(deadline: Option<Deadline>) -> Failure {
    match deadline {
        None => std::future::pending().await,
        Some(deadline) => deadline.missed().await,
    }
}

/// A request that took too long; the connection is ended first, so that the number of bytes is final.
async fn given_up(failure: Failure, connection: Connection, before: u64) -> Attempt {
    let sent = connection.end().await != before;
    Attempt::Failed(Failure { sent, ..failure })
}

/// Tells an untouched request from one of which something, or for all we know something, has left.
async fn failed(
    mut error: TrySendError<Request<RequestBody>>,
    connection: Connection,
    before: u64,
    progress: &Progress,
) -> Attempt {
    if let Some(request) = error.take_message() {
        return Attempt::Untouched(Box::new(request), error.into_error());
    }
    let error = error.into_error();
    let phase = if error.is_user() || !progress.has_ended() { Phase::Send } else { Phase::Head };
    // the connection is ended first, so that the number is final
    let sent = connection.end().await != before;
    Attempt::Failed(Failure { sent, ..Failure::before(phase, describe(&error)) })
}

fn describe(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        return "the connection was closed before an answer came".to_owned();
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
