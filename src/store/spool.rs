//! The spool: what is known and must not be lost while the shared database is away, kept in files beside the gateway and
//! handed over in order once it is back.
//!
//! Only what changes nothing when it is written twice comes here: records of finished exchanges (a row is written whole
//! by its id) and evidence for the ledger (every settlement may be applied twice). So a file that was half handed over
//! when the gateway stopped is simply handed over again.
//!
//! A file is a sequence of frames, each its length, the CRC-32 of its content, and the content. A frame that a power
//! failure cut short ends the file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use tokio::sync::Mutex;

use super::{Metrics, StoreError};

/// Bytes of a file after which the next one is begun.
const FILE: u64 = 16 << 20;
/// The share of the space, in percent, that records which nobody waits for may fill; the rest is for answers of calls
/// that change something.
const COMMON_SHARE: u64 = 75;
/// The ending of files that are to be handed over.
const WAITING: &str = "spool";
/// The ending of files with something that the database refuses.
const ASIDE: &str = "rejected";

/// Where the spool is, and how large it may grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolConfig {
    /// The directory; made when it is not there.
    pub directory: PathBuf,
    /// Bytes that it may hold.
    pub limit: u64,
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

struct Files {
    config: SpoolConfig,
    /// The file that is written to, with its bytes.
    current: Option<(File, u64)>,
    /// The number of the newest file.
    newest: u64,
    bytes: u64,
    /// Keeps other gateways away from the directory.
    _lock: File,
}

impl Spool {
    /// One that takes nothing.
    pub(super) fn closed(metrics: Metrics) -> Self {
        Self { files: Arc::default(), metrics }
    }

