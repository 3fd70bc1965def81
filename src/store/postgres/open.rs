//! Connecting, and bringing the tables up to date.

use std::{
    path::PathBuf,
    str::FromStr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use sqlx::{
    ConnectOptions, PgConnection, PgPool,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};

use tokio_util::sync::CancellationToken;

use super::{leases::Leases, node, partitions::Months, server::Server};
use crate::domain::{Node, Period};
use crate::store::{
    Config, Engine, Metrics, Predecessor, Replay, SpoolConfig, Store, StoreError, backend::Backend,
    migrations, spool::Spool, sql::session::Tables, writer::Writer,
};

/// Every table, embedded; one file per group of tables and change, numbered like SQLite's.
static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/postgres");

/// How much longer a transaction may take than the wait for a lock.
const MARGIN: Duration = Duration::from_secs(5);

/// What every group of tables works with.
#[derive(Clone, Debug)]
pub(in crate::store) struct Database {
    /// All writes but the ledger's.
    pub(in crate::store) writer: Writer<Server>,
    /// The ledger's writes.
    pub(super) ledger: Writer<Server>,
    /// All reads that need no transaction with a write.
    pub(in crate::store) readers: PgPool,
    pub(super) months: Months,
    /// The month that is being deleted, with its exchanges.
    pub(super) counted: Arc<Mutex<Option<(Period, u64)>>>,
    pub(super) node: Node,
    pub(super) server: Server,
    pub(super) closing: CancellationToken,
    /// Ends before anything else is closed.
    pub(super) handing_over: CancellationToken,
    pub(super) spool: Spool,
    migrated: Arc<[String]>,
}

impl Database {
    /// Names the server in a reader's error, and what to do.
    pub(in crate::store) fn explain(&self, error: impl Into<StoreError>) -> StoreError {
        self.server.explain(error.into())
    }
}

impl Engine for Database {
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.handing_over.cancel();
            self.ledger.close().await;
            self.writer.close().await;
            self.readers.close().await;
            self.closing.cancel();
        })
    }

    fn hand_over(
        &self,
        config: SpoolConfig,
        predecessor: Predecessor,
        replay: Replay,
    ) -> Result<(), StoreError> {
        self.spool.open(config, predecessor)?;
        tokio::spawn(self.clone().run_hand_over(replay));
        Ok(())
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn node(&self) -> Node {
        self.node.clone()
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

/// Connects and brings the tables up to date.
pub(in crate::store) async fn open(config: &Config, metrics: &Metrics) -> Result<Store, StoreError> {
    let database = database(config, metrics).await?;
    Ok(Store::over(
        Tables::Postgres(Box::new(database.clone())),
        Arc::new(Leases(database.server.clone())),
        Arc::new(database),
    ))
}

pub(in crate::store) async fn database(config: &Config, metrics: &Metrics) -> Result<Database, StoreError> {
    let server = server(config)?;
    let fail = |error: sqlx::Error| server.explain(StoreError::Sql(error));
    let (connection, migrated) = connected(&server).await?;
    let second = server.connect().await.map_err(fail)?;
    let closing = CancellationToken::new();
    let readers = PgPoolOptions::new()
        .max_connections(config.readers.max(1))
        .acquire_timeout(server.patience)
        .connect_lazy_with(server.options.clone().options([("default_transaction_read_only", "on")]));
    Ok(Database {
        writer: Writer::start(connection, server.clone(), config, metrics.clone()),
        ledger: Writer::start(second, server.clone(), config, metrics.clone()),
        readers,
        months: Months::default(),
        counted: Arc::default(),
        node: node::join(&server, closing.clone()).await?,
        handing_over: closing.child_token(),
        closing,
        spool: Spool::closed(metrics.clone()),
        server,
        migrated,
    })
}

/// A connection to the database with its tables up to date, and the names of what was missing.
pub(super) async fn connected(server: &Server) -> Result<(PgConnection, Arc<[String]>), StoreError> {
    let mut connection = server.connect().await.map_err(|e| server.explain(StoreError::Sql(e)))?;
    let fail = |error| migration_error(error, server);
    let missing = migrations::missing(&MIGRATIONS, &mut connection).await.map_err(fail)?;
    MIGRATIONS.run(&mut connection).await.map_err(fail)?;
    Ok((connection, missing.into()))
}

/// Where the database is. Whatever libpq's URLs may say of TLS is understood (`sslmode`, `sslrootcert`, …).
pub(super) fn server(config: &Config) -> Result<Server, StoreError> {
    let fail = |reason: String| StoreError::Url { reason };
    let url = url::Url::parse(&config.url)
        .map_err(|error| fail(format!("{error}; write postgres://USER@HOST/DATABASE")))?;
    let mut options = PgConnectOptions::from_str(&config.url)
        .map_err(|error| fail(format!("{error}; write postgres://USER@HOST/DATABASE")))?;
    if let Some(file) = &config.password_file {
        let password = std::fs::read_to_string(file)
            .map_err(|error| fail(format!("the password file {} cannot be read: {error}", file.display())))?;
        options = options.password(password.trim_end_matches(['\r', '\n']));
    }
    let wait = config.busy_timeout;
    let options = options
        .application_name("leqi-gateway")
        .statement_cache_capacity(256)
        .options([
            // an answer means that it is on disk, whatever the server's own setting
            ("synchronous_commit", "on".to_owned()),
            ("lock_timeout", wait.as_millis().to_string()),
            // a gateway that vanished must not hold its locks
            ("idle_in_transaction_session_timeout", (wait + MARGIN).as_millis().to_string()),
            ("tcp_keepalives_idle", "15".to_owned()),
            ("tcp_keepalives_interval", "5".to_owned()),
            ("tcp_keepalives_count", "3".to_owned()),
            ("client_min_messages", "warning".to_owned()),
        ])
        .disable_statement_logging();
    let host = url.host_str().filter(|host| !host.is_empty()).unwrap_or("localhost");
    let address = format!("postgres://{host}{}", url.path());
    Ok(Server { options, address: address.into(), patience: wait + MARGIN })
}

fn migration_error(error: MigrateError, server: &Server) -> StoreError {
    if let MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) = error {
        return server.explain(StoreError::Sql(source));
    }
    // all the others are about versions
    StoreError::Migration { path: PathBuf::from(&*server.address), source: error }
}
