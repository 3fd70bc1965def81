//! The kinds of values that settings have, each read from the tree into the type that the modules use.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

use super::tree::{Node, Spot};

/// A text that is not empty.
pub(super) fn text(spot: &Spot) -> Result<String, String> {
    match &spot.node {
        Node::Text(text) | Node::Raw(text) if text.trim().is_empty() => Err("is empty".to_owned()),
        Node::Text(text) | Node::Raw(text) => Ok(text.clone()),
        node @ (Node::Table(_) | Node::Array(_) | Node::Integer(_) | Node::Bool(_) | Node::Other(_)) => {
            Err(format!("is {}, expected a text in quotes", node.kind()))
        }
    }
}

/// `true` or `false`.
pub(super) fn truth(spot: &Spot) -> Result<bool, String> {
    match &spot.node {
        Node::Bool(value) => Ok(*value),
        Node::Raw(raw) if raw == "true" => Ok(true),
        Node::Raw(raw) if raw == "false" => Ok(false),
        node @ (Node::Table(_)
        | Node::Array(_)
        | Node::Integer(_)
        | Node::Text(_)
        | Node::Raw(_)
        | Node::Other(_)) => Err(format!("is {}, expected true or false without quotes", node.kind())),
    }
}

/// A whole number of at least 1.
pub(super) fn count(spot: &Spot) -> Result<usize, String> {
    let number = whole(spot)?;
    match usize::try_from(number) {
        Ok(value) if value > 0 => Ok(value),
        Ok(_) | Err(_) => Err(format!("{number} is out of range; give at least 1")),
    }
}

/// A whole number; 0 switches something off.
pub(super) fn count_or_0(spot: &Spot) -> Result<u32, String> {
    let number = whole(spot)?;
    u32::try_from(number).map_err(|_| format!("{number} is out of range; give 0 or more"))
}

fn whole(spot: &Spot) -> Result<i64, String> {
    let number = match &spot.node {
        Node::Integer(value) => Some(*value),
        Node::Raw(raw) => raw.trim().replace('_', "").parse().ok(),
        Node::Table(_) | Node::Array(_) | Node::Bool(_) | Node::Text(_) | Node::Other(_) => None,
    };
    number.ok_or_else(|| format!("is {}, expected a whole number without quotes", spot.node.kind()))
}

/// A length of time: `"500ms"`, `"10s"`, `"5m"`, `"1h"`, `"30d"`.
pub(super) fn duration(spot: &Spot) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] =
        [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let written = measured(spot, "a length of time such as \"10s\" or \"500ms\"")?;
    let ms = scaled(&written, &UNITS).ok_or_else(|| {
        format!("{written:?} is no length of time; write for example \"10s\", \"500ms\" or \"5m\"")
    })?;
    if ms == 0 {
        return Err(format!("{written:?} would never let anything happen; give more than 0"));
    }
    Ok(Duration::from_millis(ms))
}

/// A number of bytes: `"64KiB"`, `"1MiB"`, `"1GiB"`.
pub(super) fn size(spot: &Spot) -> Result<usize, String> {
    const UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];
    let written = measured(spot, "a size such as \"1MiB\"")?;
    scaled(&written, &UNITS)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| format!("{written:?} is no size; write for example \"64KiB\" or \"1MiB\""))
}

fn measured(spot: &Spot, expected: &str) -> Result<String, String> {
    text(spot).map_err(|_| format!("is {}, expected {expected}", spot.node.kind()))
}

