//! The platform's envelope: a liberal reader and an exact writer (protocol.md §2).

use std::{borrow::Cow, io::Read};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{CodecError, body, json, sm4::Sm4Key};

/// An answer of the platform, or of the gateway in the platform's form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// `httpStatusCode` as text, such as `200`, `00` or `4057`.
    pub http_status_code: Option<String>,
    /// `RequestId`, 16 characters.
    pub request_id: Option<String>,
    /// What the envelope carries.
    pub payload: Payload,
}

/// What an envelope carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// `Data`: base64 of the encrypted JSON text.
    Data(String),
    /// `Error`, which is never encrypted.
    Error {
        /// `Code`.
        code: String,
        /// `Message`, the platform's words.
        message: String,
    },
    /// No body at all.
    Nothing,
    /// A text of the platform's front door.
    Text(String),
}

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow, default, rename = "httpStatusCode")]
    status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "Response")]
    response: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(borrow, default, rename = "Response")]
    response: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow, default, rename = "RequestId")]
    request_id: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "Data")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "Error")]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ErrorParts<'a> {
    #[serde(borrow, default, rename = "Code")]
    code: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "Message")]
    message: Option<&'a RawValue>,
}

/// Reads an envelope from bytes that are not compressed any more.
///
/// # Errors
/// When the bytes are not JSON, or JSON that has none of the envelope's parts.
pub fn read_envelope(bytes: &[u8]) -> Result<Envelope, CodecError> {
    let text = json::check(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))?;
    // a list would be read as the parts in their order, and might prove something
    if !text.trim_start().starts_with('{') {
        return Err(CodecError::NotAnEnvelope);
    }
    let outer: Outer<'_> = serde_json::from_str(text).map_err(|_| CodecError::NotAnEnvelope)?;
    if outer.status.is_none() && outer.body.is_none() && outer.response.is_none() {
        return Err(CodecError::NotAnEnvelope);
    }
    let (request_id, payload) = match (outer.body, outer.response) {
        (Some(body), _) => read_inner(body),
        (None, Some(_)) => read_response(text).unwrap_or((None, Payload::Nothing)),
        (None, None) => (None, Payload::Nothing),
    };
    Ok(Envelope { http_status_code: outer.status.and_then(plain_text), request_id, payload })
}

/// `body`: JSON text in a string, an object, a text of the front door, or null.
fn read_inner(body: &RawValue) -> (Option<String>, Payload) {
    let text = unwrapped(body);
    let found = if text.trim_start().starts_with('{') && json::check(text.as_bytes()).is_ok() {
        read_response(&text)
    } else {
        None
    };
    found.unwrap_or_else(|| match text.trim() {
        "" | "null" => (None, Payload::Nothing),
        words => (None, Payload::Text(words.to_owned())),
    })
}

/// `{"Response": …}`, where the dots are an object or a string that holds one; or the object without that wrapper.
fn read_response(text: &str) -> Option<(Option<String>, Payload)> {
    let inner: Inner<'_> = serde_json::from_str(text).ok()?;
    let text = inner.response.map_or(Cow::Borrowed(text), unwrapped);
    let response: Response<'_> = serde_json::from_str(&text).ok()?;
    let request_id = response.request_id.and_then(plain_text);
    let error = response.error.filter(|raw| raw.get() != "null");
    let payload = match (error, response.data.and_then(plain_text)) {
        (Some(error), _) => read_error(error),
        (None, Some(data)) => Payload::Data(data),
        (None, None) if request_id.is_some() || inner.response.is_some() => Payload::Nothing,
        (None, None) => return None,
    };
    Some((request_id, payload))
}

fn read_error(raw: &RawValue) -> Payload {
    let text = unwrapped(raw);
    match serde_json::from_str::<ErrorParts<'_>>(&text) {
        Ok(parts) => Payload::Error {
            code: parts.code.and_then(plain_text).unwrap_or_default(),
            message: parts.message.and_then(plain_text).unwrap_or_default(),
        },
        Err(_) => Payload::Error { code: String::new(), message: text.into_owned() },
    }
}

/// The content of a JSON string, or the text of any other JSON value.
fn unwrapped(raw: &RawValue) -> Cow<'_, str> {
    let text = raw.get();
    if text.starts_with('"') {
        serde_json::from_str::<String>(text).map_or(Cow::Borrowed(text), Cow::Owned)
    } else {
        Cow::Borrowed(text)
    }
}

