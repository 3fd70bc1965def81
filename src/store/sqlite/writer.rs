//! The one writer: takes all commands that wait, carries them out in one transaction, and answers each after the
//! commit. When the transaction fails it is rolled back and the commands are tried again one by one, so that only
//! the guilty one fails.

use std::{
    any::{Any, TypeId},
    panic::AssertUnwindSafe,
    path::Path,
    sync::Arc,
    time::Instant,
};

use futures_util::{FutureExt, future::BoxFuture};
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    open::explain,
    pile::{Finish, Pile, PileOf},
    rare::Rare,
};
use crate::store::{Config, Metrics, StoreError};

/// A kind of write whose waiting instances are carried out together, many rows per statement.
pub(in crate::store) trait Command: Send + Sized + 'static {
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
        connection: &'c mut SqliteConnection,
    ) -> BoxFuture<'c, Result<Vec<Self::Answer>, StoreError>>;
}

/// The way to the writer; cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::store) struct Writer {
    queue: mpsc::Sender<Submission>,
    closing: CancellationToken,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
    path: Arc<Path>,
    metrics: Metrics,
}

/// A command on its way, without its type.
struct Submission {
    kind: TypeId,
    /// A `(C, Finish<C>)`.
    command: Box<dyn Any + Send>,
    pile: fn() -> Box<dyn Pile>,
}

/// The answer to a command that was handed in; may be dropped by whoever does not care.
pub(in crate::store) struct Receipt<T>(oneshot::Receiver<Result<T, StoreError>>);

impl<T> Receipt<T> {
    /// Waits for the commit.
    pub(in crate::store) async fn committed(self) -> Result<T, StoreError> {
        self.0.await.unwrap_or(Err(StoreError::Closed))
    }
}

impl Writer {
    /// Starts the writer on its connection.
    pub(super) fn start(
        connection: SqliteConnection,
        options: SqliteConnectOptions,
        path: Arc<Path>,
        config: &Config,
        metrics: Metrics,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(config.queue.max(1));
        let closing = CancellationToken::new();
        let work = Work {
            connection,
            options,
            path: Arc::clone(&path),
            limit: config.batch.max(1),
            metrics: metrics.clone(),
        };
        let task = tokio::spawn(work.run(waiting, closing.clone()));
        Self { queue, closing, task: Arc::new(Mutex::new(Some(task))), path, metrics }
    }

    /// Hands in a command, waiting for room in the queue, and waits for its commit.
    pub(in crate::store) async fn submit<C: Command>(&self, command: C) -> Result<C::Answer, StoreError> {
        self.enqueue(command).await?.committed().await
    }

    /// Hands in a command, waiting only for room in the queue.
    pub(in crate::store) async fn enqueue<C: Command>(
        &self,
        command: C,
    ) -> Result<Receipt<C::Answer>, StoreError> {
        let (answer, receipt) = oneshot::channel();
        self.send(command, Box::new(|_, result| drop(answer.send(result)))).await?;
        Ok(Receipt(receipt))
    }

    /// Hands in a command, waiting only for room in the queue; `finish` is called after the commit with the command
    /// and what became of it. When the store is closed it is never called and the error says so.
    pub(in crate::store) async fn send<C: Command>(
        &self,
        command: C,
        finish: Finish<C>,
    ) -> Result<(), StoreError> {
        let submission = Submission {
            kind: TypeId::of::<C>(),
            command: Box::new((command, finish)),
            pile: || Box::new(PileOf::<C>::default()),
        };
        let place = self.queue.reserve().await.map_err(|_| StoreError::Closed)?;
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
        F: for<'c> FnMut(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        let answer = self.submit(Rare::new(work)).await?.map_err(|error| explain(error, &self.path))?;
        // a closure's answer is of its own type, so this cannot fail
        answer.downcast().map(|answer| *answer).map_err(|_| StoreError::Panicked)
    }

    /// Writes whatever waits, then ends.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the database writer ended badly");
        }
    }
}

struct Work {
    connection: SqliteConnection,
    options: SqliteConnectOptions,
    path: Arc<Path>,
    limit: usize,
    metrics: Metrics,
}

