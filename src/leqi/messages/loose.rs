//! Fields that come as numbers or strings, empty, null or not at all. For `deserialize_with` and `serialize_with`.

use std::{borrow::Cow, fmt::Display, str::FromStr};

use serde::{Deserialize, Deserializer, Serializer, de::Error};
use serde_json::value::RawValue;

use crate::domain::{Day, Invalid, Period};

/// A field's text: a string's content or a number's digits, trimmed; `None` when null or empty.
pub(super) fn unwrap(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    let text = match text.as_bytes() {
        [b'"', inside @ .., b'"'] if !inside.contains(&b'\\') => {
            Cow::Borrowed(text[1..text.len() - 1].trim())
        }
        [b'"', ..] => Cow::Owned(serde_json::from_str::<String>(text).ok()?.trim().to_owned()),
        _ if text == "null" => return None,
        _ => Cow::Borrowed(text),
    };
    if text.is_empty() { None } else { Some(text) }
}

/// A text; empty when absent. Fields with it also need `default`.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    optional_text(from).map(Option::unwrap_or_default)
}

/// A text, if there is one. Fields with it also need `default`.
pub(super) fn optional_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let raw = <Box<RawValue>>::deserialize(from)?;
    Ok(unwrap(&raw).map(Cow::into_owned))
}

/// A value that must be there.
pub(super) fn value<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    optional_value(from)?.ok_or_else(|| Error::custom("empty where a value is needed"))
}

/// A value, if there is one. Fields with it also need `default`.
pub(super) fn optional_value<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    optional_text(from)?.map(|text| text.parse().map_err(Error::custom)).transpose()
}

/// A day written `yyyyMMdd` or `yyyy-MM-dd`, if there is one. Fields with it also need `default`.
pub(super) fn optional_day<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Day>, D::Error> {
    optional_text(from)?.map(|text| parse_day(&text).map_err(Error::custom)).transpose()
}

/// A day as `yyyyMMdd`; nothing as the empty text.
pub(super) fn write_day<S: Serializer>(day: &Option<Day>, out: S) -> Result<S::Ok, S::Error> {
    match day {
        Some(day) => out.collect_str(&format_args!("{:04}{:02}{:02}", day.year(), day.month(), day.day())),
        None => out.serialize_str(""),
    }
}

/// A month as `yyyyMM`.
pub(super) fn write_compact<S: Serializer>(period: &Period, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&period.compact())
}

/// A flag written `Y` or `N`; `1` and `0` are read too.
pub(super) fn yes<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    match text(from)?.as_str() {
        "Y" | "y" | "1" => Ok(true),
        "N" | "n" | "0" | "" => Ok(false),
        _ => Err(Error::custom("neither Y nor N")),
    }
}

/// A flag as `Y` or `N`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's `serialize_with` passes references")]
pub(super) fn write_yes<S: Serializer>(flag: &bool, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(if *flag { "Y" } else { "N" })
}

/// A count or anything else that is written as its text.
pub(super) fn write_text<S: Serializer, T: Display>(value: &T, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(value)
}

fn parse_day(text: &str) -> Result<Day, Invalid> {
    const REASON: Invalid = Invalid::new("day must be written yyyyMMdd");
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if digits.len() != 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(REASON);
    }
    let number: u32 = digits.parse().map_err(|_| REASON)?;
    let part = |n: u32| i8::try_from(n % 100).map_err(|_| REASON);
    let year = i16::try_from(number / 10_000).map_err(|_| REASON)?;
    Day::new(year, part(number / 100)?, part(number)?).map_err(|_| REASON)
}
