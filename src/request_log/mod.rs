//! The request log (乐企请求日志): one [`Record`] per exchange, with its raw bodies, found again by what people have
//! in hand, and readable in clear by those who may.
//!
//! The log is evidence. For calls that change something at the platform the [intent](RequestLog::intent) is committed
//! before the first byte goes out and the answer is released only after [`RequestLog::complete`] (design.md §3). Reads
//! go through a [bounded queue](RequestLog::enqueue) that makes the caller wait when it is full, and never drops.

mod entry;
pub mod extract;
mod journal;
mod log;
mod metrics;
mod queue;
#[cfg(test)]
mod tests;
mod view;

pub use entry::{Entry, Unread};
pub use journal::GATEWAY;
pub use log::{Config, LogError, Page, RequestLog};
pub use metrics::Metrics;
pub use view::{ClearView, Content, ViewError, clear_view, explanation};

pub use crate::store::exchanges::{Decision, Filter, Record, Side, State, StoredBody};
