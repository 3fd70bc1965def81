//! One call from its first byte to its record, whatever becomes of it.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{Response, request, response};
use jiff::Timestamp;

use super::{
    Call, GatewayError, Proxy,
    capture::{Captured, End, Recording, Rest},
    headers,
    metrics::Outcome,
};
use crate::{
    domain::{ExchangeId, ServiceClass},
    leqi::{Opened, Sm4Key},
    listener::Peer,
    request_log::{Decision, Entry, Record, State, Unread, extract},
    upstream::Body,
};

/// An open exchange. It is finished exactly once: by one of the `finish` methods or, when the client leaves, by being
/// dropped.
pub(super) struct Exchange {
    proxy: Arc<Proxy>,
    id: ExchangeId,
    class: ServiceClass,
    /// What will be stored; a call that leaves no record has none.
    record: Option<Box<Record>>,
    finished: bool,
    started_at: Timestamp,
    opened: Instant,
    sent: Option<Instant>,
    /// The request's body, while it passes.
    passing: Option<Recording>,
    /// What nobody has read of the bodies that passed.
    unread: Option<Unread>,
    upstream_us: Option<u64>,
}

impl Exchange {
    /// Opens the exchange of a call whose head was read.
    pub(super) fn open(proxy: &Arc<Proxy>) -> Self {
        let started_at = proxy.services.clock.now();
        proxy.metrics.in_flight.inc();
        Self {
            proxy: Arc::clone(proxy),
            id: proxy.services.ids.next(started_at),
            class: ServiceClass::Read,
            record: None,
            finished: false,
            started_at,
            opened: Instant::now(),
            sent: None,
            passing: None,
            unread: None,
            upstream_us: None,
        }
    }

    /// Starts the record with what the head tells.
    pub(super) fn record(&mut self, peer: &Peer, head: &request::Parts) {
        let mut record = Record::open(self.id, self.started_at);
        record.client = peer.address.to_string();
        record.client_identity = peer.identity.as_deref().map(str::to_owned);
        record.listener = peer.listener.to_string();
        record.method = head.method.as_str().to_owned();
        record.target =
            head.uri.path_and_query().map_or_else(String::new, |target| target.as_str().to_owned());
        record.request_headers = headers::for_log(&head.headers);
        let text =
            |name| Some(headers::text(&head.headers, name)).filter(|v| !v.is_empty()).map(str::to_owned);
        record.access_id = text(headers::ACCESS_ID);
        record.using_id = text(headers::USING_ID);
        record.client_tid = text(headers::CLIENT_TID);
        self.record = Some(Box::new(record));
    }

    /// Notes where the call goes and what it is.
    pub(super) fn resolved(&mut self, call: &Call) {
        self.class = call.class();
        if self.record.is_none() {
            return;
        }
        self.change(|record| {
            call.route.prefix.clone_into(&mut record.route);
            call.route.upstream.name().clone_into(&mut record.upstream);
            record.environment = call.route.environment;
            record.service = call.service.as_ref().map(ToString::to_string);
            record.capability = call.capability.as_ref().map(ToString::to_string);
            record.class = call.class();
        });
        self.identified();
    }

    /// Notes whose call it is, as far as that is known.
    pub(super) fn identified(&mut self) {
        let unit = self.proxy.services.registry.by_platform_id(self.using_id());
        self.change(|record| record.tax_no = unit.map(|unit| unit.tax_no.clone()));
    }

    /// The exchange's id.
    pub(super) const fn id(&self) -> ExchangeId {
        self.id
    }

    /// Whether it leaves a record.
    pub(super) const fn is_recorded(&self) -> bool {
        self.record.is_some()
    }

    /// The access unit's platform id as sent, empty when there is none.
    pub(super) fn access_id(&self) -> &str {
        self.record.as_ref().and_then(|record| record.access_id.as_deref()).unwrap_or_default()
    }

    /// The using unit's platform id as sent, empty when there is none.
    pub(super) fn using_id(&self) -> &str {
        self.record.as_ref().and_then(|record| record.using_id.as_deref()).unwrap_or_default()
    }

    /// The record as it stands, for the intent.
    pub(super) fn record_mut(&mut self) -> Option<&mut Record> {
        self.record.as_deref_mut()
    }

