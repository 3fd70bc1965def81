//! Where a started gateway listens.

use std::{fmt, net::SocketAddr};

/// Where a started gateway listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The data plane, in the order of the configuration, and whether it speaks TLS.
    pub data: Vec<(SocketAddr, bool)>,
    /// The management API, and whether it speaks TLS.
    pub admin: (SocketAddr, bool),
    /// Metrics and health.
    pub ops: SocketAddr,
}

impl fmt::Display for Addresses {
    /// `data=https://… admin=http://… ops=http://…`, for scripts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = |tls: bool| if tls { "https" } else { "http" };
        for (address, tls) in &self.data {
            write!(f, "data={}://{address} ", scheme(*tls))?;
        }
        write!(f, "admin={}://{} ops=http://{}", scheme(self.admin.1), self.admin.0, self.ops)
    }
}
