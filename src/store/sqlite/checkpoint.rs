//! Carrying the write-ahead log over into the database, beside the writer.
//!
//! SQLite would do it inside of every so-manieth commit, and whoever waits for that commit would wait for it too, some
//! ten milliseconds. A connection of its own does it while the writer goes on (<https://www.sqlite.org/wal.html>, §2.3).
//!
//! A log can begin anew only at a moment when all of it is carried over, and a writer that is always busy has none:
//! when the log is long the writer is asked to carry over the few pages that are left itself, between two transactions.
//! SQLite's own way (`wal_checkpoint(RESTART)`) takes the writer's lock instead, and whoever finds that taken looks
//! again after 1, 2, 5, 10, 15, 20 ms: calls waited for 40 ms.

#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{Connection, SqliteConnection};
use tokio::{sync::Mutex, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::store::Metrics;

/// How often while something is written: a little at a time, so that calls need not wait for the core or the disk.
const OFTEN: Duration = Duration::from_millis(25);
/// How often else.
const SELDOM: Duration = Duration::from_millis(250);
/// Pages of the log from which on it should begin anew, 64 MiB.
const LONG: i64 = 16 << 10;
/// Pages from which on the writer carries the log over by itself: this task does not keep up, or does not work.
pub(super) const WRITERS_OWN: &str = "32768";

/// The wish that the writer carry over what is left of the log before its next transaction. Cheap to clone; every copy
/// is the same wish.
#[derive(Clone, Debug, Default)]
pub(super) struct Rest(Arc<AtomicBool>);

impl Rest {
    /// Asks for it; once is enough until it is done.
    pub(super) fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Does it, on the writer's connection and outside of a transaction, if it was asked for. The first frame that the
    /// next transaction writes then begins the log anew, unless somebody still reads in the old one. A failure is no
    /// matter of the transaction's: the log only stays long, and the task meets the same failure and tells it.
    pub(super) async fn carry_over(&self, writer: &mut SqliteConnection) {
        if self.0.swap(false, Ordering::Relaxed)
            && let Err(error) = checkpoint(writer).await
        {
            tracing::debug!(%error, "the writer could not carry over the rest of the write-ahead log");
        }
    }
}

/// The task that does it, until it is closed.
#[derive(Debug)]
pub(super) struct Checkpoints {
    closing: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Checkpoints {
    /// Starts it on a connection of its own.
    pub(super) fn start(connection: SqliteConnection, rest: Rest, metrics: Metrics) -> Self {
        let closing = CancellationToken::new();
        let task = tokio::spawn(run(connection, rest, metrics, closing.clone()));
        Self { closing, task: Mutex::new(Some(task)) }
    }

    /// Ends it.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the task that empties the database's write-ahead log ended badly");
        }
    }
}

async fn run(mut connection: SqliteConnection, rest: Rest, metrics: Metrics, closing: CancellationToken) {
    let mut seen = metrics.transactions.get();
    let mut failing = false;
    let mut asked = false;
    let mut pause = SELDOM;
    loop {
        tokio::select! {
            () = closing.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
        let now = metrics.transactions.get();
        pause = SELDOM;
        if now == seen {
            continue;
        }
        let begun = Instant::now();
        match carry_over(&mut connection).await {
            Ok(pages) => {
                (seen, failing) = (now, false);
                let long = pages > LONG;
                if long {
                    rest.ask();
                }
                // a log that stays long has a reader in its way, who will not be gone at once
                if !(long && asked) {
                    // where a flush takes long, commits must get their turn too
                    pause = OFTEN.max(4 * begun.elapsed());
                }
                asked = long;
            }
            // a full disk fails every time; the writer says it of each call, and once is enough here
            Err(error) if !std::mem::replace(&mut failing, true) => {
                tracing::warn!(%error, "the database's write-ahead log cannot be carried over and grows; is there room on the disk? It is tried again and again");
            }
            Err(error) => tracing::debug!(%error, "the write-ahead log still cannot be carried over"),
        }
    }
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "the connection that empties the write-ahead log was not closed cleanly");
    }
}

/// Carries over what can be without holding up anybody, and gives the pages of the log.
async fn carry_over(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let pages = checkpoint(connection).await?;
    // of a long log also what came meanwhile, so that next to nothing is left for the writer
    if pages > LONG { checkpoint(connection).await } else { Ok(pages) }
}

/// One attempt, and the pages of the log. What readers still need is left; so is everything when another connection is
/// at it.
async fn checkpoint(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let done = sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(connection).await;
    done.map(|(_, pages, _): (i64, i64, i64)| pages)
}
