//! Opening the file, and what the engine's errors mean.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use sqlx::{
    ConnectOptions, SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    audit::Audit, confirmations::Confirmations, exchanges::Exchanges, idempotency::Idempotency, jobs::Jobs,
    leases::OneGateway, ledger::Ledger, quota_settings::QuotaSettings, tokens::Tokens, units::Units,
    writer::Writer,
};
use crate::store::{Claim, Config, Engine, Metrics, Store, StoreError};

/// Every table, embedded; one file per group of tables and change.
static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

/// What every group of tables works with.
#[derive(Clone, Debug)]
pub(super) struct Database {
    /// All writes.
    pub(super) writer: Writer,
    /// All reads that need no transaction with a write.
    pub(super) readers: SqlitePool,
    path: Arc<Path>,
}

impl Database {
    /// Names the file in a reader's error.
    pub(super) fn explain(&self, error: impl Into<StoreError>) -> StoreError {
        explain(error.into(), &self.path)
    }
}

impl Engine for Database {
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.writer.close().await;
            self.readers.close().await;
        })
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            sqlx::query("SELECT count(*) FROM _sqlx_migrations")
                .execute(&self.readers)
                .await
                .map(drop)
                .map_err(|e| self.explain(e))
        })
    }
}

/// Opens the file, creates it when there is none, and brings its tables up to date.
pub(in crate::store) async fn open(config: &Config, metrics: &Metrics) -> Result<Store, StoreError> {
    let database = database(config, metrics).await?;
    Ok(Store {
        audit: Arc::new(Audit(database.clone())),
        confirmations: Arc::new(Confirmations(database.clone())),
        exchanges: Arc::new(Exchanges(database.clone())),
        idempotency: Arc::new(Idempotency(database.clone())),
        jobs: Arc::new(Jobs::new(database.clone())),
        leases: Arc::new(OneGateway),
        ledger: Arc::new(Ledger(database.clone())),
        quota_settings: Arc::new(QuotaSettings(database.clone())),
        tokens: Arc::new(Tokens(database.clone())),
        units: Arc::new(Units(database.clone())),
        engine: Arc::new(database),
    })
}

pub(super) async fn database(config: &Config, metrics: &Metrics) -> Result<Database, StoreError> {
    let path = path_of(&config.url)?;
    create(&path)
        .map_err(|error| StoreError::Permission { path: path.clone(), reason: error.to_string() })?;
    let options = options(&path, config.busy_timeout);
    let fail = |error: sqlx::Error| explain(StoreError::Sql(error), &path);
    let mut connection = options.connect().await.map_err(fail)?;
    MIGRATIONS.run(&mut connection).await.map_err(|error| migration_error(error, &path))?;
    let readers = SqlitePoolOptions::new()
        .max_connections(config.readers.max(1))
        .connect_with(options.clone().pragma("query_only", "ON"))
        .await
        .map_err(fail)?;
    let path: Arc<Path> = path.into();
    let writer = Writer::start(connection, options, Arc::clone(&path), config, metrics.clone());
    Ok(Database { writer, readers, path })
}

/// Locks the file beside the database; the kernel lets go of the lock when the process ends.
pub(in crate::store) fn claim(url: &str) -> Result<Claim, StoreError> {
    let path = path_of(url)?;
    let fail =
        |error: &std::io::Error| StoreError::Permission { path: path.clone(), reason: error.to_string() };
    create(&path).map_err(|error| fail(&error))?;
    let mut name = path.clone().into_os_string();
    name.push(".lock");
    let lock = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(name)
        .map_err(|e| fail(&e))?;
    match lock.try_lock() {
        Ok(()) => Ok(Claim { _lock: lock }),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Busy { path }),
        Err(std::fs::TryLockError::Error(error)) => Err(fail(&error)),
    }
}

fn path_of(url: &str) -> Result<PathBuf, StoreError> {
    let rest = url.strip_prefix("sqlite:").unwrap_or(url);
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() || path == ":memory:" {
        return Err(StoreError::Url {
            reason: "it names no file; it must be sqlite://PATH, such as sqlite://data/gateway.db".to_owned(),
        });
    }
    if path.contains(['?', '#']) {
        return Err(StoreError::Url { reason: "options after the path are not supported".to_owned() });
    }
    Ok(PathBuf::from(path))
}

/// Makes the directory and the file, readable by the gateway's user alone: payloads are in it.
fn create(path: &Path) -> std::io::Result<()> {
    if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory)?;
    }
    let mut file = std::fs::OpenOptions::new();
    file.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    file.open(path).map(drop)
}

fn options(path: &Path, busy_timeout: Duration) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(busy_timeout)
        .foreign_keys(true)
        .pragma("journal_size_limit", "67108864")
        .statement_cache_capacity(256)
        .disable_statement_logging()
}

fn migration_error(error: MigrateError, path: &Path) -> StoreError {
    if let MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) = error {
        return explain(StoreError::Sql(source), path);
    }
    // all the others are about versions
    StoreError::Migration { path: path.to_owned(), source: error }
}

/// Says what an error of the engine means for the file; <https://www.sqlite.org/rescode.html>.
pub(super) fn explain(error: StoreError, path: &Path) -> StoreError {
    let StoreError::Sql(source) = error else { return error };
    let path = path.to_owned();
    match primary_code(&source) {
        Some(5 | 6) => StoreError::Busy { path },
        Some(3 | 8 | 10 | 14) => StoreError::Permission { path, reason: source.to_string() },
        Some(11 | 26) => StoreError::Corrupt { path, reason: source.to_string() },
        Some(13) => StoreError::Full { path },
        Some(19) => StoreError::Conflict(source.to_string()),
        _ if matches!(source, sqlx::Error::PoolClosed) => StoreError::Closed,
        _ => StoreError::Sql(source),
    }
}

fn primary_code(error: &sqlx::Error) -> Option<i64> {
    let code = error.as_database_error()?.code()?.parse::<i64>().ok()?;
    Some(code & 0xff)
}