    /// Changes the record.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Record)) {
        if let Some(record) = &mut self.record {
            change(record);
        }
    }

    /// Notes the class that the call is treated as after its body was looked at.
    pub(super) fn reclassified(&mut self, class: ServiceClass, note: &str) {
        self.class = class;
        self.change(|record| record.class = class);
        self.noted(note);
    }

    /// Adds a note for the operator.
    pub(super) fn noted(&mut self, note: &str) {
        self.change(|record| {
            let before = record.note.take().map(|before| before + "; ").unwrap_or_default();
            record.note = Some(before + note);
        });
    }

    /// Notes the request's body as it was sent.
    pub(super) fn requested(&mut self, captured: Captured) {
        self.change(|record| {
            record.request_size = captured.size;
            record.request_sha256 = captured.sha256;
            record.request_truncated = captured.truncated;
            record.request_body = captured.bytes;
        });
    }

    /// Notes what the decoded request says.
    pub(super) fn understood(&mut self, json: &[u8]) {
        self.change(|record| extract::request(record, json));
    }

    /// Starts the clock of the upstream.
    pub(super) fn sending(&mut self) {
        self.sent = Some(Instant::now());
    }

    /// The same for a body that is recorded while it passes.
    pub(super) fn streaming(&mut self, passing: Recording) {
        self.passing = Some(passing);
        self.sending();
    }

    /// The key of the access unit that the call names.
    pub(super) fn key(&self, call: &Call) -> Option<Sm4Key> {
        self.proxy.services.registry.key_for(self.access_id(), call.route.environment)
    }

    /// Notes both bodies of a call whose answer has passed; what they say is left to the log.
    pub(super) fn passed(&mut self, received: &Recording, key: Option<Sm4Key>) {
        let sent = self.passing.take();
        self.unread = Some(Unread { request: sent.is_some(), key });
        if let Some(sent) = sent {
            self.requested(sent.captured());
        }
        self.received(received.captured());
    }

    /// Notes as much of a passing request body as passed until now.
    fn requested_by_now(&mut self) {
        if let Some(passing) = &self.passing {
            let captured = passing.captured();
            self.requested(captured);
        }
    }

    /// Notes the head of the upstream's answer.
    pub(super) fn answered(&mut self, head: &response::Parts) {
        self.change(|record| {
            record.status = Some(head.status.as_u16());
            record.response_headers = headers::for_log(&head.headers);
        });
    }

    /// Notes what the answer says.
    pub(super) fn told(&mut self, answer: &Opened) {
        self.change(|record| extract::opened(record, answer));
    }

    /// Notes the body of the upstream's answer.
    pub(super) fn received(&mut self, captured: Captured) {
        self.ended();
        self.change(|record| {
            record.response_size = captured.size;
            record.response_sha256 = captured.sha256;
            record.response_truncated = captured.truncated;
            record.response_body = captured.bytes;
        });
    }

    /// Answers a call that is not let in. Nothing is recorded, so that strangers and floods cannot fill the log.
    pub(super) fn turn_away(mut self, error: GatewayError) -> Response<Body> {
        self.proxy.metrics.answered_itself(error.code());
        let (response, _) = error.answer(self.id());
        // dropped without a record
        let _ = self.close(Decision::Refused, State::Complete, Outcome::Refused);
        response
    }

    /// Finishes with the platform's answer, which came to this end. What is given back is to be waited for: it is done
    /// when the record is committed, or for reads when it has its place in the queue.
    pub(super) fn finish_forwarded(mut self, end: End) -> Option<Rest> {
        let (state, outcome) = match end {
            End::Whole => (State::Complete, Outcome::Forwarded),
            End::SourceFailed => (State::Aborted, Outcome::Aborted),
        };
        let (entry, tally) = self.close(Decision::Forwarded, state, outcome);
        let mut entry = entry?;
        if !entry.record().class.changes_platform() {
            entry = self.proxy.services.log.try_enqueue(entry)?;
        }
        let proxy = Arc::clone(&self.proxy);
        Some(Box::pin(async move {
            proxy.store(entry).await;
            drop(tally);
        }))
    }

    /// Finishes with an answer of the gateway's own and gives it; done when its record is committed, or for reads
    /// when it has its place in the queue.
    pub(super) async fn finish_with(mut self, error: GatewayError) -> Response<Body> {
        let proxy = Arc::clone(&self.proxy);
        let (response, body) = error.answer(self.id());
        let failed = matches!(error, GatewayError::Upstream { .. } | GatewayError::StoreDown(_));
        let (decision, outcome) =
            if failed { (Decision::Failed, Outcome::Failed) } else { (Decision::Refused, Outcome::Refused) };
        tracing::info!(exchange = %self.id(), code = error.code(), %error, "answered by the gateway itself");
        proxy.metrics.answered_itself(error.code());
        self.requested_by_now();
        self.answered_with(&error, &response, body);
        let (entry, tally) = self.close(decision, State::Complete, outcome);
        if let Some(entry) = entry {
            proxy.store(entry).await;
        }
        drop(tally);
        response
    }

    fn answered_with(&mut self, error: &GatewayError, response: &Response<Body>, body: Bytes) {
        let limit = self.proxy.services.log.body_limit();
        self.change(|record| {
            record.status = Some(response.status().as_u16());
            record.response_headers = headers::for_log(response.headers());
            record.decision_code = Some(error.code().to_owned());
            record.error_code = Some(error.code().to_owned());
            record.error_text = Some(error.message());
            let captured = Captured::whole(&body, limit);
            record.response_size = captured.size;
            record.response_sha256 = captured.sha256;
            record.response_body = captured.bytes;
        });
    }

    /// Notes that a bug ended the call; what the platform had answered stays in the record as evidence.
    fn broken_off(&mut self) {
        let error = GatewayError::Interrupted;
        if self.record.as_ref().is_some_and(|record| record.status.is_none()) {
            let (response, body) = error.answer(self.id);
            return self.answered_with(&error, &response, body);
        }
        self.change(|record| record.decision_code = Some(error.code().to_owned()));
        self.noted(
            "a bug in the gateway interrupted the call after the platform had begun to answer; the client may not have \
             received this answer",
        );
    }

    /// Stops the clock of the upstream.
    pub(super) fn ended(&mut self) {
        if let Some(sent) = self.sent {
            self.upstream_us = Some(micros(sent));
        }
    }

    /// Takes the record out with the last fields filled in, if the call leaves one. The call is counted when the tally
    /// is dropped, which is to be when everything that belongs to it is committed.
    fn close(&mut self, decision: Decision, state: State, outcome: Outcome) -> (Option<Entry>, Tally) {
        self.finished = true;
        let (proxy, class) = (Arc::clone(&self.proxy), self.class);
        let tally = Tally { proxy, class, outcome, upstream_us: self.upstream_us, opened: self.opened };
        let entry = self.record.take().map(|mut record| {
            record.finished_at = Some(self.proxy.services.clock.now());
            record.decision = decision;
            record.state = state;
            record.upstream_us = self.upstream_us;
            record.gateway_us = Some(tally.gateway_us());
            Entry::new(record, self.unread.take())
        });
        (entry, tally)
    }
}

