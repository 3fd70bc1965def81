//! Rows of the request log: one [`Record`] per exchange, its raw bodies, and the keys it is found by.
//!
//! Plain rows only. What goes into them is `request_log`'s business, how they are stored the engine's.

use std::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::StoreError;
use crate::domain::{Environment, ExchangeId, Invalid, InvoiceNo, PlatformId, ServiceClass, TaxNo};

/// Which of an exchange's two bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// What went to the platform.
    Request,
    /// What came back.
    Response,
}

/// What the gateway did with a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Sending it failed, and the gateway answered with an infrastructure error (protocol.md §2); or a bug interrupted it.
    Failed,
    /// It went to the platform, and what the platform answered went back.
    #[default]
    Forwarded,
    /// The gateway refused it; nothing went to the platform.
    Refused,
}

impl Decision {
    /// Every decision.
    pub const ALL: [Self; 3] = [Self::Failed, Self::Forwarded, Self::Refused];

    /// The name in the store and in the management API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Forwarded => "forwarded",
            Self::Refused => "refused",
        }
    }

    /// The decision of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|d| d.as_str() == text)
            .ok_or(Invalid::new("decision must be failed, forwarded or refused"))
    }
}

/// How far an exchange came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// The answer, or the client's connection, broke off before its end.
    Aborted,
    /// The answer was read to its end, or there was none to read.
    Complete,
    /// Outcome unknown: the gateway stopped between sending and the answer.
    Interrupted,
    /// The intent is recorded, the outcome not yet.
    #[default]
    Sending,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Aborted, Self::Complete, Self::Interrupted, Self::Sending];

    /// The name in the store and in the management API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::Complete => "complete",
            Self::Interrupted => "interrupted",
            Self::Sending => "sending",
        }
    }

    /// The state of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or(Invalid::new("state must be aborted, complete, interrupted or sending"))
    }
}

/// One exchange: a call, what was done with it and its answer.
///
/// Never holds an `authorization`, `proxy-authorization` or `cookie` header; `Debug` shows sizes of bodies, never bodies.
#[derive(Clone)]
pub struct Record {
    /// The exchange's id; orders by time.
    pub id: ExchangeId,
    /// When the call's head was read.
    pub started_at: Timestamp,
    /// When the answer's last byte was read, or the gateway gave its own.
    pub finished_at: Option<Timestamp>,
    /// Who called: `ip:port`, or `gateway` for the gateway's own calls.
    pub client: String,
    /// The subject of the client's certificate, where the listener asks for one.
    pub client_identity: Option<String>,
    /// The address of the listener that the call came in by.
    pub listener: String,
    /// The prefix of the route that was taken; empty when none fits.
    pub route: String,
    /// The name of the upstream; empty when none was chosen.
    pub upstream: String,
    /// The world that the route leads to.
    pub environment: Environment,
    /// The HTTP method.
    pub method: String,
    /// Path and query as the client sent them.
    pub target: String,
    /// The service code of the path, as text: unknown ones are kept as they came.
    pub service: Option<String>,
    /// The capability code of the path.
    pub capability: Option<String>,
    /// The class that the call was treated as.
    pub class: ServiceClass,
    /// `jrdwptbh` as sent.
    pub access_id: Option<String>,
    /// `sydwptbh` as sent.
    pub using_id: Option<String>,
    /// The taxpayer whom the call is about: named in the message, else the using unit's.
    pub tax_no: Option<TaxNo>,
    /// `clientTid` as sent.
    pub client_tid: Option<String>,
    /// The request's headers as sent, in order.
    pub request_headers: Vec<(String, String)>,
    /// The answer's headers as received, in order.
    pub response_headers: Vec<(String, String)>,
    /// Bytes of the request's body.
    pub request_size: u64,
    /// Bytes of the answer's body.
    pub response_size: u64,
    /// SHA-256 of the whole request body, when it was read to its end.
    pub request_sha256: Option<[u8; 32]>,
    /// SHA-256 of the whole answer's body, when it was read to its end.
    pub response_sha256: Option<[u8; 32]>,
    /// The HTTP status that went to the client.
    pub status: Option<u16>,
    /// The envelope's `httpStatusCode`, as text.
    pub platform_status: Option<String>,
    /// The envelope's `RequestId`.
    pub request_id: Option<String>,
    /// `Error.Code`, or the number of the platform's front door.
    pub error_code: Option<String>,
    /// `Error.Message`, or the front door's text.
    pub error_text: Option<String>,
    /// `returncode` of the decrypted `Data`.
    pub return_code: Option<String>,
    /// `returnmsg` of the decrypted `Data`.
    pub return_message: Option<String>,
    /// The invoices that the call is about.
    pub invoice_nos: Vec<InvoiceNo>,
    /// `sllsh`, from the request or the answer.
    pub acceptance_no: Option<String>,
    /// `ywlsh` of the request.
    pub serial: Option<String>,
    /// What the gateway did.
    pub decision: Decision,
    /// The `GW-…` code when the gateway refused or failed.
    pub decision_code: Option<String>,
    /// What an operator should know besides: why a call passed unchecked, how often it was sent.
    pub note: Option<String>,
    /// How far it came.
    pub state: State,
    /// Microseconds between the first byte sent upstream and the last of the answer.
    pub upstream_us: Option<u64>,
    /// Microseconds that the gateway itself took.
    pub gateway_us: Option<u64>,
    /// The request's body as sent, up to the limit. Empty in records that a search gives.
    pub request_body: Bytes,
    /// The answer's body as received, up to the limit. Empty in records that a search gives.
    pub response_body: Bytes,
    /// Whether `request_body` is only the beginning.
    pub request_truncated: bool,
    /// Whether `response_body` is only the beginning.
    pub response_truncated: bool,
    /// Whether the intent row is committed, so that completing need not write the request's side again.
    pub(crate) intent_committed: bool,
}