/// [`unwrapped`], where null and the empty string are nothing.
fn plain_text(raw: &RawValue) -> Option<String> {
    let text = unwrapped(raw);
    if text.is_empty() || raw.get() == "null" { None } else { Some(text.into_owned()) }
}

/// An answer that was read, as far as that is possible.
#[derive(Debug)]
pub struct Opened {
    /// Its envelope.
    pub envelope: Envelope,
    /// What its `Data` says, decrypted: `None` when it has none, [`CodecError::KeyMissing`] when it has and there is no key.
    pub data: Result<Option<Vec<u8>>, CodecError>,
}

impl Opened {
    /// Reads an answer from bytes that are not compressed any more.
    ///
    /// # Errors
    /// When the bytes are no envelope.
    pub fn read(bytes: &[u8], key: Option<&Sm4Key>) -> Result<Self, CodecError> {
        let envelope = read_envelope(bytes)?;
        let data = match (key, &envelope.payload) {
            (Some(key), _) => envelope.open(key),
            (None, Payload::Data(_)) => Err(CodecError::KeyMissing),
            (None, Payload::Error { .. } | Payload::Nothing | Payload::Text(_)) => Ok(None),
        };
        Ok(Self { envelope, data })
    }
}

impl Envelope {
    /// The JSON text in `Data`, decrypted; `None` when there is no `Data`. ZIP or GZIP that is base64 inside the JSON
    /// is left as it is.
    ///
    /// # Errors
    /// When `Data` cannot be decoded with this key.
    pub fn open(&self, key: &Sm4Key) -> Result<Option<Vec<u8>>, CodecError> {
        match &self.payload {
            Payload::Data(data) => body::read_body(data.as_bytes(), Some(key)).map(|body| Some(body.json)),
            Payload::Error { .. } | Payload::Nothing | Payload::Text(_) => Ok(None),
        }
    }
}

#[derive(Serialize)]
struct OuterOut<'a> {
    body: &'a str,
    #[serde(rename = "httpStatusCode")]
    status: &'a str,
}

#[derive(Serialize)]
struct InnerOut<'a> {
    #[serde(rename = "Response")]
    response: ResponseOut<'a>,
}

#[derive(Serialize)]
struct ResponseOut<'a> {
    #[serde(rename = "RequestId")]
    request_id: &'a str,
    #[serde(rename = "Data", skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(rename = "Error", skip_serializing_if = "Option::is_none")]
    error: Option<ErrorOut<'a>>,
}

#[derive(Serialize)]
struct ErrorOut<'a> {
    #[serde(rename = "Code")]
    code: &'a str,
    #[serde(rename = "Message")]
    message: &'a str,
}

/// An answer with encrypted `Data` and `httpStatusCode` 200, byte for byte as the platform writes it.
#[must_use]
pub fn write_data(request_id: &str, key: &Sm4Key, json: &[u8]) -> Vec<u8> {
    let data = Some(body::write_base64(key, json));
    write(200, ResponseOut { request_id, data, error: None })
}

/// An answer with an `Error`, raw UTF-8. Control characters become blanks: their only JSON form is a `\u` escape.
#[must_use]
pub fn write_error(http_status_code: u16, request_id: &str, code: &str, message: &str) -> Vec<u8> {
    let (code, message) = (printable(code), printable(message));
    let error = Some(ErrorOut { code: &code, message: &message });
    write(http_status_code, ResponseOut { request_id: &printable(request_id), data: None, error })
}

/// A refusal of the platform's front door: its number in `httpStatusCode`, its text in `body`.
#[must_use]
pub fn write_front_door(code: u32, text: &str) -> Vec<u8> {
    format!("{{\"httpStatusCode\":{code},\"body\":{}}}", to_json(&printable(text).as_ref())).into_bytes()
}

fn write(status: u16, response: ResponseOut<'_>) -> Vec<u8> {
    let body = to_json(&InnerOut { response });
    to_json(&OuterOut { body: &body, status: &status.to_string() }).into_bytes()
}

/// Strings in structs always serialize.
fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        Cow::Owned(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// Unpacks gzip (one member or several) to at most `limit` bytes.
///
/// # Errors
/// When the stream is damaged or cut, or unpacks to more than the limit.
pub fn gunzip(bytes: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(bytes.len().saturating_mul(4).min(limit));
    let allowed = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    flate2::read::MultiGzDecoder::new(bytes).take(allowed).read_to_end(&mut out).map_err(CodecError::Gzip)?;
    if out.len() > limit { Err(CodecError::TooLarge(limit)) } else { Ok(out) }
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
