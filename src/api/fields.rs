//! What a request says, field by field: strict, so that a misspelt field is an error and not a silent default.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Request, rejection::BytesRejection},
};
use http::{Method, header, request::Parts};
use serde_json::value::RawValue;

use super::problem::{Kind, Problem};

/// Bytes that a request's body may have.
pub const BODY_LIMIT: usize = 256 * 1024;

/// The fields of a JSON object or of a query, each to be taken once; what is left over at the end is an error.
#[derive(Debug, Default)]
pub struct Fields {
    within: String,
    fields: BTreeMap<String, Value>,
}

#[derive(Debug)]
enum Value {
    Null,
    Object(Box<RawValue>),
    Other(&'static str),
    Text(String),
}

/// The fields of the body, with what an `Idempotency-Key` needs. An absent body has no fields.
#[derive(Debug)]
pub struct Body {
    /// The fields.
    pub fields: Fields,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// The header `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// The body as it came.
    pub bytes: Bytes,
}

/// The parameters of the query.
#[derive(Debug)]
pub struct Query(pub Fields);

/// The variable part of a path.
#[derive(Debug)]
pub struct Segment(pub String);

impl Fields {
    /// The fields of a JSON object.
    ///
    /// # Errors
    /// When it is something else, or has a field twice.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let malformed = |error: &dyn Display| {
            Problem::new(Kind::MalformedBody, format!("the body must be one JSON object: {error}"))
        };
        let text = crate::leqi::check_json(bytes).map_err(|error| malformed(&error))?;
        let Pairs(pairs) = serde_json::from_str(text).map_err(|error| malformed(&error))?;
        let mut fields = BTreeMap::new();
        for (name, raw) in pairs {
            let value = read_value(raw).map_err(|error| malformed(&error))?;
            if fields.insert(name.clone(), value).is_some() {
                return Err(Problem::field(name, "given twice"));
            }
        }
        Ok(Self { within: String::new(), fields })
    }

    /// The parameters of a query string.
    ///
    /// # Errors
    /// When one is given twice.
    pub fn from_query(query: &str) -> Result<Self, Problem> {
        let mut fields = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if fields.insert(name.to_string(), Value::Text(value.into_owned())).is_some() {
                return Err(Problem::field(name, "given twice"));
            }
        }
        Ok(Self { within: String::new(), fields })
    }

    /// A field that may be absent or null.
    ///
    /// # Errors
    /// When it is there and not a value of the type.
    pub fn optional<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, Problem> {
        let text = match self.fields.remove(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Text(text)) => text,
            Some(Value::Object(_)) => {
                return Err(self.wrong(name, "must be a string or a number, not an object"));
            }
            Some(Value::Other(what)) => {
                return Err(self.wrong(name, format!("must be a string or a number, not {what}")));
            }
        };
        text.parse().map(Some).map_err(|why: T::Err| self.wrong(name, why.to_string()))
    }

    /// A field that may be absent, or null to put it back to nothing.
    ///
    /// # Errors
    /// When it is there and not a value of the type.
    pub fn nullable<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<Option<T>>, Problem> {
        if matches!(self.fields.get(name), Some(Value::Null)) {
            self.fields.remove(name);
            return Ok(Some(None));
        }
        Ok(self.optional(name)?.map(Some))
    }

    /// A field that must be there.
    ///
    /// # Errors
    /// When it is missing or not a value of the type.
    pub fn required<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<T, Problem> {
        self.optional(name)?.ok_or_else(|| self.wrong(name, "missing"))
    }

    /// An object within.
    ///
    /// # Errors
    /// When it is there and no object.
    pub fn object(&mut self, name: &str) -> Result<Option<Self>, Problem> {
        match self.fields.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(raw)) => {
                let inner = Self::from_json(raw.get().as_bytes())?;
                Ok(Some(Self { within: format!("{}{name}.", self.within), fields: inner.fields }))
            }
            Some(Value::Other(_) | Value::Text(_)) => Err(self.wrong(name, "must be an object")),
        }
    }

    /// A problem with that field.
    #[must_use]
    pub fn wrong(&self, name: &str, detail: impl Into<String>) -> Problem {
        Problem::field(format!("{}{name}", self.within), detail)
    }

    /// Nothing may be left over.
    ///
    /// # Errors
    /// The first field that nobody took.
    pub fn finish(&self) -> Result<(), Problem> {
        match self.fields.keys().next() {
            None => Ok(()),
            Some(name) => Err(self.wrong(name, "unknown; see /api/v1/openapi.json for what there is")),
        }
    }
}

