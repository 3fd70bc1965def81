//! Logging and the one registry of metrics.

pub mod logging;
pub mod metrics;
