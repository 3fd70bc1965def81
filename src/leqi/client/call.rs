//! One call: written down, sent, read, judged, written down again.

use std::{error::Error, sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full};
use tokio_util::task::TaskTracker;

use super::{CallAnswer, CallError, Caller, Failure, Journal, OwnCall, OwnOutcome};
use crate::{
    clock::Clock,
    domain::{Environment, ExchangeIds, ServiceClass, ServiceCode},
    leqi::{CodecError, Verdict, catalogue, gunzip, judge, write_body},
    upstream::{Body, Upstream},
};

/// An answer may have so many bytes, as it comes and unpacked: lists with ZIP inside reach many MB (protocol.md §3).
const ANSWER_LIMIT: usize = 64 << 20;

/// What every call needs.
pub(super) struct Line {
    pub(super) upstream: Arc<Upstream>,
    pub(super) path_prefix: String,
    pub(super) environment: Environment,
    pub(super) ids: Arc<ExchangeIds>,
    pub(super) clock: Clock,
    pub(super) journal: Arc<dyn Journal>,
    /// Calls under way, of this line and of those that it took over from.
    pub(super) tasks: TaskTracker,
}

/// What came back: an answer, whole, broken off or none.
#[derive(Default)]
struct Received {
    status: Option<u16>,
    headers: HeaderMap,
    body: Bytes,
    failure: Option<Broken>,
}

/// Why there is no whole answer.
struct Broken {
    sent: bool,
    source: Box<dyn Error + Send + Sync>,
}

impl Line {
    /// Makes the call. Once begun it must run to its end, or its answer is lost: [`super::Client`] sees to that.
    pub(super) async fn call(
        &self,
        caller: Caller,
        service: ServiceCode,
        json: Bytes,
    ) -> Result<CallAnswer, CallError> {
        let call = self.open(caller, service, json);
        let changes = call.class.changes_platform();
        if changes && let Err(source) = self.journal.intent(&call).await {
            return Err(CallError::Journal { exchange: call.id, sent: false, source });
        }
        let begun = Instant::now();
        let received = self.exchange(&call).await;
        let upstream_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let verdict = received.judge(&call);
        let outcome = self.outcome(&received, &verdict, upstream_us);
        match self.journal.record(&call, &outcome).await {
            Ok(()) => conclude(&call, received, verdict),
            Err(source) if changes => Err(CallError::Journal { exchange: call.id, sent: true, source }),
            // a question may be asked again; its answer is as good without a row
            Err(error) => {
                tracing::error!(%error, exchange = %call.id, "an own call is missing in the request log");
                conclude(&call, received, verdict)
            }
        }
    }

    fn open(&self, caller: Caller, service: ServiceCode, json: Bytes) -> OwnCall {
        let started_at = self.clock.now();
        let class = catalogue::service(service.as_str()).map_or(ServiceClass::Read, |known| known.class);
        let base = self.upstream.base_path();
        // the document has the trailing slash (protocol.md §1)
        let path = format!("{base}{}{}/{service}/", self.path_prefix, caller.capability);
        OwnCall {
            id: self.ids.next(started_at),
            started_at,
            class,
            environment: self.environment,
            upstream: self.upstream.name().to_owned(),
            method: Method::POST,
            path,
            request_headers: headers(self.upstream.authority(), &caller, &service),
            request_body: write_body(&caller.key, &json).into(),
            request_json: json,
            caller,
            service,
        }
    }

