//! The writer and the file: what survives, what fails alone, what is said about broken files.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use super::open::{Database, File, database};
use crate::{
    store::{
        Config, Metrics, StoreError,
        sql::exchange_purge::{DELETE_ALL_KEYS, DELETE_KEYS, KEYS_END, LAST},
        writer::Command,
    },
    telemetry,
};

fn config(path: &Path) -> Config {
    Config { url: format!("sqlite://{}", path.display()), ..Config::default() }
}

pub(super) async fn open(path: &Path) -> Result<Database, StoreError> {
    database(&config(path), &Metrics::register(&telemetry::metrics::Metrics::new().unwrap()).unwrap()).await
}

/// A table of numbers, for tests.
async fn with_numbers(database: &Database) {
    let create = "CREATE TABLE IF NOT EXISTS number (n INTEGER PRIMARY KEY)";
    database
        .writer
        .write(move |c| Box::pin(async move { Ok(sqlx::query(create).execute(c).await.map(drop)?) }))
        .await
        .unwrap();
}

async fn numbers(database: &Database) -> Vec<i64> {
    let rows = sqlx::query("SELECT n FROM number ORDER BY n").fetch_all(&database.readers).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn insert(database: &Database, n: i64) -> Result<i64, StoreError> {
    let insert = "INSERT INTO number VALUES (?)";
    database
        .writer
        .write(move |c| {
            Box::pin(async move {
                sqlx::query(insert).bind(n).execute(c).await?;
                Ok(n)
            })
        })
        .await
}

/// Adds a number; 13 breaks the whole batch, -1 ends the transaction behind sqlx's back, 666 panics.
struct Add(i64);

impl Command<File> for Add {
    const KIND: &'static str = "add";
    type Answer = i64;

    fn apply<'c>(
        batch: &'c mut [Self],
        connection: &'c mut SqliteConnection,
    ) -> BoxFuture<'c, Result<Vec<i64>, StoreError>> {
        Box::pin(async move {
            for Self(n) in batch.iter() {
                sqlx::query("INSERT INTO number VALUES (?)").bind(n).execute(&mut *connection).await?;
            }
            if batch.iter().any(|add| add.0 == -1) {
                sqlx::query("ROLLBACK").execute(&mut *connection).await?;
                return Err(StoreError::Conflict("over".to_owned()));
            }
            assert!(!batch.iter().any(|add| add.0 == 666), "a bug");
            if batch.iter().any(|add| add.0 == 13) {
                return Err(StoreError::Conflict("thirteen".to_owned()));
            }
            Ok(batch.iter().map(|add| add.0).collect())
        })
    }
}

/// Writes more than fits.
struct Fill;

impl Command<File> for Fill {
    const KIND: &'static str = "fill";
    type Answer = ();

    fn apply<'c>(
        batch: &'c mut [Self],
        connection: &'c mut SqliteConnection,
    ) -> BoxFuture<'c, Result<Vec<()>, StoreError>> {
        Box::pin(async move {
            let fill = "CREATE TABLE filler AS SELECT randomblob(100000) AS b";
            sqlx::query(fill).execute(connection).await?;
            Ok(vec![(); batch.len()])
        })
    }
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_stop_without_close() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/gateway.db");
    let database = open(&path).await.unwrap();
    with_numbers(&database).await;
    for n in 0..20 {
        assert_eq!(insert(&database, n).await.unwrap(), n);
    }
    std::mem::forget(database);
    let again = open(&path).await.unwrap();
    assert_eq!(numbers(&again).await, (0..20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisonous_command_fails_alone() {
    let directory = tempfile::tempdir().unwrap();
    let database = Arc::new(open(&directory.path().join("gateway.db")).await.unwrap());
    with_numbers(&database).await;
    let all = (0..40).chain([13, 666, 666]).map(|n| {
        let database = Arc::clone(&database);
        tokio::spawn(async move { (n, database.writer.submit(Add(n)).await) })
    });
    let mut kept = Vec::new();
    for task in all.collect::<Vec<_>>() {
        match task.await.unwrap() {
            (n, Ok(answer)) => {
                assert_eq!(n, answer);
                kept.push(n);
            }
            (13, Err(StoreError::Conflict(_))) | (666, Err(StoreError::Panicked)) => {}
            other => panic!("{other:?}"),
        }
    }
    kept.sort_unstable();
    assert_eq!(kept, (0..40).filter(|n| *n != 13).collect::<Vec<_>>());
    assert_eq!(numbers(&database).await, kept);
}

#[tokio::test]
async fn a_rare_write_that_fails_keeps_nothing_and_says_conflict() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory.path().join("gateway.db")).await.unwrap();
    with_numbers(&database).await;
    insert(&database, 1).await.unwrap();
    let twice = database.writer.write(|c| {
        Box::pin(async {
            sqlx::query("INSERT INTO number VALUES (2)").execute(&mut *c).await?;
            sqlx::query("INSERT INTO number VALUES (1)").execute(&mut *c).await?;
            Ok(())
        })
    });
    let (failed, kept) = tokio::join!(twice, insert(&database, 3));
    assert!(matches!(failed, Err(StoreError::Conflict(_))), "{failed:?}");
    assert_eq!(kept.unwrap(), 3);
    assert_eq!(numbers(&database).await, [1, 3]);
}

