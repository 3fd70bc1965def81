//! What is kept comes out in order, whoever kept it.

use std::{fs::OpenOptions, io::Write, path::Path};

use super::*;
use crate::telemetry;

fn closed() -> Spool {
    Spool::closed(Metrics::register(&telemetry::metrics::Metrics::new().unwrap()).unwrap())
}

fn open(directory: &Path, limit: u64, predecessor: Predecessor) -> Spool {
    let spool = closed();
    spool.open(SpoolConfig { directory: directory.to_owned(), limit }, predecessor).unwrap();
    spool
}

fn spool(directory: &Path, limit: u64) -> Spool {
    open(directory, limit, Predecessor::Gone)
}

/// Everything that comes out, which is forgotten.
async fn drained(spool: &Spool) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some((path, entries)) = spool.oldest().await.unwrap() {
        let count = entries.len();
        all.extend(entries);
        spool.done(&path, count).await.unwrap();
    }
    all
}

fn entry(n: u8) -> Vec<u8> {
    vec![n; 100]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_comes_out_in_order_also_after_a_restart_and_a_cut_frame() {
    let directory = tempfile::tempdir().unwrap();
    let first = spool(directory.path(), 1 << 20);
    for n in 0..10 {
        first.keep(vec![entry(n)], n % 2 == 0).await.unwrap();
    }
    drop(first);
    let (_, path) = numbered(directory.path(), WAITING).unwrap().pop().unwrap();
    OpenOptions::new().append(true).open(path).unwrap().write_all(&[100, 0, 0, 0, 1, 2, 3, 4, 5]).unwrap();
    let again = spool(directory.path(), 1 << 20);
    again.keep(vec![entry(10)], false).await.unwrap();
    let mut all = Vec::new();
    while let Some((path, entries)) = again.oldest().await.unwrap() {
        let count = entries.len();
        all.extend(entries);
        again.done(&path, count).await.unwrap();
    }
    assert_eq!(all, (0..=10).map(entry).collect::<Vec<_>>());
    assert_eq!(again.metrics.spool_bytes.get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_put_aside_is_never_overwritten_and_waits_again_with_its_old_ending() {
    let directory = tempfile::tempdir().unwrap();
    for n in 0..3 {
        let spool = spool(directory.path(), 1 << 20);
        spool.keep(vec![entry(n)], false).await.unwrap();
        let (path, _) = spool.oldest().await.unwrap().unwrap();
        spool.put_aside(&path).await.unwrap();
        assert!(spool.oldest().await.unwrap().is_none());
        assert_eq!((spool.metrics.spool_bytes.get(), spool.metrics.spool_rejected.get()), (0, 1));
    }
    for (_, path) in numbered(directory.path(), ASIDE).unwrap() {
        fs::rename(&path, path.with_extension(WAITING)).unwrap();
    }
    let again = spool(directory.path(), 1 << 20);
    let mut all = Vec::new();
    while let Some((path, entries)) = again.oldest().await.unwrap() {
        all.extend(entries);
        again.done(&path, 1).await.unwrap();
    }
    assert_eq!(all, (0..3).map(entry).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn records_nobody_waits_for_leave_room_for_answers_of_calls_that_change_something() {
    let directory = tempfile::tempdir().unwrap();
    let spool = spool(directory.path(), 2000);
    let mut common = 0;
    while spool.keep(vec![entry(1)], true).await.is_ok() {
        common += 1;
    }
    assert_eq!(common, 1500 / 108);
    assert!(spool.keep(vec![entry(2)], false).await.is_ok());
    let error = loop {
        if let Err(error) = spool.keep(vec![entry(2)], false).await {
            break error;
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_belongs_to_one_gateway() {
    let directory = tempfile::tempdir().unwrap();
    let _first = spool(directory.path(), 1000);
    let config = SpoolConfig { directory: directory.path().to_owned(), limit: 1000 };
    assert!(matches!(closed().open(config, Predecessor::Gone), Err(StoreError::Busy { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_gateway_takes_over_what_the_one_before_left_and_its_own_comes_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let first = spool(directory.path(), 1 << 20);
    let next = open(directory.path(), 1 << 20, Predecessor::Ending);
    next.keep(vec![entry(2)], false).await.unwrap();
    first.keep(vec![entry(0)], false).await.unwrap();
    next.settle().await.unwrap();
    next.keep(vec![entry(3)], false).await.unwrap();
    first.keep(vec![entry(1)], false).await.unwrap();
    assert_eq!(next.metrics.spool_bytes.get(), 216, "the first one's is not counted yet");
    drop(first);
    next.settle().await.unwrap();
    assert_eq!(next.metrics.spool_bytes.get(), 432);
    next.keep(vec![entry(4)], false).await.unwrap();
    let third = SpoolConfig { directory: directory.path().to_owned(), limit: 1000 };
    assert!(matches!(closed().open(third, Predecessor::Gone), Err(StoreError::Busy { .. })), "it is taken");
    assert_eq!(drained(&next).await, (0..5).map(entry).collect::<Vec<_>>());
    assert_eq!(next.metrics.spool_bytes.get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_beside_is_handed_over_from_there_and_not_by_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let first = spool(directory.path(), 1 << 20);
    let next = open(directory.path(), 1 << 20, Predecessor::Ending);
    first.keep(vec![entry(0)], false).await.unwrap();
    next.keep(vec![entry(1)], false).await.unwrap();
    first.settle().await.unwrap();
    assert_eq!(drained(&first).await, [entry(0)]);
    assert_eq!(drained(&next).await, [entry(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_process_left_beside_is_taken_in_by_whoever_has_the_spool() {
    let directory = tempfile::tempdir().unwrap();
    let first = spool(directory.path(), 1 << 20);
    let [second, third] = [1, 2].map(|_| open(directory.path(), 1 << 20, Predecessor::Ending));
    for (spool, n) in [(&second, 0), (&third, 1)] {
        spool.keep(vec![entry(n)], false).await.unwrap();
        let (path, _) = spool.oldest().await.unwrap().unwrap();
        spool.put_aside(&path).await.unwrap();
        spool.keep(vec![entry(n + 2)], false).await.unwrap();
    }
    drop(second);
    first.settle().await.unwrap();
    assert_eq!(drained(&first).await, [entry(2)]);
    drop(first);
    drop(third);
    let again = spool(directory.path(), 1 << 20);
    assert_eq!(drained(&again).await, [entry(3)]);
    assert_eq!(numbered(directory.path(), ASIDE).unwrap().len(), 2, "what was put aside stays aside");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spool_is_not_taken_over_before_it_has_room_for_what_waits_beside() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path(), 500, Predecessor::Gone);
    let [next, dead] = [1, 2].map(|_| open(directory.path(), 500, Predecessor::Ending));
    for n in 0..3 {
        first.keep(vec![entry(n)], false).await.unwrap();
        next.keep(vec![entry(n + 3)], false).await.unwrap();
        dead.keep(vec![entry(n + 6)], false).await.unwrap();
    }
    drop((first, dead));
    next.settle().await.unwrap();
    assert_eq!(next.metrics.spool_bytes.get(), 324, "the others stay where they are");
    next.keep(vec![entry(9)], false).await.unwrap();
    assert_eq!(drained(&next).await, [3, 4, 5, 9].map(entry));
    for expected in [[0, 1, 2], [6, 7, 8]] {
        next.settle().await.unwrap();
        assert_eq!(drained(&next).await, expected.map(entry));
    }
}
