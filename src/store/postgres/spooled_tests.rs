//! What was kept while the server was away is never lost: neither by a stop, nor because the server refuses it.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::open::{Database, database};
use crate::{
    store::{
        Config, Engine, Metrics, Predecessor, Replay, SpoolConfig, StoreError,
        testing::postgres::Server as TestServer,
    },
    telemetry,
};

/// A database with a piece of evidence in its spool.
async fn with_evidence(directory: &Path) -> Database {
    let metrics = Metrics::register(&telemetry::metrics::Metrics::new().unwrap()).unwrap();
    let config = Config { url: TestServer::shared().database(), ..Config::default() };
    let database = database(&config, &metrics).await.unwrap();
    let spool = SpoolConfig { directory: directory.to_owned(), limit: 1 << 20 };
    database.spool.open(spool, Predecessor::Gone).unwrap();
    assert!(database.spool_evidence(b"evidence".to_vec()).await);
    database
}

/// The names of the files in the directory, besides its lock.
fn files(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> =
        names.map(|name| name.into_string().unwrap()).filter(|name| name != "lock").collect();
    names.sort_unstable();
    names
}

fn fails_with(error: fn() -> StoreError) -> Replay {
    Box::new(move |_| Box::pin(async move { Err(error()) }))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ledger_cannot_take_because_the_gateway_stops_stays_in_the_spool() {
    let directory = tempfile::tempdir().unwrap();
    let database = with_evidence(directory.path()).await;
    let (asked, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let replay: Replay = {
        let (database, asked, go_on) = (database.clone(), Arc::clone(&asked), Arc::clone(&go_on));
        Box::new(move |_| {
            let (database, asked, go_on) = (database.clone(), Arc::clone(&asked), Arc::clone(&go_on));
            Box::pin(async move {
                asked.notify_one();
                go_on.notified().await;
                database.ledger.write(|_| Box::pin(async { Ok(()) })).await
            })
        })
    };
    let hand_over = tokio::spawn(database.clone().run_hand_over(replay));
    asked.notified().await;
    database.close().await;
    go_on.notify_one();
    tokio::time::timeout(Duration::from_secs(10), hand_over).await.unwrap().unwrap();
    assert_eq!(files(directory.path()), ["0000000002.spool"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_refuses_is_put_aside_whole_and_can_be_handed_over_again() {
    let directory = tempfile::tempdir().unwrap();
    let database = with_evidence(directory.path()).await;
    let away = database.hand_over_oldest(&fails_with(StoreError::away)).await;
    assert!(matches!(away, Err(StoreError::Away { .. })), "{away:?}");
    assert_eq!(files(directory.path()), ["0000000002.spool"]);
    let refuses = fails_with(|| StoreError::Conflict("no such unit".to_owned()));
    assert!(database.hand_over_oldest(&refuses).await.unwrap());
    assert_eq!(files(directory.path()), ["0000000002.rejected"]);
    assert!(!database.hand_over_oldest(&refuses).await.unwrap(), "others are not held up by it");
    let aside = directory.path().join("0000000002.rejected");
    std::fs::rename(&aside, aside.with_extension("spool")).unwrap();
    let takes: Replay = Box::new(|evidence| {
        assert_eq!(evidence, b"evidence");
        Box::pin(async { Ok(()) })
    });
    assert!(database.hand_over_oldest(&takes).await.unwrap());
    assert!(files(directory.path()).is_empty());
}
