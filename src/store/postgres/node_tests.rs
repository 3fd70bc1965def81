//! Numbers of gateways: nobody's twice, whatever becomes of connections.

use std::{sync::Arc, time::Duration};

use sqlx::{Connection, PgConnection};

use super::{
    node::{LOCK_SPACE, free, try_lock},
    open::{Database, database},
};
use crate::{
    domain::{ExchangeIds, Node},
    store::{Config, Metrics, StoreError, exchanges::Record, testing::postgres::Server as TestServer},
    telemetry,
};

async fn open(url: &str) -> Result<Database, StoreError> {
    let metrics = Metrics::register(&telemetry::metrics::Metrics::new().unwrap()).unwrap();
    database(&Config { url: url.to_owned(), ..Config::default() }, &metrics).await
}

#[tokio::test]
async fn gateways_have_numbers_of_their_own_and_only_those_that_are_gone_are_interrupted() {
    let url = TestServer::shared().database();
    let (first, second) = (open(&url).await.unwrap(), open(&url).await.unwrap());
    assert_ne!(first.node.number(), second.node.number());
    let now: jiff::Timestamp = "2026-11-23T04:00:00Z".parse().unwrap();
    let sending = |node: &Node| Record::open(ExchangeIds::of(node.clone(), None).next(now), now);
    let (mine, alive) = (sending(&first.node), sending(&second.node));
    let gone = Record::open(ExchangeIds::new(77, None).next(now), now);
    first.record(Arc::from([mine.clone(), alive.clone(), gone.clone()])).await.unwrap();
    let states = async || -> Vec<String> {
        sqlx::query_scalar("SELECT state FROM exchange ORDER BY array_position($1, id)")
            .bind(vec![mine.id.number(), alive.id.number(), gone.id.number()])
            .fetch_all(&first.readers)
            .await
            .unwrap()
    };
    assert_eq!(first.interrupt_gone().await.unwrap(), 1, "while both work");
    assert_eq!(states().await, ["sending", "sending", "interrupted"]);
    assert_eq!(first.interrupt_gone().await.unwrap(), 0);
    first.record(Arc::from([gone.clone()])).await.unwrap();
    assert_eq!(first.interrupt_open().await.unwrap(), 1, "at the start of the first");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while states().await != ["interrupted", "sending", "interrupted"] {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", states().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Who holds the locks of these numbers, each with its process at the server.
fn holders(url: &str, number: u16) -> String {
    let sql = format!(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = {LOCK_SPACE} AND objid = {number} \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    );
    TestServer::shared().sql(url, &sql)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_starts_never_takes_the_number_of_one_that_is_just_reconnecting() {
    let url = TestServer::shared().database();
    let first = open(&url).await.unwrap();
    let number = first.node.number();
    for _ in 0..5 {
        let before = holders(&url, number);
        TestServer::shared().sql(&url, &format!("SELECT pg_terminate_backend({before}, 5000)"));
        assert_eq!(holders(&url, number), "", "the number is free for a moment");
        let second = open(&url).await.unwrap();
        assert_ne!(second.node.number(), number);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while holders(&url, number).is_empty() {
            assert!(tokio::time::Instant::now() < deadline, "the first one takes its number again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(first.node.number(), number);
    }
}

#[tokio::test]
async fn numbers_come_round_past_those_that_are_taken() {
    let url = TestServer::shared().database();
    let first = open(&url).await.unwrap();
    let number = i64::from(first.node.number());
    let last = |n: i64| TestServer::shared().sql(&url, &format!("SELECT setval('gateway_node', {n})"));
    last(number + 511);
    let second = open(&url).await.unwrap();
    assert_eq!(i64::from(second.node.number()), number + 1, "the first one's is taken");
    // the number that was passed over to is behind the sequence, also while its gateway is just reconnecting
    let before = holders(&url, second.node.number());
    TestServer::shared().sql(&url, &format!("SELECT pg_terminate_backend({before}, 5000)"));
    assert_eq!(i64::from(open(&url).await.unwrap().node.number()), number + 2);
    last(511 - 1);
    assert_eq!(open(&url).await.unwrap().node.number(), 511);
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_whether_a_number_is_free_never_keeps_its_gateway_from_taking_it() {
    let url = TestServer::shared().database();
    let (mut asking, mut taking) =
        (PgConnection::connect(&url).await.unwrap(), PgConnection::connect(&url).await.unwrap());
    assert_eq!(free(&mut asking, vec![7, 8]).await.unwrap(), [7, 8]);
    assert!(try_lock(&mut taking, 7).await.unwrap());
    assert_eq!(free(&mut asking, vec![7, 8]).await.unwrap(), [8]);
    let asker = tokio::spawn(async move {
        loop {
            free(&mut asking, vec![7, 8]).await.unwrap();
        }
    });
    for _ in 0..300 {
        sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut taking).await.unwrap();
        assert!(try_lock(&mut taking, 7).await.unwrap(), "nobody else has taken it");
    }
    assert!(!asker.is_finished());
    asker.abort();
}
