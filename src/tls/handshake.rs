//! Why a handshake with a server failed, in words that say what to do.

use std::{fmt, io};

use rustls::{AlertDescription, CertificateError, Error};

use super::verify::PinMismatch;

/// A failed handshake with a server.
#[derive(Debug)]
pub struct HandshakeError(io::Error);

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

impl HandshakeError {
    /// The other key that was shown, when a pin did not fit.
    #[must_use]
    pub fn pin_mismatch(&self) -> Option<&PinMismatch> {
        let Error::InvalidCertificate(CertificateError::Other(other)) = self.tls()? else { return None };
        other.0.downcast_ref()
    }

    /// Whether it failed because of what the server's certificate is, not because the connection broke off.
    #[must_use]
    pub fn is_about_trust(&self) -> bool {
        matches!(self.tls(), Some(Error::InvalidCertificate(_)))
    }

    fn tls(&self) -> Option<&Error> {
        self.0.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(mismatch) = self.pin_mismatch() {
            return write!(
                f,
                "{mismatch}; if the platform has changed its key, compare the new fingerprint over another way \
                 and put it into `pins`, otherwise somebody stands in between"
            );
        }
        match self.tls() {
            None if self.0.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the connection was closed during the handshake (does this port speak TLS?)")
            }
            None => self.0.fmt(f),
            Some(error) => write!(f, "{error}{}", hint(error)),
        }
    }
}

impl std::error::Error for HandshakeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

fn hint(error: &Error) -> &'static str {
    if matches!(error, Error::InvalidMessage(_)) {
        return " (this port does not speak TLS)";
    }
    if let Error::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion)
    | Error::PeerIncompatible(_) = error
    {
        return "; a server that speaks only older kinds of TLS may need backend = \"openssl\"";
    }
    let Error::InvalidCertificate(reason) = error else { return "" };
    if matches!(reason, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) {
        return "; if it is the right server, use verify = \"chain\" with its authority or verify = \"pinned\"";
    }
    if matches!(reason, CertificateError::UnknownIssuer) {
        return "; give the authority that issued it as `ca_file`, or use verify = \"pinned\"";
    }
    if matches!(reason, CertificateError::Other(_) | CertificateError::BadEncoding) {
        return "; if it is the right server, verify = \"pinned\" accepts certificates of any kind";
    }
    ""
}
