//! `[[listen]]`, `[admin]` and `[ops]`: where the gateway listens and for whom.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;

use super::{Listen, kinds, section::Section};
use crate::{
    listener,
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
    listener::Config {
        max_connections: section.value_or("max_connections", default.max_connections, kinds::count),
        handshake_timeout: section.value_or("handshake_timeout", default.handshake_timeout, kinds::duration),
        header_timeout: section.value_or("header_timeout", default.header_timeout, kinds::duration),
        drain_timeout: section.value_or("drain_timeout", default.drain_timeout, kinds::duration),
        drain_idle: section.value_or("drain_idle", default.drain_idle, kinds::duration),
        ..default
    }
}
