//! How a call to the platform can fail, and whether anything of it may have arrived.

use std::{fmt, time::Duration};

use super::BoxError;

/// What was being done when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Reading the answer's body.
    Body,
    /// Opening the TCP connection.
    Connect,
    /// Reading the answer's head.
    Head,
    /// Reading the answer's body: it stood still too long.
    Idle,
    /// Nothing was tried: too many calls had failed one after another.
    Open,
    /// The TLS handshake: the key is none of those that are pinned.
    Pin,
    /// Waiting for a free connection.
    Pool,
    /// Asking the egress proxy for the connection.
    Proxy,
    /// Finding the address.
    Resolve,
    /// Waiting for the answer: the time ran out.
    Response,
    /// Sending the request.
    Send,
    /// The TLS handshake, certificate included.
    Tls,
    /// Any step: the time for the whole call ran out.
    Total,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 13] = [
        Self::Body,
        Self::Connect,
        Self::Head,
        Self::Idle,
        Self::Open,
        Self::Pin,
        Self::Pool,
        Self::Proxy,
        Self::Resolve,
        Self::Response,
        Self::Send,
        Self::Tls,
        Self::Total,
    ];

    /// The phase of an error that the body of an answer ended with.
    #[must_use]
    pub fn of_body_error(error: &BoxError) -> Self {
        error.downcast_ref::<TimedOut>().map_or(Self::Body, |timed_out| timed_out.phase)
    }

    /// The name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Connect => "connect",
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Open => "open",
            Self::Pin => "pin",
            Self::Pool => "pool",
            Self::Proxy => "proxy",
            Self::Resolve => "resolve",
            Self::Response => "response",
            Self::Send => "send",
            Self::Tls => "tls",
            Self::Total => "total",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Body => "reading the answer's body",
            Self::Connect => "connecting",
            Self::Head => "reading the answer",
            Self::Idle => "waiting for more of the answer's body",
            Self::Open => "asking whether the upstream takes calls",
            Self::Pin => "comparing the public key with the pins",
            Self::Pool => "waiting for a free connection",
            Self::Proxy => "asking the egress proxy for a connection",
            Self::Resolve => "resolving the name",
            Self::Response => "waiting for the answer",
            Self::Send => "sending the request",
            Self::Tls => "setting up TLS",
            Self::Total => "making the whole call",
        })
    }
}

/// A call that got no answer.
#[derive(Debug, thiserror::Error)]
#[error("{upstream}: {phase} failed: {source}")]
pub struct SendError {
    /// The upstream's name.
    pub upstream: String,
    /// What was being done.
    pub phase: Phase,
    /// Whether a byte of the request may have left; `false` is proof that none did.
    pub sent: bool,
    /// How long to wait before the next try, where that is known.
    pub retry_after: Option<Duration>,
    /// Why.
    pub source: BoxError,
}

/// A failure as the parts below [`super::Upstream`] see it, who do not know its name.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) phase: Phase,
    pub(super) sent: bool,
    /// Whether it failed because its time ran out.
    pub(super) timed_out: bool,
    /// Whether the other side showed a certificate that is not trusted.
    pub(super) untrusted: bool,
    pub(super) retry_after: Option<Duration>,
    pub(super) source: BoxError,
}

impl Failure {
    /// A failure before any byte of the request left.
    pub(super) fn before(phase: Phase, source: impl Into<BoxError>) -> Self {
        Self {
            phase,
            sent: false,
            timed_out: false,
            untrusted: false,
            retry_after: None,
            source: source.into(),
        }
    }

    /// The same for a step that took too long.
    pub(super) fn too_slow(phase: Phase, limit: Duration) -> Self {
        Self { timed_out: true, ..Self::before(phase, TimedOut { phase, limit }) }
    }
}

/// The upstream could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The base URL is not one that can be called.
    #[error("upstream {name}: base_url {url}: {reason}")]
    BaseUrl {
        /// The upstream.
        name: String,
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A metric is registered already.
    #[error(transparent)]
    Metric(#[from] crate::telemetry::metrics::MetricError),
    /// Certificates or pins.
    #[error("upstream {name}: {source}")]
    Tls {
        /// The upstream.
        name: String,
        /// Why.
        source: crate::tls::TlsError,
    },
}

/// The time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut {
    /// In which step.
    pub phase: Phase,
    /// How long it may take.
    pub limit: Duration,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.phase == Phase::Total {
            return write!(f, "the call was not over within {:?}", self.limit);
        }
        write!(f, "no progress within {:?}", self.limit)
    }
}

impl std::error::Error for TimedOut {}
