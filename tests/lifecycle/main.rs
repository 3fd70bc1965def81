//! What must hold while the gateway changes under load: its configuration, its certificates, the process itself. The real
//! binary, the simulated platform, kept and new connections of HTTP/1.1 and HTTP/2, and counts that agree.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, and says how much it did"
)]

#[path = "../common/mod.rs"]
mod common;

mod certificates;
mod commands;
mod handover;
mod load;
mod manager;
mod reload;
mod stand;
mod stop;

use tokio::sync::Mutex;

/// The tests under load measure nothing but still want the machine for themselves.
static ALONE: Mutex<()> = Mutex::const_new(());

/// How often something is done: a number from the environment, or the short run's.
fn times(variable: &str, short: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(short)
}
