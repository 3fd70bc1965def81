//! The two engines, their databases, and what their processes cost.

use anyhow::{Context, ensure};

use crate::postgres::Server;

/// Ticks of processor time in a second, on every Linux.
pub(crate) const TICKS: u64 = 100;

/// Where the books are.
pub(crate) enum Engine {
    Sqlite,
    Postgres(&'static Server),
}

pub(crate) fn engines(only: Option<&str>) -> anyhow::Result<Vec<Engine>> {
    let mut engines = Vec::new();
    if only.is_none_or(|name| name == "sqlite") {
        engines.push(Engine::Sqlite);
    }
    if only.is_none_or(|name| name == "postgres") {
        if std::env::var_os("LEQI_GATEWAY_TEST_POSTGRES").is_some() {
            engines.push(Engine::Postgres(Server::shared()));
        } else {
            println!(
                "PostgreSQL is left out. With it: \
                 LEQI_GATEWAY_TEST_POSTGRES_FSYNC=on scripts/with-postgres cargo bench --bench ledger"
            );
        }
    }
    ensure!(!engines.is_empty(), "nothing to measure: --only takes sqlite or postgres");
    Ok(engines)
}

impl Engine {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Sqlite => format!("SQLite in {}", env!("CARGO_TARGET_TMPDIR")),
            Self::Postgres(server) => {
                let ask = |what: &str| server.sql(&server.url, &format!("SHOW {what}"));
                format!("PostgreSQL {}, fsync {}", ask("server_version"), ask("fsync"))
            }
        }
    }

    pub(crate) fn is_durable(&self) -> bool {
        match self {
            Self::Sqlite => true,
            Self::Postgres(server) => server.sql(&server.url, "SHOW fsync") == "on",
        }
    }

    /// The address of a new database, and what removes it again.
    pub(crate) fn database(&self) -> anyhow::Result<(String, Remove)> {
        match self {
            Self::Sqlite => {
                let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
                Ok((format!("sqlite://{}", dir.path().join("gateway.db").display()), Remove::Directory(dir)))
            }
            Self::Postgres(server) => {
                let url = server.database();
                Ok((url.clone(), Remove::Database(server, url)))
            }
        }
    }

    /// Processor time of the server's processes so far, in ticks.
    pub(crate) fn server_ticks(&self) -> anyhow::Result<u64> {
        let (Self::Postgres(_), Ok(data)) = (self, std::env::var("LEQI_GATEWAY_TEST_POSTGRES_DATA")) else {
            return Ok(0);
        };
        let file = std::fs::read_to_string(format!("{data}/postmaster.pid"));
        let first = file.context("postmaster.pid")?.lines().next().unwrap_or_default().to_owned();
        let mut ticks = Stat::of(&first).context("the server's process")?.with_ended_children;
        for process in std::fs::read_dir("/proc")? {
            let name = process?.file_name();
            // a process may end while it is looked at
            let stat = name.to_str().and_then(Stat::of).filter(|stat| stat.parent == first);
            ticks += stat.map_or(0, |stat| stat.own);
        }
        Ok(ticks)
    }
}

/// Removes a database when it is done with.
pub(crate) enum Remove {
    Directory(tempfile::TempDir),
    Database(&'static Server, String),
}

impl Remove {
    pub(crate) fn now(self) -> anyhow::Result<()> {
        match self {
            Self::Directory(dir) => Ok(dir.close()?),
            Self::Database(server, url) => {
                let (_, name) = url.rsplit_once('/').context("a database's address")?;
                server.sql(&server.url, &format!("DROP DATABASE {name} WITH (FORCE)"));
                Ok(())
            }
        }
    }
}

/// Processor time of a process, user and system, in ticks.
pub(crate) struct Stat {
    parent: String,
    pub(crate) own: u64,
    with_ended_children: u64,
}

impl Stat {
    /// `None` when there is no such process.
    pub(crate) fn of(process: &str) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // the name before may hold blanks
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        let ticks = |places: std::ops::Range<usize>| -> Option<u64> {
            fields.get(places)?.iter().map(|field| field.parse::<u64>().ok()).sum()
        };
        Some(Self {
            parent: (*fields.get(1)?).to_owned(),
            own: ticks(11..13)?,
            with_ended_children: ticks(11..15)?,
        })
    }
}
