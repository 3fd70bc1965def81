//! What a server shows in its TLS handshake; for `certs show --connect` and `probe`.

use std::{io, sync::Arc};

use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, ServerName},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::tls::HandshakeError;

/// A handshake that was made.
#[derive(Debug)]
pub(super) struct Presented {
    /// For example `TLSv1.3`.
    pub(super) version: String,
    /// For example `TLS13_AES_256_GCM_SHA384`.
    pub(super) cipher: String,
    /// The certificates in the order of the server, its own first.
    pub(super) chain: Vec<CertificateDer<'static>>,
}

/// Makes a handshake on a connected stream. What the certificate must prove is up to `config`; `host` is a name or an
/// address, as it stands in a URL.
///
/// # Errors
/// Why there was none.
pub(super) async fn presented<S>(
    stream: S,
    host: &str,
    config: ClientConfig,
) -> Result<Presented, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("{host}: {error}")))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (_, connection) = stream.get_ref();
    let text = |part: Option<String>| part.unwrap_or_else(|| "?".to_owned());
    let chain = connection.peer_certificates().unwrap_or_default();
    Ok(Presented {
        version: text(connection.protocol_version().map(|version| format!("{version:?}").replace('_', "."))),
        cipher: text(connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()))),
        chain: chain.iter().map(|der| der.clone().into_owned()).collect(),
    })
}
