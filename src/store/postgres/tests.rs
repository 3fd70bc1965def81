//! The writers and the server: what survives, what fails alone, what is said about servers that are not there.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use sqlx::PgConnection;

use super::{open::Database, open::database, server::Server};
use crate::{
    domain::ExchangeIds,
    store::{
        Config, Metrics, Progress, StoreError,
        audit::AuditRow,
        exchanges::{Filter, Record},
        move_over,
        testing::postgres::Server as TestServer,
        tokens::TokenRow,
        writer::Command,
    },
    telemetry,
};

fn config(url: String) -> Config {
    Config { url, ..Config::default() }
}

async fn open(url: &str) -> Result<Database, StoreError> {
    let metrics = Metrics::register(&telemetry::metrics::Metrics::new().unwrap()).unwrap();
    database(&config(url.to_owned()), &metrics).await
}

async fn numbers(database: &Database) -> Vec<i64> {
    sqlx::query_scalar("SELECT n FROM number ORDER BY n").fetch_all(&database.readers).await.unwrap()
}

/// A new database with a table of numbers.
async fn with_numbers() -> (String, Database) {
    let server = TestServer::shared();
    let url = server.database();
    let database = open(&url).await.unwrap();
    server.sql(&url, "CREATE TABLE number (n BIGINT PRIMARY KEY)");
    (url, database)
}

/// Adds a number; -13 breaks the whole batch.
struct Add(i64);

impl Command<Server> for Add {
    const KIND: &'static str = "add";
    type Answer = i64;

    fn apply<'c>(
        batch: &'c mut [Self],
        connection: &'c mut PgConnection,
    ) -> BoxFuture<'c, Result<Vec<i64>, StoreError>> {
        Box::pin(async move {
            for Self(n) in batch.iter() {
                sqlx::query("INSERT INTO number VALUES ($1)").bind(n).execute(&mut *connection).await?;
            }
            if batch.iter().any(|add| add.0 == -13) {
                return Err(StoreError::Conflict("thirteen".to_owned()));
            }
            Ok(batch.iter().map(|add| add.0).collect())
        })
    }
}

