//! Which of several addresses are tried first: not those that have just failed, and of a name's the one that worked.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::metrics::OfUpstream;

/// What is remembered of the addresses of one upstream.
#[derive(Debug)]
pub(super) struct Addresses {
    /// How long an address that has failed is tried last.
    pause: Duration,
    /// Whether their order is the administrator's, who wants the first one whenever it works.
    fixed: bool,
    state: Mutex<State>,
    metrics: OfUpstream,
}

#[derive(Debug, Default)]
struct State {
    failing: HashMap<SocketAddr, Instant>,
    worked: Option<SocketAddr>,
    known: usize,
}

impl Addresses {
    pub(super) fn new(pause: Duration, fixed: bool, metrics: OfUpstream) -> Self {
        Self { pause, fixed, state: Mutex::default(), metrics }
    }

    /// The order in which to try them: the healthy ones, the two families in turn (RFC 8305 §4), then those that have
    /// failed lately, which are left when nothing else works.
    pub(super) fn ordered(&self, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        let now = Instant::now();
        let mut state = self.lock();
        state.failing.retain(|address, until| *until > now && addresses.contains(address));
        state.known = addresses.len();
        self.show(&state);
        let mut ordered = if self.fixed { addresses.to_vec() } else { alternating(addresses) };
        let rank = |address: &SocketAddr| match state.failing.contains_key(address) {
            true => 2,
            false if !self.fixed && state.worked == Some(*address) => 0,
            false => 1,
        };
        ordered.sort_by_key(rank);
        ordered
    }

    /// A connection to it was opened.
    pub(super) fn worked(&self, address: SocketAddr) {
        let mut state = self.lock();
        state.worked = Some(address);
        if state.failing.remove(&address).is_some() {
            tracing::info!(upstream = self.metrics.name(), %address, "the address works again");
            self.show(&state);
        }
    }

    /// No connection to it could be opened.
    pub(super) fn failed(&self, address: SocketAddr, reason: &str) {
        let mut state = self.lock();
        if state.failing.insert(address, Instant::now() + self.pause).is_none() {
            tracing::warn!(
                upstream = self.metrics.name(),
                %address,
                reason,
                "the address does not work; others are tried before it for a while"
            );
            self.show(&state);
        }
    }

    fn show(&self, state: &State) {
        self.metrics.addresses(state.known, state.failing.len());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// IPv6 and IPv4 in turn, each family in its order, beginning with the family that came first.
fn alternating(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut ordered = Vec::with_capacity(addresses.len());
    while ordered.len() < addresses.len() {
        ordered.extend(one.next());
        ordered.extend(other.next());
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::{super::UpstreamMetrics, *};
    use crate::telemetry::metrics::Metrics;

    const PAUSE: Duration = Duration::from_secs(60);

    fn of(words: &[&str]) -> Vec<SocketAddr> {
        words.iter().map(|word| word.parse().unwrap()).collect()
    }

    fn addresses(pause: Duration, fixed: bool) -> Addresses {
        let metrics = UpstreamMetrics::register(&Metrics::new().unwrap()).unwrap();
        Addresses::new(pause, fixed, metrics.of_upstream("leqi"))
    }

    #[test]
    fn the_families_take_turns() {
        let given = of(&["1.1.1.1:1", "1.1.1.2:1", "1.1.1.3:1", "[::1]:1"]);
        let ordered = of(&["1.1.1.1:1", "[::1]:1", "1.1.1.2:1", "1.1.1.3:1"]);
        assert_eq!(addresses(PAUSE, false).ordered(&given), ordered);
        assert_eq!(addresses(PAUSE, true).ordered(&given), given);
    }

    #[test]
    fn what_worked_comes_first_and_what_failed_last_until_its_pause_is_over() {
        let given = of(&["1.1.1.1:1", "1.1.1.2:1", "1.1.1.3:1"]);
        let [first, second, third] = given[..] else { panic!() };
        let dns = addresses(PAUSE, false);
        dns.failed(first, "refused");
        dns.worked(third);
        assert_eq!(dns.ordered(&given), [third, second, first]);
        dns.worked(first);
        assert_eq!(dns.ordered(&given), [first, second, third]);
        // fixed ones keep their order, but for those that fail
        let fixed = addresses(PAUSE, true);
        fixed.worked(third);
        assert_eq!(fixed.ordered(&given), given);
        fixed.failed(first, "refused");
        assert_eq!(fixed.ordered(&given), [second, third, first]);
        let forgetful = addresses(Duration::ZERO, true);
        forgetful.failed(first, "refused");
        assert_eq!(forgetful.ordered(&given), given);
    }
}
