//! The key that units' keys are sealed with at rest.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    rand,
};
use secrecy::{ExposeSecret, SecretBox};

use crate::domain::{Environment, TaxNo};
use crate::leqi::Sm4Key;

/// Bytes of the master key: AES-256.
const KEY_LEN: usize = 32;
/// The first byte of a sealed key: the form of the rest, `nonce ‖ ciphertext ‖ tag`.
const SEAL_VERSION: u8 = 1;

/// Why a master key could not be had or did not fit.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file exists and holds something else.
    #[error("master key file {} holds {length} bytes; it must hold 64 hex digits (or 32 raw bytes)", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// A sealed key does not open: it was sealed with another master key, or was altered, or is another unit's.
    #[error("the sealed key does not open with this master key")]
    NotOpened,
    /// The random number generator or the cipher failed.
    #[error("the cryptographic library failed to {0}")]
    Crypto(&'static str),
    /// The file cannot be read or created.
    #[error("cannot {action} master key file {}: {source}", path.display())]
    File {
        /// What was tried: `read` or `create`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// 32 random bytes from a file that only the gateway may read (`[secrets] master_key_file`).
pub struct MasterKey(SecretBox<[u8; KEY_LEN]>);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

impl MasterKey {
    /// A new key.
    ///
    /// # Errors
    /// When the random number generator fails.
    pub fn generate() -> Result<Self, MasterKeyError> {
        let mut bytes = Box::new([0; KEY_LEN]);
        rand::fill(bytes.as_mut_slice()).map_err(|_| MasterKeyError::Crypto("make random bytes"))?;
        Ok(Self(SecretBox::new(bytes)))
    }

    /// Reads the file: 64 hex digits, blanks around them allowed, or 32 raw bytes.
    ///
    /// # Errors
    /// When it cannot be read or holds anything else.
    pub fn load(path: &Path) -> Result<Self, MasterKeyError> {
        let content = fs::read(path).map_err(|source| MasterKeyError::File {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        warn_if_others_can_read(path);
        parse(&content)
            .ok_or_else(|| MasterKeyError::Malformed { path: path.to_owned(), length: content.len() })
    }

    /// Reads the file, or makes a new key and writes it there with mode 0600 when there is none.
    ///
    /// # Errors
    /// As [`MasterKey::load`], or when the file cannot be created.
    pub fn load_or_create(path: &Path) -> Result<Self, MasterKeyError> {
        match Self::load(path) {
            Err(MasterKeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            loaded => return loaded,
        }
        let key = Self::generate()?;
        match key.write_new(path) {
            Ok(()) => Ok(key),
            // somebody else was first
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::load(path),
            Err(source) => Err(MasterKeyError::File { action: "create", path: path.to_owned(), source }),
        }
    }

    /// Seals a unit's key. Tax number and environment are bound to it: a sealed key moved to another row does not open.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn seal_key(
        &self,
        key: &Sm4Key,
        tax_no: &TaxNo,
        environment: Environment,
    ) -> Result<Vec<u8>, MasterKeyError> {
        let mut cipher = key.expose().to_vec();
        let nonce = self
            .cipher()?
            .seal_in_place_append_tag(Aad::from(bound_to(tax_no, environment)), &mut cipher)
            .map_err(|_| MasterKeyError::Crypto("seal a key"))?;
        let mut sealed = vec![SEAL_VERSION];
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&cipher);
        Ok(sealed)
    }

    /// Opens a sealed key.
    ///
    /// # Errors
    /// [`MasterKeyError::NotOpened`] when it was sealed with another master key, for another unit or environment,
    /// or was altered.
    pub fn open_key(
        &self,
        sealed: &[u8],
        tax_no: &TaxNo,
        environment: Environment,
    ) -> Result<Sm4Key, MasterKeyError> {
        let Some((&SEAL_VERSION, rest)) = sealed.split_first() else { return Err(MasterKeyError::NotOpened) };
        let Some((nonce, cipher)) = rest.split_at_checked(NONCE_LEN) else {
            return Err(MasterKeyError::NotOpened);
        };
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| MasterKeyError::NotOpened)?;
        let mut cipher = cipher.to_vec();
        let plain = self
            .cipher()?
            .open_in_place(nonce, Aad::from(bound_to(tax_no, environment)), &mut cipher)
            .map_err(|_| MasterKeyError::NotOpened)?;
        <[u8; 16]>::try_from(&*plain).map(Sm4Key::from_bytes).map_err(|_| MasterKeyError::NotOpened)
    }

    fn cipher(&self) -> Result<RandomizedNonceKey, MasterKeyError> {
        RandomizedNonceKey::new(&AES_256_GCM, self.0.expose_secret())
            .map_err(|_| MasterKeyError::Crypto("set up AES-256-GCM"))
    }

    fn write_new(&self, path: &Path) -> io::Result<()> {
        if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            fs::create_dir_all(directory)?;
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        for byte in self.0.expose_secret() {
            write!(file, "{byte:02x}")?;
        }
        file.write_all(b"\n")?;
        file.sync_all()
    }
}

fn parse(content: &[u8]) -> Option<MasterKey> {
    let mut key = Box::new([0; KEY_LEN]);
    let digits = content.trim_ascii();
    if digits.len() == 2 * KEY_LEN {
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
    } else if content.len() == KEY_LEN {
        key.copy_from_slice(content);
    } else {
        return None;
    }
    Some(MasterKey(SecretBox::new(key)))
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

fn bound_to(tax_no: &TaxNo, environment: Environment) -> Vec<u8> {
    format!("leqi-gateway unit key\0{tax_no}\0{}", environment.as_str()).into_bytes()
}

#[cfg(unix)]
fn warn_if_others_can_read(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let open_to_others = fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o077 != 0);
    if open_to_others {
        tracing::warn!(path = %path.display(), "other users can read the master key file: chmod 600 it");
    }
}

#[cfg(not(unix))]
fn warn_if_others_can_read(_path: &Path) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn tax_no() -> TaxNo {
        TaxNo::parse("91350100M000100Y43").unwrap()
    }

    #[test]
    fn a_sealed_key_opens_only_for_its_unit_and_environment_and_master_key() {
        let master = MasterKey::generate().unwrap();
        let key = Sm4Key::from_hex("0123456789abcdeffedcba9876543210").unwrap();
        let sealed = master.seal_key(&key, &tax_no(), Environment::Production).unwrap();
        assert!(!sealed.windows(16).any(|w| w == key.expose()));
        let opened = master.open_key(&sealed, &tax_no(), Environment::Production).unwrap();
        assert_eq!(opened.expose(), key.expose());

        let other_unit = TaxNo::parse("123456789012345").unwrap();
        let other_master = MasterKey::generate().unwrap();
        assert!(master.open_key(&sealed, &tax_no(), Environment::Sandbox).is_err());
        assert!(master.open_key(&sealed, &other_unit, Environment::Production).is_err());
        assert!(other_master.open_key(&sealed, &tax_no(), Environment::Production).is_err());
        for place in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[place] ^= 1;
            assert!(master.open_key(&altered, &tax_no(), Environment::Production).is_err());
            assert!(master.open_key(&sealed[..place], &tax_no(), Environment::Production).is_err());
        }
    }

    #[test]
    fn a_created_file_is_private_and_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secrets/master.key");
        let created = MasterKey::load_or_create(&path).unwrap();
        let loaded = MasterKey::load_or_create(&path).unwrap();
        assert_eq!(created.0.expose_secret(), loaded.0.expose_secret());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn raw_bytes_are_a_key_and_anything_else_is_named_with_its_length() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        fs::write(&path, [7; 32]).unwrap();
        assert_eq!(MasterKey::load(&path).unwrap().0.expose_secret(), &[7; 32]);
        fs::write(&path, "short").unwrap();
        assert!(MasterKey::load(&path).unwrap_err().to_string().contains("holds 5 bytes"));
        let missing = directory.path().join("none");
        assert!(MasterKey::load(&missing).unwrap_err().to_string().contains("cannot read"));
    }
}
