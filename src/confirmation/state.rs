//! Where a confirmation may go from where it stands. Pure rules (protocol.md §4).
//!
//! ```text
//!            submit                accepted
//!   Draft ───────────► Submitting ─────────► Confirmed ──► Cancelling ──► Cancelled
//!     ▲                   │  │ │                 ▲   cancel     │  accepted   │ submit
//!     └─────── not sent ──┘  │ └─ unclear ─► Unknown ◄─ unclear ─┘             ▼
//!   Refused ◄──── refused ───┘              (a query decides)              Submitting
//! ```
//! `AutoConfirmed` is what a query shows after the 13th when nobody confirmed.

use jiff::{Timestamp, civil};

pub use crate::store::confirmations::ConfirmationState as State;

use crate::domain::{BEIJING, Day, Period};

/// The day of the next month on which the platform confirms by itself, at 0:00 in Beijing.
const DEADLINE_DAY: i8 = 13;

/// What the platform made of a confirmation or a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did it.
    Accepted,
    /// Proven that nothing reached it.
    NotSent,
    /// It refused.
    Refused,
    /// Not known.
    Unclear,
}

/// Why a step is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The platform confirmed the month by itself, which nobody can cancel.
    #[error(
        "the month can no longer be cancelled: that is possible until the 13th of the next month, 0:00 in Beijing"
    )]
    AfterDeadline,
    /// Somebody else's step is under way.
    #[error("a confirmation or cancellation of this month is under way; look again in a moment")]
    Busy,
    /// The month is not over.
    #[error("the month is not over; a month can be confirmed from the 1st of the next one")]
    MonthNotOver,
    /// There is nothing to cancel.
    #[error("the month is not confirmed, so there is nothing to cancel")]
    NotConfirmed,
    /// What became of the last step is not known.
    #[error("what became of the last step is not known; sync with the platform first")]
    OutcomeUnknown,
}

/// Whether a step must be sent or is done already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is as wanted already; nothing is sent.
    Done,
    /// Go to this state, commit, then send.
    Send(State),
}

/// The instant at which the platform confirms the month by itself: the 13th of the next month, 0:00 in Beijing.
#[must_use]
pub fn deadline(period: Period) -> Timestamp {
    let first = period.next().first_day();
    let day = Day::new(first.year(), first.month(), DEADLINE_DAY).unwrap_or(first);
    let midnight = civil::DateTime::from_parts(day, civil::Time::midnight());
    BEIJING.to_timestamp(midnight).unwrap_or(Timestamp::MAX)
}

/// What confirming means now.
///
/// # Errors
/// Why it is not possible.
pub fn confirm(state: State, period: Period, now: Timestamp) -> Result<Step, StepError> {
    match state {
        State::AutoConfirmed | State::Confirmed => Ok(Step::Done),
        State::Cancelling | State::Submitting => Err(StepError::Busy),
        State::Unknown => Err(StepError::OutcomeUnknown),
        State::Cancelled | State::Draft | State::Refused if period >= Period::at(now) => {
            Err(StepError::MonthNotOver)
        }
        State::Cancelled | State::Draft | State::Refused => Ok(Step::Send(State::Submitting)),
    }
}

/// What cancelling means now.
///
/// # Errors
/// Why it is not possible.
pub fn cancel(state: State, period: Period, now: Timestamp) -> Result<Step, StepError> {
    match state {
        State::Cancelled => Ok(Step::Done),
        State::Cancelling | State::Submitting => Err(StepError::Busy),
        State::Unknown => Err(StepError::OutcomeUnknown),
        State::Draft | State::Refused => Err(StepError::NotConfirmed),
        State::AutoConfirmed | State::Confirmed if now >= deadline(period) => Err(StepError::AfterDeadline),
        State::AutoConfirmed | State::Confirmed => Ok(Step::Send(State::Cancelling)),
    }
}

/// Where a confirmation that was sent leads to; `before` is the state before it was sent.
#[must_use]
pub const fn confirmed(before: State, outcome: Outcome) -> State {
    match (outcome, before) {
        (Outcome::Accepted, _) => State::Confirmed,
        (Outcome::NotSent, _) => before,
        // a confirmed month that is confirmed again stays confirmed, whatever is said
        (Outcome::Refused | Outcome::Unclear, State::AutoConfirmed | State::Confirmed) => before,
        (
            Outcome::Refused,
            State::Cancelled
            | State::Cancelling
            | State::Draft
            | State::Refused
            | State::Submitting
            | State::Unknown,
        ) => State::Refused,
        (
            Outcome::Unclear,
            State::Cancelled
            | State::Cancelling
            | State::Draft
            | State::Refused
            | State::Submitting
            | State::Unknown,
        ) => State::Unknown,
    }
}

/// Where a cancellation that was sent leads to; `before` is the state before it was sent.
#[must_use]
pub const fn cancelled(before: State, outcome: Outcome) -> State {
    match outcome {
        Outcome::Accepted => State::Cancelled,
        Outcome::NotSent | Outcome::Refused => before,
        Outcome::Unclear => State::Unknown,
    }
}

