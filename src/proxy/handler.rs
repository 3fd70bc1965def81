//! The life of a call: **open exchange → admit → resolve route → read and decode → reserve credit → forward →
//! observe and settle → record → answer.**

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header, request};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;

use super::{
    Admission, Call, GatewayError, LogScope, Proxy, SandboxFlag,
    capture::{Captured, End, OnEnd, Recorded, Recording, Watched},
    exchange::Exchange,
    forward::{self, Read},
    gate::Passed,
    headers,
    passing::Passing,
};
use crate::{
    listener::{Peer, Refusal},
    upstream::{Body, BoxError},
};

impl Proxy {
    /// Answers one call of a client.
    pub async fn handle<B>(
        self: Arc<Self>,
        admission: Arc<Admission>,
        peer: Peer,
        request: Request<B>,
    ) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let (mut head, body) = request.into_parts();
        let mut exchange = Exchange::open(&self);
        if !admission.admits(peer.address.ip()) {
            let error = GatewayError::ClientDenied;
            tracing::warn!(client = %peer.address, code = error.code(), "a client is not on the listener's allow list");
            return exchange.turn_away(error);
        }
        if let Some(refusal) = head.extensions.get::<Refusal>() {
            return exchange.turn_away(GatewayError::Refused(*refusal));
        }
        let call = self.plan.load().resolve(&head, peer.tls);
        let streams = call.as_ref().is_ok_and(|call| streams(call, &head));
        if !streams || call.as_ref().is_ok_and(|call| call.config.log_scope == LogScope::All) {
            exchange.record(&peer, &head);
        }
        let call = match call {
            Ok(call) => call,
            Err(error) => return Box::pin(exchange.finish_with(error)).await,
        };
        exchange.resolved(&call);
        if let Err(error) = check_sandbox_flag(&call, &mut head.headers) {
            return Box::pin(exchange.finish_with(error)).await;
        }
        if streams {
            return match forward::gather(&head.headers, body).await {
                Ok(body) => self.stream(exchange, call, head, body).await,
                Err(error) => Box::pin(exchange.finish_with(error)).await,
            };
        }
        // boxed, as every rarer way is, so that the future of a call that streams stays small
        Box::pin(self.hold(exchange, call, head, body)).await
    }

    /// A call whose body must be known whole before it is sent.
    async fn hold<B>(
        self: Arc<Self>,
        exchange: Exchange,
        call: Call,
        head: request::Parts,
        body: B,
    ) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let bytes = match forward::read_request(&head.headers, body, call.config.buffer_limit).await {
            Ok(bytes) => bytes,
            Err(error) => return exchange.finish_with(error).await,
        };
        // a client that leaves must not interrupt a call that may change something at the platform
        let id = exchange.id();
        let task = self.tasks.spawn(Arc::clone(&self).commit(exchange, call, head, bytes));
        task.await.unwrap_or_else(|error| {
            tracing::error!(exchange = %id, %error, "a call was interrupted; what came of it is not known");
            let error = GatewayError::Interrupted;
            self.metrics.answered_itself(error.code());
            error.answer(id).0
        })
    }

    /// A call that only asks: bodies flow, and are recorded while they pass.
    async fn stream(
        self: Arc<Self>,
        mut exchange: Exchange,
        call: Call,
        head: request::Parts,
        body: Body,
    ) -> Response<Body> {
        let limit = self.services.log.body_limit();
        let sent = if exchange.is_recorded() { Recording::new(limit) } else { Recording::of_nothing() };
        let received = exchange.is_recorded().then(|| Recording::new(limit));
        let is_head = head.method == Method::HEAD;
        let body = Recorded::new(body, Some(sent.clone())).boxed_unsync();
        let request = forward::upstream_request(&call, head, body);
        exchange.streaming(sent.clone());
        let response = match call.route.upstream.send(request).await {
            Ok(response) => response,
            Err(error) if sent.is_broken() => {
                // the client is gone; the platform did nothing wrong
                return GatewayError::ClientBody(error.to_string()).answer(exchange.id()).0;
            }
            Err(error) => return Box::pin(exchange.finish_with(forward::failure(&error))).await,
        };
        let (head, body) = response.into_parts();
        exchange.answered(&head);
        let passing = Passing::of(exchange, &call, received.clone());
        if is_head || body.is_end_stream() {
            if let Some(rest) = passing.ended(End::Whole) {
                rest.await;
            }
            return forward::client_response(&call, head, body);
        }
        let body = Watched::new(Recorded::new(body, received), passing);
        forward::client_response(&call, head, body.boxed_unsync())
    }

    /// A call that changes something or tells the gateway's books something: read, reserve, store the intent, send,
    /// settle, store the outcome, and only then answer.
    async fn commit(
        self: Arc<Self>,
        mut exchange: Exchange,
        call: Call,
        head: request::Parts,
        body: Bytes,
    ) -> Response<Body> {
        exchange.requested(Captured::whole(&body, self.services.log.body_limit()));
        let mut passed = match self.pass(&mut exchange, &call, &body).await {
            Ok(passed) => passed,
            Err(error) => return exchange.finish_with(error).await,
        };
        if let Err(error) = self.store_intent(&mut exchange).await {
            self.settle_unsent(&call, passed).await;
            return exchange.finish_with(error).await;
        }
        let request = forward::upstream_request(&call, head, forward::full(body));
        if let Some(reservation) = &mut passed.reservation {
            reservation.sending();
        }
        exchange.sending();
        match call.route.upstream.send(request).await {
            Ok(response) => self.take_answer(exchange, &call, passed, response).await,
            Err(error) => {
                if error.sent {
                    self.settle_unclear(&exchange, &call, passed).await;
                } else {
                    self.settle_unsent(&call, passed).await;
                }
                exchange.finish_with(forward::failure(&error)).await
            }
        }
    }

    /// Reads the answer, settles what it proves, stores it, and gives it to the client.
    async fn take_answer(
        &self,
        mut exchange: Exchange,
        call: &Call,
        passed: Passed,
        response: Response<Body>,
    ) -> Response<Body> {
        let (head, body) = response.into_parts();
        exchange.answered(&head);
        match forward::read_answer(body, call.config.answer_limit).await {
            Read::Whole(bytes) => {
                exchange.received(Captured::whole(&bytes, self.services.log.body_limit()));
                let verdict = Self::judge(&mut exchange, call, passed.key.as_ref(), &head, &bytes);
                let unit = self.unit_of(&exchange);
                let recorded = async {
                    if let Some(rest) = exchange.finish_forwarded(End::Whole) {
                        rest.await;
                    }
                };
                // handed in together they share a commit
                tokio::join!(self.settle_answer(unit, call, passed, verdict), recorded);
                forward::client_response(call, head, forward::full(bytes))
            }
            Read::Large(body) => {
                exchange.noted("the answer is larger than the gateway reads and was passed on unread");
                self.settle_unclear(&exchange, call, passed).await;
                let received = Some(Recording::new(self.services.log.body_limit()));
                let unread = Passing::unread(exchange, received.clone());
                let body = Watched::new(Recorded::new(body, received), unread);
                forward::client_response(call, head, body.boxed_unsync())
            }
            Read::Broken(error) => {
                self.settle_unclear(&exchange, call, passed).await;
                exchange.finish_with(forward::broken(&error)).await
            }
        }
    }
}

/// Whether a call's bodies may flow through unread: it only asks, its service is known, and no books depend on it.
/// A call of an unknown service may hold invoices unless it has no body at all.
fn streams(call: &Call, head: &request::Parts) -> bool {
    match call.class {
        Some(class) => !class.changes_platform() && !class.is_observed(),
        None => {
            let empty = head.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0");
            let absent = !head.headers.contains_key(header::CONTENT_LENGTH)
                && !head.headers.contains_key(header::TRANSFER_ENCODING)
                && head.version < http::Version::HTTP_2;
            empty || absent
        }
    }
}

/// Looks at `sxcsbz` on a production route.
fn check_sandbox_flag(call: &Call, headers: &mut HeaderMap) -> Result<(), GatewayError> {
    if !call.is_production() || headers::text(headers, headers::SANDBOX_FLAG).is_empty() {
        return Ok(());
    }
    match call.route.sandbox_flag {
        SandboxFlag::Pass => Ok(()),
        SandboxFlag::Refuse => Err(GatewayError::SandboxFlag),
        SandboxFlag::Strip => {
            headers.remove(headers::SANDBOX_FLAG);
            Ok(())
        }
    }
}
