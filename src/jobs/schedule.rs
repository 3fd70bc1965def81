//! When a job is due: in Beijing time, whatever the machine's zone.

use std::{fmt, time::Duration};

use jiff::{Span, Timestamp, civil::Time};

use crate::domain::{BEIJING, Day, Period, beijing_day};

/// How often a job runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Every day at these times, in rising order.
    Daily(Vec<Time>),
    /// So long after the last run ended.
    Every(Duration),
    /// On the first day of each month at this time.
    Monthly(Time),
}

/// Retries of a run that was not wholly done: the first comes this soon, each later one twice as late.
const FIRST_RETRY: Duration = Duration::from_secs(5 * 60);
/// The latest that a retry comes.
const LAST_RETRY: Duration = Duration::from_secs(60 * 60);
/// After so many retries the schedule alone decides.
const RETRIES: u32 = 24;

impl Schedule {
    /// The first time it is due after the instant.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Timestamp {
        match self {
            Self::Daily(times) => {
                let today = beijing_day(after);
                let tomorrow = today.saturating_add(Span::new().days(1));
                let due =
                    [today, tomorrow].into_iter().flat_map(|day| times.iter().map(move |t| at(day, *t)));
                due.into_iter().find(|due| *due > after).unwrap_or(Timestamp::MAX)
            }
            Self::Every(interval) => later(after, *interval),
            Self::Monthly(time) => {
                let this = Period::at(after);
                let due = [this, this.next()].map(|month| at(month.first_day(), *time));
                due.into_iter().find(|due| *due > after).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// When it is due after a run that began and ended then. What was missed before the run counts as made up by it.
    /// `due` is when it was due before, which stands when the run came out of turn; `failures` counts runs in a row
    /// that were not wholly done, with this one.
    #[must_use]
    pub fn after_run(
        &self,
        due: Timestamp,
        started: Timestamp,
        ended: Timestamp,
        failures: u32,
    ) -> Timestamp {
        let regular = match self {
            Self::Every(_) => self.next(ended),
            Self::Daily(_) | Self::Monthly(_) if due > started => due,
            Self::Daily(_) | Self::Monthly(_) => self.next(started),
        };
        match failures {
            1..=RETRIES => {
                let pause = FIRST_RETRY.saturating_mul(1 << (failures - 1).min(16)).min(LAST_RETRY);
                regular.min(later(ended, pause))
            }
            _ => regular,
        }
    }

    /// The most that a run may come late so that many gateways do not call at once.
    #[must_use]
    pub fn jitter(&self, most: Duration) -> Duration {
        match self {
            Self::Every(interval) => most.min(*interval / 10),
            Self::Daily(_) | Self::Monthly(_) => most,
        }
    }
}

impl fmt::Display for Schedule {
    /// For people, and to tell whether the configuration changed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daily(times) => {
                f.write_str("daily at ")?;
                for (place, time) in times.iter().enumerate() {
                    write!(f, "{}{}", if place > 0 { ", " } else { "" }, time.strftime("%H:%M"))?;
                }
                Ok(())
            }
            Self::Every(interval) => match (interval.as_secs(), interval.subsec_millis()) {
                (s, 0) if s % 3600 == 0 => write!(f, "every {} h", s / 3600),
                (s, 0) if s % 60 == 0 => write!(f, "every {} min", s / 60),
                (s, 0) => write!(f, "every {s} s"),
                _ => write!(f, "every {} ms", interval.as_millis()),
            },
            Self::Monthly(time) => write!(f, "on the 1st at {}", time.strftime("%H:%M")),
        }
    }
}

/// That time of that day in Beijing.
fn at(day: Day, time: Time) -> Timestamp {
    BEIJING.to_timestamp(day.to_datetime(time)).unwrap_or(Timestamp::MAX)
}

/// The instant that much later.
pub(super) fn later(instant: Timestamp, by: Duration) -> Timestamp {
    instant.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beijing(text: &str) -> Timestamp {
        crate::domain::parse_beijing(text).unwrap()
    }

    fn time(hour: i8, minute: i8) -> Time {
        Time::constant(hour, minute, 0, 0)
    }

    #[test]
    fn days_and_months_begin_in_beijing() {
        let daily = Schedule::Daily(vec![time(0, 20), time(23, 40)]);
        assert_eq!(daily.next(beijing("2026-12-31 12:00:00")), beijing("2026-12-31 23:40:00"));
        assert_eq!(daily.next(beijing("2026-12-31 23:40:00")), beijing("2027-01-01 00:20:00"));
        let monthly = Schedule::Monthly(time(0, 5));
        assert_eq!(monthly.next(beijing("2026-12-01 00:04:59")), beijing("2026-12-01 00:05:00"));
        assert_eq!(monthly.next(beijing("2026-12-01 00:05:00")), beijing("2027-01-01 00:05:00"));
        // still November in London
        assert_eq!(monthly.next("2026-11-30T16:10:00Z".parse().unwrap()), beijing("2027-01-01 00:05:00"));
        assert_eq!(daily.to_string(), "daily at 00:20, 23:40");
        assert_eq!(monthly.to_string(), "on the 1st at 00:05");
        assert_eq!(Schedule::Every(Duration::from_secs(600)).to_string(), "every 10 min");
    }

    #[test]
    fn what_was_missed_is_made_up_once() {
        let monthly = Schedule::Monthly(time(0, 5));
        let (due, started) = (beijing("2026-11-01 00:05:00"), beijing("2027-01-03 08:00:00"));
        assert_eq!(monthly.after_run(due, started, started, 0), beijing("2027-02-01 00:05:00"));
    }

    #[test]
    fn a_run_over_a_month_change_does_not_swallow_the_next() {
        let monthly = Schedule::Monthly(time(0, 5));
        let due = beijing("2026-11-01 00:05:00");
        let next = monthly.after_run(due, beijing("2026-11-30 23:59:00"), beijing("2026-12-01 00:10:00"), 0);
        assert_eq!(next, beijing("2026-12-01 00:05:00"));
    }

    #[test]
    fn a_run_out_of_turn_leaves_the_turn() {
        let monthly = Schedule::Monthly(time(0, 5));
        let due = beijing("2026-12-01 00:05:00");
        let now = beijing("2026-11-20 10:00:00");
        assert_eq!(monthly.after_run(due, now, now, 0), due);
    }

    #[test]
    fn what_failed_is_tried_again_later_and_later_but_never_later_than_its_turn() {
        let monthly = Schedule::Monthly(time(0, 5));
        let (due, now) = (beijing("2026-12-01 00:05:00"), beijing("2026-12-01 00:06:00"));
        let retry = |failures| monthly.after_run(due, now, now, failures);
        assert_eq!(retry(1), beijing("2026-12-01 00:11:00"));
        assert_eq!(retry(3), beijing("2026-12-01 00:26:00"));
        assert_eq!(retry(24), beijing("2026-12-01 01:06:00"));
        assert_eq!(retry(25), beijing("2027-01-01 00:05:00"));
        let often = Schedule::Every(Duration::from_secs(60));
        assert_eq!(often.after_run(due, now, now, 3), beijing("2026-12-01 00:07:00"));
    }
}
