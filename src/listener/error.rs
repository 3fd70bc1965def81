//! Why a listener cannot be opened, and what to do about it.

use std::{io, net::SocketAddr};

/// The listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process has the port.
    #[error("{0} is in use by another process; stop it or choose another address (who has it: ss -ltnp)")]
    InUse(SocketAddr),
    /// Ports below 1024 need a capability.
    #[error("{0}: not permitted; ports below 1024 need CAP_NET_BIND_SERVICE, or choose a higher port")]
    NotPermitted(SocketAddr),
    /// The address is not this machine's.
    #[error("{0} is no address of this machine; see `ip addr`, or use 0.0.0.0")]
    NotLocal(SocketAddr),
    /// What was handed over is no listening TCP socket.
    #[error("socket {index} ({name}) that was handed over in LISTEN_FDS cannot be used: {source}")]
    Inherited {
        /// Counted from 0.
        index: usize,
        /// Its name in `LISTEN_FDNAMES`.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A socket was handed over that no listener of the configuration takes.
    #[error(
        "socket {address} ({name}) was handed over, but no [[listen]], [admin] or [ops] has this address; add it, or \
         take it out of the .socket unit"
    )]
    NotConfigured {
        /// Where it listens.
        address: SocketAddr,
        /// Its name in `LISTEN_FDNAMES`.
        name: String,
    },
    /// Anything else.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl ListenError {
    pub(super) fn of(address: SocketAddr, source: io::Error) -> Self {
        let kind = source.kind();
        if kind == io::ErrorKind::AddrInUse {
            Self::InUse(address)
        } else if kind == io::ErrorKind::PermissionDenied {
            Self::NotPermitted(address)
        } else if kind == io::ErrorKind::AddrNotAvailable {
            Self::NotLocal(address)
        } else {
            Self::Other { address, source }
        }
    }
}
