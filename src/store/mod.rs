//! What must survive a stop: one database behind traits, one per group of tables.
//!
//! A group of tables `x` is a file `store/x.rs` with the trait and the rows, `store/sqlite/x.rs` with its SQL and a
//! migration of its own under `migrations/sqlite/`. The store knows no rules; rules know no SQL. Every write of the
//! process goes through `sqlite`'s one writer, which carries many waiting commands in one transaction, so that
//! durability costs one flush for many calls (design.md §3). PostgreSQL follows behind the same traits.

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

mod error;
mod metrics;
mod sqlite;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

pub use self::{error::StoreError, metrics::Metrics};

/// Which database, and how much of it at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `sqlite://PATH`; a relative path starts at the working directory.
    pub url: String,
    /// Connections that read at the same time.
    pub readers: u32,
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
            readers: 4,
            queue: 4096,
            batch: 512,
            busy_timeout: Duration::from_secs(10),
        }
    }
}

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

    /// Reads something trivial, to tell whether the database answers.
    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

impl Store {
    /// Writes whatever waits, then lets go of the database; later writes fail with [`StoreError::Closed`].
    pub async fn close(&self) {
        self.engine.close().await;
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
    _lock: std::fs::File,
}

/// Claims the database for this process: a second gateway on one SQLite file would take the first one's calls in
/// flight for interrupted ones. Commands of the CLI need no claim.
///
/// # Errors
/// [`StoreError::Busy`] when another gateway has it, or why the lock file cannot be made.
pub fn claim(config: &Config) -> Result<Claim, StoreError> {
    sqlite::claim(&config.url)
}

/// Opens the database, creates it when there is none, and brings its tables up to date.
///
/// # Errors
/// What is wrong with the address, the file, its permissions or its contents, and what to do about it.
pub async fn open(config: &Config, metrics: &Metrics) -> Result<Store, StoreError> {
    match config.url.split_once(':').map_or("", |(scheme, _)| scheme) {
        "sqlite" => sqlite::open(config, metrics).await,
        _ => Err(StoreError::Url {
            reason: "it must be sqlite://PATH, such as sqlite://data/gateway.db".to_owned(),
        }),
    }
}
