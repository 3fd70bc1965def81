//! Answers that are JSON.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::problem::Problem;
use crate::store::idempotency::StoredAnswer;

/// The header of an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// An answer that is not a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    status: StatusCode,
    content_type: String,
    body: Vec<u8>,
    replayed: bool,
}

/// What a handler gives.
pub type Outcome = Result<Reply, Problem>;

impl Reply {
    /// 200 with this.
    ///
    /// # Errors
    /// Never in practice: what the API shows always serializes.
    pub fn ok<T: Serialize>(shown: &T) -> Outcome {
        Self::json(StatusCode::OK, shown)
    }

    /// 201 with this.
    ///
    /// # Errors
    /// Never in practice: what the API shows always serializes.
    pub fn created<T: Serialize>(shown: &T) -> Outcome {
        Self::json(StatusCode::CREATED, shown)
    }

    /// 202 with this.
    ///
    /// # Errors
    /// Never in practice: what the API shows always serializes.
    pub fn accepted<T: Serialize>(shown: &T) -> Outcome {
        Self::json(StatusCode::ACCEPTED, shown)
    }

    /// 204.
    #[must_use]
    pub const fn nothing() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            content_type: String::new(),
            body: Vec::new(),
            replayed: false,
        }
    }

    fn json<T: Serialize>(status: StatusCode, shown: &T) -> Outcome {
        let body = serde_json::to_vec(shown).map_err(|error| Problem::internal(&error))?;
        Ok(Self { status, content_type: "application/json".to_owned(), body, replayed: false })
    }

    /// An answer that was kept.
    ///
    /// # Errors
    /// When what was kept is no answer.
    pub fn replay(kept: StoredAnswer) -> Outcome {
        let status = StatusCode::from_u16(kept.status).map_err(|error| Problem::internal(&error))?;
        Ok(Self { status, content_type: kept.content_type, body: kept.body, replayed: true })
    }

    /// The answer as it is kept.
    #[must_use]
    pub fn kept(&self) -> StoredAnswer {
        StoredAnswer {
            status: self.status.as_u16(),
            content_type: self.content_type.clone(),
            body: self.body.clone(),
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_TYPE);
        if let Ok(value) = HeaderValue::from_str(&self.content_type)
            && !value.is_empty()
        {
            headers.insert(header::CONTENT_TYPE, value);
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}
