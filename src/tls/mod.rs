//! TLS on both sides: how the gateway proves itself to clients ([`server`]), how it trusts the platform
//! ([`client`], [`connector`], [`verify`]), pins of public keys ([`pin`]) and a small private authority ([`authority`]).
//!
//! Nothing here opens a socket; `listener` and `upstream` do.

pub mod ahead;
pub mod authority;
pub mod certificate;
pub mod client;
pub mod connector;
pub mod handshake;
#[cfg(feature = "openssl")]
mod openssl;
pub mod pin;
pub mod server;
pub mod verify;

use std::{io, path::PathBuf, sync::Arc};

use rustls::crypto::CryptoProvider;

pub use ahead::Ahead;
pub use authority::{Authority, IssuedCertificate};
pub use client::{ClientSettings, Verify, client_config};
pub use connector::{Backend, Connector, OpenSslSettings, Session, TlsStream};
pub use handshake::HandshakeError;
pub use pin::{Pin, fingerprint};
pub use server::{CertificateFiles, ServerTls};

/// Why a TLS configuration could not be made. Each is a sentence that names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The bytes are no X.509 certificate.
    #[error("not an X.509 certificate: {0}")]
    Certificate(String),
    /// OpenSSL does not know what `ciphers` names.
    #[error("OpenSSL cannot use {ciphers:?} as ciphers ({reason}); `openssl ciphers -v` lists what there is")]
    Ciphers {
        /// As configured.
        ciphers: String,
        /// Why.
        reason: String,
    },
    /// A file exists but holds nothing of the expected kind.
    #[error(
        "{path} holds no {what} in PEM form; it must contain a block that starts with -----BEGIN {label}-----"
    )]
    Empty {
        /// The file.
        path: PathBuf,
        /// What was expected, in words.
        what: &'static str,
        /// The PEM label that was looked for.
        label: &'static str,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// Chain and key are not of one pair.
    #[error("the key in {key} does not belong to the first certificate in {chain}; give the matching pair")]
    KeyMismatch {
        /// The certificate chain.
        chain: PathBuf,
        /// The private key.
        key: PathBuf,
    },
    /// A listener was given no certificate.
    #[error("no certificate is configured; give at least one pair of chain and key (see `certs init`)")]
    NoCertificates,
    /// `backend = "openssl"` in a program without OpenSSL.
    #[error(
        "this program was built without OpenSSL; install one that was built with it (cargo build --release --features \
         openssl), or delete `backend` to use rustls · 此程序未包含 OpenSSL，请改用以 --features openssl 构建的版本，或删除 backend"
    )]
    NoOpenSsl,
    /// `verify = "pinned"` without a pin.
    #[error("verify = \"pinned\" needs at least one pin (sha256/… of the platform's public key)")]
    NoPins,
    /// No trust anchor was found.
    #[error(
        "no certificate authority to trust was found {place}; give `ca_file`, or verify = \"pinned\" with a pin"
    )]
    NoRoots {
        /// Where it was looked for.
        place: String,
    },
    /// OpenSSL could not be set up.
    #[error("OpenSSL: {context}: {reason}")]
    OpenSsl {
        /// What was being set up.
        context: String,
        /// Why.
        reason: String,
    },
    /// A pin is not `sha256/` and 32 bytes of base64.
    #[error("{0:?} is not a pin; expected sha256/ followed by 44 characters of base64")]
    Pin(String),
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// rustls does not accept what it was given.
    #[error("{context}: {source}")]
    Rejected {
        /// What was being set up.
        context: String,
        /// Why.
        source: rustls::Error,
    },
}

/// The one provider of cryptography, aws-lc.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
