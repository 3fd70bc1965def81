//! The load generator of `scripts/bench`, `scripts/day` and `scripts/soak`: invoicing systems that call a proxy over TLS, at a fixed
//! rate or as fast as they are answered. Its result is one JSON object on standard output.
//!
//! It runs on one thread, so that it takes little from the proxy that is measured on the same machine.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a tool of its own: its output is its result, and it has a clock of its own"
)]

mod connect;
mod day;
mod idle;
mod invoicing;
mod latency;
mod random;
mod soak;
mod steady;

use anyhow::Context;
use clap::{Parser, Subcommand};

/// Load for a proxy in front of the platform.
#[derive(Debug, Parser)]
#[command(name = "load")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Day(day::Args),
    Idle(idle::Args),
    Soak(soak::Args),
    Steady(steady::Args),
}

fn main() -> anyhow::Result<()> {
    // `cargo bench` starts every benchmark with this word; this one is started by scripts
    if std::env::args().any(|arg| arg == "--bench") {
        println!("load: a tool of scripts/bench, scripts/day and scripts/soak, nothing to measure by itself");
        return Ok(());
    }
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("the asynchronous runtime cannot start")?.block_on(async {
        match cli.command {
            Command::Day(args) => day::run(args).await,
            Command::Idle(args) => idle::run(args).await,
            Command::Soak(args) => soak::run(args).await,
            Command::Steady(args) => steady::run(args).await,
        }
    })
}
