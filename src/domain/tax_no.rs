//! Taxpayer identification numbers.

use super::{Invalid, text_newtype};

/// A taxpayer identification number (纳税人识别号): an 18-character unified social credit code with a valid check
/// digit (GB 32100-2015), or one of the older numbers of 15, 17 or 20 characters. Upper case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaxNo(Box<str>);

text_newtype!(TaxNo);

/// The alphabet of GB 32100-2015: digits and capital letters without I, O, S, V and Z; a character's value is its place.
const ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";

impl TaxNo {
    /// Parses a tax number; lower-case letters are accepted and folded, surrounding blanks are not.
    ///
    /// # Errors
    /// A sentence that names the length, the character or the check digit that is wrong.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.to_ascii_uppercase();
        if let Some(bad) = text.chars().find(|c| !c.is_ascii_alphanumeric()) {
            return Err(Invalid::with(format!(
                "tax number holds {bad:?}; only digits and letters are allowed"
            )));
        }
        match text.len() {
            15 | 17 | 20 => Ok(Self(text.into())),
            18 => check_credit_code(&text).map(|()| Self(text.into())),
            other => Err(Invalid::with(format!(
                "tax number has {other} characters; a unified social credit code has 18 (older numbers 15, 17 or 20)"
            ))),
        }
    }

    /// The number as text, upper case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// GB 32100-2015 §6: C18 = 31 − (Σ Cᵢ·3^(i−1) mod 31) mod 31 over the first 17 characters. Numbers of natural
/// persons that issue by themselves are 18-character identity numbers (GB 11643) and are accepted by their own rule.
fn check_credit_code(text: &str) -> Result<(), Invalid> {
    if is_identity_number(text) {
        return Ok(());
    }
    let mut sum = 0_usize;
    let mut weight = 1_usize;
    for &byte in &text.as_bytes()[..17] {
        let Some(value) = ALPHABET.iter().position(|&a| a == byte) else {
            return Err(Invalid::with(format!(
                "tax number holds {:?}, which a unified social credit code never has (no I, O, S, V, Z)",
                char::from(byte)
            )));
        };
        sum += value * weight;
        weight = weight * 3 % 31;
    }
    let expected = char::from(ALPHABET[(31 - sum % 31) % 31]);
    if text.ends_with(expected) {
        Ok(())
    } else {
        Err(Invalid::with(format!(
            "tax number's check digit does not fit: with these 17 characters it must end in {expected}; check for a mistyped character"
        )))
    }
}

/// Resident identity numbers: 17 digits and ISO 7064 MOD 11-2.
fn is_identity_number(text: &str) -> bool {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let digits = &text.as_bytes()[..17];
    if !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let sum: u32 = digits.iter().zip(WEIGHTS).map(|(d, w)| u32::from(d - b'0') * w).sum();
    text.as_bytes()[17] == b"10X98765432"[(sum % 11) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_credit_code_is_accepted_and_folded_to_upper_case() {
        assert_eq!(TaxNo::parse("91350100m000100y43").unwrap().as_str(), "91350100M000100Y43");
    }

    #[test]
    fn a_wrong_check_digit_names_the_right_one() {
        let error = TaxNo::parse("91350100M000100Y44").unwrap_err();
        assert!(error.to_string().contains("must end in 3"), "{error}");
    }

    #[test]
    fn every_single_substitution_is_detected() {
        let good = b"91350100M000100Y43";
        for place in 0..17 {
            for &other in ALPHABET {
                let mut bad = *good;
                if bad[place] == other {
                    continue;
                }
                bad[place] = other;
                assert!(TaxNo::parse(std::str::from_utf8(&bad).unwrap()).is_err());
            }
        }
    }

    #[test]
    fn older_lengths_pass_and_other_lengths_do_not() {
        for len in 0..40 {
            let text = "1".repeat(len);
            let expected = matches!(len, 15 | 17 | 20);
            if len != 18 {
                assert_eq!(TaxNo::parse(&text).is_ok(), expected, "{len}");
            }
        }
        assert!(TaxNo::parse("9135010 M000100Y43").is_err());
        assert!(TaxNo::parse("税号").is_err());
    }
}
