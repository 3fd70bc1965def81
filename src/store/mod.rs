//! What must survive a stop: one database behind traits, one per group of tables.
//!
//! A group of tables `x` is a file `store/x.rs` with the trait and the rows. What is written rarely, and every query, is
//! SQL that both engines understand, in `store/sql/x.rs`; what is written often is written in each engine's own way, in
//! `store/sqlite/x.rs` and `store/postgres/x.rs`. Each engine has migrations of its own, with the same numbers where both have one, under
//! `migrations/`. The store knows no rules; rules know no SQL. Every write goes through a `writer`, which carries many
//! waiting commands in one transaction, so that durability costs one flush for many calls (design.md §3).

pub mod audit;
pub mod confirmations;
pub mod exchanges;
pub mod idempotency;
pub mod jobs;
pub mod leases;
pub mod ledger;
pub mod quota_settings;
pub mod tokens;
pub mod units;

mod backend;
mod error;
mod metrics;
mod migrations;
mod moving;
mod pile;
mod postgres;
mod rare;
mod spool;
mod sql;
mod sqlite;
#[cfg(test)]
pub(crate) mod testing;
mod value;
mod writer;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use self::sql::session::Tables;
pub use self::{
    error::StoreError,
    metrics::Metrics,
    moving::{Moved, Progress, move_over},
    spool::{Predecessor, SpoolConfig},
};
use crate::domain::Node;

/// How long anybody waits for a commit. Longer than a lock may take, shorter than a client waits for an answer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Which database, and how much of it at once.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// `sqlite://PATH`, where a relative path starts at the working directory, or `postgres://USER@HOST/DATABASE`.
    pub url: String,
    /// The file that holds the password of a PostgreSQL user, if it is not in the URL.
    pub password_file: Option<std::path::PathBuf>,
    /// Connections that read at the same time.
    pub readers: u32,
    /// Where a gateway on PostgreSQL keeps what must not be lost while the server is away.
    pub spool: SpoolConfig,
    /// Commands that may wait for the writer; whoever comes then waits for room.
    pub queue: usize,
    /// Commands that one transaction carries at most.
    pub batch: usize,
    /// How long a connection waits for another process that writes, such as a command of the CLI.
    pub busy_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "sqlite://data/gateway.db".to_owned(),
            password_file: None,
            spool: SpoolConfig { directory: "data/spool".into(), limit: 1 << 30 },
            readers: 4,
            queue: 4096,
            batch: 512,
            busy_timeout: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// The address without its password, for people.
    #[must_use]
    pub fn address(&self) -> String {
        match url::Url::parse(&self.url) {
            Ok(mut url) if url.password().is_some() => {
                // fails for addresses without a host only, which have no password
                let _ = url.set_password(None);
                url.to_string()
            }
            Ok(_) | Err(_) => self.url.clone(),
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("url", &self.address()).finish_non_exhaustive()
    }
}

/// How the ledger takes back evidence that was kept while the database was away.
pub type Replay = Box<dyn Fn(Vec<u8>) -> BoxFuture<'static, Result<(), StoreError>> + Send + Sync>;

/// The open database. Cheap to clone; every copy is the same database.
#[derive(Clone)]
pub struct Store {
    /// Who changed what.
    pub audit: Arc<dyn audit::AuditTable>,
    /// Monthly confirmations.
    pub confirmations: Arc<dyn confirmations::ConfirmationTable>,
    /// The request log.
    pub exchanges: Arc<dyn exchanges::ExchangeTable>,
    /// Answers to POSTs that carried a key.
    pub idempotency: Arc<dyn idempotency::IdempotencyTable>,
    /// When jobs are due and how they ended.
    pub jobs: Arc<dyn jobs::JobTable>,
    /// What only one gateway may do at a time.
    pub leases: Arc<dyn leases::LeaseTable>,
    /// Bearer tokens.
    pub tokens: Arc<dyn tokens::TokenTable>,
    /// Units and their sealed keys.
    pub units: Arc<dyn units::UnitTable>,
    /// Credit: accounts, invoices, events.
    pub ledger: Arc<dyn ledger::LedgerTable>,
    /// How the credit of units is managed.
    pub quota_settings: Arc<dyn quota_settings::QuotaSettingTable>,
    engine: Arc<dyn Engine>,
}

/// What every engine can do besides the tables.
trait Engine: Send + Sync {
    /// Writes whatever waits, then lets go of the database.
    fn close(&self) -> BoxFuture<'_, ()>;

