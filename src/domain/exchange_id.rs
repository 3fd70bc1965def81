//! Ids of exchanges: ordered by time, unique across restarts and gateways.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU16, Ordering},
};

use jiff::Timestamp;

use super::Invalid;

/// The id of one exchange (one call and its answer) in the request log: milliseconds since 1970 in the upper bits,
/// then the gateway's node number (9 bits) and a counter (12 bits). Orders by time; shown as 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(i64);

const COUNTER_BITS: u32 = 12;
const NODE_BITS: u32 = 9;
const TIME_SHIFT: u32 = COUNTER_BITS + NODE_BITS;

impl ExchangeId {
    /// The number that is stored.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }

    /// The id of a stored number.
    #[must_use]
    pub const fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// The smallest id that an exchange opened at this instant or later can have.
    #[must_use]
    pub fn first_at(instant: Timestamp) -> Self {
        Self(instant.as_millisecond().max(0) << TIME_SHIFT)
    }

    /// When the exchange was opened, to the millisecond.
    #[must_use]
    pub fn opened_at(self) -> Timestamp {
        Timestamp::from_millisecond(self.0 >> TIME_SHIFT).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The node whose gateway gave it out.
    #[must_use]
    pub fn node(self) -> u16 {
        u16::try_from((self.0 >> COUNTER_BITS) & ((1 << NODE_BITS) - 1)).unwrap_or_default()
    }

    /// Parses 16 hex digits.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const REASON: Invalid = Invalid::new("exchange id must be 16 hex digits");
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(REASON);
        }
        i64::from_str_radix(text, 16).map(Self).map_err(|_| REASON)
    }
}

impl std::fmt::Display for ExchangeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{:016x}", self.0))
    }
}

impl std::str::FromStr for ExchangeId {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

impl serde::Serialize for ExchangeId {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for ExchangeId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The number of a gateway among all that share a database; ids carry its lower 9 bits. Cheap to clone; every copy
/// changes with the others.
#[derive(Clone, Debug, Default)]
pub struct Node(Arc<AtomicU16>);

impl Node {
    /// The gateway of that number.
    #[must_use]
    pub fn new(number: u16) -> Self {
        Self(Arc::new(AtomicU16::new(number)))
    }

    /// The number as it is now.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.0.load(Ordering::Relaxed)
    }

    /// Goes on under another number.
    pub fn change(&self, number: u16) {
        self.0.store(number, Ordering::Relaxed);
    }
}

/// Gives out [`ExchangeId`]s: always larger than the one before, also when the clock is set back.
#[derive(Debug)]
pub struct ExchangeIds {
    node: Node,
    last: AtomicI64,
}

impl ExchangeIds {
    /// Ids of the node (its lower 9 bits count) that are all larger than `after`, the largest id stored so far.
    #[must_use]
    pub fn new(node: u16, after: Option<ExchangeId>) -> Self {
        Self::of(Node::new(node), after)
    }

    /// Ids of a gateway whose number may change.
    #[must_use]
    pub fn of(node: Node, after: Option<ExchangeId>) -> Self {
        Self { node, last: AtomicI64::new(after.map_or(0, last_tick_of_its_millisecond)) }
    }

    /// A new id for an exchange opened at this instant.
    pub fn next(&self, now: Timestamp) -> ExchangeId {
        let floor = now.as_millisecond().max(0) << COUNTER_BITS;
        let step = |last: i64| Some((last + 1).max(floor));
        // the closure never answers None, so both arms hold the value before the update
        let before =
            self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap_or_else(|last| last);
        let tick = (before + 1).max(floor);
        let counter = tick & ((1 << COUNTER_BITS) - 1);
        let node = i64::from(self.node.number()) & ((1 << NODE_BITS) - 1);
        ExchangeId(((tick >> COUNTER_BITS) << TIME_SHIFT) | (node << COUNTER_BITS) | counter)
    }
}

/// The largest time and counter of the id's millisecond: another node's ids in it are not told apart by the counter.
const fn last_tick_of_its_millisecond(id: ExchangeId) -> i64 {
    (((id.0 >> TIME_SHIFT) + 1) << COUNTER_BITS) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_even_when_the_clock_is_set_back() {
        let ids = ExchangeIds::new(7, None);
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        let earlier: Timestamp = "2026-11-23T09:00:00Z".parse().unwrap();
        let mut last = ids.next(now);
        for at in [now, earlier, earlier, now].into_iter().cycle().take(20_000) {
            let next = ids.next(at);
            assert!(next > last);
            last = next;
        }
        let restarted = ExchangeIds::new(3, Some(last));
        assert!(restarted.next(earlier) > last);
    }

    #[test]
    fn ids_are_written_and_read_back() {
        let id = ExchangeIds::new(511, None).next("2026-11-23T10:00:00Z".parse().unwrap());
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(ExchangeId::first_at("2026-11-23T10:00:00Z".parse().unwrap()) <= id);
        assert!(ExchangeId::first_at("2026-11-23T10:00:01Z".parse().unwrap()) > id);
    }
}
