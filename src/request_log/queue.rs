//! The bounded queue in front of the store for records that nobody waits for.
//!
//! It is bounded by bytes, because bodies are what fills memory. When it is full the caller waits (`WhenFull::Block`);
//! a store that fails is tried again, so a full disk stops the gateway rather than the log.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{Config, Entry, LogError, Metrics, Record};
use crate::store::{StoreError, exchanges::ExchangeTable};

/// What one permit of the queue stands for.
const UNIT: usize = 1024;
/// The first and the longest pause before a failed write is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// A write costs as much as some tens of records: when fewer wait, others are waited for, but not long.
const WORTH: usize = 16;
/// For so long. A longer wait would cost less, but what then has to be written at once takes a core away from calls
/// for longer than they should wait.
const GATHER: Duration = Duration::from_millis(5);
/// Bytes of bodies that may wait to be read. Whoever finds so many waiting reads his own: the one thread that reads for
/// all is then slower than calls come.
const UNREAD: usize = 256 << 10;
/// Tries of a record that the store refuses while it takes others.
const TRIES: u32 = 3;

/// An entry with its share of the queue.
type Queued = (Entry, OwnedSemaphorePermit);

pub(super) struct Queue {
    room: Arc<Semaphore>,
    units: u32,
    sender: Mutex<Option<mpsc::UnboundedSender<Queued>>>,
    entry: mpsc::WeakUnboundedSender<Queued>,
    worker: Mutex<Option<JoinHandle<()>>>,
    closing: CancellationToken,
    unread: Arc<AtomicUsize>,
    metrics: Metrics,
}

impl Queue {
    pub(super) fn start(table: Arc<dyn ExchangeTable>, config: &Config, metrics: Metrics) -> Self {
        let units = u32::try_from(config.queue_bytes / UNIT).unwrap_or(u32::MAX).clamp(1, 1 << 24);
        let (sender, receiver) = mpsc::unbounded_channel();
        let closing = CancellationToken::new();
        let unread = Arc::new(AtomicUsize::new(0));
        let worker = Worker {
            table,
            metrics: metrics.clone(),
            closing: closing.clone(),
            unread: Arc::clone(&unread),
            batch: config.batch.max(1),
        };
        Self {
            room: Arc::new(Semaphore::new(usize::try_from(units).unwrap_or(1))),
            units,
            entry: sender.downgrade(),
            sender: Mutex::new(Some(sender)),
            worker: Mutex::new(Some(tokio::spawn(worker.run(receiver)))),
            closing,
            unread,
            metrics,
        }
    }

    /// Puts an entry into the queue if there is room; else it comes back.
    pub(super) fn try_push(&self, entry: Entry) -> Option<Entry> {
        let Ok(permit) = Arc::clone(&self.room).try_acquire_many_owned(self.cost(&entry)) else {
            return Some(entry);
        };
        let Some(sender) = self.entry.upgrade() else { return Some(entry) };
        self.send(&sender, entry, permit).err()
    }

    pub(super) async fn push(&self, entry: Entry) -> Result<(), LogError> {
        let permit = self.permit(self.cost(&entry)).await?;
        let sender = self.entry.upgrade().ok_or(LogError::Closed)?;
        self.send(&sender, entry, permit).map_err(|_| LogError::Closed)
    }

    fn send(
        &self,
        sender: &mpsc::UnboundedSender<Queued>,
        mut entry: Entry,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), Entry> {
        if entry.is_unread() {
            if self.unread.load(Ordering::Relaxed) < UNREAD {
                self.unread.fetch_add(entry.bytes(), Ordering::Relaxed);
            } else {
                entry = entry.read().into();
            }
        }
        self.metrics.queued_bytes.add(bytes_of(&permit));
        sender.send((entry, permit)).map_err(|refused| refused.0.0)
    }

    pub(super) async fn close(&self) {
        self.sender.lock().await.take();
        self.closing.cancel();
        if let Some(worker) = self.worker.lock().await.take()
            && let Err(error) = worker.await
        {
            tracing::error!(%error, "the writer of the request log ended badly");
        }
        self.room.close();
    }

    async fn permit(&self, cost: u32) -> Result<OwnedSemaphorePermit, LogError> {
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_many_owned(cost) {
            return Ok(permit);
        }
        self.metrics.waits.inc();
        let _waiting = Waiting::new(&self.metrics);
        Arc::clone(&self.room).acquire_many_owned(cost).await.map_err(|_| LogError::Closed)
    }

