//! The process's own log: JSON lines on standard error. Payloads, keys and tokens never go here; they have the
//! request log (design.md §3).

use std::sync::Arc;

use tracing_subscriber::{EnvFilter, fmt, reload};

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line, for machines.
    #[default]
    Json,
    /// Short lines for people at a terminal.
    Text,
}

/// What is logged, to be changed while the process runs.
#[derive(Clone)]
pub struct Filter {
    change: Arc<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Filter")
    }
}

impl Filter {
    /// Logs by this filter from now on; `RUST_LOG` wins over it.
    ///
    /// # Errors
    /// A sentence when the filter cannot be read.
    pub fn set(&self, filter: &str) -> Result<(), String> {
        (self.change)(read(filter)?)
    }
}

/// Starts logging to standard error with a filter such as `info` or `leqi_gateway=debug`; `RUST_LOG` wins over it.
///
/// # Errors
/// A sentence when the filter cannot be read or logging runs already.
pub fn start(format: Format, filter: &str) -> Result<Filter, String> {
    let builder = fmt().with_env_filter(read(filter)?).with_writer(std::io::stderr).with_target(true);
    let (started, filter) = match format {
        Format::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let filter = changed_by(builder.reload_handle());
            (builder.try_init(), filter)
        }
        Format::Text => {
            let builder = builder.compact().with_ansi(false).with_filter_reloading();
            let filter = changed_by(builder.reload_handle());
            (builder.try_init(), filter)
        }
    };
    started.map_err(|error| format!("logging cannot start: {error}")).map(|()| filter)
}

fn changed_by<S: 'static>(handle: reload::Handle<EnvFilter, S>) -> Filter {
    let change = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    Filter { change: Arc::new(change) }
}

fn read(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new(filter))
        .map_err(|error| format!("log filter {filter:?} cannot be read: {error}"))
}
