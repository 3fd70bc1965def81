//! The one writer of a connection: takes all commands that wait, carries them out in one transaction, and answers each
//! after the commit. When the transaction fails it is rolled back and the commands are tried again one by one, so that
//! only the guilty one fails.
//!
//! When the connection breaks, what waits is told at once that the database is away, and so is whoever comes until it
//! is back. A transaction whose commit was under way is looked up before anybody is told anything about it.

use std::{
    any::{Any, TypeId},
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::BoxFuture};
use sqlx::Connection;
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    Config, Metrics, StoreError,
    backend::{Backend, CommitError},
    pile::{Finish, Pile, PileOf},
    rare::Rare,
};

/// How often a transaction is tried again as it is when the engine says that this may help.
const TRIES: u32 = 5;
/// The first and the longest pause between attempts to connect again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

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

struct Work<B: Backend> {
    connection: B::Connection,
    backend: B,
    limit: usize,
    away: Arc<AtomicBool>,
    closing: CancellationToken,
    metrics: Metrics,
}

impl<B: Backend> Work<B> {
    async fn run(mut self, mut queue: Queue<B>) {
        let closing = self.closing.clone();
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
            self.write(&mut piles, &mut queue).await;
            self.metrics.waiting.sub(i64::try_from(taken).unwrap_or(i64::MAX));
            for mut pile in piles {
                pile.finish(&self.metrics);
            }
            if self.away.load(Ordering::Acquire) {
                self.reconnect(&mut queue).await;
            }
        }
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the database was not closed cleanly; it will be recovered at the next start");
        }
    }

    /// One transaction for everything; on failure one for each command.
    async fn write(&mut self, piles: &mut [Box<dyn Pile<B>>], queue: &mut Queue<B>) {
        let Err(error) = self.transaction(piles, None, queue).await else { return };
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
                let done = self.transaction(std::slice::from_mut(pile), Some(place), queue).await;
                if let Err(error) = done {
                    pile.fail(place, error);
                }
            }
        }
    }

    /// Applies all commands, or the one at the place, and commits; again when the engine asks for it.
    async fn transaction(
        &mut self,
        piles: &mut [Box<dyn Pile<B>>],
        only: Option<usize>,
        queue: &mut Queue<B>,
    ) -> Result<(), StoreError> {
        let mut tries = 1;
        loop {
            let started = Instant::now();
            let done = AssertUnwindSafe(self.attempt(piles, only, queue)).catch_unwind().await;
            self.metrics.seconds.observe(started.elapsed().as_secs_f64());
            let error = match done {
                Ok(Ok(())) => {
                    self.metrics.transactions.inc();
                    return Ok(());
                }
                Ok(Err(error)) => self.backend.explain(error),
                Err(_) => StoreError::Panicked,
            };
            self.heal(&error).await;
            let away = self.away.load(Ordering::Acquire);
            if away || tries == TRIES || !B::is_worth_another_try(&error) {
                return Err(error);
            }
            tries += 1;
        }
    }

    /// The transaction is rolled back when this ends early: sqlx does it before the connection's next statement.
    async fn attempt(
        &mut self,
        piles: &mut [Box<dyn Pile<B>>],
        only: Option<usize>,
        queue: &mut Queue<B>,
    ) -> Result<(), StoreError> {
        let (backend, connection) = (&self.backend, &mut self.connection);
        let applied = async {
            let mut transaction = backend.begin(connection).await?;
            for pile in piles {
                let range = only.map_or(0..pile.len(), |place| place..place + 1);
                pile.apply(range, &mut transaction).await?;
            }
            Ok::<_, StoreError>(transaction)
        };
        let transaction = within(backend.patience(), applied).await??;
        let (doubt, error) = match backend.commit(transaction).await {
            Ok(()) => return Ok(()),
            Err(CommitError::Failed(error)) => return Err(error.into()),
            Err(CommitError::InDoubt(doubt, error)) => (doubt, error),
        };
        if self.clear_up(&doubt, &error, queue).await { Ok(()) } else { Err(error.into()) }
    }

    /// Whether a transaction was committed whose commit nobody answered. Nobody is told anything before that is known:
    /// who gives up waiting drops what it would have got, which undoes it.
    async fn clear_up(&mut self, doubt: &B::Doubt, error: &sqlx::Error, queue: &mut Queue<B>) -> bool {
        self.went_away();
        tracing::warn!(%error, "the connection to the database broke during a commit; looking up what became of it");
        let mut pause = PAUSES.0;
        loop {
            if let Ok(mut connection) = self.backend.connect().await
                && let Ok(committed) = self.backend.clear_up(doubt, &mut connection).await
            {
                tracing::info!(committed, "what became of the commit is known");
                self.connection = connection;
                self.came_back();
                return committed;
            }
            if self.closing.is_cancelled() {
                tracing::error!("the gateway stops before it is known whether a commit was carried out");
                return false;
            }
            self.refuse(queue);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// The engine ends some transactions by itself, such as when the disk is full; sqlx then counts one that is no
    /// more, and refuses every further one. A new connection forgets it.
    async fn heal(&mut self, error: &StoreError) {
        let lost = matches!(error, StoreError::Away { .. });
        let answers = |done: Result<Result<(), sqlx::Error>, _>| done.is_ok_and(|pinged| pinged.is_ok());
        if !lost
            && answers(within(self.backend.patience(), self.connection.ping()).await)
            && !self.connection.is_in_transaction()
        {
            return;
        }
        match self.backend.connect().await {
            Ok(connection) => self.connection = connection,
            Err(error) => {
                tracing::error!(%error, "the database writer cannot connect again");
                self.went_away();
            }
        }
    }

    /// Connects again; whoever waits or comes meanwhile is told that the database is away.
    async fn reconnect(&mut self, queue: &mut Queue<B>) {
        let mut pause = PAUSES.0;
        loop {
            match self.backend.connect().await {
                Ok(connection) => {
                    self.connection = connection;
                    return self.came_back();
                }
                Err(error) => tracing::debug!(%error, "the database is still away"),
            }
            self.refuse(queue);
            tokio::select! {
                () = self.closing.cancelled() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSES.1),
            }
        }
    }

    /// Tells whoever waits that the database is away.
    fn refuse(&self, queue: &mut Queue<B>) {
        let mut waiting = Vec::new();
        while let Ok(submission) = queue.try_recv() {
            waiting.push(submission);
        }
        self.metrics.waiting.sub(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
        for mut pile in sort(&mut waiting) {
            fail_all(pile.as_mut(), &StoreError::away());
            pile.finish(&self.metrics);
        }
    }

    fn went_away(&self) {
        if !self.away.swap(true, Ordering::AcqRel) {
            self.metrics.outages.inc();
            tracing::error!("the database is away; calls that need it are refused until it is back");
        }
    }

    fn came_back(&self) {
        if self.away.swap(false, Ordering::AcqRel) {
            tracing::info!("the database is back");
        }
    }
}

/// The future's value, or that the connection is of no use any more.
async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Result<T, StoreError> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, work)
            .await
            .map_err(|_| StoreError::Away { reason: "the database did not answer in time".to_owned() }),
        None => Ok(work.await),
    }
}

fn fail_all<B: Backend>(pile: &mut dyn Pile<B>, error: &StoreError) {
    for place in 0..pile.len() {
        if let Some(error) = error.shared() {
            pile.fail(place, error);
        }
    }
}

/// One pile per kind of command, in the order in which the first of each kind came.
fn sort<B: Backend>(waiting: &mut Vec<Submission<B>>) -> Vec<Box<dyn Pile<B>>> {
    let mut piles: Vec<Box<dyn Pile<B>>> = Vec::new();
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
