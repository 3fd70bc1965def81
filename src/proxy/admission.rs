//! Who may use the gateway: clients from listed networks, by default private ones only.

use std::net::IpAddr;

use ipnet::IpNet;

/// Who is served when nothing is said: private, loopback and link-local networks.
const PRIVATE: [&str; 7] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "fc00::/7", "::1/128"];

/// The networks that may call a listener. An open proxy gets the company's address banned (protocol.md §2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    allow: Vec<IpNet>,
}

impl Admission {
    /// Exactly these networks.
    #[must_use]
    pub const fn new(allow: Vec<IpNet>) -> Self {
        Self { allow }
    }

    /// The networks.
    #[must_use]
    pub fn networks(&self) -> &[IpNet] {
        &self.allow
    }

    /// Whether a client with this address may call; IPv4 addresses mapped into IPv6 count as IPv4.
    #[must_use]
    pub fn admits(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.allow.iter().any(|net| net.contains(&client))
    }
}

impl Default for Admission {
    /// Loopback, private and link-local addresses (RFC 1918, RFC 4193, RFC 3927).
    fn default() -> Self {
        Self { allow: PRIVATE.iter().filter_map(|net| net.parse().ok()).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_admitted_and_others_are_not_by_default() {
        let admission = Admission::default();
        assert_eq!(admission.allow.len(), PRIVATE.len());
        for inside in
            ["10.1.2.3", "172.31.0.1", "192.168.9.9", "127.0.0.1", "::1", "fd00::1", "::ffff:10.0.0.1"]
        {
            assert!(admission.admits(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["8.8.8.8", "172.32.0.1", "2001:db8::1", "::ffff:8.8.8.8", "0.0.0.0"] {
            assert!(!admission.admits(outside.parse().unwrap()), "{outside}");
        }
    }
}
