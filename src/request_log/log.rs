//! The log as the planes use it.

use std::sync::Arc;

use super::{Entry, Filter, Metrics, Record, Side, StoredBody, queue::Queue};
use crate::domain::ExchangeId;
use crate::store::{StoreError, exchanges::ExchangeTable};

/// Headers that are never kept.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// How much is kept and how much may wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of each body that are kept; longer ones are cut and marked.
    pub body_limit: usize,
    /// Bytes of records that may wait to be written; whoever comes then waits for room.
    pub queue_bytes: usize,
    /// Records that one write carries at most.
    pub batch: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { body_limit: 1 << 20, queue_bytes: 4 << 20, batch: 128 }
    }
}

/// Why something was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log is closed: the gateway is stopping.
    #[error("the request log is closed: the gateway is stopping")]
    Closed,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A page of a search.
#[derive(Clone, Debug)]
pub struct Page {
    /// Records without bodies, newest first.
    pub records: Vec<Record>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<ExchangeId>,
}

/// The request log.
pub struct RequestLog {
    table: Arc<dyn ExchangeTable>,
    queue: Queue,
    metrics: Metrics,
    body_limit: usize,
}

impl std::fmt::Debug for RequestLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestLog").field("body_limit", &self.body_limit).finish_non_exhaustive()
    }
}

impl RequestLog {
    /// Opens the log: exchanges whose outcome a stop left unknown are marked so, and the writer of reads is started.
    /// Call it before the first request is accepted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn open(
        table: Arc<dyn ExchangeTable>,
        config: &Config,
        metrics: Metrics,
    ) -> Result<Arc<Self>, LogError> {
        let interrupted = table.interrupt_open().await?;
        if interrupted > 0 {
            tracing::warn!(interrupted, "the gateway stopped during calls; their outcome is unknown");
        }
        let queue = Queue::start(Arc::clone(&table), config, metrics.clone());
        Ok(Arc::new(Self { table, queue, metrics, body_limit: config.body_limit }))
    }

    /// Bytes of each body that are kept: whoever captures a body need not keep more.
    #[must_use]
    pub const fn body_limit(&self) -> usize {
        self.body_limit
    }

    /// Commits the record of a call that is about to be sent. Nothing may go out before this returns.
    ///
    /// # Errors
    /// When the store fails: then nothing may be sent.
    pub async fn intent(&self, record: &mut Record) -> Result<(), LogError> {
        self.prepare(record);
        self.table.write(Arc::from([record.clone()])).await?;
        self.intent_committed(record);
        Ok(())
    }

    /// The record of a call that is about to be sent, for whoever commits it together with something else.
    pub fn intent_beside(&self, record: &mut Record) -> Arc<Record> {
        self.prepare(record);
        Arc::new(record.clone())
    }

    /// Notes that the intent was committed.
    pub fn intent_committed(&self, record: &mut Record) {
        // a body that is not read yet comes with the outcome
        record.intent_committed = record.request_sha256.is_some();
        self.metrics.committed.inc();
    }

    /// Commits the record of a finished exchange. For calls that change something at the platform the answer goes to
    /// the client only after this returned.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn complete(&self, mut record: Record) -> Result<(), LogError> {
        self.prepare(&mut record);
        self.table.write(Arc::from([record])).await?;
        self.metrics.committed.inc();
        Ok(())
    }

    /// Hands over the record of a finished exchange to be written soon; waits while the queue is full.
    ///
    /// # Errors
    /// When the log is closed.
    pub async fn enqueue(&self, entry: impl Into<Entry>) -> Result<(), LogError> {
        let mut entry = entry.into();
        self.prepare(entry.record_mut());
        self.queue.push(entry).await
    }

    /// The same without waiting: the entry comes back when the queue is full or closed.
    #[must_use = "an entry that comes back is not written yet"]
    pub fn try_enqueue(&self, mut entry: Entry) -> Option<Entry> {
        self.prepare(entry.record_mut());
        self.queue.try_push(entry)
    }

    /// Records that fit the filter, newest first, older than the cursor, at most `limit` (1 to 1000).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn search(
        &self,
        filter: &Filter,
        cursor: Option<ExchangeId>,
        limit: usize,
    ) -> Result<Page, LogError> {
        let limit = limit.clamp(1, 1000);
        let mut records = self.table.search(filter, cursor, limit + 1).await?;
        let more = records.len() > limit;
        records.truncate(limit);
        let next = records.last().filter(|_| more).map(|r| r.id);
        Ok(Page { records, next })
    }

    /// One record, without bodies.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn by_id(&self, id: ExchangeId) -> Result<Option<Record>, LogError> {
        Ok(self.table.by_id(id).await?)
    }

    /// One raw body; `None` when the exchange or the body is not there.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn body(&self, id: ExchangeId, side: Side) -> Result<Option<StoredBody>, LogError> {
        Ok(self.table.body(id, side).await?)
    }

    /// Writes what is queued; later records are refused.
    pub async fn close(&self) {
        self.queue.close().await;
    }

    /// Cuts bodies to the limit and drops headers that are never kept.
    fn prepare(&self, record: &mut Record) {
        if record.request_body.len() > self.body_limit {
            record.request_body.truncate(self.body_limit);
            record.request_truncated = true;
        }
        if record.response_body.len() > self.body_limit {
            record.response_body.truncate(self.body_limit);
            record.response_truncated = true;
        }
        let kept =
            |(name, _): &(String, String)| !SECRET_HEADERS.iter().any(|s| name.eq_ignore_ascii_case(s));
        record.request_headers.retain(kept);
        record.response_headers.retain(kept);
    }
}
