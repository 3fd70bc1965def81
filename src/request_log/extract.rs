//! What a record is found by, read from messages. Pure functions: what cannot be read is left out, never an error.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Record;
use crate::domain::{InvoiceNo, TaxNo};
use crate::leqi::{self, CodecError, Envelope, Opened, Payload, Sm4Key, gunzip};

/// Services whose invoices the buyer issues (protocol.md §4).
const PURCHASE_SERVICES: [&str; 3] = ["FXKPTYFPSC", "GFSGFPSC", "NCPSGFPSC"];
/// Characters kept of a text of the platform, and of a serial number.
const TEXT_LIMIT: usize = 2000;
const SERIAL_LIMIT: usize = 200;

/// Fills in what the request's JSON tells: invoices, `sllsh`, `ywlsh` and the taxpayer.
pub fn request(record: &mut Record, json: &[u8]) {
    let found = scan(json);
    let purchase = found.purchase || record.service.as_deref().is_some_and(is_purchase);
    let parties = if purchase {
        [&found.buyer, &found.taxpayer, &found.seller]
    } else {
        [&found.taxpayer, &found.seller, &found.buyer]
    };
    if let Some(tax_no) = parties.into_iter().flatten().find_map(|t| TaxNo::parse(t).ok()) {
        record.tax_no = Some(tax_no);
    }
    record.serial = found.serial.or(record.serial.take());
    record.acceptance_no = found.acceptance_no.or(record.acceptance_no.take());
    add_invoices(record, found.invoices);
}

/// Fills in what the recorded request tells, if it was kept whole and can be read.
pub fn request_body(record: &mut Record, key: Option<&Sm4Key>) {
    if !record.request_truncated
        && (key.is_some() || leqi::is_plain(&record.request_body))
        && let Ok(decoded) = leqi::read_body(&record.request_body, key)
    {
        request(record, &decoded.json);
    }
}

/// Fills in what the recorded answer tells, if it was kept whole; with the key also what its `Data` says.
pub fn response_body(record: &mut Record, key: Option<&Sm4Key>) {
    if record.response_truncated {
        return;
    }
    let body = record.response_body.clone();
    if let Ok(plain) = unpacked(&record.response_headers, &body) {
        response(record, &plain, key);
    }
}

/// Fills in what the answer tells, from its bytes (un-gzipped). Without a key only the envelope is read.
pub fn response(record: &mut Record, bytes: &[u8], key: Option<&Sm4Key>) {
    if let Ok(answer) = Opened::read(bytes, key) {
        opened(record, &answer);
    }
}

/// The same from an answer that was read already.
pub fn opened(record: &mut Record, answer: &Opened) {
    envelope(record, &answer.envelope);
    if let Ok(Some(json)) = &answer.data {
        data(record, json);
    }
}

/// Fills in what the envelope tells: `httpStatusCode`, `RequestId`, error code and text.
pub fn envelope(record: &mut Record, envelope: &Envelope) {
    record.platform_status = envelope.http_status_code.as_deref().map(|t| cut(t, SERIAL_LIMIT));
    record.request_id = envelope.request_id.as_deref().map(|t| cut(t, SERIAL_LIMIT));
    match &envelope.payload {
        Payload::Error { code, message } => {
            record.error_code = Some(cut(code, SERIAL_LIMIT));
            record.error_text = Some(cut(message, TEXT_LIMIT));
        }
        // the front door's number stands in httpStatusCode (protocol.md §2)
        Payload::Text(text) => {
            record.error_code.clone_from(&record.platform_status);
            record.error_text = Some(cut(text, TEXT_LIMIT));
        }
        Payload::Data(_) | Payload::Nothing => {}
    }
}

/// Fills in what the decrypted `Data` tells: `returncode`, `returnmsg`, `sllsh`, and the invoices of a result list.
pub fn data(record: &mut Record, json: &[u8]) {
    let found = scan(json);
    record.return_code = found.return_code;
    record.return_message = found.return_message.map(|t| cut(&t, TEXT_LIMIT));
    record.acceptance_no = found.acceptance_no.or(record.acceptance_no.take());
    add_invoices(record, found.invoices);
}

/// SHA-256 of a body, for `request_sha256` and `response_sha256`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    out
}

