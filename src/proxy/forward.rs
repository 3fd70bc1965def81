//! Sending a call upstream and taking the answer, unchanged to the byte.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, header, request, response};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Full};

use super::{Call, GatewayError, headers, location};
use crate::{
    listener::TooSlow,
    upstream::{Body, BoxError, Phase, SendError},
};

/// Bytes of a request that are read before it is sent although nobody looks into it.
const SMALL: usize = 64 << 10;
/// Bytes of a request over the limit that are taken before it is refused.
const DISCARDED: usize = 64 << 20;
/// For how long they are taken.
const DISCARD_TIME: Duration = Duration::from_secs(10);

/// The request as it goes upstream: path, query, body and end-to-end headers as they came; the upstream sets `Host`.
pub(super) fn upstream_request(call: &Call, mut head: request::Parts, body: Body) -> Request<Body> {
    headers::strip_hop_by_hop(&mut head.headers);
    head.uri = http::Uri::from(call.target.clone());
    head.version = http::Version::HTTP_11;
    Request::from_parts(head, body)
}

/// The answer as it goes to the client: what points at the upstream is led back through the gateway.
pub(super) fn client_response(call: &Call, mut head: response::Parts, body: Body) -> Response<Body> {
    headers::strip_hop_by_hop(&mut head.headers);
    location::lead_back(&mut head.headers, &call.route, &call.entrance);
    // the server decides about the version and the framing of the connection to the client
    head.version = http::Version::default();
    Response::from_parts(head, body)
}

/// A body that is whole in memory.
pub(super) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// What was read of an answer.
pub(super) enum Read {
    /// All of it.
    Whole(Bytes),
    /// It is larger than the limit: what was read, then the rest.
    Large(Body),
    /// It broke off.
    Broken(BoxError),
}

/// Reads an answer up to the limit.
pub(super) async fn read_answer(mut body: Body, limit: usize) -> Read {
    let mut buffer = BytesMut::new();
    while let Some(frame) = body.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => buffer.extend_from_slice(&data),
            Ok(Err(_trailers)) => {}
            Err(error) => return Read::Broken(error),
        }
        if buffer.len() > limit {
            return Read::Large(Prefixed { prefix: Some(buffer.freeze()), rest: body }.boxed_unsync());
        }
    }
    Read::Whole(buffer.freeze())
}

/// Reads a request that the gateway must know whole before it is sent.
///
/// # Errors
/// When the client breaks off or sends more than the limit.
pub(super) async fn read_request<B>(
    headers: &HeaderMap,
    mut body: B,
    limit: usize,
) -> Result<Bytes, GatewayError>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let announced = body.size_hint().lower();
    if announced > limit as u64 && headers.contains_key(header::EXPECT) {
        // it waits to hear whether it may send at all
        return Err(GatewayError::BodyTooLarge(limit));
    }
    match http_body_util::Limited::new(&mut body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            discard(body).await;
            Err(GatewayError::BodyTooLarge(limit))
        }
        Err(error) if error.is::<TooSlow>() => Err(GatewayError::ClientSlow),
        Err(error) => Err(GatewayError::ClientBody(error.to_string())),
    }
}

/// The body of a call that only asks. A small one is read before anything is sent, so that a client which trickles holds
/// no connection to the platform; a large one flows.
///
/// # Errors
/// When the client of a small one breaks off or is too slow.
pub(super) async fn gather<B>(headers: &HeaderMap, body: B) -> Result<Body, GatewayError>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    match body.size_hint().exact().and_then(|length| usize::try_from(length).ok()) {
        Some(length @ 1..=SMALL) => read_request(headers, body, length).await.map(full),
        Some(_) | None => Ok(body.map_err(Into::into).boxed_unsync()),
    }
}

/// Takes what a client goes on sending, within limits. A connection that is closed before is reset, and most clients
/// never see the answer then.
async fn discard<B: HttpBody<Data = Bytes> + Unpin>(mut body: B) {
    let rest = async {
        let mut taken = 0;
        while let Some(Ok(frame)) = body.frame().await
            && taken < DISCARDED
        {
            taken += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    // whoever is slower than this loses the sentence, not the call
    let _ = tokio::time::timeout(DISCARD_TIME, rest).await;
}

/// The error that stands for a failed send.
pub(super) fn failure(error: &SendError) -> GatewayError {
    GatewayError::Upstream {
        phase: error.phase,
        sent: error.sent,
        retry_after: error.retry_after,
        reason: error.to_string(),
    }
}

/// The error that stands for an answer that was not read to its end.
pub(super) fn broken(error: &BoxError) -> GatewayError {
    let phase = Phase::of_body_error(error);
    GatewayError::Upstream { phase, sent: true, retry_after: None, reason: error.to_string() }
}

/// A body whose beginning was read already.
struct Prefixed {
    prefix: Option<Bytes>,
    rest: Body,
}

impl HttpBody for Prefixed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        if let Some(prefix) = self.prefix.take() {
            return std::task::Poll::Ready(Some(Ok(http_body::Frame::data(prefix))));
        }
        std::pin::Pin::new(&mut self.rest).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.prefix.is_none() && self.rest.is_end_stream()
    }
}
