//! Answers as the platform writes them, in its own hand: independent of the gateway's writer.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::StatusCode;
use serde_json::{Value, json};

use super::refusal::{Refusal, Shape};
use crate::leqi::{Sm4Key, encrypt};

/// An answer before it is put on the wire.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: StatusCode,
    /// The content type.
    pub(super) content_type: &'static str,
    /// The body, not compressed.
    pub(super) body: Vec<u8>,
    /// The code it carries, for the log of calls: `00` or a refusal's.
    pub(super) code: String,
    /// What it says.
    pub(super) message: String,
}

/// How an envelope is written; all of them have been seen (protocol.md §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// `body` is an object.
    BodyObject,
    /// `httpStatusCode` is a number.
    NumericStatus,
    /// `Response` is a string that holds JSON.
    ResponseString,
    /// `body` is a string that holds JSON, `httpStatusCode` a string.
    #[default]
    Usual,
}

/// The envelope of a success or of a service's refusal inside `Data`.
pub(super) fn data(data: &Value, key: &Sm4Key, request_id: &str, form: Form) -> Answer {
    let text = |name: &str| data.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let cipher = STANDARD.encode(encrypt(key, data.to_string().as_bytes()));
    let response = json!({"RequestId": request_id, "Data": cipher});
    Answer {
        status: StatusCode::OK,
        content_type: "application/json;charset=UTF-8",
        body: wrap(&response, form).into_bytes(),
        code: text("returncode"),
        message: text("returnmsg"),
    }
}

/// A refusal in its shape. One that belongs inside `Data` becomes an `Error` where there is no key to encrypt it with.
pub(super) fn refusal(refusal: &Refusal, key: Option<&Sm4Key>, request_id: &str, form: Form) -> Answer {
    let Refusal { shape, code, text } = refusal;
    let plain = |status, content_type, body: String| Answer {
        status,
        content_type,
        body: body.into_bytes(),
        code: code.to_string(),
        message: text.to_string(),
    };
    match (shape, key) {
        (Shape::Data, Some(key)) => {
            data(&json!({"returncode": code, "returnmsg": text}), key, request_id, form)
        }
        (Shape::Data | Shape::Error, _) => {
            let response = json!({"RequestId": request_id, "Error": {"Code": code, "Message": text}});
            plain(StatusCode::OK, "application/json;charset=UTF-8", wrap(&response, form))
        }
        (Shape::FrontDoor, _) => {
            let number = code.parse::<u32>().unwrap_or_default();
            let body = json!({"httpStatusCode": number, "body": text}).to_string();
            plain(StatusCode::OK, "application/json;charset=UTF-8", body)
        }
        (Shape::Forbidden, _) => plain(StatusCode::FORBIDDEN, "text/plain", text.to_string()),
        (Shape::NotFound, _) => plain(StatusCode::NOT_FOUND, "text/plain", text.to_string()),
    }
}

fn wrap(response: &Value, form: Form) -> String {
    let envelope = match form {
        Form::BodyObject => json!({"body": {"Response": response}, "httpStatusCode": "200"}),
        Form::NumericStatus => {
            json!({"httpStatusCode": 200, "body": json!({"Response": response}).to_string()})
        }
        Form::ResponseString => {
            let body = json!({"Response": response.to_string()}).to_string();
            json!({"body": body, "httpStatusCode": "00"})
        }
        Form::Usual => {
            json!({"body": json!({"Response": response}).to_string(), "httpStatusCode": "200"})
        }
    };
    envelope.to_string()
}