    /// Opens the directory. What an earlier gateway left there is handed over like what comes later.
    ///
    /// # Errors
    /// When it cannot be made or written, or belongs to another gateway that runs.
    pub(super) fn open(&self, config: SpoolConfig) -> Result<(), StoreError> {
        let path = config.directory.clone();
        let files = Files::open(config).map_err(|error| {
            let path = path.clone();
            if error.kind() == io::ErrorKind::WouldBlock {
                return StoreError::Busy { path };
            }
            StoreError::Permission { path, reason: error.to_string() }
        })?;
        self.metrics.spool_bytes.set(signed(files.bytes));
        let _ = self.files.set(Mutex::new(files));
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

impl Files {
    fn open(config: SpoolConfig) -> io::Result<Self> {
        fs::create_dir_all(&config.directory)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(config.directory.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => io::Error::from(io::ErrorKind::WouldBlock),
            fs::TryLockError::Error(error) => error,
        })?;
        let last = |ending| -> io::Result<u64> {
            Ok(numbered(&config.directory, ending)?.last().map_or(0, |(number, _)| *number))
        };
        let newest = last(WAITING)?.max(last(ASIDE)?) + 1;
        let mut files = Self { config, current: None, newest, bytes: 0, _lock: lock };
        files.weigh()?;
        Ok(files)
    }

    /// Counts the bytes of what waits.
    fn weigh(&mut self) -> io::Result<()> {
        self.bytes = 0;
        for (_, path) in numbered(&self.config.directory, WAITING)? {
            self.bytes += fs::metadata(path)?.len();
        }
        Ok(())
    }

    fn append(&mut self, entries: &[Vec<u8>], common: bool) -> io::Result<()> {
        let mut frames = Vec::new();
        for entry in entries {
            let length = u32::try_from(entry.len()).map_err(io::Error::other)?;
            frames.extend(length.to_le_bytes());
            frames.extend(crc(entry).to_le_bytes());
            frames.extend(entry);
        }
        let more = u64::try_from(frames.len()).unwrap_or(u64::MAX);
        let limit = if common { self.config.limit / 100 * COMMON_SHARE } else { self.config.limit };
        if self.bytes + more > limit {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.current.as_ref().is_none_or(|(_, size)| *size >= FILE) {
            self.begin()?;
        }
        let Some((file, size)) = &mut self.current else { return Err(io::Error::other("no file")) };
        let written = file.write_all(&frames).and_then(|()| file.sync_data());
        if written.is_err() {
            // whatever is behind half a frame would not be read
            self.current = None;
            return written;
        }
        *size += more;
        self.bytes += more;
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        self.newest += 1;
        let path = self.config.directory.join(format!("{:010}.{WAITING}", self.newest));
        let mut options = OpenOptions::new();
        options.create_new(true).append(true);
        // payloads are in it
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        File::open(&self.config.directory)?.sync_all()?;
        self.current = Some((file, 0));
        Ok(())
    }
}

/// The files of the directory with this ending, the oldest first.
fn numbered(directory: &Path, ending: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == ending)
            && let Some(number) = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok())
        {
            files.push((number, path));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// The whole frames of a file.
fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<8>() {
        let [a, b, c, d, e, f, g, h] = *head;
        let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let Some((content, rest)) = rest.split_at_checked(length) else { break };
        if crc(content) != u32::from_le_bytes([e, f, g, h]) {
            break;
        }
        frames.push(content.to_vec());
        bytes = rest;
    }
    frames
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry;

    fn spool(directory: &Path, limit: u64) -> Spool {
        let spool = Spool::closed(Metrics::register(&telemetry::metrics::Metrics::new().unwrap()).unwrap());
        spool.open(SpoolConfig { directory: directory.to_owned(), limit }).unwrap();
        spool
    }

    fn entry(n: u8) -> Vec<u8> {
        vec![n; 100]
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_kept_comes_out_in_order_also_after_a_restart_and_a_cut_frame() {
        let directory = tempfile::tempdir().unwrap();
        let first = spool(directory.path(), 1 << 20);
        for n in 0..10 {
            first.keep(vec![entry(n)], n % 2 == 0).await.unwrap();
        }
        drop(first);
        let (_, path) = numbered(directory.path(), WAITING).unwrap().pop().unwrap();
        OpenOptions::new()
            .append(true)
            .open(path)
            .unwrap()
            .write_all(&[100, 0, 0, 0, 1, 2, 3, 4, 5])
            .unwrap();
        let again = spool(directory.path(), 1 << 20);
        again.keep(vec![entry(10)], false).await.unwrap();
        let mut all = Vec::new();
        while let Some((path, entries)) = again.oldest().await.unwrap() {
            let count = entries.len();
            all.extend(entries);
            again.done(&path, count).await.unwrap();
        }
        assert_eq!(all, (0..=10).map(entry).collect::<Vec<_>>());
        assert_eq!(again.metrics.spool_bytes.get(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_that_is_put_aside_is_never_overwritten_and_waits_again_with_its_old_ending() {
        let directory = tempfile::tempdir().unwrap();
        for n in 0..3 {
            let spool = spool(directory.path(), 1 << 20);
            spool.keep(vec![entry(n)], false).await.unwrap();
            let (path, _) = spool.oldest().await.unwrap().unwrap();
            spool.put_aside(&path).await.unwrap();
            assert!(spool.oldest().await.unwrap().is_none());
            assert_eq!((spool.metrics.spool_bytes.get(), spool.metrics.spool_rejected.get()), (0, 1));
        }
        for (_, path) in numbered(directory.path(), ASIDE).unwrap() {
            fs::rename(&path, path.with_extension(WAITING)).unwrap();
        }
        let again = spool(directory.path(), 1 << 20);
        let mut all = Vec::new();
        while let Some((path, entries)) = again.oldest().await.unwrap() {
            all.extend(entries);
            again.done(&path, 1).await.unwrap();
        }
        assert_eq!(all, (0..3).map(entry).collect::<Vec<_>>());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn records_nobody_waits_for_leave_room_for_answers_of_calls_that_change_something() {
        let directory = tempfile::tempdir().unwrap();
        let spool = spool(directory.path(), 2000);
        let mut common = 0;
        while spool.keep(vec![entry(1)], true).await.is_ok() {
            common += 1;
        }
        assert_eq!(common, 1500 / 108);
        assert!(spool.keep(vec![entry(2)], false).await.is_ok());
        let error = loop {
            if let Err(error) = spool.keep(vec![entry(2)], false).await {
                break error;
            }
        };
        assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_directory_belongs_to_one_gateway() {
        let directory = tempfile::tempdir().unwrap();
        let _first = spool(directory.path(), 1000);
        let second = Spool::closed(Metrics::register(&telemetry::metrics::Metrics::new().unwrap()).unwrap());
        let config = SpoolConfig { directory: directory.path().to_owned(), limit: 1000 };
        assert!(matches!(second.open(config), Err(StoreError::Busy { .. })));
    }
}
