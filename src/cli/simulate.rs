//! `simulate`: the platform alone, for invoicing systems under development.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context;

use super::{output, signals::Signals};
use crate::{
    clock::Clock,
    domain::Money,
    simulator::{Config, Simulator, world::World},
};

/// Run a simulated 乐企 platform
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: leqi-gateway simulate --listen 127.0.0.1:18443 --dir data/sim

Writes DIR/ca.pem (trust this) and DIR/units.json (ids and keys), prints `ready ADDRESS` when it serves, and answers \
under /_sim/ on the same port: GET /_sim/books, POST /_sim/faults, POST /_sim/clock (docs/simulator.md).")]
pub(super) struct Args {
    /// Where it listens; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:18443", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where ca.pem and units.json are written
    #[arg(long, default_value = "data/simulator", value_name = "DIR")]
    dir: PathBuf,
    /// Credit of every company and month, in yuan
    #[arg(long, default_value = "10000000.00", value_name = "YUAN")]
    credit: Money,
    /// Present a certificate without any usable name, as the real platform may
    #[arg(long)]
    nameless: bool,
    /// The clock's first instant, RFC 3339; it runs on from there
    #[arg(long, value_name = "TIME")]
    now: Option<jiff::Timestamp>,
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// When the port cannot be opened or a file not written.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let world = World::sample(args.credit).context("the sample companies are wrong")?;
    let clock = args.now.map_or_else(Clock::system, Clock::starting_at);
    let config = Config { nameless: args.nameless, clock, ..Config::new(args.listen, world) };
    let mut stop = Signals::listen().context("signals cannot be listened to")?;
    let simulator = Simulator::start(config).await?;
    simulator.describe(&args.dir)?;
    output::line(&format!("ready {}", simulator.address));
    stop.next().await;
    simulator.stop().await;
    Ok(())
}
