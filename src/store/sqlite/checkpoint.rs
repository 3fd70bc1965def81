//! Carrying the write-ahead log over into the database, beside the writer.
//!
//! SQLite would do it inside of every so-manieth commit, and whoever waits for that commit would wait for it too, some
//! ten milliseconds. A connection of its own does it while the writer goes on (<https://www.sqlite.org/wal.html>, §2.3).

use std::time::{Duration, Instant};

use sqlx::{Connection, SqliteConnection};
use tokio::{sync::Mutex, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::store::Metrics;

/// How often while something is written: a little at a time, so that calls need not wait for the core or the disk.
const OFTEN: Duration = Duration::from_millis(25);
/// How often else.
const SELDOM: Duration = Duration::from_millis(250);
/// Pages of the log from which on it must begin anew, 64 MiB: it can only when nobody writes meanwhile, so the writer
/// is held up for the few pages that are left.
const LONG: i64 = 16 << 10;
/// How long readers that hold up the beginning may hold up the writer with it.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);
/// Pages from which on the writer carries the log over by itself: this task does not keep up, or does not work.
pub(super) const WRITERS_OWN: &str = "32768";

/// The task that does it, until it is closed.
#[derive(Debug)]
pub(super) struct Checkpoints {
    closing: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Checkpoints {
    /// Starts it on a connection of its own.
    pub(super) fn start(connection: SqliteConnection, metrics: Metrics) -> Self {
        let closing = CancellationToken::new();
        let task = tokio::spawn(run(connection, metrics, closing.clone()));
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

async fn run(mut connection: SqliteConnection, metrics: Metrics, closing: CancellationToken) {
    let mut seen = metrics.transactions.get();
    let mut failing = false;
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
            // where a flush takes long, commits must get their turn too
            Ok(true) => (seen, failing, pause) = (now, false, OFTEN.max(4 * begun.elapsed())),
            Ok(false) => (seen, failing) = (now, false),
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

/// Whether nobody was in the way of a log that has to begin anew: the writer is held up with the attempt, so that it
/// must not be repeated at once.
async fn carry_over(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let (_, pages, _) = checkpoint("PRAGMA wal_checkpoint(PASSIVE)", connection).await?;
    if pages > LONG {
        // what came meanwhile, so that next to nothing is left to do while the writer is held up
        checkpoint("PRAGMA wal_checkpoint(PASSIVE)", connection).await?;
        // when readers are in the way it is tried again the next time
        let (busy, ..) = checkpoint("PRAGMA wal_checkpoint(RESTART)", connection).await?;
        return Ok(busy == 0);
    }
    Ok(true)
}

/// Whether somebody was in the way, the pages of the log, and how many of them were carried over.
async fn checkpoint(
    sql: &'static str,
    connection: &mut SqliteConnection,
) -> Result<(i64, i64, i64), sqlx::Error> {
    sqlx::query_as(sql).fetch_one(connection).await
}