impl Record {
    /// The record of a call whose head was just read: everything else is empty.
    #[must_use]
    pub fn open(id: ExchangeId, started_at: Timestamp) -> Self {
        Self {
            id,
            started_at,
            finished_at: None,
            client: String::new(),
            client_identity: None,
            listener: String::new(),
            route: String::new(),
            upstream: String::new(),
            environment: Environment::Production,
            method: String::new(),
            target: String::new(),
            service: None,
            capability: None,
            class: ServiceClass::Read,
            access_id: None,
            using_id: None,
            tax_no: None,
            client_tid: None,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            request_size: 0,
            response_size: 0,
            request_sha256: None,
            response_sha256: None,
            status: None,
            platform_status: None,
            request_id: None,
            error_code: None,
            error_text: None,
            return_code: None,
            return_message: None,
            invoice_nos: Vec::new(),
            acceptance_no: None,
            serial: None,
            decision: Decision::default(),
            decision_code: None,
            note: None,
            state: State::default(),
            upstream_us: None,
            gateway_us: None,
            request_body: Bytes::new(),
            response_body: Bytes::new(),
            request_truncated: false,
            response_truncated: false,
            intent_committed: false,
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.id)
            .field("service", &self.service)
            .field("class", &self.class)
            .field("decision", &self.decision)
            .field("decision_code", &self.decision_code)
            .field("state", &self.state)
            .field("status", &self.status)
            .field("request_size", &self.request_size)
            .field("response_size", &self.response_size)
            .finish_non_exhaustive()
    }
}

/// What a search asks for; every field that is given must fit.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// About this invoice.
    pub invoice_no: Option<InvoiceNo>,
    /// About this taxpayer.
    pub tax_no: Option<TaxNo>,
    /// Either platform id is this one.
    pub platform_id: Option<PlatformId>,
    /// The service code.
    pub service: Option<String>,
    /// The class.
    pub class: Option<ServiceClass>,
    /// The platform's error code.
    pub error_code: Option<String>,
    /// The gateway's `GW-…` code.
    pub decision_code: Option<String>,
    /// The client's transaction id.
    pub client_tid: Option<String>,
    /// `sllsh`.
    pub acceptance_no: Option<String>,
    /// `ywlsh`.
    pub serial: Option<String>,
    /// The platform's `RequestId`.
    pub request_id: Option<String>,
    /// Started at this instant or later.
    pub from: Option<Timestamp>,
    /// Started before this instant.
    pub until: Option<Timestamp>,
    /// How far it came.
    pub state: Option<State>,
    /// What the gateway did.
    pub decision: Option<Decision>,
}

/// A stored body.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredBody {
    /// The bytes as they went over the wire, up to the limit.
    pub bytes: Bytes,
    /// Whether they are only the beginning.
    pub truncated: bool,
}

impl fmt::Debug for StoredBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredBody({} bytes, truncated: {})", self.bytes.len(), self.truncated)
    }
}

/// What one portion of a deletion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purged {
    /// Exchanges that were deleted.
    pub exchanges: u64,
    /// Whether there may be more to delete.
    pub more: bool,
}

/// The tables of the request log.
pub trait ExchangeTable: Send + Sync {
    /// Writes the records, all or none, and answers when they are committed. A record whose id is there already
    /// (its intent) is completed.
    fn write(&self, records: std::sync::Arc<[Record]>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Marks every exchange that is still `Sending` as `Interrupted` and says how many there were. For the start,
    /// before the first call is accepted. On a shared database those of gateways that are gone follow within seconds.
    fn interrupt_open(&self) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// The same for exchanges of gateways that are no more, while this one works and shares the database with others.
    fn interrupt_gone(&self) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Records without bodies, newest first, older than `before`, at most `limit`.
    fn search<'a>(
        &'a self,
        filter: &'a Filter,
        before: Option<ExchangeId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>>;

    /// One record without bodies.
    fn by_id(&self, id: ExchangeId) -> BoxFuture<'_, Result<Option<Record>, StoreError>>;

    /// One body, if it was kept.
    fn body(&self, id: ExchangeId, side: Side) -> BoxFuture<'_, Result<Option<StoredBody>, StoreError>>;

    /// Deletes about `limit` of the oldest exchanges with ids below `before`, with their bodies and keys. How close to
    /// `before` it comes is the engine's business, as long as it is within a day; nothing younger is deleted. An
    /// engine that keeps months apart may delete a whole one at a time.
    fn purge(&self, before: ExchangeId, limit: usize) -> BoxFuture<'_, Result<Purged, StoreError>>;

    /// The largest id stored; new ids must be larger.
    fn last_id(&self) -> BoxFuture<'_, Result<Option<ExchangeId>, StoreError>>;
}
