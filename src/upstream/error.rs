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
    /// Finding the address.
    Resolve,
    /// Waiting for the answer: the time ran out.
    Response,
    /// Sending the request.
    Send,
    /// The TLS handshake, certificate included.
    Tls,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 7] =
        [Self::Body, Self::Connect, Self::Head, Self::Resolve, Self::Response, Self::Send, Self::Tls];

    /// The name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Connect => "connect",
            Self::Head => "head",
            Self::Resolve => "resolve",
            Self::Response => "response",
            Self::Send => "send",
            Self::Tls => "tls",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Body => "reading the answer's body",
            Self::Connect => "connecting",
            Self::Head => "reading the answer",
            Self::Resolve => "resolving the name",
            Self::Response => "waiting for the answer",
            Self::Send => "sending the request",
            Self::Tls => "setting up TLS",
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
    /// Why.
    pub source: BoxError,
}

/// A failure as the parts below [`super::Upstream`] see it, who do not know its name.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) phase: Phase,
    pub(super) sent: bool,
    pub(super) source: BoxError,
}

impl Failure {
    /// A failure before any byte of the request left.
    pub(super) fn before(phase: Phase, source: impl Into<BoxError>) -> Self {
        Self { phase, sent: false, source: source.into() }
    }

    /// The same for a step that took too long.
    pub(super) fn too_slow(phase: Phase, limit: Duration) -> Self {
        Self::before(phase, TimedOut(limit))
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
#[derive(Debug, thiserror::Error)]
#[error("no progress within {0:?}")]
pub struct TimedOut(pub Duration);
