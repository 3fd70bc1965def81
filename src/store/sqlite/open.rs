//! Opening the file, and what the engine's errors mean.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use sqlx::{
    ConnectOptions, Connection, Sqlite, SqliteConnection, SqlitePool, Transaction,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    checkpoint::{self, Checkpoints, Rest},
    leases::OneGateway,
};
use crate::domain::Node;
use crate::store::{
    Config, Engine, Metrics, Predecessor, Replay, SpoolConfig, Store, StoreError,
    backend::{Backend, CommitError},
    migrations,
    sql::session::Tables,
    writer::Writer,
};

/// Every table, embedded; one file per group of tables and change.
static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

/// What every group of tables works with.
#[derive(Clone, Debug)]
pub(in crate::store) struct Database {
    /// All writes.
    pub(in crate::store) writer: Writer<File>,
    /// All reads that need no transaction with a write.
    pub(in crate::store) readers: SqlitePool,
    path: Arc<Path>,
    migrated: Arc<[String]>,
    checkpoints: Arc<Checkpoints>,
}

/// The file as the writer knows it.
#[derive(Clone, Debug)]
pub(in crate::store) struct File {
    options: SqliteConnectOptions,
    path: Arc<Path>,
    rest: Rest,
}

impl Backend for File {
    type Driver = Sqlite;
    type Connection = SqliteConnection;
    /// A commit to a file either failed or not.
    type Doubt = std::convert::Infallible;

    fn connect(&self) -> BoxFuture<'_, Result<SqliteConnection, sqlx::Error>> {
        Box::pin(self.options.connect())
    }

    fn begin<'c>(
        &'c self,
        connection: &'c mut SqliteConnection,
    ) -> BoxFuture<'c, Result<Transaction<'c, Sqlite>, sqlx::Error>> {
        Box::pin(async {
            self.rest.carry_over(connection).await;
            connection.begin_with("BEGIN IMMEDIATE").await
        })
    }

    fn commit<'c>(
        &'c self,
        transaction: Transaction<'c, Sqlite>,
    ) -> BoxFuture<'c, Result<(), CommitError<Self::Doubt>>> {
        Box::pin(async { transaction.commit().await.map_err(CommitError::Failed) })
    }

    fn clear_up<'c>(
        &'c self,
        doubt: &'c Self::Doubt,
        _: &'c mut SqliteConnection,
    ) -> BoxFuture<'c, Result<bool, sqlx::Error>> {
        match *doubt {}
    }

    fn explain(&self, error: StoreError) -> StoreError {
        explain(error, &self.path)
    }

    fn patience(&self) -> Option<Duration> {
        None
    }

    fn is_worth_another_try(_: &StoreError) -> bool {
        false
    }
}

impl Database {
    /// Names the file in a reader's error.
    pub(in crate::store) fn explain(&self, error: impl Into<StoreError>) -> StoreError {
        explain(error.into(), &self.path)
    }
}

impl Engine for Database {
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.checkpoints.close().await;
            self.writer.close().await;
            self.readers.close().await;
        })
    }

    fn hand_over(&self, _: SpoolConfig, _: Predecessor, _: Replay) -> Result<(), StoreError> {
        Ok(())
    }

    fn is_shared(&self) -> bool {
        false
    }

    /// There is one gateway ([`claim`]).
    fn node(&self) -> Node {
        Node::default()
    }

    fn migrated(&self) -> &[String] {
        &self.migrated
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
    Ok(Store::over(Tables::Sqlite(Box::new(database.clone())), Arc::new(OneGateway), Arc::new(database)))
}

pub(in crate::store) async fn database(config: &Config, metrics: &Metrics) -> Result<Database, StoreError> {
    let path = path_of(&config.url)?;
    create(&path)
        .map_err(|error| StoreError::Permission { path: path.clone(), reason: error.to_string() })?;
    let options = options(&path, config.busy_timeout);
    let fail = |error: sqlx::Error| explain(StoreError::Sql(error), &path);
    let mut connection = options.connect().await.map_err(fail)?;
    let migrated = migrate(&mut connection).await.map_err(|error| migration_error(error, &path))?;
    let readers = SqlitePoolOptions::new()
        .max_connections(config.readers.max(1))
        .connect_with(options.clone().pragma("query_only", "ON"))
        .await
        .map_err(fail)?;
    let own = options.connect().await.map_err(fail)?;
    let rest = Rest::default();
    let checkpoints = Arc::new(Checkpoints::start(own, rest.clone(), metrics.clone()));
    let path: Arc<Path> = path.into();
    let file = File { options, path: Arc::clone(&path), rest };
    let writer = Writer::start(connection, file, config, metrics.clone());
    Ok(Database { writer, readers, path, migrated, checkpoints })
}

/// A connection that reads an existing database, whose tables are brought up to date first.
pub(in crate::store) async fn reader(config: &Config) -> Result<SqliteConnection, StoreError> {
    let path = path_of(&config.url)?;
    if !path.exists() {
        return Err(StoreError::Permission { path, reason: "there is no such file".to_owned() });
    }
    let fail = |error: sqlx::Error| explain(StoreError::Sql(error), &path);
    let mut connection = options(&path, config.busy_timeout).connect().await.map_err(fail)?;
    migrate(&mut connection).await.map_err(|error| migration_error(error, &path))?;
    Ok(connection)
}

/// Brings the tables up to date, and gives the names of what was missing.
async fn migrate(connection: &mut SqliteConnection) -> Result<Arc<[String]>, MigrateError> {
    let missing = migrations::missing(&MIGRATIONS, connection).await?;
    MIGRATIONS.run(connection).await?;
    Ok(missing.into())
}

/// Locks the file beside the database; the kernel lets go of the lock when the process ends.
pub(in crate::store) fn claim(url: &str) -> Result<std::fs::File, StoreError> {
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
        Ok(()) => Ok(lock),
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
        .pragma("wal_autocheckpoint", checkpoint::WRITERS_OWN)
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
