//! The other end of a connection: who it is, and why a handshake with it failed.

use std::{io, net::SocketAddr, sync::Arc};

use http::{Request, Version, header};
use rustls::Error;

use super::Refusal;
use crate::tls::certificate;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address; behind a balancer that tells it, the one that it told.
    pub address: SocketAddr,
    /// The balancer that the connection came through.
    pub via: Option<SocketAddr>,
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

    /// The balancer told who the client is, or spoke for itself.
    pub(super) fn came_through(&mut self, client: Option<SocketAddr>) {
        if let Some(client) = client {
            self.via = Some(self.address);
            self.address = client;
        }
    }
}

/// Why a handshake with a client failed: a word of a closed set, and what to look at.
pub(super) fn explain(error: &io::Error) -> (&'static str, String) {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        let why = "the client closed the connection (does it trust this certificate?)";
        return ("closed", format!("{why}: {error}"));
    };
    if let Error::AlertReceived(alert) = error {
        let why =
            format!("the client refused with {alert:?}; does it trust the authority of this certificate?");
        return ("client_alert", why);
    }
    if let Error::PeerMisbehaved(rustls::PeerMisbehaved::ServerNameMustContainOneHostName) = error {
        let why = "the name that the client asks for (SNI) is none, perhaps it is an address with its port; let it \
                   send a name, an address or nothing (illegal_parameter)";
        return ("server_name", why.to_owned());
    }
    if matches!(error, Error::InvalidMessage(_)) {
        let why = "the client does not speak TLS; perhaps it uses http:// where https:// is meant";
        return ("not_tls", format!("{why} ({error})"));
    }
    if matches!(error, Error::NoCertificatesPresented | Error::InvalidCertificate(_)) {
        let why = "the client must show a certificate of an authority in client_ca";
        return ("client_certificate", format!("{why}: {error}"));
    }
    if matches!(error, Error::PeerIncompatible(_)) {
        return ("incompatible", format!("{error}; TLS 1.2 with an AEAD cipher or TLS 1.3 is needed"));
    }
    ("protocol", error.to_string())
}

/// With HTTP/2 a request may name its host twice. HTTP/1 was looked at before it was read.
pub(super) fn conflicting_host<B>(request: &Request<B>) -> Option<Refusal> {
    if request.version() < Version::HTTP_2 {
        return None;
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, further) = (hosts.next()?, hosts.next());
    let asked = request.uri().authority().map_or("", http::uri::Authority::as_str);
    let same = host.as_bytes().eq_ignore_ascii_case(asked.as_bytes());
    (further.is_some() || !same).then_some(Refusal::Framing("host_conflict"))
}