fn read_value(raw: Box<RawValue>) -> Result<Value, serde_json::Error> {
    Ok(match raw.get().as_bytes().first() {
        Some(b'"') => Value::Text(serde_json::from_str(raw.get())?),
        Some(b'{') => Value::Object(raw),
        Some(b'[') => Value::Other("a list"),
        Some(b'n') => Value::Null,
        // numbers keep their text, so that no amount passes through floating point
        _ => Value::Text(raw.get().to_owned()),
    })
}

/// An object's fields in order, also those that are given twice.
struct Pairs(Vec<(String, Box<RawValue>)>);

impl<'de> serde::Deserialize<'de> for Pairs {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Pairs;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Visitor)
    }
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (method, target) = (request.method().clone(), request.uri().to_string());
        let key = request.headers().get("idempotency-key");
        let idempotency_key = key.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let content_type = request.headers().get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
        let essence =
            content_type.map(|value| value.split(|b| *b == b';').next().unwrap_or(value).trim_ascii());
        let json = essence.is_some_and(|essence| essence.eq_ignore_ascii_case(b"application/json"));
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| unread(&rejection))?;
        if !json && !bytes.is_empty() {
            return Err(Problem::new(
                Kind::UnsupportedMediaType,
                "send the body as content-type: application/json",
            ));
        }
        Ok(Self { fields: Fields::from_json(&bytes)?, method, target, idempotency_key, bytes })
    }
}

fn unread(rejection: &BytesRejection) -> Problem {
    if rejection.status() == http::StatusCode::PAYLOAD_TOO_LARGE {
        Problem::new(Kind::TooLarge, format!("the body may have {BODY_LIMIT} bytes"))
    } else {
        Problem::new(Kind::MalformedBody, rejection.body_text())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Fields::from_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let segment = Path::<String>::from_request_parts(parts, state).await;
        // nothing has a name that is not UTF-8
        segment
            .map(|Path(text)| Self(text))
            .map_err(|_| Problem::new(Kind::NotFound, "the path is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Money;

    #[test]
    fn fields_are_read_once_and_what_is_left_is_named() {
        let mut fields =
            Fields::from_json(br#"{"a":"1.50","b":1.50,"c":null,"d":{"e":1,"f":2},"g":[]}"#).unwrap();
        assert_eq!(fields.required::<Money>("a").unwrap(), fields.required::<Money>("b").unwrap());
        assert_eq!(fields.optional::<String>("c").unwrap(), None);
        let mut inner = fields.object("d").unwrap().unwrap();
        assert_eq!(inner.required::<i64>("e").unwrap(), 1);
        assert_eq!(inner.finish().unwrap_err().field.as_deref(), Some("d.f"));
        assert_eq!(fields.required::<i64>("x").unwrap_err().detail, "missing");
        assert_eq!(fields.finish().unwrap_err().field.as_deref(), Some("g"));
        assert!(fields.optional::<String>("g").unwrap_err().detail.contains("a list"));
        assert!(fields.finish().is_ok());
    }

    #[test]
    fn what_is_no_object_is_malformed() {
        for bad in ["[]", "1", "null", "{", "{\"a\":1", "\"x\""] {
            assert_eq!(Fields::from_json(bad.as_bytes()).unwrap_err().kind, Kind::MalformedBody, "{bad}");
        }
        assert_eq!(Fields::from_json(br#"{"a":1,"a":2}"#).unwrap_err().field.as_deref(), Some("a"));
        assert!(Fields::from_json(b" ").unwrap().finish().is_ok());
    }

    #[test]
    fn queries_are_read_the_same_way() {
        let mut fields = Fields::from_query("limit=5&name=%E4%B8%80").unwrap();
        assert_eq!(fields.required::<usize>("limit").unwrap(), 5);
        assert_eq!(fields.required::<String>("name").unwrap(), "一");
        assert!(Fields::from_query("a=1&a=2").is_err());
        assert!(fields.finish().is_ok());
    }
}
