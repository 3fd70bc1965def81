//! One request out, one answer back.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, Version, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::TrySendError};

use super::{
    Body, Phase, SendError, Upstream,
    connection::Connection,
    error::Failure,
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

impl Upstream {
    /// Sends a request whose URI is in origin form (`/path?query`) and waits for the head of the answer. The
    /// `Host` header is replaced; everything else goes out as it is. Dropping the future closes the connection.
    ///
    /// # Errors
    /// [`SendError`], which tells at which step and whether the platform can have seen anything.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Body>, SendError> {
        let (request, progress) = prepare(request, &self.host);
        match self.exchange(request, &progress).await {
            Ok((answer, connection)) => Ok(answer.map(|body| {
                let pool = Arc::clone(&self.pool);
                ResponseBody::new(body, connection, pool, self.body_timeout).boxed_unsync()
            })),
            Err(Failure { phase, sent, source }) => {
                self.metrics.failed(phase);
                Err(SendError { upstream: self.name.clone(), phase, sent, source })
            }
        }
    }

    async fn exchange(
        &self,
        mut request: Request<RequestBody>,
        progress: &Arc<Progress>,
    ) -> Result<(Response<Incoming>, Connection), Failure> {
        while let Some(connection) = self.pool.take() {
            match attempt(connection, request, progress, self.response_timeout).await {
                Attempt::Answered(answer, connection) => return Ok((answer, connection)),
                Attempt::Failed(error) => return Err(error),
                Attempt::Untouched(untouched, _) => {
                    self.metrics.retries.inc();
                    request = *untouched;
                }
            }
        }
        let connection = self.connector.connect().await?;
        match attempt(connection, request, progress, self.response_timeout).await {
            Attempt::Answered(answer, connection) => Ok((answer, connection)),
            Attempt::Failed(error) => Err(error),
            Attempt::Untouched(_, error) => Err(Failure::before(Phase::Send, error)),
        }
    }
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
    progress: &Arc<Progress>,
    limit: Duration,
) -> Attempt {
    let before = connection.written();
    let answer = tokio::select! {
        answer = connection.try_send(request) => answer,
        () = standstill(progress, limit) => return Attempt::Failed(too_slow(progress, limit)),
    };
    match answer {
        Ok(answer) => Attempt::Answered(answer, connection),
        Err(error) => failed(*error, connection, before, progress).await,
    }
}

/// Ends when the request's body has not moved, or after its end no answer has come, for so long.
async fn standstill(progress: &Progress, limit: Duration) {
    while let Some(left) = limit.checked_sub(progress.still_for()).filter(|left| !left.is_zero()) {
        tokio::time::sleep(left).await;
    }
}

fn too_slow(progress: &Progress, limit: Duration) -> Failure {
    let phase = if progress.has_ended() { Phase::Response } else { Phase::Send };
    Failure { sent: true, ..Failure::too_slow(phase, limit) }
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
    Attempt::Failed(Failure { phase, sent, source: describe(&error).into() })
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
