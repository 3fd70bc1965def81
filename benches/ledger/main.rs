//! What a reservation costs, on both engines: with one account and with many, on one hot account, and with two gateways
//! on one database. `cargo bench --bench ledger`, for PostgreSQL below `scripts/with-postgres`.
//!
//! Every reservation goes the way of the proxy's: `Ledger::reserve` on a real store with its writer, its queue and its
//! flush to disk. Afterwards the books are read again and must hold what was reserved, to the fen.

#![expect(
    clippy::print_stdout,
    clippy::float_arithmetic,
    reason = "a tool of its own: its output is its result, and figures are no money"
)]

mod case;
mod engine;
#[path = "../../tests/common/postgres.rs"]
mod postgres;

use anyhow::ensure;
use clap::Parser;

use crate::{
    case::{Case, Load},
    engine::{Engine, engines},
};

/// Callers that wait at the same time at each gateway.
const MANY: usize = 64;
/// Reservations per second of one hot account with [`MANY`] callers that are the goal.
const GOAL_RATE: f64 = 10_000.0;
/// A reservation by a caller alone may cost this much more with the dearest number of accounts than with one.
const GOAL_FLAT: f64 = 1.2;

/// Cost of reservations on both engines.
#[derive(Debug, Parser)]
#[command(name = "ledger")]
struct Cli {
    /// Few reservations, once, at most 1,000 accounts: shows that it works, says nothing about speed
    #[arg(long)]
    quick: bool,
    /// One engine only: sqlite or postgres
    #[arg(long, value_name = "ENGINE")]
    only: Option<String>,
    /// Each figure is the median of so many rounds
    #[arg(long, default_value_t = 3, value_name = "NUMBER")]
    rounds: usize,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let (rounds, alone, many) = if cli.quick { (1, 200, 2_000) } else { (cli.rounds.max(1), 10_000, 60_000) };
    let accounts: &[u64] = if cli.quick { &[1, 100, 1_000] } else { &[1, 100, 10_000, 100_000] };
    let alone = Load { callers: 1, reservations: alone };
    let many = Load { callers: MANY, reservations: many };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut missed = Vec::new();
    for engine in engines(cli.only.as_deref())? {
        let mut runs: Vec<(Case, Vec<Load>)> =
            accounts.iter().map(|&accounts| (Case { accounts, gateways: 1 }, vec![alone, many])).collect();
        if matches!(engine, Engine::Postgres(_)) {
            runs.push((Case { accounts: 1, gateways: 2 }, vec![many]));
        }
        // rounds outside, so that what disturbs the machine for a while disturbs every case
        let mut measured: Vec<Vec<Vec<Figures>>> = runs.iter().map(|_| Vec::new()).collect();
        for _ in 0..rounds {
            for ((case, loads), measured) in runs.iter().zip(&mut measured) {
                measured.push(runtime.block_on(case.run(&engine, loads))?);
            }
        }
        let mut rows = Vec::new();
        for ((case, loads), measured) in runs.iter().zip(&measured) {
            for (place, load) in loads.iter().enumerate() {
                rows.push(Row { case: *case, load: *load, figures: Figures::median(measured, place) });
            }
        }
        print(&engine, &rows);
        if !cli.quick {
            missed.extend(judge(&engine, &rows));
        }
    }
    println!("\nAfter every run the books held exactly what was reserved.");
    if cli.quick {
        println!("Not judged: --quick is too short for figures.");
    }
    ensure!(missed.is_empty(), "missed: {}", missed.join(", "));
    Ok(())
}

/// A line of the table.
struct Row {
    case: Case,
    load: Load,
    figures: Figures,
}

fn print(engine: &Engine, rows: &[Row]) {
    println!("\n{}", engine.describe());
    println!(
        "{:>8} {:>7} {:>8} {:>14} {:>8} {:>7} {:>13} {:>9} {:>7}",
        "gateways",
        "callers",
        "accounts",
        "reservations/s",
        "wall µs",
        "CPU µs",
        "server CPU µs",
        "median ms",
        "p99 ms"
    );
    for Row { case, load, figures } in rows {
        println!(
            "{:>8} {:>7} {:>8} {:>14.0} {:>8.1} {:>7.1} {:>13.1} {:>9.2} {:>7.2}",
            case.gateways,
            load.callers * case.gateways,
            case.accounts,
            figures.rate,
            1e6 / figures.rate,
            figures.own,
            figures.server,
            figures.median,
            figures.p99
        );
    }
}

/// Compares with the goals; gives those that are missed.
fn judge(engine: &Engine, rows: &[Row]) -> Vec<String> {
    if !engine.is_durable() {
        println!(
            "Not judged: this server does not flush to disk; LEQI_GATEWAY_TEST_POSTGRES_FSYNC=on lets it."
        );
        return Vec::new();
    }
    let of = |callers| rows.iter().filter(move |row| row.load.callers == callers && row.case.gateways == 1);
    // the dearest number of accounts from `least` on : `least` accounts
    let dearest = |callers, least| {
        let cpu = |row: &Row| row.figures.own + row.figures.server;
        let base = of(callers).find(|row| row.case.accounts == least).map_or(f64::NAN, cpu);
        of(callers).filter(|row| row.case.accounts >= least).map(cpu).fold(0.0, f64::max) / base
    };
    println!(
        "     {MANY} callers, CPU: dearest number of accounts : one = {:.2}, : 100 = {:.2}; {MANY} callers of one account write \
         the same few pages",
        dearest(MANY, 1),
        dearest(MANY, 100)
    );
    let hot = of(MANY).find(|row| row.case.accounts == 1).map_or(0.0, |row| row.figures.rate);
    let flat = dearest(1, 1);
    let goals = [
        ("one caller, CPU: dearest number of accounts : one account", flat, flat <= GOAL_FLAT, "at most 1.2"),
        ("64 callers, one account: reservations/s", hot, hot >= GOAL_RATE, "at least 10,000"),
    ];
    for (what, figure, met, goal) in goals {
        println!("{} {what} = {figure:.2} ({goal})", if met { "PASS" } else { "MISS" });
    }
    goals.iter().filter(|goal| !goal.2).map(|goal| format!("{}: {}", engine.name(), goal.0)).collect()
}

/// What was measured.
#[derive(Clone, Copy)]
struct Figures {
    /// Reservations per second.
    rate: f64,
    /// Processor time of this process for each, in µs, that of the callers included.
    own: f64,
    /// Processor time of the server for each, in µs.
    server: f64,
    /// How long half of the callers waited at most, in ms.
    median: f64,
    /// How long 99 of 100 waited at most, in ms.
    p99: f64,
}

impl Figures {
    /// The median of every figure of the load at this place over all rounds.
    fn median(rounds: &[Vec<Self>], place: usize) -> Self {
        let of = |figure: fn(&Self) -> f64| {
            let mut figures: Vec<f64> = rounds.iter().map(|loads| figure(&loads[place])).collect();
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        };
        Self {
            rate: of(|f| f.rate),
            own: of(|f| f.own),
            server: of(|f| f.server),
            median: of(|f| f.median),
            p99: of(|f| f.p99),
        }
    }
}