    /// Opens the spool and hands over what is in it whenever the database is there.
    fn hand_over(
        &self,
        config: SpoolConfig,
        predecessor: Predecessor,
        replay: Replay,
    ) -> Result<(), StoreError>;

    /// Whether other gateways may work on the database at the same time.
    fn is_shared(&self) -> bool;

    /// The number of this gateway among all on the database.
    fn node(&self) -> Node;

    /// The names of the migrations that opening it carried out.
    fn migrated(&self) -> &[String];

    /// Reads something trivial, to tell whether the database answers.
    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

impl Store {
    /// The tables on an open database.
    fn over(tables: Tables, leases: Arc<dyn leases::LeaseTable>, engine: Arc<dyn Engine>) -> Self {
        Self {
            audit: Arc::new(sql::audit::Audit(tables.clone())),
            confirmations: Arc::new(sql::confirmations::Confirmations(tables.clone())),
            exchanges: Arc::new(sql::exchanges::Exchanges(tables.clone())),
            idempotency: Arc::new(sql::idempotency::Idempotency(tables.clone())),
            jobs: Arc::new(sql::jobs::Jobs::new(tables.clone())),
            leases,
            ledger: Arc::new(sql::ledger::Ledger(tables.clone())),
            quota_settings: Arc::new(sql::quota_settings::QuotaSettings(tables.clone())),
            tokens: Arc::new(sql::tokens::Tokens(tables.clone())),
            units: Arc::new(sql::units::Units(tables)),
            engine,
        }
    }

    /// Writes whatever waits, then lets go of the database; later writes fail with [`StoreError::Closed`].
    pub async fn close(&self) {
        self.engine.close().await;
    }

    /// Opens the spool of this gateway, which keeps what must not be lost while a shared database is away, and hands it
    /// over whenever the database is there: records of exchanges to the log, evidence to `replay`. On SQLite nothing
    /// is shared, and nothing is done.
    ///
    /// # Errors
    /// When the directory cannot be used, or belongs to another gateway that runs and is no predecessor.
    pub fn hand_over(
        &self,
        config: SpoolConfig,
        predecessor: Predecessor,
        replay: Replay,
    ) -> Result<(), StoreError> {
        self.engine.hand_over(config, predecessor, replay)
    }

    /// Whether other gateways may work on the database at the same time.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.engine.is_shared()
    }

    /// The number of this gateway among all that share the database.
    #[must_use]
    pub fn node(&self) -> Node {
        self.engine.node()
    }

    /// The names of the migrations that opening the database carried out, in their order.
    #[must_use]
    pub fn migrated(&self) -> &[String] {
        self.engine.migrated()
    }

    /// Whether the database answers, for `/readyz`.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.engine.ping().await
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// The right to run a gateway on a database. Kept as long as the gateway runs, given up when the process ends,
/// however it ends.
#[derive(Debug)]
pub struct Claim {
    _lock: Option<std::fs::File>,
}

/// Claims the database for this process: a second gateway on one SQLite file would take the first one's calls in
/// flight for interrupted ones. Commands of the CLI need no claim, and PostgreSQL serves any number of gateways.
///
/// # Errors
/// [`StoreError::Busy`] when another gateway has it, or why the lock file cannot be made.
pub fn claim(config: &Config) -> Result<Claim, StoreError> {
    match Scheme::of(&config.url)? {
        Scheme::Postgres => Ok(Claim { _lock: None }),
        Scheme::Sqlite => Ok(Claim { _lock: Some(sqlite::claim(&config.url)?) }),
    }
}

/// Opens the database, creates it when there is none, and brings its tables up to date.
///
/// # Errors
/// What is wrong with the address, the file, its permissions or its contents, and what to do about it.
pub async fn open(config: &Config, metrics: &Metrics) -> Result<Store, StoreError> {
    match Scheme::of(&config.url)? {
        Scheme::Postgres => postgres::open(config, metrics).await,
        Scheme::Sqlite => sqlite::open(config, metrics).await,
    }
}

/// The engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Postgres,
    Sqlite,
}

impl Scheme {
    fn of(url: &str) -> Result<Self, StoreError> {
        match url.split_once(':').map_or("", |(scheme, _)| scheme) {
            "postgres" | "postgresql" => Ok(Self::Postgres),
            "sqlite" => Ok(Self::Sqlite),
            _ => Err(StoreError::Url {
                reason: "it must be sqlite://PATH, such as sqlite://data/gateway.db, or postgres://USER@HOST/DATABASE"
                    .to_owned(),
            }),
        }
    }
}
