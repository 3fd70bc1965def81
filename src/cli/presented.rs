//! What a server shows in its TLS handshake; for `certs show --connect` and `probe`.

use std::io;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::tls::{Connector, HandshakeError, Session};

/// Makes a handshake on a connected stream. What the certificate must prove is up to `connector`; `host` is a name or
/// an address, as it stands in a URL.
///
/// # Errors
/// Why there was none.
pub(super) async fn presented<S>(
    stream: S,
    host: &str,
    connector: Connector,
) -> Result<Session, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("{host}: {error}")))?;
    Ok(connector.connect(name, stream).await?.session())
}
