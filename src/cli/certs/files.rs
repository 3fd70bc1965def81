//! The four files of `certs init`, and how they are written: whole or not at all, keys for their owner only.

use std::path::{Path, PathBuf};

use crate::cli::replace;

/// Where the certificates of a gateway lie.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) authority: PathBuf,
    pub(super) authority_key: PathBuf,
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
}

impl Files {
    pub(super) fn under(dir: &Path) -> Self {
        let file = |name: &str| dir.join(name);
        Self {
            authority: file("ca.pem"),
            authority_key: file("ca.key"),
            chain: file("server.pem"),
            key: file("server.key"),
        }
    }
}

/// Writes a certificate that everybody may read.
pub(super) fn write_public(path: &Path, text: &str) -> anyhow::Result<()> {
    replace::write(path, text, 0o644)
}

/// Writes a key that only its owner may read.
pub(super) fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    replace::write(path, text, 0o600)
}
