//! The platform's own, strict reading of requests: independent of the gateway's liberal reader, so that a fault
//! there is not mirrored here. Amounts are read from their text, never through floating point.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::refusal::Refusal;
use crate::domain::{Money, Period, TaxNo};

/// The fields of one JSON object, each still its text.
#[derive(Debug)]
pub(super) struct Fields<'a>(HashMap<std::borrow::Cow<'a, str>, &'a RawValue>);

/// The fields of a request that is one object.
///
/// # Errors
/// When it is anything else.
pub(super) fn object(json: &str) -> Result<Fields<'_>, Refusal> {
    serde_json::from_str(json).map(Fields).map_err(|_| Refusal::field("请求报文不是JSON对象"))
}

/// The elements of a request that is an array.
///
/// # Errors
/// When it is anything else.
pub(super) fn array(json: &str) -> Result<Vec<&RawValue>, Refusal> {
    serde_json::from_str(json).map_err(|_| Refusal::field("请求报文不是JSON数组"))
}

/// Whether the JSON text holds a `\uXXXX` escape, which the platform forbids (protocol.md §1).
#[must_use]
pub(super) fn has_unicode_escape(json: &str) -> bool {
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        // the byte after a backslash belongs to the escape, so that `\\u` is a backslash and a letter
        if byte == b'\\' && bytes.next() == Some(b'u') {
            return true;
        }
    }
    false
}

impl<'a> Fields<'a> {
    /// The text of the field; `None` when it is absent, null or empty.
    ///
    /// # Errors
    /// When it is no string.
    pub(super) fn optional(&self, name: &str) -> Result<Option<String>, Refusal> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let text: String =
            serde_json::from_str(raw).map_err(|_| Refusal::field(&format!("{name}应为字符串")))?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// The text of the field.
    ///
    /// # Errors
    /// When it is absent, empty or no string.
    pub(super) fn text(&self, name: &str) -> Result<String, Refusal> {
        self.optional(name)?.ok_or_else(|| Refusal::field(&format!("{name}不能为空")))
    }

    /// A code, which may be written as a string or as a whole number.
    ///
    /// # Errors
    /// When it is absent or empty.
    pub(super) fn code(&self, name: &str) -> Result<String, Refusal> {
        match self.raw(name) {
            Some(raw) if raw.bytes().all(|b| b.is_ascii_digit()) => Ok(raw.to_owned()),
            _ => self.text(name),
        }
    }

    /// An amount: decimal yuan with at most two decimals, a number or a string.
    ///
    /// # Errors
    /// When it is absent or anything else.
    pub(super) fn amount(&self, name: &str) -> Result<Money, Refusal> {
        let raw = self.raw(name).ok_or_else(|| Refusal::field(&format!("{name}不能为空")))?;
        let text = raw.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(raw);
        plain_amount(text)
            .ok_or_else(|| Refusal::field(&format!("{name}格式不正确，金额为最多18位、两位小数的数值")))
    }

    /// A count: a whole number or a string of digits.
    ///
    /// # Errors
    /// When it is absent or anything else.
    pub(super) fn count(&self, name: &str) -> Result<i64, Refusal> {
        let raw = self.raw(name).ok_or_else(|| Refusal::field(&format!("{name}不能为空")))?;
        let text = raw.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(raw);
        text.parse()
            .ok()
            .filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
            .ok_or_else(|| Refusal::field(&format!("{name}格式不正确，应为整数")))
    }

    /// A tax number.
    ///
    /// # Errors
    /// When it is absent or not valid.
    pub(super) fn tax_no(&self, name: &str) -> Result<TaxNo, Refusal> {
        TaxNo::parse(&self.text(name)?).map_err(|_| Refusal::field(&format!("{name}不是有效的纳税人识别号")))
    }

    /// A month written `yyyy-MM`.
    ///
    /// # Errors
    /// When it is absent or written otherwise.
    pub(super) fn month(&self, name: &str) -> Result<Period, Refusal> {
        let text = self.text(name)?;
        Period::parse(&text)
            .ok()
            .filter(|_| text.len() == 7)
            .ok_or_else(|| Refusal::field(&format!("{name}格式不正确，应为yyyy-MM")))
    }

    /// The elements of a field that is an array; none when it is absent.
    ///
    /// # Errors
    /// When it is anything else.
    pub(super) fn objects(&self, name: &str) -> Result<Vec<Fields<'a>>, Refusal> {
        let Some(raw) = self.raw(name) else { return Ok(Vec::new()) };
        let elements: Vec<HashMap<_, _>> =
            serde_json::from_str(raw).map_err(|_| Refusal::field(&format!("{name}应为对象数组")))?;
        Ok(elements.into_iter().map(Fields).collect())
    }

    /// The field's JSON text; `None` for null.
    fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|raw| raw.get()).filter(|raw| *raw != "null")
    }
}

/// Digits with an optional sign and at most two decimals, no exponent, at most 18 digits.
fn plain_amount(text: &str) -> Option<Money> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    let fits = !whole.is_empty()
        && (1..=2).contains(&decimals.len())
        && whole.len() <= 16
        && whole.bytes().chain(decimals.bytes()).all(|b| b.is_ascii_digit());
    if fits { Money::parse(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unicode_escapes_are_seen_and_escaped_backslashes_are_not_mistaken_for_them() {
        assert!(has_unicode_escape(r#"{"a":"\u4e2d"}"#));
        assert!(has_unicode_escape(r#"{"a":"\\\u4e2d"}"#));
        assert!(!has_unicode_escape(r#"{"a":"\\u4e2d \n"}"#));
        assert!(!has_unicode_escape("中"));
    }

    #[test]
    fn amounts_are_numbers_or_strings_of_scale_two_and_nothing_else() {
        let json =
            r#"{"a":"1.50","b":-3,"c":"1.505","d":1e3,"e":" 1","f":"","g":null,"h":12345678901234567.00}"#;
        let fields = object(json).unwrap();
        assert_eq!(fields.amount("a").unwrap(), Money::from_fen(150));
        assert_eq!(fields.amount("b").unwrap(), Money::from_fen(-300));
        for name in ["c", "d", "e", "f", "g", "h", "missing"] {
            assert!(fields.amount(name).is_err(), "{name}");
        }
    }

    #[test]
    fn identifiers_are_strings_while_codes_and_counts_may_be_numbers() {
        let fields =
            object(r#"{"fphm":26440000000000000001,"ywlx":0,"lzfpsl":"1300","hzfpsl":257}"#).unwrap();
        assert!(fields.text("fphm").is_err());
        assert_eq!(fields.code("ywlx").unwrap(), "0");
        assert_eq!(fields.count("lzfpsl").unwrap(), 1300);
        assert_eq!(fields.count("hzfpsl").unwrap(), 257);
    }
}
