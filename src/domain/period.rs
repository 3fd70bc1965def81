//! Months and days as the platform counts them: in Beijing.

use jiff::{Timestamp, civil::Date, tz::Offset};

use super::Invalid;

/// Beijing time, UTC+8 without daylight saving (none since 1991); every time and month on the wire is in it.
pub const BEIJING: Offset = Offset::constant(8);

/// A calendar day in Beijing.
pub type Day = Date;

/// A calendar month in Beijing (税款所属期, `sq`, `yf`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period {
    year: i16,
    month: i8,
}

impl Period {
    /// The month that holds the day.
    #[must_use]
    pub fn of(day: Day) -> Self {
        Self { year: day.year(), month: day.month() }
    }

    /// The month of the instant in Beijing.
    #[must_use]
    pub fn at(instant: Timestamp) -> Self {
        Self::of(beijing_day(instant))
    }

    /// Parses `yyyy-MM` or `yyyyMM`.
    ///
    /// # Errors
    /// When the text has neither form or names no month.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const REASON: Invalid = Invalid::new("month must be written yyyy-MM");
        let digits = match text.len() {
            7 if text.as_bytes()[4] == b'-' => [text.get(..4).unwrap_or(""), text.get(5..).unwrap_or("")],
            6 => [text.get(..4).unwrap_or(""), text.get(4..).unwrap_or("")],
            _ => return Err(REASON),
        };
        if !digits.iter().all(|d| d.bytes().all(|b| b.is_ascii_digit())) {
            return Err(REASON);
        }
        let (Ok(year), Ok(month)) = (digits[0].parse(), digits[1].parse()) else { return Err(REASON) };
        if (2000..=2199).contains(&year) && (1..=12).contains(&month) {
            Ok(Self { year, month })
        } else {
            Err(REASON)
        }
    }

    /// The month before.
    #[must_use]
    pub fn previous(self) -> Self {
        if self.month == 1 {
            Self { year: self.year - 1, month: 12 }
        } else {
            Self { month: self.month - 1, ..self }
        }
    }

    /// The month after.
    #[must_use]
    pub fn next(self) -> Self {
        if self.month == 12 {
            Self { year: self.year + 1, month: 1 }
        } else {
            Self { month: self.month + 1, ..self }
        }
    }

    /// The first day of the month.
    #[must_use]
    pub fn first_day(self) -> Day {
        Date::constant(self.year, self.month, 1)
    }

    /// Its first instant: midnight in Beijing.
    #[must_use]
    pub fn first_instant(self) -> Timestamp {
        // years of a month are those of a date, which timestamps cover
        BEIJING.to_timestamp(self.first_day().into()).unwrap_or(Timestamp::MAX)
    }

    /// The last day of the month.
    #[must_use]
    pub fn last_day(self) -> Day {
        self.first_day().last_of_month()
    }

    /// The form of `sq` on the wire: `yyyyMM`.
    #[must_use]
    pub fn compact(self) -> String {
        format!("{:04}{:02}", self.year, self.month)
    }

    /// A number that orders months and is stored: `yyyy * 100 + MM`.
    #[must_use]
    pub fn number(self) -> i64 {
        i64::from(self.year) * 100 + i64::from(self.month)
    }

    /// The month of a stored [`Period::number`].
    ///
    /// # Errors
    /// When it is none.
    pub fn from_number(number: i64) -> Result<Self, Invalid> {
        Self::parse(&number.to_string())
    }
}

impl std::fmt::Display for Period {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{:04}-{:02}", self.year, self.month))
    }
}

impl std::str::FromStr for Period {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

impl serde::Serialize for Period {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Period {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The day of the instant in Beijing.
#[must_use]
pub fn beijing_day(instant: Timestamp) -> Day {
    BEIJING.to_datetime(instant).date()
}

/// Parses `yyyy-MM-dd HH:mm:ss` (the wire's form, protocol.md §3) in Beijing time; a `T` between is accepted.
///
/// # Errors
/// When the text is no such time.
pub fn parse_beijing(text: &str) -> Result<Timestamp, Invalid> {
    const REASON: Invalid = Invalid::new("time must be written yyyy-MM-dd HH:mm:ss");
    if text.len() != 19 {
        return Err(REASON);
    }
    let civil: jiff::civil::DateTime = text.parse().map_err(|_| REASON)?;
    BEIJING.to_timestamp(civil).map_err(|_| REASON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_changes_at_midnight_in_beijing() {
        let before: Timestamp = "2026-11-30T15:59:59Z".parse().unwrap();
        let after: Timestamp = "2026-11-30T16:00:00Z".parse().unwrap();
        assert_eq!(Period::at(before).to_string(), "2026-11");
        assert_eq!(Period::at(after).to_string(), "2026-12");
        assert_eq!(Period::at(after).next().previous().compact(), "202612");
        assert_eq!(Period::parse("2026-12").unwrap().next().to_string(), "2027-01");
    }

    #[test]
    fn wire_times_are_beijing_times() {
        assert_eq!(parse_beijing("2026-12-01 00:00:00").unwrap().to_string(), "2026-11-30T16:00:00Z");
        for bad in ["2026-12-01", "2026-13-01 00:00:00", "2026-12-01 24:00:00", "2026年12月01日", ""] {
            assert!(parse_beijing(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn months_parse_in_both_forms_and_nothing_else() {
        assert_eq!(Period::parse("202612"), Period::parse("2026-12"));
        for bad in ["2026-13", "202600", "26-12", "2026/12", "+02612", "2026-1", "年年12"] {
            assert!(Period::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Period::from_number(Period::parse("2026-02").unwrap().number()), Period::parse("2026-02"));
    }
}