/// A call that is over but for what is being committed of it; it is counted when this is dropped.
struct Tally {
    proxy: Arc<Proxy>,
    class: ServiceClass,
    outcome: Outcome,
    upstream_us: Option<u64>,
    opened: Instant,
}

impl Tally {
    /// What the gateway has added until now.
    fn gateway_us(&self) -> u64 {
        micros(self.opened).saturating_sub(self.upstream_us.unwrap_or(0))
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let metrics = &self.proxy.metrics;
        metrics.in_flight.dec();
        metrics.finished(self.class, self.outcome, self.upstream_us, self.gateway_us());
    }
}

impl Drop for Exchange {
    /// The client left before there was an answer, or a bug ended the call.
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        self.ended();
        self.requested_by_now();
        let (decision, state, outcome) = if std::thread::panicking() {
            self.broken_off();
            (Decision::Failed, State::Interrupted, Outcome::Failed)
        } else if self.sent.is_some() {
            (Decision::Forwarded, State::Aborted, Outcome::Aborted)
        } else {
            let code = GatewayError::ClientBody(String::new()).code();
            self.change(|record| record.decision_code = Some(code.to_owned()));
            (Decision::Refused, State::Aborted, Outcome::Aborted)
        };
        let (entry, _tally) = self.close(decision, state, outcome);
        if let Some(entry) = entry {
            let proxy = Arc::clone(&self.proxy);
            self.proxy.tasks.spawn(async move { proxy.enqueue(entry).await });
        }
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
