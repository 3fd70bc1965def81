//! Where time comes from. Nothing else in the project asks the machine for the date.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use jiff::Timestamp;

use crate::domain::{Day, Period, beijing_day};

/// A clock: the machine's, or the machine's moved by an offset that tests and the simulator set.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_us: Arc<AtomicI64>,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that shows this instant now and runs on from there.
    #[must_use]
    pub fn starting_at(instant: Timestamp) -> Self {
        let clock = Self::default();
        clock.set(instant);
        clock
    }

    /// Sets the clock, for everyone who holds a copy of it.
    pub fn set(&self, instant: Timestamp) {
        self.offset_us.store(instant.as_microsecond() - machine_us(), Ordering::SeqCst);
    }

    /// The instant, to the microsecond.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let us = machine_us().saturating_add(self.offset_us.load(Ordering::SeqCst));
        Timestamp::from_microsecond(us).unwrap_or(Timestamp::MAX)
    }

    /// Today in Beijing.
    #[must_use]
    pub fn today(&self) -> Day {
        beijing_day(self.now())
    }

    /// This month in Beijing.
    #[must_use]
    pub fn period(&self) -> Period {
        Period::at(self.now())
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
fn machine_us() -> i64 {
    Timestamp::now().as_microsecond()
}
