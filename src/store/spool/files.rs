//! The files of a spool, in a directory that one gateway has at a time.
//!
//! A process that takes over while the one before still finishes its calls keeps what it must in a directory of its own
//! below, and moves it behind the rest of the other as soon as that has ended. What a dead process left in such a
//! directory is taken in by whoever has the spool.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::SpoolConfig;

/// Bytes of a file after which the next one is begun.
const FILE: u64 = 16 << 20;
/// The share of the space, in percent, that records which nobody waits for may fill; the rest is for answers of calls
/// that change something.
const COMMON_SHARE: u64 = 75;
/// The ending of files that are to be handed over.
pub(super) const WAITING: &str = "spool";
/// The ending of files with something that the database refuses.
pub(super) const ASIDE: &str = "rejected";
/// What the directories of those that wait for the spool are called, before their number.
const BESIDE: &str = "beside-";

/// An open directory with its files.
pub(super) struct Files {
    pub(super) config: SpoolConfig,
    /// The directory that the gateway before still has.
    home: Option<PathBuf>,
    /// The file that is written to, with its bytes.
    pub(super) current: Option<(File, u64)>,
    /// The number of the newest file.
    pub(super) newest: u64,
    pub(super) bytes: u64,
    /// Keeps other gateways away from the directory.
    _lock: File,
}

impl Files {
    /// Opens the directory.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process has it, or why it cannot be used.
    pub(super) fn open(config: SpoolConfig) -> io::Result<Self> {
        fs::create_dir_all(&config.directory)?;
        let lock = locked(&config.directory)?;
        let last = |ending| -> io::Result<u64> {
            Ok(numbered(&config.directory, ending)?.last().map_or(0, |(number, _)| *number))
        };
        let newest = last(WAITING)?.max(last(ASIDE)?) + 1;
        let mut files = Self { config, home: None, current: None, newest, bytes: 0, _lock: lock };
        files.weigh()?;
        files.take_in()?;
        Ok(files)
    }

    /// Opens a directory of its own below one that another process has.
    ///
    /// # Errors
    /// Why there can be none.
    pub(super) fn beside(config: &SpoolConfig) -> io::Result<Self> {
        let mut number = 0;
        loop {
            let directory = config.directory.join(format!("{BESIDE}{number}"));
            match Self::open(SpoolConfig { directory, limit: config.limit }) {
                Ok(files) => return Ok(Self { home: Some(config.directory.clone()), ..files }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => number += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the gateway before still has the spool.
    pub(super) const fn waits(&self) -> bool {
        self.home.is_some()
    }

    /// Takes the spool over when the gateway before has ended, and takes in what others left beside it. What would not
    /// fit into the limit together stays where it is until enough is handed over.
    ///
    /// # Errors
    /// When the disk fails; to be called again.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        let Some(home) = self.home.clone() else {
            return self.take_in();
        };
        let mut files = match Self::open(SpoolConfig { directory: home, limit: self.config.limit }) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        if !files.has_room_for(&self.config.directory)? {
            return Ok(());
        }
        // nothing may be written to a file that is moved
        self.current = None;
        files.take_from(&self.config.directory)?;
        files.weigh()?;
        *self = files;
        Ok(())
    }

    /// Takes in what processes that are no more left beside the spool.
    fn take_in(&mut self) -> io::Result<()> {
        for entry in fs::read_dir(&self.config.directory)? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with(BESIDE) {
                continue;
            }
            match locked(&entry.path()) {
                Ok(_lock) if !self.has_room_for(&entry.path())? => {}
                Ok(_lock) => {
                    if self.take_from(&entry.path())? {
                        self.weigh()?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether what waits in another directory fits in with its own.
    fn has_room_for(&self, directory: &Path) -> io::Result<bool> {
        let more = weight(directory)?;
        // what alone exceeds a limit that was lowered must not stay for ever
        Ok(more == 0 || self.bytes == 0 || self.bytes + more <= self.config.limit)
    }

    /// Moves the files of another directory behind its own, in their order; whether there were any. The directory
    /// stays for the next one that waits.
    fn take_from(&mut self, directory: &Path) -> io::Result<bool> {
        let mut all: Vec<(u64, PathBuf, &str)> = Vec::new();
        for ending in [WAITING, ASIDE] {
            all.extend(numbered(directory, ending)?.into_iter().map(|(number, path)| (number, path, ending)));
        }
        all.sort_unstable();
        if all.is_empty() {
            return Ok(false);
        }
        self.current = None;
        for (_, path, ending) in all {
            self.newest += 1;
            fs::rename(path, self.config.directory.join(format!("{:010}.{ending}", self.newest)))?;
        }
        File::open(&self.config.directory)?.sync_all()?;
        Ok(true)
    }

    /// Counts the bytes of what waits.
    pub(super) fn weigh(&mut self) -> io::Result<()> {
        self.bytes = weight(&self.config.directory)?;
        Ok(())
    }

    /// Writes entries, flushed to disk when this returns.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when there is no room for them, or why the disk fails.
    pub(super) fn append(&mut self, entries: &[Vec<u8>], common: bool) -> io::Result<()> {
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

/// The directory's lock, held until it is dropped.
fn locked(directory: &Path) -> io::Result<File> {
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(directory.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// The bytes of what waits in the directory.
fn weight(directory: &Path) -> io::Result<u64> {
    numbered(directory, WAITING)?.into_iter().map(|(_, path)| Ok(fs::metadata(path)?.len())).sum()
}

/// The files of the directory with this ending, the oldest first.
pub(super) fn numbered(directory: &Path, ending: &str) -> io::Result<Vec<(u64, PathBuf)>> {
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
pub(super) fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
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