#[tokio::test]
async fn closing_writes_what_waits_and_refuses_what_comes_later() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.db");
    let database = open(&path).await.unwrap();
    with_numbers(&database).await;
    let mut receipts = Vec::new();
    for n in 0..50 {
        receipts.push(database.writer.enqueue(Add(n + 100)).await.unwrap());
    }
    crate::store::Engine::close(&database).await;
    for receipt in receipts {
        receipt.committed().await.unwrap();
    }
    assert!(matches!(database.writer.submit(Add(1)).await, Err(StoreError::Closed)));
    assert_eq!(numbers(&open(&path).await.unwrap()).await.len(), 50);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.db");
    std::fs::write(&path, "this is no database, whatever its name says".repeat(200)).unwrap();
    let error = open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("gateway.db") && text.contains("restore"), "{text}");
}

#[tokio::test]
async fn a_path_that_cannot_be_written_is_named_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [file.join("gateway.db"), directory.path().to_owned()] {
        let error = open(&path).await.unwrap_err();
        assert!(matches!(error, StoreError::Permission { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn addresses_that_are_none_are_refused() {
    let metrics = Metrics::register(&telemetry::metrics::Metrics::new().unwrap()).unwrap();
    for url in ["sqlite://", "sqlite::memory:", "mysql://localhost/x", "data/gateway.db", ""] {
        let config = Config { url: url.to_owned(), ..Config::default() };
        assert!(matches!(crate::store::open(&config, &metrics).await, Err(StoreError::Url { .. })), "{url}");
    }
}

#[tokio::test]
async fn a_database_locked_by_another_process_fails_all_waiting_commands_at_once_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.db");
    let config = Config { busy_timeout: Duration::from_millis(100), ..config(&path) };
    let metrics = Metrics::register(&telemetry::metrics::Metrics::new().unwrap()).unwrap();
    let database = database(&config, &metrics).await.unwrap();
    with_numbers(&database).await;
    let options = SqliteConnectOptions::new().filename(&path);
    let mut other = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let started = Instant::now();
    let all = futures_util::future::join_all((0..100).map(|n| database.writer.submit(Add(n + 1000)))).await;
    assert!(all.iter().all(|result| matches!(result, Err(StoreError::Busy { .. }))), "{all:?}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    database.writer.submit(Add(1)).await.unwrap();
    assert_eq!(numbers(&database).await, [1]);
}

#[tokio::test]
async fn a_full_disk_is_named_and_writing_goes_on_once_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory.path().join("gateway.db")).await.unwrap();
    with_numbers(&database).await;
    let limit = async |pages: &'static str| {
        database
            .writer
            .write(move |c| Box::pin(async move { Ok(sqlx::query(pages).execute(c).await.map(drop)?) }))
            .await
    };
    limit("PRAGMA max_page_count = 1").await.unwrap();
    let error = database.writer.submit(Fill).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    limit("PRAGMA max_page_count = 1000000").await.unwrap();
    assert_eq!(insert(&database, 5).await.unwrap(), 5);
}

#[tokio::test]
async fn a_transaction_that_the_engine_ended_by_itself_does_not_stop_the_writer() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory.path().join("gateway.db")).await.unwrap();
    with_numbers(&database).await;
    assert!(database.writer.submit(Add(-1)).await.is_err());
    assert_eq!(insert(&database, 5).await.unwrap(), 5);
    assert_eq!(database.writer.submit(Add(6)).await.unwrap(), 6);
    assert_eq!(numbers(&database).await, [5, 6]);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.db");
    let database = open(&path).await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations VALUES (9999, 'later', '2030-01-01', 1, x'00', 1)";
    database
        .writer
        .write(move |c| Box::pin(async move { Ok(sqlx::query(newer).execute(c).await.map(drop)?) }))
        .await
        .unwrap();
    let error = open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Migration { .. }), "{error:?}");
    assert!(error.to_string().contains("newer version"), "{error}");
}

#[tokio::test]
async fn sqlite_is_compiled_as_the_project_says() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(&dir.path().join("gateway.db")).await.unwrap();
    let options: Vec<String> =
        sqlx::query_scalar("PRAGMA compile_options").fetch_all(&database.readers).await.unwrap();
    let told = "see .cargo/config.toml: cargo reads it where it is started, which must be in the project";
    assert!(options.iter().any(|option| option == "DEFAULT_MEMSTATUS=0"), "{told}: {options:?}");
    assert!(!options.iter().any(|option| option == "ENABLE_MEMORY_MANAGEMENT"), "{told}: {options:?}");
}

#[tokio::test]
async fn what_is_deleted_lies_at_the_beginning_of_its_tree() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(&dir.path().join("gateway.db")).await.unwrap();
    for sql in [LAST, KEYS_END, DELETE_KEYS, DELETE_ALL_KEYS] {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let rows = sqlx::query(explain).fetch_all(&database.readers).await.unwrap();
        let plan: String = rows.iter().map(|row| row.get::<String, _>("detail") + "\n").collect();
        assert!(plan.contains("SEARCH exchange"), "{sql}: {plan}");
        assert!(!plan.contains("TEMP B-TREE") && !plan.contains("SCAN exchange"), "{sql}: {plan}");
    }
}
