//! Every error of the management API: RFC 9457 `application/problem+json`. The one mapping from errors to HTTP.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// The kinds of problems; each is one status, one `type` and one title.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Another change got in between, or the state does not allow it.
    Conflict,
    /// The role is too small.
    Forbidden,
    /// The request with this `Idempotency-Key` is still being worked on.
    IdempotencyInProgress,
    /// The `Idempotency-Key` was used for another request.
    IdempotencyMismatch,
    /// A bug.
    Internal,
    /// A new configuration has errors.
    InvalidConfiguration,
    /// A field or parameter has no usable value.
    InvalidField,
    /// The body is not one JSON object.
    MalformedBody,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// Nothing has that path or id.
    NotFound,
    /// The platform refused.
    PlatformRefused,
    /// What the platform made of it is not known.
    PlatformUnclear,
    /// Proven: nothing reached the platform.
    PlatformUnreachable,
    /// A new configuration differs in what is only read at the start.
    RestartNeeded,
    /// The body is too large.
    TooLarge,
    /// No valid bearer token.
    Unauthenticated,
    /// The database fails.
    Unavailable,
    /// A kept body cannot be shown in clear.
    Undecodable,
    /// The body is not `application/json`.
    UnsupportedMediaType,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 19] = [
        Self::Conflict,
        Self::Forbidden,
        Self::IdempotencyInProgress,
        Self::IdempotencyMismatch,
        Self::Internal,
        Self::InvalidConfiguration,
        Self::InvalidField,
        Self::MalformedBody,
        Self::MethodNotAllowed,
        Self::NotFound,
        Self::PlatformRefused,
        Self::PlatformUnclear,
        Self::PlatformUnreachable,
        Self::RestartNeeded,
        Self::TooLarge,
        Self::Unauthenticated,
        Self::Unavailable,
        Self::Undecodable,
        Self::UnsupportedMediaType,
    ];

    /// The status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Conflict | Self::IdempotencyInProgress | Self::RestartNeeded => StatusCode::CONFLICT,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::IdempotencyMismatch
            | Self::InvalidConfiguration
            | Self::InvalidField
            | Self::PlatformRefused
            | Self::Undecodable => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::MalformedBody => StatusCode::BAD_REQUEST,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::PlatformUnclear => StatusCode::GATEWAY_TIMEOUT,
            Self::PlatformUnreachable => StatusCode::BAD_GATEWAY,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    /// The last part of `type`.
    #[must_use]
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Forbidden => "forbidden",
            Self::IdempotencyInProgress => "idempotency-in-progress",
            Self::IdempotencyMismatch => "idempotency-mismatch",
            Self::Internal => "internal",
            Self::InvalidConfiguration => "invalid-configuration",
            Self::InvalidField => "invalid-field",
            Self::MalformedBody => "malformed-body",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::NotFound => "not-found",
            Self::PlatformRefused => "platform-refused",
            Self::PlatformUnclear => "platform-unclear",
            Self::PlatformUnreachable => "platform-unreachable",
            Self::RestartNeeded => "restart-needed",
            Self::TooLarge => "too-large",
            Self::Unauthenticated => "unauthenticated",
            Self::Unavailable => "unavailable",
            Self::Undecodable => "undecodable",
            Self::UnsupportedMediaType => "unsupported-media-type",
        }
    }

    /// The title in Chinese and English.
    #[must_use]
    pub const fn titles(self) -> (&'static str, &'static str) {
        match self {
            Self::Conflict => ("与当前状态冲突", "In conflict with the present state"),
            Self::Forbidden => ("权限不足", "The token's role does not allow this"),
            Self::IdempotencyInProgress => ("相同请求正在处理", "The same request is being worked on"),
            Self::IdempotencyMismatch => {
                ("幂等键已用于其他请求", "The Idempotency-Key was used for another request")
            }
            Self::Internal => ("网关内部错误", "Internal error"),
            Self::InvalidConfiguration => ("配置有误", "The new configuration has errors"),
            Self::InvalidField => ("字段有误", "A field is invalid"),
            Self::MalformedBody => ("请求正文不是 JSON 对象", "The body is not a JSON object"),
            Self::MethodNotAllowed => ("不支持该方法", "The method is not allowed here"),
            Self::NotFound => ("不存在", "Not found"),
            Self::PlatformRefused => ("乐企平台拒绝", "The platform refused"),
            Self::PlatformUnclear => ("平台处理结果未知", "What the platform made of it is not known"),
            Self::PlatformUnreachable => ("无法连接乐企平台", "The platform was not reached"),
            Self::RestartNeeded => ("需要重启", "The new configuration needs a restart"),
            Self::TooLarge => ("请求正文过大", "The body is too large"),
            Self::Unauthenticated => ("令牌缺失或无效", "No valid bearer token"),
            Self::Unavailable => ("数据库暂不可用", "The database is not available"),
            Self::Undecodable => ("报文无法解密显示", "The body cannot be shown in clear"),
            Self::UnsupportedMediaType => {
                ("内容类型须为 application/json", "The content type must be application/json")
            }
        }
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its kind.
    pub kind: Kind,
    /// What is wrong here and what to do.
    pub detail: String,
    /// The field or parameter that is wrong.
    pub field: Option<String>,
    /// The platform's or the gateway's code.
    pub code: Option<String>,
    /// What the platform's refusal means, in Chinese.
    pub explanation: Option<&'static str>,
    /// The exchange in the request log that it is about.
    pub exchange: Option<crate::domain::ExchangeId>,
    /// Several reasons; boxed, since nearly no problem has them.
    pub reasons: Option<Box<Reasons>>,
}

/// Several reasons, one line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reasons(pub Vec<String>);

impl Problem {
    /// A problem of that kind.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            field: None,
            code: None,
            explanation: None,
            exchange: None,
            reasons: None,
        }
    }

    /// A field or parameter without a usable value.
    pub fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(Kind::InvalidField, detail) }
    }

    /// Nothing of that id.
    #[must_use]
    pub fn not_found(what: &str, id: &str) -> Self {
        Self::new(Kind::NotFound, format!("there is no {what} {id}"))
    }

    /// A bug: it is logged here, and the caller learns nothing of it.
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "the management API met an internal error");
        Self::new(Kind::Internal, "see the gateway's log")
    }
}

#[derive(Serialize)]
struct Wire<'a> {
    r#type: String,
    title: &'a str,
    title_zh: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exchange: Option<crate::domain::ExchangeId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasons: Option<&'a Reasons>,
}

/// The content type of problems.
pub const CONTENT_TYPE: &str = "application/problem+json";

impl Problem {
    /// The body.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let (title_zh, title) = self.kind.titles();
        let wire = Wire {
            r#type: format!("urn:leqi-gateway:problem:{}", self.kind.slug()),
            title,
            title_zh,
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            field: self.field.as_deref(),
            code: self.code.as_deref(),
            explanation: self.explanation,
            exchange: self.exchange,
            reasons: self.reasons.as_deref(),
        };
        // a struct of texts always serializes
        serde_json::to_vec(&wire).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.kind.status(), self.body()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        if self.kind == Kind::Unauthenticated {
            headers
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"leqi-gateway\""));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_slug_and_an_error_status() {
        let slugs: std::collections::HashSet<_> = Kind::ALL.map(Kind::slug).into();
        assert_eq!(slugs.len(), Kind::ALL.len());
        assert!(Kind::ALL.iter().all(|kind| kind.status().as_u16() >= 400));
    }
}