    /// The entry's share: its bodies and about 1 KiB for the rest; never more than the whole queue.
    fn cost(&self, entry: &Entry) -> u32 {
        u32::try_from(1 + entry.bytes().div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units)
    }
}

fn bytes_of(permit: &OwnedSemaphorePermit) -> i64 {
    i64::try_from(permit.num_permits() * UNIT).unwrap_or(i64::MAX)
}

/// Counts a waiting caller, also when its future is dropped.
struct Waiting<'a>(&'a Metrics);

impl<'a> Waiting<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.waiting.inc();
        Self(metrics)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.dec();
    }
}

/// Records that are read and wait to be written, with their share of the queue.
struct Batch {
    records: Arc<[Record]>,
    permits: Vec<OwnedSemaphorePermit>,
}

impl Batch {
    /// Takes as long as decoding all bodies takes.
    fn read(entries: Vec<Queued>, unread: &AtomicUsize) -> Self {
        let read = |(entry, permit): Queued| {
            let bytes = if entry.is_unread() { entry.bytes() } else { 0 };
            let record = *entry.read();
            unread.fetch_sub(bytes, Ordering::Relaxed);
            (record, permit)
        };
        let (records, permits): (Vec<_>, Vec<_>) = entries.into_iter().map(read).unzip();
        Self { records: records.into(), permits }
    }
}

struct Worker {
    table: Arc<dyn ExchangeTable>,
    metrics: Metrics,
    closing: CancellationToken,
    unread: Arc<AtomicUsize>,
    batch: usize,
}

impl Worker {
    /// Reads the bodies of what waits while what came before is written.
    async fn run(self, mut receiver: mpsc::UnboundedReceiver<Queued>) {
        let mut batch = self.next(&mut receiver).await;
        while let Some(ready) = batch {
            (batch, ()) = tokio::join!(self.next(&mut receiver), self.write(ready));
        }
    }

    /// What waits, and what comes soon if that is little; `None` when the queue is closed and empty.
    async fn next(&self, receiver: &mut mpsc::UnboundedReceiver<Queued>) -> Option<Batch> {
        let mut waiting = Vec::with_capacity(WORTH);
        if receiver.recv_many(&mut waiting, self.batch).await == 0 {
            return None;
        }
        if waiting.len() < WORTH.min(self.batch) {
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = self.closing.cancelled() => {}
            }
            while waiting.len() < self.batch
                && let Ok(queued) = receiver.try_recv()
            {
                waiting.push(queued);
            }
        }
        let unread = Arc::clone(&self.unread);
        let read = tokio::task::spawn_blocking(move || Batch::read(waiting, &unread));
        match read.await {
            Ok(batch) => Some(batch),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    async fn write(&self, Batch { records, permits }: Batch) {
        match self.table.write(Arc::clone(&records)).await {
            Ok(()) => self.count(records.len()),
            Err(error) => {
                tracing::warn!(%error, records = records.len(), "the request log was not written; trying one by one");
                for record in records.iter() {
                    self.write_one(record.clone()).await;
                }
            }
        }
        self.metrics.queued_bytes.sub(permits.iter().map(bytes_of).sum());
    }

    /// Tries until the record is written, or the store refuses this record, or the gateway is stopping.
    async fn write_one(&self, record: Record) {
        let id = record.id;
        let record: Arc<[Record]> = Arc::from([record]);
        let mut pause = PAUSES.0;
        for attempt in 1_u32.. {
            let error = match self.table.write(Arc::clone(&record)).await {
                Ok(()) => return self.count(1),
                Err(error) => error,
            };
            let refused = is_about_the_record(&error) && attempt >= TRIES;
            if refused
                || self.closing.is_cancelled() && attempt >= TRIES
                || matches!(error, StoreError::Closed)
            {
                self.metrics.lost.inc();
                tracing::error!(%error, exchange = %id, "a record of the request log is lost");
                return;
            }
            self.metrics.retries.inc();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    fn count(&self, records: usize) {
        self.metrics.committed.inc_by(u64::try_from(records).unwrap_or(u64::MAX));
    }
}

/// Whether the store would take other records: trying this one for ever would stop the log.
const fn is_about_the_record(error: &StoreError) -> bool {
    matches!(error, StoreError::Conflict(_) | StoreError::Panicked | StoreError::Value { .. })
}