/// Bytes that an answer may unpack to.
const UNPACKED_LIMIT: usize = 64 << 20;

/// An answer's body without the compression that its headers tell of.
///
/// # Errors
/// When it cannot be unpacked, or would be larger than 64 MiB.
pub fn unpacked<'b>(headers: &[(String, String)], body: &'b [u8]) -> Result<Cow<'b, [u8]>, CodecError> {
    let gzip = headers.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("content-encoding") && value.trim().eq_ignore_ascii_case("gzip")
    });
    if gzip { gunzip(body, UNPACKED_LIMIT).map(Cow::Owned) } else { Ok(Cow::Borrowed(body)) }
}

fn is_purchase(service: &str) -> bool {
    PURCHASE_SERVICES.contains(&service)
}

fn add_invoices(record: &mut Record, mut found: Vec<(u8, InvoiceNo)>) {
    // numbers deeper down are of other documents that the invoice refers to
    let top = found.iter().map(|(depth, _)| *depth).min();
    found.retain(|(depth, _)| Some(*depth) == top);
    for (_, number) in found {
        if !record.invoice_nos.contains(&number) {
            record.invoice_nos.push(number);
        }
    }
}

fn cut(text: &str, limit: usize) -> String {
    text.chars().take(limit).collect()
}

/// What one walk over a message finds.
#[derive(Default)]
struct Found {
    invoices: Vec<(u8, InvoiceNo)>,
    taxpayer: Option<String>,
    seller: Option<String>,
    buyer: Option<String>,
    purchase: bool,
    serial: Option<String>,
    acceptance_no: Option<String>,
    return_code: Option<String>,
    return_message: Option<String>,
}

fn scan(json: &[u8]) -> Found {
    let mut found = Found::default();
    let mut reader = serde_json::Deserializer::from_slice(json);
    // whatever was found before an error stands
    let _ = Walk { found: &mut found, depth: 0 }.deserialize(&mut reader);
    found
}

/// Deepest objects and arrays that are looked into: an object that holds an array of objects.
const DEPTH: u8 = 3;

struct Walk<'f> {
    found: &'f mut Found,
    depth: u8,
}

impl Found {
    fn take(&mut self, depth: u8, name: Field, text: &str) {
        let keep = |slot: &mut Option<String>, limit| {
            if slot.is_none() && !text.is_empty() {
                *slot = Some(cut(text, limit));
            }
        };
        match name {
            Field::AcceptanceNo => keep(&mut self.acceptance_no, SERIAL_LIMIT),
            Field::Buyer => keep(&mut self.buyer, SERIAL_LIMIT),
            Field::InvoiceNo => self.invoices.extend(InvoiceNo::parse(text).ok().map(|n| (depth, n))),
            Field::PurchaseType => self.purchase |= !text.is_empty(),
            Field::ReturnCode => keep(&mut self.return_code, SERIAL_LIMIT),
            Field::ReturnMessage => keep(&mut self.return_message, TEXT_LIMIT),
            Field::Seller => keep(&mut self.seller, SERIAL_LIMIT),
            Field::Serial => keep(&mut self.serial, SERIAL_LIMIT),
            Field::Taxpayer => keep(&mut self.taxpayer, SERIAL_LIMIT),
        }
    }
}

/// The fields of protocol.md §3 that are of interest.
#[derive(Clone, Copy)]
enum Field {
    AcceptanceNo,
    Buyer,
    InvoiceNo,
    PurchaseType,
    ReturnCode,
    ReturnMessage,
    Seller,
    Serial,
    Taxpayer,
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "fphm" => Self::InvoiceNo,
            "gmfnsrsbh" => Self::Buyer,
            "nsrsbh" => Self::Taxpayer,
            "returncode" => Self::ReturnCode,
            "returnmsg" => Self::ReturnMessage,
            "sgfplxDm" => Self::PurchaseType,
            "sllsh" => Self::AcceptanceNo,
            "xsfnsrsbh" => Self::Seller,
            "ywlsh" => Self::Serial,
            _ => return None,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        if self.depth > DEPTH {
            return serde::Deserialize::deserialize(from).map(|IgnoredAny| ());
        }
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Walk { found: &mut *self.found, depth: self.depth + 1 })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = entries.next_key()? {
            match name {
                Some(name) => {
                    let text = entries.next_value::<Scalar>()?.0;
                    self.found.take(self.depth, name, text.trim());
                }
                None => entries.next_value_seed(Walk { found: &mut *self.found, depth: self.depth + 1 })?,
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A name in an object; those that are of no interest are not kept, since there are many.
struct Name(Option<Field>);

impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                Ok(Name(Field::named(name)))
            }
        }
        from.deserialize_identifier(Any)
    }
}

