//! `[[listen]]`, `[admin]` and `[ops]`: where the gateway listens and for whom.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    sync::Arc,
};

use ipnet::IpNet;

use super::{Listen, kinds, section::Section, tree::Spot};
use crate::{
    listener::{self, ClientLimits, Rate},
    proxy::Admission,
    tls::{CertificateFiles, ServerTls},
};

/// One `[[listen]]`.
pub(super) fn data_plane(mut section: Section<'_>) -> Option<Listen> {
    let address = section.required("address", "\"0.0.0.0:8443\"", kinds::address);
    let plaintext = section.value_or("plaintext", false, kinds::truth);
    let tls = tls(&mut section);
    match (&tls, plaintext) {
        (Tls::None, true) => {
            section.warn("plaintext", "calls are taken over plain HTTP; keep this to a network that you trust");
        }
        (Tls::None, false) => section.error(
            "",
            "has no certificates; give certificates = [{ chain = …, key = … }] (make them: leqi-gateway certs init) \
             or ask for plain HTTP with plaintext = true",
        ),
        (Tls::Some(_) | Tls::Wrong, true) => {
            section.error("plaintext", "contradicts certificates; delete one of the two");
        }
        (Tls::Some(_) | Tls::Wrong, false) => {}
    }
    let allow = allow(&mut section);
    let listener = limits(&mut section, address?, tls.into_option());
    Some(Listen { listener, allow })
}

/// `[admin]`: plain HTTP on loopback only.
pub(super) fn admin(mut section: Section<'_>) -> listener::Config {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 9080));
    let address = section.value_or("address", default, kinds::address);
    let tls = tls(&mut section);
    if matches!(tls, Tls::None) && !address.ip().is_loopback() {
        section.error(
            "address",
            format!(
                "{address} is not loopback and [admin] has no certificates: tokens would travel in clear; use \
                 127.0.0.1:{} or give certificates = [{{ chain = …, key = … }}]",
                address.port()
            ),
        );
    }
    limits(&mut section, address, tls.into_option())
}

/// `[ops]`: metrics and health, plain HTTP.
pub(super) fn ops(mut section: Section<'_>) -> listener::Config {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 9464));
    let address = section.value_or("address", default, kinds::address);
    if address.ip().is_unspecified() {
        section.warn("address", "metrics are shown on every interface; a firewall should keep them inside");
    }
    limits(&mut section, address, None)
}

/// What became of `certificates` and `client_ca`.
enum Tls {
    Some(Arc<ServerTls>),
    None,
    /// Asked for, but wrong, which is noted.
    Wrong,
}

impl Tls {
    fn into_option(self) -> Option<Arc<ServerTls>> {
        match self {
            Self::Some(config) => Some(config),
            Self::None | Self::Wrong => None,
        }
    }
}

fn tls(section: &mut Section<'_>) -> Tls {
    let mut wanted = 0;
    let mut pairs = Vec::new();
    for mut pair in section.sections("certificates") {
        wanted += 1;
        let chain = pair.required("chain", "\"certs/server.pem\"", kinds::readable_file);
        let key = pair.required("key", "\"certs/server.key\"", kinds::readable_file);
        pairs.extend(chain.zip(key).map(|(chain, key)| CertificateFiles { chain, key }));
    }
    let client_ca = section.value("client_ca", kinds::readable_file);
    if wanted == 0 && section.has("client_ca") {
        section.error("client_ca", "needs certificates: clients are only verified over TLS");
    }
    if !section.has("certificates") {
        return Tls::None;
    }
    if pairs.len() < wanted {
        return Tls::Wrong;
    }
    match ServerTls::load(&pairs, client_ca.as_deref()) {
        Ok(config) => Tls::Some(config),
        Err(error) => {
            section.error("certificates", error.to_string());
            Tls::Wrong
        }
    }
}