impl Work {
    async fn run(mut self, mut queue: mpsc::Receiver<Submission>, closing: CancellationToken) {
        let mut waiting = Vec::with_capacity(self.limit);
        loop {
            let taken = tokio::select! {
                biased;
                () = closing.cancelled(), if !queue.is_closed() => { queue.close(); continue; }
                taken = queue.recv_many(&mut waiting, self.limit) => taken,
            };
            if taken == 0 {
                break;
            }
            let mut piles = sort(&mut waiting);
            self.write(&mut piles).await;
            self.metrics.waiting.sub(i64::try_from(taken).unwrap_or(i64::MAX));
            for mut pile in piles {
                pile.finish(&self.metrics);
            }
        }
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the database was not closed cleanly; it will be recovered at the next start");
        }
    }

    /// One transaction for everything; on failure one for each command.
    async fn write(&mut self, piles: &mut [Box<dyn Pile>]) {
        let Err(error) = self.transaction(piles, None).await else { return };
        let commands: usize = piles.iter().map(|pile| pile.len()).sum();
        if let ([pile], 1) = (&mut *piles, commands) {
            return pile.fail(0, error);
        }
        if error.shared().is_some() {
            tracing::error!(%error, commands, "a transaction failed");
            return piles.iter_mut().for_each(|pile| fail_all(pile.as_mut(), &error));
        }
        tracing::warn!(%error, commands, "a transaction failed; trying its commands one by one");
        for pile in piles {
            for place in 0..pile.len() {
                if let Err(error) = self.transaction(std::slice::from_mut(pile), Some(place)).await {
                    pile.fail(place, error);
                }
            }
        }
    }

    /// Applies all commands, or the one at the place, and commits.
    async fn transaction(
        &mut self,
        piles: &mut [Box<dyn Pile>],
        only: Option<usize>,
    ) -> Result<(), StoreError> {
        let started = Instant::now();
        let done = AssertUnwindSafe(apply(&mut self.connection, piles, only)).catch_unwind().await;
        self.metrics.seconds.observe(started.elapsed().as_secs_f64());
        let error = match done {
            Ok(Ok(())) => {
                self.metrics.transactions.inc();
                return Ok(());
            }
            Ok(Err(error)) => explain(error, &self.path),
            Err(_) => StoreError::Panicked,
        };
        self.heal().await;
        Err(error)
    }

    /// The engine ends some transactions by itself, such as when the disk is full; sqlx then counts one that is no
    /// more, and refuses every further one. A new connection forgets it.
    async fn heal(&mut self) {
        let answers = self.connection.ping().await;
        if answers.is_ok() && !self.connection.is_in_transaction() {
            return;
        }
        match self.options.connect().await {
            Ok(connection) => self.connection = connection,
            Err(error) => tracing::error!(%error, "the database writer cannot connect again"),
        }
    }
}

/// The transaction is rolled back when this ends early: sqlx does it before the connection's next statement.
async fn apply(
    connection: &mut SqliteConnection,
    piles: &mut [Box<dyn Pile>],
    only: Option<usize>,
) -> Result<(), StoreError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for pile in piles {
        let range = only.map_or(0..pile.len(), |place| place..place + 1);
        pile.apply(range, &mut transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

fn fail_all(pile: &mut dyn Pile, error: &StoreError) {
    for place in 0..pile.len() {
        if let Some(error) = error.shared() {
            pile.fail(place, error);
        }
    }
}

/// One pile per kind of command, in the order in which the first of each kind came.
fn sort(waiting: &mut Vec<Submission>) -> Vec<Box<dyn Pile>> {
    let mut piles: Vec<Box<dyn Pile>> = Vec::new();
    for Submission { kind, command, pile } in waiting.drain(..) {
        match piles.iter_mut().find(|pile| pile.kind() == kind) {
            Some(pile) => pile.push(command),
            None => {
                let mut pile = pile();
                pile.push(command);
                piles.push(pile);
            }
        }
    }
    piles
}
