//! Logging, the one registry of metrics, and which build this is.

pub mod logging;
pub mod metrics;

/// The version, with the commit in brackets where it is known: `0.1.0 (0123456789ab)`.
pub const VERSION: &str = env!("LEQI_GATEWAY_VERSION");
/// The commit that this was built from, or `unknown`.
pub const COMMIT: &str = env!("LEQI_GATEWAY_COMMIT");