fn allow(section: &mut Section<'_>) -> Vec<IpNet> {
    let world = section.value_or("allow_world", false, kinds::truth);
    let Some(allow) = section.list("allow", kinds::network) else {
        if world {
            section.error("allow_world", "means nothing without allow = [\"0.0.0.0/0\"]; delete it");
        }
        return Admission::default().networks().to_vec();
    };
    let open = allow.iter().find(|block| block.prefix_len() < 8 && !is_private(block));
    match (open, world) {
        (Some(block), false) => section.error(
            "allow",
            format!(
                "{block} lets the world use your address at the platform, which bans open proxies; list your own \
                 networks, or write allow_world = true if a firewall stands in front"
            ),
        ),
        (Some(block), true) => {
            section.warn("allow", format!("{block} is open to the world; the platform bans open proxies"));
        }
        (None, _) if allow.is_empty() => {
            section.error("allow", "is empty, nobody could call; list the networks of your invoicing systems");
        }
        (None, _) => {}
    }
    allow
}

fn is_private(block: &IpNet) -> bool {
    match block.network() {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unique_local() && block.prefix_len() >= 7,
    }
}

fn limits(section: &mut Section<'_>, address: SocketAddr, tls: Option<Arc<ServerTls>>) -> listener::Config {
    let default = listener::Config::new(address, tls);
    let config = listener::Config {
        max_connections: section.value_or("max_connections", default.max_connections, kinds::count),
        handshake_timeout: section.value_or("handshake_timeout", default.handshake_timeout, kinds::duration),
        header_timeout: section.value_or("header_timeout", default.header_timeout, kinds::duration),
        body_timeout: section.value_or("body_timeout", default.body_timeout, kinds::duration),
        min_rate: section.value_or("min_rate", default.min_rate, kinds::size),
        idle_timeout: section.value_or("idle_timeout", default.idle_timeout, kinds::duration),
        max_head: section.value_or("max_head", default.max_head, head_size),
        max_headers: section.value_or("max_headers", default.max_headers, header_count),
        clients: clients(section),
        proxy_protocol_from: balancers(section),
        drain_timeout: section.value_or("drain_timeout", default.drain_timeout, kinds::duration),
        drain_idle: section.value_or("drain_idle", default.drain_idle, kinds::duration),
        ..default
    };
    if config.clients.connections.is_some_and(|most| most > config.max_connections) {
        let most = config.max_connections;
        section.error("client_connections", format!("is never reached: max_connections is {most}; lower it"));
    }
    config
}

/// What one client may have at a time; nothing is limited unless it is asked for, since all calls of a company may come
/// from one address.
fn clients(section: &mut Section<'_>) -> ClientLimits {
    let connections = section.value("client_connections", kinds::count);
    let in_flight = section.value("client_in_flight", kinds::count);
    let per_second = section.value("client_rate", times);
    let burst = section.value("client_burst", times);
    if per_second.is_none() && section.has("client_burst") {
        section.error("client_burst", "means nothing without client_rate; give both, or delete it");
    }
    let rate = per_second.map(|per_second| Rate { per_second, burst: burst.unwrap_or(per_second) });
    ClientLimits { connections, in_flight, rate }
}

/// Who is believed when it names another client.
fn balancers(section: &mut Section<'_>) -> Vec<IpNet> {
    let listed = section.list("proxy_protocol_from", kinds::network).unwrap_or_default();
    if let Some(block) = listed.iter().find(|block| block.prefix_len() < 8) {
        section.error(
            "proxy_protocol_from",
            format!("{block}: whoever is in it may claim any address; list the load balancers only"),
        );
    }
    listed
}

fn times(spot: &Spot) -> Result<NonZeroU32, String> {
    let number = kinds::count(spot)?;
    let fits = u32::try_from(number).ok().and_then(NonZeroU32::new);
    fits.ok_or_else(|| format!("{number} is too large; at most {}", u32::MAX))
}

fn head_size(spot: &Spot) -> Result<usize, String> {
    let size = kinds::size(spot)?;
    if (1 << 10..=1 << 20).contains(&size) {
        return Ok(size);
    }
    Err(format!("{size} bytes are out of range; give 1KiB to 1MiB"))
}

fn header_count(spot: &Spot) -> Result<usize, String> {
    let headers = kinds::count(spot)?;
    if (10..=1000).contains(&headers) {
        return Ok(headers);
    }
    Err(format!("{headers} is out of range; give 10 to 1000"))
}