    async fn exchange(&self, call: &OwnCall) -> Received {
        let request = match request(call) {
            Ok(request) => request,
            Err(error) => return Received::failed(false, error.into()),
        };
        let response = match self.upstream.send(request).await {
            Ok(response) => response,
            Err(error) => return Received::failed(error.sent, error.into()),
        };
        let (head, mut body) = response.into_parts();
        let mut received =
            Received { status: Some(head.status.as_u16()), headers: head.headers, ..Received::default() };
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..])),
                Err(source) => {
                    received.failure = Some(Broken { sent: true, source });
                    break;
                }
            }
            if bytes.len() > ANSWER_LIMIT {
                let source = Box::new(CodecError::TooLarge(ANSWER_LIMIT));
                received.failure = Some(Broken { sent: true, source });
                break;
            }
        }
        received.body = bytes.freeze();
        received
    }

    fn outcome(&self, received: &Received, verdict: &Verdict, upstream_us: u64) -> OwnOutcome {
        let failure = received.failure.as_ref();
        OwnOutcome {
            finished_at: self.clock.now(),
            upstream_us,
            status: received.status,
            response_headers: listed(&received.headers),
            response_body: received.body.clone(),
            response_json: match verdict {
                Verdict::Accepted { json, .. } => Some(Bytes::copy_from_slice(json)),
                Verdict::AlreadyUploaded { .. } | Verdict::Refused { .. } | Verdict::Unclear { .. } => None,
            },
            failure: failure.map(|broken| Failure { sent: broken.sent, reason: chain(&*broken.source) }),
        }
    }
}

impl Received {
    fn failed(sent: bool, source: Box<dyn Error + Send + Sync>) -> Self {
        Self { failure: Some(Broken { sent, source }), ..Self::default() }
    }

    fn judge(&self, call: &OwnCall) -> Verdict {
        let (Some(status), None) = (self.status, &self.failure) else {
            return Verdict::Unclear { reason: "there is no whole answer" };
        };
        match self.unpacked() {
            Ok(body) => judge(status, &body, Some(&call.caller.key)),
            Err(_) => Verdict::Unclear { reason: "the answer cannot be unpacked" },
        }
    }

    /// gzip, whether announced or not: some proxies drop the header and leave the body as it is.
    fn unpacked(&self) -> Result<Bytes, CodecError> {
        if self.body.starts_with(&[0x1f, 0x8b]) {
            gunzip(&self.body, ANSWER_LIMIT).map(Bytes::from)
        } else {
            Ok(self.body.clone())
        }
    }
}

fn conclude(call: &OwnCall, received: Received, verdict: Verdict) -> Result<CallAnswer, CallError> {
    let exchange = call.id;
    match (received.failure, verdict) {
        (Some(Broken { sent: false, source }), _) => Err(CallError::NotSent { exchange, source }),
        (Some(Broken { sent: true, source }), _) => {
            Err(CallError::Unclear { exchange, reason: chain(&*source) })
        }
        (None, Verdict::Accepted { json, .. }) => Ok(CallAnswer { exchange, json }),
        (None, Verdict::AlreadyUploaded { code, text, .. } | Verdict::Refused { code, text }) => {
            Err(CallError::Refused { exchange, code, text })
        }
        (None, Verdict::Unclear { reason }) => {
            Err(CallError::Unclear { exchange, reason: reason.to_owned() })
        }
    }
}

/// The headers of protocol.md §1. `sxcsbz` must be absent outside of sandbox tests; `access_signature` is there, empty.
fn headers(authority: &str, caller: &Caller, service: &ServiceCode) -> Vec<(String, String)> {
    [
        ("host", authority),
        ("content-type", "application/json"),
        ("fwbm", service.as_str()),
        ("nlbm", caller.capability.as_str()),
        ("jrdwptbh", caller.access_id.as_str()),
        ("sydwptbh", caller.using_id.as_str()),
        ("ylbm", ""),
        ("access_signature", ""),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn request(call: &OwnCall) -> Result<Request<Body>, http::Error> {
    let body = Full::new(call.request_body.clone()).map_err(|never| match never {}).boxed_unsync();
    let mut request = Request::builder().method(call.method.clone()).uri(&call.path).body(body)?;
    for (name, value) in &call.request_headers {
        request.headers_mut().append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
    }
    request.headers_mut().insert(header::CONTENT_LENGTH, call.request_body.len().into());
    Ok(request)
}

fn listed(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// An error with all its causes, as one line.
fn chain(error: &(dyn Error + Send + Sync)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
