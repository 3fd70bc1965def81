//! The process's own log: JSON lines on standard error. Payloads, keys and tokens never go here; they have the
//! request log (design.md §3).

use tracing_subscriber::{EnvFilter, fmt};

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line, for machines.
    #[default]
    Json,
    /// Short lines for people at a terminal.
    Text,
}

/// Starts logging to standard error with a filter such as `info` or `leqi_gateway=debug`; `RUST_LOG` wins over it.
///
/// # Errors
/// A sentence when the filter cannot be read or logging runs already.
pub fn start(format: Format, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new(filter))
        .map_err(|error| format!("log filter {filter:?} cannot be read: {error}"))?;
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(true);
    match format {
        Format::Json => builder.json().flatten_event(true).try_init(),
        Format::Text => builder.compact().with_ansi(false).try_init(),
    }
    .map_err(|error| format!("logging cannot start: {error}"))
}
