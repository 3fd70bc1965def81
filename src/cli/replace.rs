//! Files that are written whole or not at all: beside the old one, then renamed over it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use anyhow::Context;

/// Writes a file with this mode.
///
/// # Errors
/// Which file cannot be written, and why; the old one is untouched.
pub(super) fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    beside(path, text, mode, |_| Ok(())).with_context(|| format!("cannot write {}", path.display()))
}

/// Replaces the text of an existing file, which keeps its mode and owner. A link is followed, and stays.
///
/// # Errors
/// As [`write()`].
pub(super) fn rewrite(path: &Path, text: &str) -> anyhow::Result<()> {
    let replaced = || {
        let path = fs::canonicalize(path)?;
        let old = fs::metadata(&path)?;
        beside(&path, text, old.mode() & 0o7777, |file| {
            let new = file.metadata()?;
            if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
                fchown(file, Some(old.uid()), Some(old.gid()))?;
            }
            // a change of owner takes special bits away
            file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))
        })
    };
    replaced().with_context(|| format!("cannot write {}", path.display()))
}

fn beside(
    path: &Path,
    text: &str,
    mode: u32,
    prepare: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // a left-over of an interrupted run may have another mode
    if beside.exists() {
        fs::remove_file(&beside)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    let written = prepare(&file)
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // the error is what matters
        let _ = fs::remove_file(&beside);
    }
    written
}
