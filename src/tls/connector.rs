//! The client side of a handshake, whichever library makes it. Both libraries ask the same verifier
//! ([`super::verify`]) about the server's certificate, so there is one decision about trust.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client};

use super::{ClientSettings, HandshakeError, TlsError};

/// Which library makes the handshakes with a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// rustls: TLS 1.3 and 1.2 with forward secrecy.
    #[default]
    Rustls,
    /// OpenSSL, for servers that speak only what rustls refuses. The program must be built with the feature `openssl`.
    OpenSsl(OpenSslSettings),
}

/// What OpenSSL may do beyond its defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenSslSettings {
    /// The cipher suites of TLS 1.2 in OpenSSL's notation, by default `DEFAULT`: with RSA key exchange and CBC. Suites
    /// without a certificate or without encryption are never used.
    pub ciphers: Option<String>,
    /// Whether the server may renegotiate, and may do so without the protection of RFC 5746.
    pub legacy_renegotiation: bool,
}

impl Backend {
    /// Whether this program has it.
    #[must_use]
    pub const fn is_built_in(&self) -> bool {
        match self {
            Self::Rustls => true,
            Self::OpenSsl(_) => cfg!(feature = "openssl"),
        }
    }
}

/// Makes handshakes with servers.
pub struct Connector(With);

enum With {
    Rustls(TlsConnector),
    #[cfg(feature = "openssl")]
    OpenSsl(super::openssl::OpenSsl),
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

/// A stream whose server is trusted as the settings ask.
#[derive(Debug)]
pub enum TlsStream<S> {
    /// Made by rustls.
    Rustls(Box<client::TlsStream<S>>),
    /// Made by OpenSSL.
    #[cfg(feature = "openssl")]
    OpenSsl(Box<tokio_openssl::SslStream<S>>),
}

/// What a handshake came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// For example `TLSv1.3`.
    pub version: String,
    /// For example `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// The certificates in the order of the server, its own first.
    pub chain: Vec<CertificateDer<'static>>,
}

impl ClientSettings {
    /// What makes handshakes with these settings.
    ///
    /// # Errors
    /// As [`Self::client_config`], and when OpenSSL is asked for and is not there or does not take its settings.
    pub fn connector(&self) -> Result<Connector, TlsError> {
        Ok(Connector(match &self.backend {
            Backend::Rustls => With::Rustls(TlsConnector::from(Arc::new(self.client_config()?))),
            #[cfg(feature = "openssl")]
            Backend::OpenSsl(options) => With::OpenSsl(super::openssl::OpenSsl::new(self, options)?),
            #[cfg(not(feature = "openssl"))]
            Backend::OpenSsl(_) => return Err(TlsError::NoOpenSsl),
        }))
    }
}

impl Connector {
    /// Makes a handshake on a connected stream with the server of this name. The stream is handed out only if the
    /// server is trusted; nothing but the handshake is written before.
    ///
    /// # Errors
    /// Why there was none.
    pub async fn connect<S>(
        &self,
        name: ServerName<'static>,
        stream: S,
    ) -> Result<TlsStream<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        Ok(match &self.0 {
            With::Rustls(connector) => TlsStream::Rustls(Box::new(connector.connect(name, stream).await?)),
            #[cfg(feature = "openssl")]
            With::OpenSsl(openssl) => TlsStream::OpenSsl(Box::new(openssl.connect(name, stream).await?)),
        })
    }
}

impl<S> TlsStream<S> {
    /// What the handshake came to.
    #[must_use]
    pub fn session(&self) -> Session {
        let stream = match self {
            Self::Rustls(stream) => stream,
            #[cfg(feature = "openssl")]
            Self::OpenSsl(stream) => return super::openssl::session(stream.ssl()),
        };
        let (_, connection) = stream.get_ref();
        let text = |part: Option<String>| part.unwrap_or_else(|| "?".to_owned());
        let version = connection.protocol_version().map(|version| format!("{version:?}").replace('_', "."));
        let chain = connection.peer_certificates().unwrap_or_default();
        Session {
            version: text(version),
            cipher: text(connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()))),
            chain: chain.iter().map(|der| der.clone().into_owned()).collect(),
        }
    }
}