/// Where a query leads to that shows the month as confirmed (`listed`) or not. `was_confirmed`: whether it ever was.
#[must_use]
pub fn synced(state: State, listed: bool, was_confirmed: bool, period: Period, now: Timestamp) -> State {
    match (listed, state) {
        (true, State::AutoConfirmed | State::Confirmed) => state,
        (
            true,
            State::Cancelled
            | State::Cancelling
            | State::Draft
            | State::Refused
            | State::Submitting
            | State::Unknown,
        ) => {
            if now >= deadline(period) && !was_confirmed {
                State::AutoConfirmed
            } else {
                State::Confirmed
            }
        }
        (false, State::Draft | State::Refused) => state,
        (
            false,
            State::AutoConfirmed
            | State::Cancelled
            | State::Cancelling
            | State::Confirmed
            | State::Submitting
            | State::Unknown,
        ) => {
            if was_confirmed {
                State::Cancelled
            } else {
                State::Draft
            }
        }
    }
}

/// Whether the platform takes no more uploads of the month.
#[must_use]
pub const fn is_closed(state: State) -> bool {
    match state {
        State::AutoConfirmed | State::Cancelling | State::Confirmed => true,
        State::Cancelled | State::Draft | State::Refused | State::Submitting | State::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn october() -> Period {
        Period::parse("2026-10").unwrap()
    }

    #[test]
    fn a_month_can_be_confirmed_once_it_is_over_in_beijing() {
        let before = confirm(State::Draft, october(), at("2026-10-31T15:59:59Z"));
        assert_eq!(before, Err(StepError::MonthNotOver));
        for state in [State::Draft, State::Refused, State::Cancelled] {
            let after = confirm(state, october(), at("2026-10-31T16:00:00Z"));
            assert_eq!(after, Ok(Step::Send(State::Submitting)));
        }
    }

    #[test]
    fn a_confirmed_month_can_be_cancelled_until_the_thirteenth() {
        assert_eq!(deadline(october()).to_string(), "2026-11-12T16:00:00Z");
        let last = at("2026-11-12T15:59:59Z");
        assert_eq!(cancel(State::Confirmed, october(), last), Ok(Step::Send(State::Cancelling)));
        let late = at("2026-11-12T16:00:00Z");
        assert_eq!(cancel(State::Confirmed, october(), late), Err(StepError::AfterDeadline));
        assert_eq!(deadline(Period::parse("2026-12").unwrap()).to_string(), "2027-01-12T16:00:00Z");
    }

    #[test]
    fn repeating_a_step_that_is_done_sends_nothing() {
        let now = at("2026-11-05T00:00:00Z");
        assert_eq!(confirm(State::Confirmed, october(), now), Ok(Step::Done));
        assert_eq!(cancel(State::Cancelled, october(), now), Ok(Step::Done));
    }

    #[test]
    fn nothing_is_sent_while_the_outcome_of_the_last_step_is_not_known() {
        let now = at("2026-11-05T00:00:00Z");
        for step in [confirm, cancel] {
            assert_eq!(step(State::Unknown, october(), now), Err(StepError::OutcomeUnknown));
            assert_eq!(step(State::Submitting, october(), now), Err(StepError::Busy));
            assert_eq!(step(State::Cancelling, october(), now), Err(StepError::Busy));
        }
        assert_eq!(cancel(State::Draft, october(), now), Err(StepError::NotConfirmed));
    }

    #[test]
    fn only_an_accepted_answer_closes_the_month() {
        assert_eq!(confirmed(State::Draft, Outcome::Accepted), State::Confirmed);
        assert_eq!(confirmed(State::Draft, Outcome::Refused), State::Refused);
        assert_eq!(confirmed(State::Cancelled, Outcome::NotSent), State::Cancelled);
        assert_eq!(confirmed(State::Draft, Outcome::Unclear), State::Unknown);
        assert_eq!(confirmed(State::Confirmed, Outcome::Refused), State::Confirmed);
        assert_eq!(cancelled(State::Confirmed, Outcome::Accepted), State::Cancelled);
        assert_eq!(cancelled(State::Confirmed, Outcome::Refused), State::Confirmed);
        assert_eq!(cancelled(State::Confirmed, Outcome::Unclear), State::Unknown);
        assert!(State::ALL.into_iter().filter(|s| is_closed(*s)).count() == 3);
    }

    #[test]
    fn a_query_decides_what_is_unknown() {
        let (early, late) = (at("2026-11-05T00:00:00Z"), at("2026-11-20T00:00:00Z"));
        assert_eq!(synced(State::Unknown, true, false, october(), early), State::Confirmed);
        assert_eq!(synced(State::Unknown, false, false, october(), early), State::Draft);
        assert_eq!(synced(State::Unknown, false, true, october(), early), State::Cancelled);
        assert_eq!(synced(State::Draft, true, false, october(), late), State::AutoConfirmed);
        assert_eq!(synced(State::Refused, false, false, october(), early), State::Refused);
        assert_eq!(synced(State::Confirmed, true, true, october(), late), State::Confirmed);
    }
}
