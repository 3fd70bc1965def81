//! The other end of a connection: who it is, and why a handshake with it failed.

use std::{io, net::SocketAddr, sync::Arc};

use crate::tls::certificate;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address.
    pub address: SocketAddr,
    /// The subject of the client certificate that was verified, for example `CN=erp-1`.
    pub identity: Option<Arc<str>>,
    /// The address that the connection came in by.
    pub listener: SocketAddr,
    /// The name that the client asked for in TLS.
    pub sni: Option<Arc<str>>,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

impl Peer {
    /// What the handshake told about the client.
    pub(super) fn learn(&mut self, connection: &rustls::ServerConnection) {
        let chain = connection.peer_certificates();
        self.identity = chain.and_then(|chain| certificate::subject(chain.first()?)).map(Arc::from);
        self.sni = connection.server_name().map(Arc::from);
    }
}

/// Why a handshake with a client failed, and what to look at.
pub(super) fn explain(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "the client closed the connection (does it trust this certificate?)".to_owned();
    }
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(_)) => {
            "the client does not speak TLS; perhaps it uses http:// where https:// is meant".to_owned()
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            format!("the client refused with {alert:?}; does it trust the authority of this certificate?")
        }
        _ => error.to_string(),
    }
}
