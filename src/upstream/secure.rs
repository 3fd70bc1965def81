//! TLS towards the platform, once TCP is there.

use std::{sync::Arc, time::Duration};

use rustls::pki_types::{IpAddr, ServerName};
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client::TlsStream};
use url::Host;

use super::{Config, Phase, UpstreamError, base_url, error::Failure, io::CountedSocket, metrics::OfUpstream};
use crate::tls::HandshakeError;

/// A stream on which HTTP can begin.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(CountedSocket),
    Rustls(Box<TlsStream<CountedSocket>>),
}

/// How streams of one upstream are secured.
pub(super) struct Secure {
    with: With,
    limit: Duration,
    metrics: OfUpstream,
}

enum With {
    /// `http://`
    Nothing,
    Rustls(TlsConnector, ServerName<'static>),
}

impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secure").field("tls", &self.is_tls()).finish_non_exhaustive()
    }
}

impl Secure {
    pub(super) fn new(
        config: &Config,
        host: &Host<&str>,
        metrics: OfUpstream,
    ) -> Result<Self, UpstreamError> {
        let with = if config.base_url.scheme() == "https" {
            let client = config.tls.client_config();
            let client = client.map_err(|source| UpstreamError::Tls { name: config.name.clone(), source })?;
            let name =
                server_name(host).ok_or_else(|| base_url(config, "has a host that cannot stand in TLS"))?;
            With::Rustls(TlsConnector::from(Arc::new(client)), name)
        } else {
            With::Nothing
        };
        Ok(Self { with, limit: config.tls_timeout, metrics })
    }

    pub(super) const fn is_tls(&self) -> bool {
        !matches!(self.with, With::Nothing)
    }

    pub(super) async fn handshake(&self, socket: CountedSocket) -> Result<Stream, Failure> {
        let shaken = match &self.with {
            With::Nothing => return Ok(Stream::Plain(socket)),
            With::Rustls(connector, name) => {
                timeout(self.limit, connector.connect(name.clone(), socket)).await
            }
        };
        match shaken {
            Ok(Ok(stream)) => Ok(Stream::Rustls(Box::new(stream))),
            Ok(Err(error)) => Err(self.failed(HandshakeError::from(error))),
            Err(_) => Err(Failure::too_slow(Phase::Tls, self.limit)),
        }
    }

    /// A handshake that failed. A changed key is an alarm: nothing else is ever tried in its place.
    fn failed(&self, error: HandshakeError) -> Failure {
        let untrusted = error.is_about_trust();
        let Some(mismatch) = error.pin_mismatch() else {
            return Failure { untrusted, ..Failure::before(Phase::Tls, error) };
        };
        self.metrics.pin_mismatches.inc();
        tracing::error!(
            upstream = self.metrics.name(),
            shown = %mismatch.presented,
            pinned = ?mismatch.expected,
            "ALARM: THE PLATFORM'S PUBLIC KEY HAS CHANGED, or somebody stands in between; no call is sent"
        );
        Failure { untrusted, ..Failure::before(Phase::Pin, error) }
    }
}

/// The name for SNI and verification; rustls sends no SNI for addresses.
fn server_name(host: &Host<&str>) -> Option<ServerName<'static>> {
    match host {
        Host::Domain(name) => ServerName::try_from((*name).to_owned()).ok(),
        Host::Ipv4(ip) => Some(ServerName::IpAddress(IpAddr::from(std::net::IpAddr::from(*ip)))),
        Host::Ipv6(ip) => Some(ServerName::IpAddress(IpAddr::from(std::net::IpAddr::from(*ip)))),
    }
}
