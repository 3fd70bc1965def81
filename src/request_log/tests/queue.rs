//! The queue before a store that hesitates or fails.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::{full, metrics, noon};
use crate::{
    domain::{ExchangeId, ExchangeIds},
    leqi::{Sm4Key, write_body},
    request_log::{Config, Entry, Filter, Record, RequestLog, Side, StoredBody, Unread},
    store::{
        StoreError,
        exchanges::{ExchangeTable, Purged},
    },
};

/// A store that writes only as often as it is let, and fails as often as it is told.
#[derive(Default)]
struct Hesitant {
    lets: Option<Semaphore>,
    failures: AtomicUsize,
    refused: Option<ExchangeId>,
    written: Mutex<Vec<ExchangeId>>,
    /// The invoices of each.
    found: Mutex<Vec<Vec<String>>>,
}

impl ExchangeTable for Hesitant {
    fn write(&self, records: Arc<[Record]>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if let Some(lets) = &self.lets {
                lets.acquire().await.unwrap().forget();
            }
            let failing =
                self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            if failing.is_ok() {
                return Err(StoreError::Full { path: "gateway.db".into() });
            }
            if records.iter().any(|r| Some(r.id) == self.refused) {
                return Err(StoreError::Conflict("refused".to_owned()));
            }
            self.written.lock().unwrap().extend(records.iter().map(|r| r.id));
            let invoices = |r: &Record| r.invoice_nos.iter().map(ToString::to_string).collect();
            self.found.lock().unwrap().extend(records.iter().map(invoices));
            Ok(())
        })
    }
    fn interrupt_open(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async { Ok(0) })
    }
    fn interrupt_gone(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async { Ok(0) })
    }
    fn purge(&self, _: ExchangeId, _: usize) -> BoxFuture<'_, Result<Purged, StoreError>> {
        Box::pin(async { Ok(Purged { exchanges: 0, more: false }) })
    }
    fn search<'a>(
        &'a self,
        _: &'a Filter,
        _: Option<ExchangeId>,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn by_id(&self, _: ExchangeId) -> BoxFuture<'_, Result<Option<Record>, StoreError>> {
        Box::pin(async { Ok(None) })
    }
    fn body(&self, _: ExchangeId, _: Side) -> BoxFuture<'_, Result<Option<StoredBody>, StoreError>> {
        Box::pin(async { Ok(None) })
    }
    fn last_id(&self) -> BoxFuture<'_, Result<Option<ExchangeId>, StoreError>> {
        Box::pin(async { Ok(None) })
    }
}

#[tokio::test]
async fn a_full_queue_makes_the_caller_wait_and_counts_it() {
    let table = Arc::new(Hesitant { lets: Some(Semaphore::new(0)), ..Hesitant::default() });
    let config = Config { queue_bytes: 4096, ..Config::default() };
    let metrics = metrics();
    let log = RequestLog::open(Arc::clone(&table) as Arc<dyn ExchangeTable>, &config, metrics.clone())
        .await
        .unwrap();
    let ids = ExchangeIds::new(0, None);
    // two KiB each: two fit
    for _ in 0..2 {
        log.enqueue(full(ids.next(noon()))).await.unwrap();
    }
    let third = {
        let (log, record) = (Arc::clone(&log), full(ids.next(noon())));
        tokio::spawn(async move { log.enqueue(record).await })
    };
    tokio::time::timeout(Duration::from_secs(10), async {
        while metrics.waiting.get() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!((metrics.waits.get(), metrics.queued_bytes.get()), (1, 4096));
    assert!(!third.is_finished());
    table.lets.as_ref().unwrap().add_permits(100);
    third.await.unwrap().unwrap();
    log.close().await;
    assert_eq!(table.written.lock().unwrap().len(), 3);
    assert_eq!((metrics.waiting.get(), metrics.queued_bytes.get(), metrics.committed.get()), (0, 0, 3));
}

#[tokio::test]
async fn a_store_that_fails_for_a_while_loses_nothing_and_a_refused_record_only_itself() {
    let ids = ExchangeIds::new(0, None);
    let records: Vec<_> = (0..5).map(|_| full(ids.next(noon()))).collect();
    let table = Arc::new(Hesitant {
        failures: AtomicUsize::new(2),
        refused: Some(records[2].id),
        ..Hesitant::default()
    });
    let metrics = metrics();
    let log =
        RequestLog::open(Arc::clone(&table) as Arc<dyn ExchangeTable>, &Config::default(), metrics.clone())
            .await
            .unwrap();
    for record in &records {
        log.enqueue(record.clone()).await.unwrap();
    }
    log.close().await;
    let written = table.written.lock().unwrap().clone();
    assert_eq!(written, [0, 1, 3, 4].map(|n: usize| records[n].id));
    assert_eq!(metrics.lost.get(), 1);
}

#[tokio::test]
async fn what_is_unread_is_read_before_it_is_written_however_much_waits() {
    let key = Sm4Key::from_bytes([7; 16]);
    let body = |text: &str| Bytes::from(write_body(&key, text.as_bytes()));
    let ids = ExchangeIds::new(0, None);
    let entry = |request: bool, key: Option<&Sm4Key>, truncated: bool| {
        let mut record = full(ids.next(noon()));
        (record.invoice_nos, record.serial) = (Vec::new(), None);
        record.request_body = body(r#"[{"fphm":"26440000000000000077"}]"#);
        record.request_truncated = truncated;
        record.response_body = body("no envelope");
        Entry::new(Box::new(record), Some(Unread { request, key: key.cloned() }))
    };
    let table = Arc::new(Hesitant { lets: Some(Semaphore::new(0)), ..Hesitant::default() });
    let log = RequestLog::open(Arc::clone(&table) as Arc<dyn ExchangeTable>, &Config::default(), metrics())
        .await
        .unwrap();
    for (request, key, truncated) in [
        (true, Some(&key), false),
        (false, Some(&key), false),
        (true, None, false),
        (true, Some(&key), true),
        (true, Some(&Sm4Key::from_bytes([8; 16])), false),
    ] {
        log.enqueue(entry(request, key, truncated)).await.unwrap();
    }
    // more than one thread is to be behind with, while nothing can be written
    let large =
        body(&format!("[{{\"fphm\":\"26440000000000000078\",\"bz\":\"{}\"}}]", "x".repeat(300 << 10)));
    for _ in 0..6 {
        let mut record = full(ids.next(noon()));
        record.invoice_nos = Vec::new();
        record.request_body = large.clone();
        log.enqueue(Entry::new(Box::new(record), Some(Unread { request: true, key: Some(key.clone()) })))
            .await
            .unwrap();
    }
    table.lets.as_ref().unwrap().add_permits(100);
    log.close().await;
    let found: Vec<Vec<String>> = table.found.lock().unwrap().clone();
    assert_eq!(found[..5], [vec!["26440000000000000077".to_owned()], vec![], vec![], vec![], vec![]]);
    assert_eq!(found[5..], vec![vec!["26440000000000000078".to_owned()]; 6]);
}
