//! The command line: one file per subcommand.
//!
//! Exit codes: 0 done, 1 failed or the configuration is not valid, 2 wrong usage. An error is one line on standard
//! error that says what to do; standard output holds results alone, so that scripts can use it.

mod api_client;
pub mod certs;
mod check;
mod demo;
mod http;
mod jobs;
mod migrate;
pub mod output;
mod presented;
mod probe;
mod reload;
mod replace;
mod serve;
mod signals;
mod simulate;
mod status;
mod token;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::{
    config::{Loaded, Source},
    store,
    telemetry::{self, metrics::Metrics},
};

/// Gateway to the tax platform 乐企: byte-exact forwarding, request log, credit ledger, monthly confirmation.
#[derive(Debug, Parser)]
#[command(name = "leqi-gateway", version = telemetry::VERSION, arg_required_else_help = true)]
#[command(after_help = "Example: leqi-gateway check --config config/gateway.toml")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Certs(certs::CertsArgs),
    Check(check::Args),
    Demo(demo::Args),
    Jobs(jobs::Args),
    Migrate(migrate::Args),
    Probe(probe::Args),
    Reload(reload::Args),
    Serve(serve::Args),
    Simulate(simulate::Args),
    Status(status::Args),
    Token(token::Args),
}

/// The option that most commands share.
#[derive(Debug, clap::Args)]
pub struct ConfigFile {
    /// The configuration file; any key is overridden by LEQI_GATEWAY__SECTION__KEY
    #[arg(short, long = "config", default_value = "config/gateway.toml", value_name = "FILE")]
    path: PathBuf,
}

impl ConfigFile {
    /// Reads the configuration with the process's environment laid over it.
    ///
    /// # Errors
    /// Every error of the file, one line each.
    pub fn load(&self) -> anyhow::Result<Loaded> {
        Ok(self.source().load()?)
    }

    /// Where the configuration is read from, to read it again.
    #[must_use]
    pub fn source(&self) -> Source {
        Source::new(&self.path, environment())
    }

    /// Opens the database that the configuration names, for commands that work on it directly.
    ///
    /// # Errors
    /// What is wrong with the configuration or the database.
    pub async fn open_store(&self) -> anyhow::Result<store::Store> {
        let config = self.load()?.config;
        open_store(&config.store).await
    }
}

/// Opens a database for one command; its metrics are shown to nobody.
async fn open_store(config: &store::Config) -> anyhow::Result<store::Store> {
    let metrics = store::Metrics::register(&Metrics::new()?)?;
    Ok(store::open(config, &metrics).await?)
}

/// The variables that are text; others cannot be settings.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    // clap prints usage errors itself and exits with 2
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::failed(&output::sentence(&error)),
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Certs(args) => certs::run(args),
        Command::Check(args) => check::run(&args),
        Command::Demo(args) => block_on(demo::run(&args)),
        Command::Jobs(args) => block_on(jobs::run(&args)),
        Command::Migrate(args) => block_on(migrate::run(&args)),
        Command::Probe(args) => block_on(probe::run(&args)),
        Command::Reload(args) => block_on(reload::run(&args)),
        Command::Serve(args) => serve::run(&args),
        Command::Simulate(args) => block_on(simulate::run(args)),
        Command::Status(args) => block_on(status::run(&args)),
        Command::Token(args) => block_on(token::run(args)),
    }
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    block_on_with(None, work)
}

/// Runs on so many threads, as many as the machine has cores when `None`.
fn block_on_with(
    workers: Option<usize>,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    use tokio::runtime::Builder;
    let mut builder = match workers {
        // one thread needs no machinery to share work
        Some(1) => Builder::new_current_thread(),
        Some(_) | None => Builder::new_multi_thread(),
    };
    if let Some(workers) = workers {
        builder.worker_threads(workers);
    }
    builder.enable_all().build().context("the asynchronous runtime cannot start")?.block_on(work)
}
