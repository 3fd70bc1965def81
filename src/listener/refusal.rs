//! Why a request is refused before anybody reads it.

use http::StatusCode;

/// Why a request is refused before it is read. Handlers find it in the extensions of a request that stands for the
/// refused one; they answer it, and the connection is closed behind the answer unless it is a matter of rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The client has too many calls in flight.
    Busy,
    /// The request can be read in more than one way, or in none; what is wrong, in a word of a closed set.
    Framing(&'static str),
    /// The head has more bytes or headers than the listener takes.
    HeadTooLarge,
    /// The head did not come in time.
    HeadTooSlow,
    /// The client calls more often than it may.
    TooOften,
}

impl Refusal {
    /// What metrics and the log call it; a closed set.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Busy => "client_in_flight",
            Self::Framing(why) => why,
            Self::HeadTooLarge => "head_too_large",
            Self::HeadTooSlow => "head_too_slow",
            Self::TooOften => "client_rate",
        }
    }

    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Framing(_) => StatusCode::BAD_REQUEST,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::HeadTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooOften => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}
