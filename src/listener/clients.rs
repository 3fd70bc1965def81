//! What each client may have at a time, told apart by address. IPv6 clients are told apart by their /64, which is what
//! one machine may choose its addresses from.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::{
    Refusal,
    rate::{Bucket, Rate},
};

/// The bits of an IPv6 address that tell clients apart.
const PREFIX: u128 = !0 << 64;

/// Limits of one client of a listener; nothing is limited that is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientLimits {
    /// Connections at a time.
    pub connections: Option<usize>,
    /// Calls in flight at a time, over all its connections.
    pub in_flight: Option<usize>,
    /// Calls in time, over all its connections.
    pub rate: Option<Rate>,
}

/// The clients of one listener. They keep what they have used when the limits are replaced.
#[derive(Debug)]
pub(super) struct Clients {
    began: Instant,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    clients: HashMap<IpAddr, Arc<Client>>,
    /// The size at which those are forgotten that left.
    sweep_at: usize,
}

#[derive(Debug, Default)]
struct Client {
    connections: AtomicUsize,
    in_flight: Arc<AtomicUsize>,
    bucket: Bucket,
}

impl Clients {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), table: Mutex::default() })
    }

    /// A place for a connection of this client; `None` when it has as many as it may.
    pub(super) fn seat(self: &Arc<Self>, address: IpAddr, limits: ClientLimits) -> Option<Seat> {
        if limits == ClientLimits::default() {
            return Some(Seat { began: self.began, limits, client: None });
        }
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.sweep(|client| client.bucket.is_full(self.began.elapsed()));
        let client = Arc::clone(table.clients.entry(told_apart(address)).or_default());
        // only counted up here, behind the lock
        if limits.connections.is_some_and(|most| client.connections.load(Ordering::Acquire) >= most) {
            return None;
        }
        client.connections.fetch_add(1, Ordering::AcqRel);
        Some(Seat { began: self.began, limits, client: Some(client) })
    }
}

impl Table {
    /// Forgets clients without a connection that have all of their rate back, now and then.
    fn sweep(&mut self, rested: impl Fn(&Client) -> bool) {
        const LEAST: usize = 64;
        if self.clients.len() < self.sweep_at.max(LEAST) {
            return;
        }
        self.clients.retain(|_, client| client.connections.load(Ordering::Acquire) > 0 || !rested(client));
        self.sweep_at = self.clients.len() * 2;
    }
}

fn told_apart(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & PREFIX).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// A connection's place among those of its client.
#[derive(Debug)]
pub(super) struct Seat {
    began: Instant,
    limits: ClientLimits,
    client: Option<Arc<Client>>,
}

impl Seat {
    /// A place for a call.
    ///
    /// # Errors
    /// The limit that is reached.
    pub(super) fn call(&self) -> Result<Option<InFlight>, Refusal> {
        let Some(client) = &self.client else { return Ok(None) };
        let place = self.limits.in_flight.map(|most| {
            let place = InFlight::new(&client.in_flight);
            if place.0.load(Ordering::Acquire) > most { Err(Refusal::Busy) } else { Ok(place) }
        });
        let place = place.transpose()?;
        if let Some(rate) = self.limits.rate {
            client.bucket.take(rate, self.began.elapsed()).map_err(|_| Refusal::TooOften)?;
        }
        Ok(place)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(client) = &self.client {
            client.connections.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// A call's place among those of its client.
#[derive(Debug)]
pub(super) struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_has_its_connections_and_others_theirs() {
        let clients = Clients::new();
        let limits = ClientLimits { connections: Some(2), ..ClientLimits::default() };
        let one = clients.seat(address("10.0.0.1"), limits);
        let two = clients.seat(address("::ffff:10.0.0.1"), limits);
        assert!(one.is_some() && two.is_some());
        assert!(clients.seat(address("10.0.0.1"), limits).is_none());
        assert!(clients.seat(address("10.0.0.2"), limits).is_some());
        drop(one);
        assert!(clients.seat(address("10.0.0.1"), limits).is_some());
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let clients = Clients::new();
        let limits = ClientLimits { connections: Some(1), ..ClientLimits::default() };
        let _first = clients.seat(address("fd00::1"), limits).unwrap();
        assert!(clients.seat(address("fd00::ffff:1"), limits).is_none());
        assert!(clients.seat(address("fd00:0:0:1::1"), limits).is_some());
    }

    #[test]
    fn calls_are_limited_over_all_connections_of_a_client() {
        let limits = ClientLimits { in_flight: Some(2), ..ClientLimits::default() };
        let clients = Clients::new();
        let (here, there) = (
            clients.seat(address("10.0.0.1"), limits).unwrap(),
            clients.seat(address("10.0.0.1"), limits).unwrap(),
        );
        let first = here.call().unwrap();
        let _second = there.call().unwrap();
        assert_eq!(here.call().unwrap_err(), Refusal::Busy);
        drop(first);
        here.call().unwrap();
    }

    #[test]
    fn a_new_connection_does_not_bring_a_new_rate() {
        let number = |n| NonZeroU32::new(n).unwrap();
        let rate = Rate { per_second: number(1), burst: number(2) };
        let clients = Clients::new();
        let limits = ClientLimits { rate: Some(rate), ..ClientLimits::default() };
        for _ in 0..2 {
            clients.seat(address("10.0.0.1"), limits).unwrap().call().unwrap();
        }
        // a crowd of others makes room in the table
        for n in 0..200 {
            drop(clients.seat(IpAddr::from([10, 1, 0, n]), limits));
        }
        assert_eq!(clients.seat(address("10.0.0.1"), limits).unwrap().call().unwrap_err(), Refusal::TooOften);
        let kept = clients.table.lock().unwrap().clients.len();
        assert!(kept < 200, "{kept}");
    }
}
