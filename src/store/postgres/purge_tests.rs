//! Deleting the oldest exchanges: what it finds, through which indexes, and whom it holds up.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use sqlx::{Connection, PgConnection};

use super::{
    open::{Database, database},
    partitions,
};
use crate::{
    domain::{ExchangeId, ExchangeIds, InvoiceNo, Period},
    store::{
        Config, Metrics, StoreError,
        exchanges::Record,
        sql::exchange_purge::{DELETE_KEYS, KEYS_END, LAST},
        testing::postgres::Server,
    },
    telemetry,
};

async fn open(url: &str) -> Database {
    let metrics = Metrics::register(&telemetry::metrics::Metrics::new().unwrap()).unwrap();
    database(&Config { url: url.to_owned(), ..Config::default() }, &metrics).await.unwrap()
}

fn record(ids: &ExchangeIds, at: &str) -> Record {
    let at: jiff::Timestamp = at.parse().unwrap();
    Record { client_tid: Some("tid".to_owned()), ..Record::open(ids.next(at), at) }
}

fn instant(at: &str) -> ExchangeId {
    ExchangeId::first_at(at.parse().unwrap())
}

/// Deletes until nothing is left to delete; gives how many exchanges were, and in how many steps.
async fn purge(database: &Database, before: ExchangeId, limit: usize) -> (u64, u32) {
    let (mut deleted, mut steps) = (0, 0);
    loop {
        let purged = database.purge(before, limit).await.unwrap();
        deleted += purged.exchanges;
        steps += 1;
        if !purged.more {
            return (deleted, steps);
        }
    }
}

async fn count(database: &Database, table: &str) -> i64 {
    let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    sqlx::query_scalar(sql).fetch_one(&database.readers).await.unwrap()
}

#[tokio::test]
async fn the_request_log_forgets_whole_months_at_once_and_the_rest_row_by_row() {
    let database = open(&Server::shared().database()).await;
    let ids = ExchangeIds::new(0, None);
    let old =
        ["2026-09-10T00:00:00Z", "2026-10-10T00:00:00Z", "2026-11-10T00:00:00Z", "2026-11-10T00:00:01Z"]
            .map(|at| record(&ids, at));
    let young = record(&ids, "2026-11-20T00:00:00Z");
    let all: Vec<Record> = old.iter().chain([&young]).cloned().collect();
    database.record(Arc::from(all)).await.unwrap();
    let (deleted, steps) = purge(&database, instant("2026-11-15T00:00:00Z"), 1).await;
    assert_eq!(deleted, 4);
    assert!(steps >= 4, "two months and two rows: {steps}");
    let left: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM exchange").fetch_all(&database.readers).await.unwrap();
    assert_eq!(left, [young.id.number()]);
    assert_eq!(count(&database, "exchange_key").await, 1);
    // a record that comes late finds its month again
    database.record(Arc::from([old[0].clone()])).await.unwrap();
}

#[tokio::test]
async fn more_keys_than_a_portion_takes_go_with_the_next_ones() {
    let database = open(&Server::shared().database()).await;
    let ids = ExchangeIds::new(0, None);
    let at = "2026-11-10T00:00:00Z";
    let invoices = (0..100).map(|n| InvoiceNo::parse(&format!("{n:020}")).unwrap()).collect();
    let upload = Record { invoice_nos: invoices, ..record(&ids, at) };
    database.record(Arc::from([upload, record(&ids, at), record(&ids, at)])).await.unwrap();
    assert_eq!(count(&database, "exchange_key").await, 103);
    let (deleted, steps) = purge(&database, instant("2026-11-15T00:00:00Z"), 2).await;
    assert_eq!((deleted, steps), (3, 3), "103 keys, 40 a step");
    assert_eq!(count(&database, "exchange_key").await, 0);
}