/// A string, or a whole number as text (numbers of invoices and codes are seen without quotes); anything else is empty.
struct Scalar(String);

impl<'de> serde::Deserialize<'de> for Scalar {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        Ok(Self(match value {
            serde_json::Value::String(text) => text,
            serde_json::Value::Number(number) => number.to_string(),
            serde_json::Value::Array(_)
            | serde_json::Value::Bool(_)
            | serde_json::Value::Null
            | serde_json::Value::Object(_) => String::new(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ExchangeId;

    fn record() -> Record {
        Record::open(ExchangeId::from_number(1), jiff::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn an_upload_is_found_by_its_invoices_and_its_seller() {
        let mut record = record();
        request(
            &mut record,
            r#"[{"fphm":"26440000000000000001","xsfnsrsbh":"91350100M000100Y43","gmfnsrsbh":"123456789012345",
                "fpmxList":[{"je":1}],"cezsList":[{"fphm":"25440000000000000009"}]},
               {"fphm":"26440000000000000002","xsfnsrsbh":"91350100M000100Y43"}]"#
                .as_bytes(),
        );
        let numbers: Vec<_> = record.invoice_nos.iter().map(InvoiceNo::as_str).collect();
        assert_eq!(numbers, ["26440000000000000001", "26440000000000000002"]);
        assert_eq!(record.tax_no.unwrap().as_str(), "91350100M000100Y43");
    }

    #[test]
    fn a_purchase_invoice_is_the_buyers() {
        let json = r#"[{"fphm":"26440000000000000001","sgfplxDm":"01","xsfnsrsbh":"91350100M000100Y43","gmfnsrsbh":"123456789012345"}]"#;
        let mut record = record();
        request(&mut record, json.as_bytes());
        assert_eq!(record.tax_no.unwrap().as_str(), "123456789012345");
    }

    #[test]
    fn serials_are_read_from_requests_and_answers() {
        let mut record = record();
        request(&mut record, br#"{"nsrsbh":"91350100M000100Y43","ywlsh":"S1","sqlx":"0"}"#);
        data(&mut record, r#"{"returncode":"00","returnmsg":"成功","sllsh":"A1","resultList":[{"fphm":"26440000000000000001","status":"00"}]}"#.as_bytes());
        assert_eq!(record.serial.as_deref(), Some("S1"));
        assert_eq!(record.acceptance_no.as_deref(), Some("A1"));
        assert_eq!(record.return_code.as_deref(), Some("00"));
        assert_eq!(record.return_message.as_deref(), Some("成功"));
        assert_eq!(record.invoice_nos.len(), 1);
    }

    #[test]
    fn an_error_of_the_front_door_has_its_number_as_code() {
        let mut record = record();
        let bytes = r#"{"httpStatusCode":4067,"body":"当前请求来源IP与企业备案出口IP不一致"}"#;
        response(&mut record, bytes.as_bytes(), None);
        assert_eq!(record.return_code, None);
        assert_eq!(record.error_code.as_deref(), Some("4067"));
        assert_eq!(record.error_text.as_deref(), Some("当前请求来源IP与企业备案出口IP不一致"));
    }

    #[test]
    fn what_is_no_message_changes_nothing() {
        for text in
            ["", "[", "{\"fphm\":", "7", "null", "[[[[[[[]]]]]]]", "{\"fphm\":{\"a\":[1]}}", "\u{feff}"]
        {
            let mut record = record();
            request(&mut record, text.as_bytes());
            response(&mut record, text.as_bytes(), None);
            assert!(record.invoice_nos.is_empty() && record.tax_no.is_none(), "{text}");
            let told = [&record.platform_status, &record.error_code, &record.return_code];
            assert!(told.iter().all(|field| field.is_none()), "{text}: {told:?}");
        }
    }
}
