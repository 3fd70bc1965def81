//! The way to the one writer of a connection: commands are handed in here, wait in a queue, and are answered after their
//! commit. What becomes of them meanwhile is [`work`]'s.

mod work;

use std::{
    any::{Any, TypeId},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::future::BoxFuture;
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use self::work::Work;
use super::{
    Config, Metrics, StoreError,
    backend::Backend,
    pile::{Finish, Pile, PileOf},
    rare::Rare,
};

/// A kind of write whose waiting instances are carried out together, many rows per statement.
pub(in crate::store) trait Command<B: Backend>: Send + Sized + 'static {
    /// The name in metrics.
    const KIND: &'static str;

    /// What the caller gets after the commit.
    type Answer: Send + 'static;

    /// Carries out the batch in order and gives one answer for each, in the same order. Called again with single
    /// commands when the transaction failed, so it must not use up what it needs.
    ///
    /// # Errors
    /// Fails all commands of the batch; when the batch holds a single one, the error is that command's.
    fn apply<'c>(
        batch: &'c mut [Self],
        connection: &'c mut B::Connection,
    ) -> BoxFuture<'c, Result<Vec<Self::Answer>, StoreError>>;
}

/// The way to the writer; cheap to clone.
#[derive(Clone)]
pub(in crate::store) struct Writer<B: Backend> {
    queue: mpsc::Sender<Submission<B>>,
    closing: CancellationToken,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
    away: Arc<AtomicBool>,
    backend: B,
    metrics: Metrics,
}

impl<B: Backend> std::fmt::Debug for Writer<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("away", &self.away).finish_non_exhaustive()
    }
}

/// What waits for the writer.
type Queue<B> = mpsc::Receiver<Submission<B>>;

/// A command on its way, without its type.
struct Submission<B: Backend> {
    kind: TypeId,
    /// A `(C, Finish<C, B>)`.
    command: Box<dyn Any + Send>,
    pile: fn() -> Box<dyn Pile<B>>,
}

/// The answer to a command that was handed in; may be dropped by whoever does not care.
pub(in crate::store) struct Receipt<T>(oneshot::Receiver<Result<T, StoreError>>);

impl<T> Receipt<T> {
    /// Waits for the commit, though not for ever: while a database is away whose last commit is in doubt, nobody can
    /// tell what became of it.
    pub(in crate::store) async fn committed(self) -> Result<T, StoreError> {
        match tokio::time::timeout(super::PATIENCE, self.0).await {
            Ok(answer) => answer.unwrap_or(Err(StoreError::Closed)),
            Err(_) => Err(StoreError::away()),
        }
    }
}

impl<B: Backend> Writer<B> {
    /// Starts the writer on its connection.
    pub(in crate::store) fn start(
        connection: B::Connection,
        backend: B,
        config: &Config,
        metrics: Metrics,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(config.queue.max(1));
        let closing = CancellationToken::new();
        let away = Arc::new(AtomicBool::new(false));
        let work = Work {
            connection,
            backend: backend.clone(),
            limit: config.batch.max(1),
            away: Arc::clone(&away),
            closing: closing.clone(),
            metrics: metrics.clone(),
        };
        let task = tokio::spawn(work.run(waiting));
        Self { queue, closing, task: Arc::new(Mutex::new(Some(task))), away, backend, metrics }
    }

    /// Hands in a command, waiting for room in the queue, and waits for its commit.
    pub(in crate::store) async fn submit<C: Command<B>>(&self, command: C) -> Result<C::Answer, StoreError> {
        self.enqueue(command).await?.committed().await
    }

    /// Hands in a command, waiting only for room in the queue.
    pub(in crate::store) async fn enqueue<C: Command<B>>(
        &self,
        command: C,
    ) -> Result<Receipt<C::Answer>, StoreError> {
        let (answer, receipt) = oneshot::channel();
        self.send(command, Box::new(|_, result| drop(answer.send(result)))).await?;
        Ok(Receipt(receipt))
    }

    /// Hands in a command, waiting only for room in the queue; `finish` is called after the commit with the command
    /// and what became of it. When the store is closed or known to be away it is never called and the error says so.
    pub(in crate::store) async fn send<C: Command<B>>(
        &self,
        command: C,
        finish: Finish<C, B>,
    ) -> Result<(), StoreError> {
        let submission = Submission {
            kind: TypeId::of::<C>(),
            command: Box::new((command, finish)),
            pile: || Box::new(PileOf::<C, B>::default()),
        };
        self.check_reachable()?;
        let place = self.queue.reserve().await.map_err(|_| StoreError::Closed)?;
        self.check_reachable()?;
        self.metrics.waiting.inc();
        place.send(submission);
        Ok(())
    }

    /// A rare write: runs the closure in a savepoint of its own and waits for the commit. The closure may be called
    /// again when the transaction around it failed.
    ///
    /// # Errors
    /// The closure's error, after which nothing of it is kept, or the commit's.
    pub(in crate::store) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnMut(&'c mut B::Connection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        let answer = self.submit(Rare::new(work)).await?.map_err(|error| self.backend.explain(error))?;
        // a closure's answer is of its own type, so this cannot fail
        answer.downcast().map(|answer| *answer).map_err(|_| StoreError::Panicked)
    }

    /// Writes whatever waits, then ends.
    pub(in crate::store) async fn close(&self) {
        self.closing.cancel();
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the database writer ended badly");
        }
    }

    /// Waiting for a database that is away would only hold up the caller, who has something better to do.
    fn check_reachable(&self) -> Result<(), StoreError> {
        if self.away.load(Ordering::Acquire) { Err(StoreError::away()) } else { Ok(()) }
    }
}
