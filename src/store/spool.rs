//! The spool: what is known and must not be lost while the shared database is away, kept in files beside the gateway and
//! handed over once it is back: in order what one process kept, while what a successor keeps may go before what the
//! process that is still ending has.
//!
//! Only what changes nothing when it is written twice comes here: records of finished exchanges (a row is written whole
//! by its id) and evidence for the ledger (every settlement may be applied twice). So a file that was half handed over
//! when the gateway stopped is simply handed over again.
//!
//! A file is a sequence of frames, each its length, the CRC-32 of its content, and the content. A frame that a power
//! failure cut short ends the file.

mod files;

#[cfg(test)]
mod tests;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use tokio::sync::Mutex;

use self::files::{ASIDE, Files, WAITING, frames, numbered};
use super::{Metrics, StoreError};

/// Where the spool is, and how large it may grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolConfig {
    /// The directory; made when it is not there.
    pub directory: PathBuf,
    /// Bytes that it may hold.
    pub limit: u64,
}

/// Whether the gateway that had the spool before may still have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predecessor {
    /// It may finish its calls for a while: the spool is taken over when it has ended.
    Ending,
    /// It has ended, or there was none: whoever has the spool is another gateway.
    Gone,
}

/// The spool of a gateway; closed until [`Spool::open`]. Cheap to clone.
#[derive(Clone)]
pub(super) struct Spool {
    files: Arc<OnceLock<Mutex<Files>>>,
    metrics: Metrics,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("open", &self.files.get().is_some()).finish()
    }
}

impl Spool {
    /// One that takes nothing.
    pub(super) fn closed(metrics: Metrics) -> Self {
        Self { files: Arc::default(), metrics }
    }

    /// Opens the directory. What an earlier gateway left there is handed over like what comes later. Where that one may
    /// still be ending, what comes meanwhile is kept beside it, until [`Spool::settle`] finds that it has ended.
    ///
    /// # Errors
    /// When it cannot be made or written, or belongs to another gateway that runs.
    pub(super) fn open(&self, config: SpoolConfig, predecessor: Predecessor) -> Result<(), StoreError> {
        let path = config.directory.clone();
        let opened = match (Files::open(config.clone()), predecessor) {
            (Err(error), Predecessor::Ending) if error.kind() == io::ErrorKind::WouldBlock => {
                tracing::info!(
                    directory = %path.display(),
                    "the gateway before still has the spool; it is taken over when that one has ended"
                );
                Files::beside(&config)
            }
            (opened, _) => opened,
        };
        let files = opened.map_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                return StoreError::Busy { path };
            }
            StoreError::Permission { path, reason: error.to_string() }
        })?;
        self.metrics.spool_bytes.set(signed(files.bytes));
        let _ = self.files.set(Mutex::new(files));
        Ok(())
    }

    /// Takes the spool over once the gateway before has ended, with what it left; to be called now and then, and never
    /// while a file is being handed over.
    pub(super) async fn settle(&self) -> Result<(), io::Error> {
        let Some(files) = self.files.get() else { return Ok(()) };
        let mut files = files.lock().await;
        let waited = files.waits();
        files.settle()?;
        self.metrics.spool_bytes.set(signed(files.bytes));
        if waited && !files.waits() {
            tracing::info!(bytes = files.bytes, "the gateway before has ended; its spool is taken over");
        }
        Ok(())
    }

    /// Keeps these, flushed to disk when this returns; `common` ones leave room for others.
    ///
    /// # Errors
    /// When there is no spool, no room, or the disk fails.
    pub(super) async fn keep(&self, entries: Vec<Vec<u8>>, common: bool) -> Result<(), StoreError> {
        let Some(files) = self.files.get() else { return Err(StoreError::away()) };
        let mut files = files.lock().await;
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        let path = files.config.directory.clone();
        files.append(&entries, common).map_err(|error| {
            if error.kind() == io::ErrorKind::StorageFull {
                return StoreError::Full { path };
            }
            StoreError::Permission { path, reason: error.to_string() }
        })?;
        self.metrics.spooled.inc_by(count);
        self.metrics.spool_bytes.set(signed(files.bytes));
        Ok(())
    }

    /// The oldest file with what it holds, in order; nothing when all is handed over.
    pub(super) async fn oldest(&self) -> Result<Option<(PathBuf, Vec<Vec<u8>>)>, io::Error> {
        let Some(files) = self.files.get() else { return Ok(None) };
        let mut files = files.lock().await;
        let Some((number, path)) = numbered(&files.config.directory, WAITING)?.into_iter().next() else {
            return Ok(None);
        };
        if number == files.newest {
            // what comes from now on goes into the next one
            files.current = None;
            files.newest += 1;
        }
        let bytes = fs::read(&path)?;
        Ok(Some((path, frames(&bytes))))
    }

    /// Forgets a file that was handed over.
    pub(super) async fn done(&self, path: &Path, entries: usize) -> Result<(), io::Error> {
        let Some(files) = self.files.get() else { return Ok(()) };
        let mut files = files.lock().await;
        fs::remove_file(path)?;
        files.weigh()?;
        self.metrics.spool_bytes.set(signed(files.bytes));
        self.metrics.replayed.inc_by(u64::try_from(entries).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Keeps a file that cannot be handed over out of the way of the others; gives where it is now. A person looks after
    /// it: with its old ending it is handed over again.
    pub(super) async fn put_aside(&self, path: &Path) -> Result<PathBuf, io::Error> {
        let Some(files) = self.files.get() else { return Err(io::ErrorKind::NotFound.into()) };
        let mut files = files.lock().await;
        let aside = path.with_extension(ASIDE);
        fs::rename(path, &aside)?;
        files.weigh()?;
        self.metrics.spool_bytes.set(signed(files.bytes));
        self.metrics.spool_rejected.inc();
        Ok(aside)
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
