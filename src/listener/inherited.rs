//! Sockets that were opened before this process: by systemd (socket activation) or by another supervisor that keeps them
//! open while one gateway hands over to the next, so that no connection is refused in between.
//!
//! The protocol is systemd's (sd_listen_fds(3)): `LISTEN_FDS` sockets from descriptor 3 on, `LISTEN_FDNAMES` their names.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};

use super::{ListenError, bound::BACKLOG};

/// Sockets that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Socket>);

#[derive(Debug)]
struct Socket {
    listener: TcpListener,
    address: SocketAddr,
    name: String,
}

impl Inherited {
    /// What the environment says was handed over. The variables are taken away, so this must be called once, before
    /// other threads run and before any file is opened.
    ///
    /// # Errors
    /// When something was handed over that is no listening TCP socket.
    pub fn from_env() -> Result<Self, ListenError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut handed = listenfd::ListenFd::from_env();
        let mut names = names.split(':').map(str::to_owned);
        let mut sockets = Vec::with_capacity(handed.len());
        for index in 0..handed.len() {
            let name = names.next().unwrap_or_default();
            let taken = handed.take_tcp_listener(index).and_then(|taken| {
                let Some(listener) = taken else { return Ok(None) };
                let address = listener.local_addr()?;
                listener.set_nonblocking(true)?;
                // whoever opened it may have chosen a short queue, and it must hold everybody while nobody accepts
                let backlog = i32::try_from(BACKLOG).unwrap_or(i32::MAX);
                socket2::SockRef::from(&listener).listen(backlog)?;
                Ok(Some(Socket { listener, address, name: name.clone() }))
            });
            sockets.extend(taken.map_err(|source| ListenError::Inherited { index, name, source })?);
        }
        Ok(Self(sockets))
    }

    /// Whether nothing was handed over, or all of it is taken.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The socket for a configured address, ready to be accepted from.
    pub(super) fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let index = self.0.iter().position(|socket| serves(socket.address, address))?;
        Some(self.0.swap_remove(index).listener)
    }

    /// Fails when a socket is left: its clients would wait for ever.
    ///
    /// # Errors
    /// Which one, and what to do.
    pub fn all_taken(&self) -> Result<(), ListenError> {
        match self.0.first() {
            None => Ok(()),
            Some(socket) => {
                Err(ListenError::NotConfigured { address: socket.address, name: socket.name.clone() })
            }
        }
    }
}

/// Whether a socket takes the connections of a configured address. systemd opens `ListenStream=8443` as `[::]:8443`, which
/// takes IPv4 too.
fn serves(socket: SocketAddr, configured: SocketAddr) -> bool {
    let dual = socket.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && configured.ip().is_unspecified();
    socket.port() == configured.port()
        && (dual || socket.ip().to_canonical() == configured.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_serves_its_address_and_a_dual_one_every_interface() {
        let serves = |socket: &str, configured: &str| {
            super::serves(socket.parse().unwrap(), configured.parse().unwrap())
        };
        assert!(serves("10.0.0.5:8443", "10.0.0.5:8443"));
        assert!(serves("[::]:8443", "0.0.0.0:8443"));
        assert!(!serves("0.0.0.0:8443", "10.0.0.5:8443"));
        assert!(!serves("[::]:8443", "0.0.0.0:8444"));
    }

    #[test]
    fn a_socket_is_taken_once_and_one_that_is_left_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut inherited = Inherited(vec![Socket { listener, address, name: "data".to_owned() }]);
        let left = inherited.all_taken().unwrap_err().to_string();
        assert!(left.contains(&address.to_string()) && left.contains("data"), "{left}");
        assert!(inherited.take(address).is_some());
        assert!(inherited.take(address).is_none());
        inherited.all_taken().unwrap();
    }
}
