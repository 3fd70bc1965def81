//! The PROXY protocol, versions 1 and 2, by which a load balancer in front tells who the client is.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes that tell the versions apart, and that any header has.
const BEGINNING: usize = 12;
/// What precedes the addresses of version 2.
const FIXED: usize = 16;
/// The longest line of version 1 (specification §2.1).
const LINE: usize = 107;
/// The longest header of version 2 that is taken: addresses, and what balancers say about TLS.
const LENGTH: usize = 4096;

/// No header, or none that can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    /// The connection ended or broke.
    #[error("the connection ended inside the PROXY header: {0}")]
    Io(#[from] io::Error),
    /// What comes is something else.
    #[error(
        "the peer is listed in proxy_protocol_from but does not begin with a PROXY header; switch it on there (send-proxy), or take the peer off the list"
    )]
    Missing,
    /// It is longer than what is taken.
    #[error("the PROXY header is longer than {LENGTH} bytes")]
    TooLong,
    /// It cannot be read.
    #[error("the PROXY header cannot be read: {0}")]
    Wrong(String),
}

/// Whether this peer must send a header.
pub(super) fn is_from(peer: IpAddr, listed: &[IpNet]) -> bool {
    !listed.is_empty() && listed.iter().any(|net| net.contains(&peer.to_canonical()))
}

/// Reads the header and not a byte more: the client that it names, or `None` when the peer speaks for itself, for
/// example to check whether the port is alive.
pub(super) async fn read<R: AsyncRead + Unpin>(peer: &mut R) -> Result<Option<SocketAddr>, HeaderError> {
    let mut header = vec![0; BEGINNING];
    peer.read_exact(&mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        return read_binary(peer, header).await;
    }
    if !header.starts_with(b"PROXY ") {
        return Err(HeaderError::Missing);
    }
    while !header.ends_with(b"\r\n") {
        if header.len() >= LINE {
            return Err(HeaderError::TooLong);
        }
        header.push(peer.read_u8().await?);
    }
    let line = v1::Header::try_from(header.as_slice());
    match line.map_err(|error| HeaderError::Wrong(error.to_string()))?.addresses {
        v1::Addresses::Tcp4(ip) => Ok(Some((ip.source_address, ip.source_port).into())),
        v1::Addresses::Tcp6(ip) => Ok(Some((ip.source_address, ip.source_port).into())),
        v1::Addresses::Unknown => Ok(None),
    }
}

async fn read_binary<R: AsyncRead + Unpin>(
    peer: &mut R,
    mut header: Vec<u8>,
) -> Result<Option<SocketAddr>, HeaderError> {
    header.resize(FIXED, 0);
    peer.read_exact(&mut header[BEGINNING..]).await?;
    let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
    if length > LENGTH {
        return Err(HeaderError::TooLong);
    }
    header.resize(FIXED + length, 0);
    peer.read_exact(&mut header[FIXED..]).await?;
    let read = v2::Header::try_from(header.as_slice());
    let header = read.map_err(|error| HeaderError::Wrong(error.to_string()))?;
    match (header.command, header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => Ok(Some((ip.source_address, ip.source_port).into())),
        (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => Ok(Some((ip.source_address, ip.source_port).into())),
        (v2::Command::Local, _)
        | (v2::Command::Proxy, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    /// The client, and what is left for whoever reads next.
    async fn told(bytes: &[u8]) -> Result<(Option<String>, Vec<u8>), HeaderError> {
        let mut peer = bytes;
        let client = read(&mut peer).await?;
        Ok((client.map(|client| client.to_string()), peer.to_vec()))
    }

    fn client(told: &Result<(Option<String>, Vec<u8>), HeaderError>) -> Option<&str> {
        let (client, rest) = told.as_ref().unwrap();
        assert_eq!(rest, b"rest");
        client.as_deref()
    }

    #[tokio::test]
    async fn both_versions_name_the_client() {
        let line = told(b"PROXY TCP4 10.1.2.3 10.0.0.1 56324 8443\r\nrest").await;
        assert_eq!(client(&line), Some("10.1.2.3:56324"));
        let line = told(b"PROXY TCP6 fd00::7 fd00::1 56324 8443\r\nrest").await;
        assert_eq!(client(&line), Some("[fd00::7]:56324"));
        let v4 = [SIGNATURE, &[0x21, 0x11, 0, 12, 10, 1, 2, 3, 10, 0, 0, 1, 0xdc, 4, 0x20, 0xfb], b"rest"];
        assert_eq!(client(&told(&v4.concat()).await), Some("10.1.2.3:56324"));
        let further = [0x21, 0x11, 0, 16, 10, 1, 2, 3, 10, 0, 0, 1, 0xdc, 4, 0x20, 0xfb, 4, 0, 1, 42];
        assert_eq!(client(&told(&[SIGNATURE, &further, b"rest"].concat()).await), Some("10.1.2.3:56324"));
    }

    #[tokio::test]
    async fn checks_of_the_balancer_itself_name_nobody() {
        assert_eq!(client(&told(b"PROXY UNKNOWN\r\nrest").await), None);
        assert_eq!(client(&told(&[SIGNATURE, &[0x20, 0, 0, 0], b"rest"].concat()).await), None);
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        assert!(matches!(told(b"GET / HTTP/1.1\r\n\r\n").await, Err(HeaderError::Missing)));
        assert!(matches!(
            told(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\0").await,
            Err(HeaderError::Missing)
        ));
        assert!(matches!(told(b"PROXY TCP4 10.1").await, Err(HeaderError::Io(_))));
        assert!(matches!(told(b"PROXY TCP4 10.1.2.300 10.0.0.1 1 2\r\n").await, Err(HeaderError::Wrong(_))));
        assert!(matches!(
            told(&[b"PROXY ", [b'x'; 200].as_slice()].concat()).await,
            Err(HeaderError::TooLong)
        ));
        let long = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
        assert!(matches!(told(&long).await, Err(HeaderError::TooLong)));
    }
}
