//! Amounts of money, exact.

use super::Invalid;

/// An amount in fen (1/100 yuan), signed; red invoices are negative.
///
/// Parsing never passes through floating point. The wire writes amounts as JSON numbers or strings, scale 2,
/// 18 digits (protocol.md §3); [`Money::ON_DEMAND`] is the platform's word for "no limit at the bureau".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Money(i64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// 9999999999999999 yuan: what on-demand taxpayers get in `bysxed` and `kysyed` (protocol.md §3). Never arithmetic.
    pub const ON_DEMAND: Self = Self(999_999_999_999_999_900);

    /// An amount of so many fen.
    #[must_use]
    pub const fn from_fen(fen: i64) -> Self {
        Self(fen)
    }

    /// The amount in fen.
    #[must_use]
    pub const fn fen(self) -> i64 {
        self.0
    }

    /// Parses decimal yuan: optional sign, digits, optionally a point and one or two more digits (further zeros
    /// are allowed, any other third decimal is not). An exponent is accepted when the value is a whole number of
    /// fen, because JSON writers produce it.
    ///
    /// # Errors
    /// What is wrong: not a number, more than two decimals, out of range.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (negative, digits) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match digits.find(['e', 'E']) {
            Some(at) => (
                &digits[..at],
                digits[at + 1..]
                    .parse::<i32>()
                    .map_err(|_| Invalid::new("amount is not a decimal number"))?,
            ),
            None => (digits, 0),
        };
        let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() && decimals.is_empty()
            || !all_digits(whole)
            || !all_digits(decimals)
            || mantissa.ends_with('.')
        {
            return Err(Invalid::new("amount is not a decimal number"));
        }
        let fen = scaled(whole, decimals, exponent)?;
        Ok(Self(if negative { -fen } else { fen }))
    }

    /// The sum, or `None` beyond the range of 64 bits.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The sum, held at the ends of the range; for figures that are shown, never for those that decide.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, held at the ends of the range.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Whether this is the platform's word for "no limit".
    #[must_use]
    pub fn is_on_demand(self) -> bool {
        self == Self::ON_DEMAND
    }
}

/// The value of `whole.decimals × 10^exponent` in fen, if it is a whole number of fen within range.
fn scaled(whole: &str, decimals: &str, exponent: i32) -> Result<i64, Invalid> {
    if whole.len() + decimals.len() > 40 || !(-40..=40).contains(&exponent) {
        return Err(Invalid::new("amount is out of range (18 digits)"));
    }
    let mut digits: Vec<u8> = whole.bytes().chain(decimals.bytes()).collect();
    // the position of the decimal point after scaling to fen
    let point = i32::try_from(whole.len()).unwrap_or(i32::MAX) + exponent + 2;
    while i32::try_from(digits.len()).unwrap_or(i32::MAX) < point {
        digits.push(b'0');
    }
    let kept = usize::try_from(point).unwrap_or(0);
    let (value, rest) = digits.split_at(kept.min(digits.len()));
    if rest.iter().any(|&d| d != b'0') || point < 0 && digits.iter().any(|&d| d != b'0') {
        return Err(Invalid::new("amount has more than two decimals"));
    }
    value.iter().try_fold(0_i64, |sum, d| {
        sum.checked_mul(10)
            .and_then(|s| s.checked_add(i64::from(d - b'0')))
            .filter(|s| *s <= Money::ON_DEMAND.fen())
            .ok_or(Invalid::new("amount is out of range (18 digits)"))
    })
}

impl std::fmt::Display for Money {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let fen = self.0.unsigned_abs();
        f.pad(&format!("{sign}{}.{:02}", fen / 100, fen % 100))
    }
}

impl std::str::FromStr for Money {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

impl serde::Serialize for Money {
    /// A decimal string in yuan, as the management API gives amounts (design.md §1).
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Money {
    /// A decimal string or a JSON number in yuan, read from its text.
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = <Box<serde_json::value::RawValue>>::deserialize(from)?;
        let text = raw.get();
        let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
        Self::parse(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wire_samples_parse_to_the_fen() {
        for (text, fen) in [
            ("15518088765.27", 1_551_808_876_527),
            ("-9770623.50", -977_062_350),
            ("0", 0),
            ("-0.00", 0),
            ("1.5", 150),
            (".5", 50),
            ("1.500", 150),
            ("1e3", 100_000),
            ("1.25E1", 1250),
            ("125e-2", 125),
            ("9999999999999999", Money::ON_DEMAND.fen()),
        ] {
            assert_eq!(Money::parse(text), Ok(Money(fen)), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "",
            "-",
            ".",
            "1.",
            "1.234",
            "1e-3",
            "0.001",
            "abc",
            "1,000",
            "１",
            "NaN",
            "1e99",
            "99999999999999999999",
            " 1",
            "--1",
        ] {
            assert!(Money::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn json_numbers_and_strings_are_read_alike() {
        let both: Vec<Money> = serde_json::from_str(r#"[15518088765.27,"15518088765.27"]"#).unwrap();
        assert_eq!(both[0], both[1]);
    }

    proptest! {
        #[test]
        fn display_and_parse_are_inverse(fen in -999_999_999_999_999_900_i64..=999_999_999_999_999_900) {
            prop_assert_eq!(Money::parse(&Money(fen).to_string()), Ok(Money(fen)));
        }

        #[test]
        fn any_text_is_a_value_or_an_error(text in "\\PC*") {
            let _ = Money::parse(&text);
        }
    }
}
