//! `leqi-gateway migrate`: the database's tables, made or brought up to date, or moved from SQLite to PostgreSQL.

use std::{
    io::{IsTerminal, Write},
    path::Path,
};

use super::{ConfigFile, open_store, output};
use crate::store::{self, Progress};

/// Create the database or bring its tables up to date, or move one from SQLite to PostgreSQL
///
/// `serve` brings the tables up to date when it starts; use this to do it beforehand. Every migration that is carried out
/// is named, one a line. Make a backup before an upgrade.
/// With --from everything is moved into an empty database, all or nothing, counted and compared; stop the gateway first.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: leqi-gateway migrate --config config/gateway.toml\n          leqi-gateway migrate --from sqlite://data/gateway.db --to postgres://leqi@db.example/leqi"
)]
pub(super) struct Args {
    /// Move everything out of this SQLite database, such as sqlite://data/gateway.db
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// Where to, such as postgres://USER@HOST/DATABASE; without it the [store] url of the configuration
    #[arg(long, value_name = "URL", requires = "from")]
    to: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

/// Opens the database, which does the work, and says what was done, one line each, and what became of it.
pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let Some(from) = &args.from else { return update(args).await };
    let from = store::Config { url: from.clone(), ..store::Config::default() };
    let to = match &args.to {
        Some(url) => store::Config { url: url.clone(), ..store::Config::default() },
        None => args.config.load()?.config.store,
    };
    let moved = store::move_over(&from, &to, &mut show()).await?;
    let rows = moved
        .iter()
        .map(|table| vec![table.table.to_owned(), table.rows.to_string(), table.checksum.clone()]);
    output::line(&output::table(&["TABLE", "ROWS", "CHECKSUM"], &rows.collect::<Vec<_>>()));
    let rows: u64 = moved.iter().map(|table| table.rows).sum();
    output::line(&format!("{rows} rows are moved from {} to {} and compared", from.address(), to.address()));
    Ok(())
}

async fn update(args: &Args) -> anyhow::Result<()> {
    let config = args.config.load()?.config.store;
    let existed = config.url.strip_prefix("sqlite://").is_none_or(|path| Path::new(path).exists());
    let store = open_store(&config).await?;
    store.close().await;
    for migration in store.migrated() {
        output::line(migration);
    }
    let done = if existed { "its tables are up to date" } else { "created with all tables" };
    output::line(&format!("{}: {done}", config.address()));
    Ok(())
}

/// Progress on one line of a terminal; nothing elsewhere.
fn show() -> impl FnMut(Progress) + Send {
    let mut err = std::io::stderr();
    let terminal = err.is_terminal();
    move |Progress { table, rows, of }| {
        if terminal {
            let end = if rows == of { "\n" } else { "" };
            // a terminal that went away is no reason to stop
            let _ = write!(err, "\r{table}: {rows} of {of} rows{end}").and_then(|()| err.flush());
        }
    }
}
