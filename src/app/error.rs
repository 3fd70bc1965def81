//! Why the gateway did not start.

use crate::{
    listener::ListenError,
    request_log::LogError,
    store::StoreError,
    telemetry::metrics::MetricError,
    unit::{MasterKeyError, UnitError},
    upstream::UpstreamError,
};

/// Why the gateway did not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A route or the gateway's own calls name an upstream that is not configured.
    #[error("no [[upstream]] is named {0:?}")]
    NoUpstream(String),
    /// A port cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The request log cannot be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The master key cannot be read or made.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// Two parts want a metric of the same name. A bug.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// The database cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The units cannot be read.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// An upstream cannot be set up.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}
