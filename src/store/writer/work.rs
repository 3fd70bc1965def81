//! The writer at work: takes all commands that wait, carries them out in one transaction, and answers each after the
//! commit. When the transaction fails it is rolled back and the commands are tried again one by one, so that only the
//! guilty one fails.
//!
//! When the connection breaks, what waits is told at once that the database is away, and so is whoever comes until it
//! is back. A transaction whose commit was under way is looked up before anybody is told anything about it.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use sqlx::Connection;
use tokio_util::sync::CancellationToken;

use super::{Queue, Submission};
use crate::store::{
    Metrics, StoreError,
    backend::{Backend, CommitError},
    pile::Pile,
};

/// How often a transaction is tried again as it is when the engine says that this may help.
const TRIES: u32 = 5;
/// The first and the longest pause between attempts to connect again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What the writer's task has.
pub(super) struct Work<B: Backend> {
    pub(super) connection: B::Connection,
    pub(super) backend: B,
    pub(super) limit: usize,
    pub(super) away: Arc<AtomicBool>,
    pub(super) closing: CancellationToken,
    pub(super) metrics: Metrics,
}

impl<B: Backend> Work<B> {
    pub(super) async fn run(mut self, mut queue: Queue<B>) {
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