#[tokio::test]
async fn the_oldest_exchanges_and_keys_are_found_at_the_beginning_of_their_indexes() {
    let server = Server::shared();
    let url = server.database();
    let database = open(&url).await;
    let months: BTreeSet<Period> = ["2026-10", "2026-11"].map(|month| Period::parse(month).unwrap()).into();
    database
        .writer
        .write(move |connection| {
            let months = months.clone();
            Box::pin(async move { partitions::make(&months, connection).await })
        })
        .await
        .unwrap();
    let (from, to) = (instant("2026-10-05T00:00:00Z").number(), instant("2026-11-20T00:00:00Z").number());
    server.sql(
        &url,
        &format!(
            "INSERT INTO exchange_key SELECT id >> 44, 1, md5(id::text), id
             FROM generate_series({from}, {to}, ({to} - {from}) / 40000) AS id;
             INSERT INTO exchange_request SELECT exchange, '' FROM exchange_key;
             ANALYZE"
        ),
    );
    let bucket = instant("2026-10-08T00:00:00Z").number() >> 44;
    let explain = |types: &str, sql: &str, values: &str| {
        let sql =
            format!("PREPARE asked ({types}) AS {sql}; EXPLAIN EXECUTE asked ({values}); DEALLOCATE asked");
        let plan = server.sql(&url, &sql);
        assert!(!plan.contains("Seq Scan"), "{plan}");
        plan
    };
    let plan = explain("bigint, bigint", KEYS_END, &format!("{bucket}, 10000"));
    assert!(plan.contains("Index Cond: (bucket <"), "{plan}");
    let values = format!("{bucket}, 1, 'a', {from}");
    let plan = explain("bigint, bigint, text, bigint", DELETE_KEYS, &values);
    assert!(plan.contains("Index Cond: (ROW(bucket, kind, value, exchange) <"), "{plan}");
    // partitioned and indexed like the exchanges themselves, with less to fill in
    let last = LAST.replace("FROM exchange ", "FROM exchange_request ");
    let plan = explain("bigint, bigint", &last, &format!("{to}, 500"));
    assert!(plan.contains("exchange_request_202610_pkey"), "{plan}");
}

#[tokio::test]
async fn a_month_that_is_still_being_read_holds_nobody_up_for_long() {
    let url = Server::shared().database();
    let database = open(&url).await;
    let ids = ExchangeIds::new(0, None);
    let old = record(&ids, "2026-09-10T00:00:00Z");
    database.record(Arc::from([old, record(&ids, "2026-11-20T00:00:00Z")])).await.unwrap();
    let mut backup = PgConnection::connect(&url).await.unwrap();
    let mut reading = backup.begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM exchange_request_202609").execute(&mut *reading).await.unwrap();
    let before = instant("2026-11-15T00:00:00Z");
    let began = std::time::Instant::now();
    let error = database.purge(before, 10).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_millis(900), "it is not waited for: {:?}", began.elapsed());
    let month = Period::parse("2026-09").unwrap();
    assert_eq!(*database.counted.lock().unwrap(), Some((month, 1)), "the next try need not count again");
    assert_eq!(count(&database, "exchange").await, 2, "nothing of the month is gone");
    let waits: String = database
        .writer
        .write(|c| Box::pin(async { Ok(sqlx::query_scalar("SHOW lock_timeout").fetch_one(c).await?) }))
        .await
        .unwrap();
    assert_eq!(waits, "10s", "others wait as ever");
    reading.rollback().await.unwrap();
    assert_eq!(purge(&database, before, 10).await.0, 1);
    assert_eq!(*database.counted.lock().unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_write_all_the_time_do_not_keep_a_month_from_going() {
    let url = Server::shared().database();
    let (database, other) = (open(&url).await, open(&url).await);
    let ids = ExchangeIds::new(0, None);
    let old = record(&ids, "2026-09-10T00:00:00Z");
    database.record(Arc::from([old, record(&ids, "2026-11-20T00:00:00Z")])).await.unwrap();
    let busy = tokio::spawn(async move {
        loop {
            other.record(Arc::from([record(&ids, "2026-11-20T00:00:00Z")])).await.unwrap();
        }
    });
    assert_eq!(purge(&database, instant("2026-11-15T00:00:00Z"), 10).await.0, 1);
    assert!(!busy.is_finished());
    busy.abort();
}