#[tokio::test]
async fn a_poisonous_command_fails_alone() {
    let (_, database) = with_numbers().await;
    let all = (0..40).chain([-13]).map(|n| {
        let database = database.clone();
        tokio::spawn(async move { (n, database.writer.submit(Add(n)).await) })
    });
    let mut kept = Vec::new();
    for task in all.collect::<Vec<_>>() {
        match task.await.unwrap() {
            (n, Ok(answer)) => {
                assert_eq!(n, answer);
                kept.push(n);
            }
            (-13, Err(StoreError::Conflict(_))) => {}
            other => panic!("{other:?}"),
        }
    }
    kept.sort_unstable();
    assert_eq!(numbers(&database).await, kept);
    assert_eq!(kept, (0..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_connection_that_the_server_ends_is_made_again_and_nothing_is_lost() {
    let (url, database) = with_numbers().await;
    for n in 0..20 {
        let ended = TestServer::shared().sql(
            &url,
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE application_name = 'leqi-gateway' AND datname = current_database()",
        );
        assert_ne!(ended, "0");
        assert_eq!(database.writer.submit(Add(n)).await.unwrap(), n);
    }
    assert_eq!(numbers(&database).await, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn two_gateways_that_lock_crosswise_both_get_through() {
    let (url, first) = with_numbers().await;
    let second = open(&url).await.unwrap();
    TestServer::shared().sql(&url, "INSERT INTO number SELECT generate_series(1, 2)");
    let step = async |database: Database, one: i64, other: i64| {
        database
            .writer
            .write(move |c| {
                Box::pin(async move {
                    for n in [one, other] {
                        sqlx::query("UPDATE number SET n = n WHERE n = $1").bind(n).execute(&mut *c).await?;
                        sqlx::query("SELECT pg_sleep(0.02)").execute(&mut *c).await?;
                    }
                    Ok(())
                })
            })
            .await
    };
    for _ in 0..5 {
        let (a, b) = tokio::join!(step(first.clone(), 1, 2), step(second.clone(), 2, 1));
        a.unwrap();
        b.unwrap();
    }
}

#[tokio::test]
async fn every_commit_is_flushed_whatever_the_servers_own_setting() {
    let server = TestServer::shared();
    let url = server.database();
    let name = url.rsplit('/').next().unwrap();
    server.sql(&url, &format!("ALTER DATABASE {name} SET synchronous_commit = off"));
    let database = open(&url).await.unwrap();
    let setting: String = database
        .writer
        .write(|c| Box::pin(async { Ok(sqlx::query_scalar("SHOW synchronous_commit").fetch_one(c).await?) }))
        .await
        .unwrap();
    assert_eq!(setting, "on");
}

#[tokio::test]
async fn what_is_wrong_with_an_address_is_said_without_its_password() {
    let server = TestServer::shared();
    let (at, _) = server.url.rsplit_once('/').unwrap();
    let (_, host) = at.rsplit_once('@').unwrap();
    let nowhere = format!("postgres://postgres:geheim@{host}/there_is_no_such_database");
    let error = open(&nowhere).await.unwrap_err();
    assert!(matches!(error, StoreError::Permission { .. }), "{error:?}");
    let closed = open("postgres://postgres:geheim@127.0.0.1:1/x").await.unwrap_err();
    assert!(matches!(closed, StoreError::Away { .. }), "{closed:?}");
    let strange = open("postgres://postgres:geheim@127.0.0.1:1/x?sslmode=strange").await.unwrap_err();
    assert!(matches!(strange, StoreError::Url { .. }), "{strange:?}");
    for error in [error, closed, strange] {
        assert!(!format!("{error} {error:?}").contains("geheim"), "{error:?}");
    }
    assert!(!format!("{:?}", config(nowhere)).contains("geheim"));
    let unreadable =
        Config { password_file: Some(Path::new("no/such/file").to_owned()), ..config(server.url.clone()) };
    let metrics = Metrics::register(&telemetry::metrics::Metrics::new().unwrap()).unwrap();
    let error = database(&unreadable, &metrics).await.unwrap_err();
    assert!(error.to_string().contains("no/such/file"), "{error}");
}

#[tokio::test]
async fn closing_writes_what_waits_and_refuses_what_comes_later() {
    let (_, database) = with_numbers().await;
    let mut receipts = Vec::new();
    for n in 0..50 {
        receipts.push(database.writer.enqueue(Add(n + 100)).await.unwrap());
    }
    let database = Arc::new(database);
    database.writer.close().await;
    for receipt in receipts {
        receipt.committed().await.unwrap();
    }
    assert!(matches!(database.writer.submit(Add(1)).await, Err(StoreError::Closed)));
    assert_eq!(numbers(&database).await.len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_is_away_writes_fail_at_once_and_what_was_committed_is_there_afterwards() {
    let server = TestServer::start();
    let url = server.database();
    let database = open(&url).await.unwrap();
    server.sql(&url, "CREATE TABLE number (n BIGINT PRIMARY KEY)");
    let mut promised = Vec::new();
    for round in 0..3_i64 {
        let stopping = Arc::new(AtomicBool::new(false));
        let load = tokio::spawn(add_until(Arc::clone(&stopping), database.clone(), round * 1_000_000));
        while numbers(&database).await.len() <= promised.len() {}
        tokio::task::block_in_place(|| server.stop("immediate"));
        // the load notices first
        while database.writer.submit(Add(-1)).await.is_ok() {}
        let started = std::time::Instant::now();
        assert!(matches!(database.writer.submit(Add(-1)).await, Err(StoreError::Away { .. })));
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        stopping.store(true, Ordering::SeqCst);
        tokio::task::block_in_place(|| server.start_again());
        promised.extend(load.await.unwrap());
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while let Err(error) = database.writer.submit(Add(round * 1_000_000 + 999_999)).await {
            assert!(tokio::time::Instant::now() < deadline, "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        promised.push(round * 1_000_000 + 999_999);
    }
    promised.sort_unstable();
    assert_eq!(numbers(&database).await, promised, "what was answered is kept, and nothing else");
}

/// Adds numbers from `first` on, and gives those that were answered.
async fn add_until(stopping: Arc<AtomicBool>, database: Database, first: i64) -> Vec<i64> {
    let mut done = Vec::new();
    for n in first.. {
        if stopping.load(Ordering::SeqCst) {
            break;
        }
        match database.writer.submit(Add(n)).await {
            Ok(n) => done.push(n),
            Err(StoreError::Away { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(other) => panic!("{other:?}"),
        }
    }
    done
}

#[tokio::test]
async fn a_sqlite_database_moves_over_whole_and_only_into_an_empty_one() {
    let directory = tempfile::tempdir().unwrap();
    let from = config(format!("sqlite://{}", directory.path().join("gateway.db").display()));
    let to = config(TestServer::shared().database());
    let metrics = Metrics::register(&telemetry::metrics::Metrics::new().unwrap()).unwrap();
    let store = crate::store::open(&from, &metrics).await.unwrap();
    let audit = AuditRow {
        at: jiff::Timestamp::UNIX_EPOCH,
        actor: "me".to_owned(),
        action: "token.create".to_owned(),
        subject: "一".to_owned(),
        detail: "{}".to_owned(),
    };
    let token = |n: u8| TokenRow {
        id: 0,
        name: format!("token {n}"),
        role: "viewer".to_owned(),
        hash: [n; 32],
        created_at: jiff::Timestamp::UNIX_EPOCH,
        revoked_at: None,
    };
    for n in 0..7 {
        store.tokens.insert(token(n), audit.clone()).await.unwrap();
    }
    let ids = ExchangeIds::new(3, None);
    let records: Vec<Record> = ["2026-10-31T15:00:00Z", "2026-11-30T15:59:59Z", "2026-11-30T16:00:01Z"]
        .into_iter()
        .cycle()
        .take(1200)
        .map(|at: &str| {
            let at: jiff::Timestamp = at.parse().unwrap();
            let id = ids.next(at);
            let mut record = Record::open(id, at);
            record.request_body = vec![7; 300].into();
            record.request_sha256 = Some([9; 32]);
            record.request_id = Some(format!("{id}"));
            record.note = Some("备注".to_owned());
            record
        })
        .collect();
    store.exchanges.write(records.clone().into()).await.unwrap();
    let tokens = store.tokens.all().await.unwrap();
    store.close().await;

    let mut seen = Vec::new();
    let moved = move_over(&from, &to, &mut |progress: Progress| seen.push(progress)).await.unwrap();
    let rows = |name: &str| moved.iter().find(|table| table.table == name).unwrap().rows;
    assert_eq!(
        (rows("token"), rows("audit"), rows("exchange"), rows("exchange_request")),
        (7, 7, 1200, 1200)
    );
    assert!(seen.iter().any(|progress| progress.table == "exchange" && progress.rows == 500));
    let store = crate::store::open(&to, &metrics).await.unwrap();
    assert_eq!(store.tokens.all().await.unwrap(), tokens);
    assert_eq!(store.tokens.insert(token(9), audit).await.unwrap(), Some(8), "numbers go on");
    for record in records.iter().step_by(100) {
        let stored = store.exchanges.by_id(record.id).await.unwrap().unwrap();
        assert_eq!((stored.note.as_deref(), stored.request_sha256), (Some("备注"), Some([9; 32])));
        let filter = Filter { request_id: Some(record.id.to_string()), ..Filter::default() };
        assert_eq!(store.exchanges.search(&filter, None, 2).await.unwrap().len(), 1);
    }
    let error = move_over(&from, &to, &mut |_| ()).await.unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error}");
    let claimed = crate::store::claim(&from).unwrap();
    assert!(matches!(move_over(&from, &to, &mut |_| ()).await, Err(StoreError::Busy { .. })));
    drop(claimed);
}

#[tokio::test]
async fn a_lease_is_held_once_and_ends_with_its_connection() {
    let url = TestServer::shared().database();
    let metrics = Metrics::register(&telemetry::metrics::Metrics::new().unwrap()).unwrap();
    let first = crate::store::open(&config(url.clone()), &metrics).await.unwrap();
    let second = crate::store::open(&config(url.clone()), &metrics).await.unwrap();
    let lease = first.leases.try_lease("job").await.unwrap().expect("nobody has it");
    assert!(second.leases.try_lease("job").await.unwrap().is_none());
    assert!(second.leases.try_lease("other job").await.unwrap().is_some());
    drop(lease);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let lease = loop {
        if let Some(lease) = second.leases.try_lease("job").await.unwrap() {
            break lease;
        }
        assert!(tokio::time::Instant::now() < deadline, "a lease that was given up is to be had");
    };
    TestServer::shared().sql(
        &url,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE application_name = 'leqi-gateway' AND datname = current_database()",
    );
    while lease.is_held() {
        assert!(tokio::time::Instant::now() < deadline, "a lease ends with its connection");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
