//! TLS towards the platform, once TCP is there.

use std::time::Duration;

use rustls::pki_types::{IpAddr, ServerName};
use tokio::time::timeout;
use url::Host;

use super::{Config, Phase, UpstreamError, base_url, error::Failure, io::CountedSocket, metrics::OfUpstream};
use crate::tls::{Ahead, Connector, HandshakeError, TlsStream};

/// A stream on which HTTP can begin.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(CountedSocket),
    Tls(TlsStream<Ahead<CountedSocket>>),
}

/// How streams of one upstream are secured.
pub(super) struct Secure {
    /// `None`: `http://`
    tls: Option<(Connector, ServerName<'static>)>,
    limit: Duration,
    metrics: OfUpstream,
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
        let tls = if config.base_url.scheme() == "https" {
            let connector = config.tls.connector();
            let connector =
                connector.map_err(|source| UpstreamError::Tls { name: config.name.clone(), source })?;
            let name =
                server_name(host).ok_or_else(|| base_url(config, "has a host that cannot stand in TLS"))?;
            Some((connector, name))
        } else {
            None
        };
        Ok(Self { tls, limit: config.tls_timeout, metrics })
    }

    pub(super) const fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub(super) async fn handshake(&self, socket: CountedSocket) -> Result<Stream, Failure> {
        let Some((connector, name)) = &self.tls else { return Ok(Stream::Plain(socket)) };
        match timeout(self.limit, connector.connect(name.clone(), Ahead::new(socket))).await {
            Ok(Ok(stream)) => Ok(Stream::Tls(stream)),
            Ok(Err(error)) => Err(self.failed(error)),
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

/// The name for SNI and verification; no SNI is sent for addresses.
fn server_name(host: &Host<&str>) -> Option<ServerName<'static>> {
    match host {
        Host::Domain(name) => ServerName::try_from((*name).to_owned()).ok(),
        Host::Ipv4(ip) => Some(ServerName::IpAddress(IpAddr::from(std::net::IpAddr::from(*ip)))),
        Host::Ipv6(ip) => Some(ServerName::IpAddress(IpAddr::from(std::net::IpAddr::from(*ip)))),
    }
}