/// `10s` with the factor of `s`.
fn scaled(written: &str, units: &[(&str, u64)]) -> Option<u64> {
    let at = written.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = written.split_at(at);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// An IP address with a port.
pub(super) fn address(spot: &Spot) -> Result<SocketAddr, String> {
    let written = text(spot)?;
    written.parse().map_err(|_| {
        format!("{written:?} is no address; write an IP address and a port, for example \"0.0.0.0:8443\"")
    })
}

/// A block of IP addresses; a single address is a block of one.
pub(super) fn network(spot: &Spot) -> Result<IpNet, String> {
    let written = text(spot)?;
    let single = || written.parse().map(|address: std::net::IpAddr| IpNet::from(address)).ok();
    let block = written.parse::<IpNet>().ok().or_else(single).ok_or_else(|| {
        format!("{written:?} is no CIDR; write an address and a prefix length, for example \"10.0.0.0/8\"")
    })?;
    if block != block.trunc() {
        let meant = block.trunc();
        return Err(format!("{written:?} has bits set behind its prefix; write \"{meant}\""));
    }
    Ok(block)
}

/// A path of a file, which need not exist.
pub(super) fn path(spot: &Spot) -> Result<PathBuf, String> {
    text(spot).map(PathBuf::from)
}

/// A path of a file that can be read.
pub(super) fn readable_file(spot: &Spot) -> Result<PathBuf, String> {
    let path = path(spot)?;
    match std::fs::File::open(&path).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.is_file() => Ok(path),
        Ok(_) => Err(format!("{} is no file", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(format!(
            "file {} does not exist; paths start at the working directory (certificates: leqi-gateway certs init)",
            path.display()
        )),
        Err(error) => {
            Err(format!("file {} cannot be read ({error}); check its owner and mode", path.display()))
        }
    }
}

/// A secret that stands alone in a file; blanks and line ends around it are not part of it.
pub(super) fn secret_file(spot: &Spot) -> Result<SecretString, String> {
    let path = readable_file(spot)?;
    let text = std::fs::read_to_string(&path)
        .map_err(|error| format!("file {} cannot be read: {error}", path.display()))?;
    if text.trim().is_empty() {
        return Err(format!("file {} is empty; write the secret into it", path.display()));
    }
    Ok(SecretString::from(text.trim()))
}

/// The address of a name server; port 53 unless another one is given.
pub(super) fn name_server(spot: &Spot) -> Result<SocketAddr, String> {
    let written = text(spot)?;
    let plain = || written.parse().map(|ip: std::net::IpAddr| SocketAddr::new(ip, 53)).ok();
    written.parse().ok().or_else(plain).ok_or_else(|| {
        format!("{written:?} is no name server; write its IP address, for example \"10.0.0.53\"")
    })
}

/// `http://` or `socks5://` with a host.
pub(super) fn proxy_url(spot: &Spot) -> Result<Url, String> {
    let written = text(spot)?;
    let example = "write for example \"http://proxy.corp:3128\" or \"socks5://proxy.corp:1080\"";
    let url = Url::parse(&written).map_err(|error| format!("not a URL ({error}); {example}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        // the value holds a secret, so it is not repeated
        return Err("must hold no name and password; give username and password_file".to_owned());
    }
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "socks5") || url.host().is_none() || !bare {
        return Err(format!("{written:?} is no proxy that can be used; {example}"));
    }
    Ok(url)
}

/// `http://` or `https://` with a host.
pub(super) fn base_url(spot: &Spot) -> Result<Url, String> {
    let written = text(spot)?;
    let url = Url::parse(&written).map_err(|error| {
        format!("{written:?} is no URL ({error}); write for example \"https://lqpt.chinatax.gov.cn:8443\"")
    })?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!("{written:?} must begin with https:// (or http://) and a host"));
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err(format!(
            "{written:?} must hold no user, query or fragment; only scheme, host, port and path"
        ));
    }
    Ok(url)
}

/// A path on the wire that begins with `/`.
pub(super) fn url_path(spot: &Spot) -> Result<String, String> {
    let written = text(spot)?;
    if !written.starts_with('/') || written.contains(['?', '#', ' ']) {
        return Err(format!("{written:?} is no path; it must begin with / and hold no ?, # or space"));
    }
    Ok(written)
}

/// The prefix of a route, which every server must read the same way.
pub(super) fn route_prefix(spot: &Spot) -> Result<String, String> {
    let prefix = url_path(spot)?;
    if prefix.contains(['%', '\\', ';']) || prefix.contains("//") || prefix.contains("/.") {
        return Err(format!(
            "{prefix:?} can be read in several ways; write it without %, \\, ;, // and segments that begin with a dot"
        ));
    }
    Ok(prefix)
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(spot: &Spot, words: &[(&str, T)]) -> Result<T, String> {
    let written = text(spot)?;
    words.iter().find(|(word, _)| *word == written).map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        format!("{written:?} is not known; choose {}", known.join(", "))
    })
}
