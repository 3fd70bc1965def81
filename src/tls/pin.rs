//! Pins: the SHA-256 of a certificate's public key, written `sha256/<base64>` as RFC 7469 §2.4 does.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{TlsError, certificate};

/// The SHA-256 of a SubjectPublicKeyInfo. It survives the renewal of a certificate as long as the key stays.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

impl Pin {
    /// The pin of a DER-encoded SubjectPublicKeyInfo.
    #[must_use]
    pub fn of_public_key(spki_der: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, spki_der);
        let mut pin = [0; 32];
        pin.copy_from_slice(digest.as_ref());
        Self(pin)
    }
}

impl FromStr for Pin {
    type Err = TlsError;

    fn from_str(text: &str) -> Result<Self, TlsError> {
        let wrong = || TlsError::Pin(text.to_owned());
        let encoded = text.strip_prefix("sha256/").ok_or_else(wrong)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| wrong())?;
        bytes.try_into().map(Self).map_err(|_| wrong())
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256/{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Pin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The pin of a DER-encoded certificate of any version.
///
/// # Errors
/// [`TlsError::Certificate`] when the bytes are no certificate.
pub fn fingerprint(cert_der: &[u8]) -> Result<Pin, TlsError> {
    Ok(Pin::of_public_key(certificate::public_key_info(cert_der)?.der))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_reads_back_what_it_prints() {
        let pin = Pin::of_public_key(b"some key");
        assert_eq!(pin.to_string().parse::<Pin>().unwrap(), pin);
    }

    #[test]
    fn anything_but_sha256_and_32_bytes_is_refused() {
        for text in ["", "sha256/", "sha256/AAAA", "sha1/AAAA", "AAAA", "sha256/!"] {
            assert!(matches!(text.parse::<Pin>(), Err(TlsError::Pin(_))), "{text}");
        }
    }
}
