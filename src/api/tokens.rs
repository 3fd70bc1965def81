//! `/tokens`: who may use this API. Only administrators see and change it.

use axum::extract::State;
use serde::Serialize;

use super::{
    ApiState,
    auth::Admin,
    fields::{Body, Query, Segment},
    page::{Page, Time},
    reply::{Outcome, Reply},
};
use crate::unit::token::{TokenInfo, TokenRole};

/// A token as shown.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    role: &'static str,
    created_at: Time,
    revoked_at: Option<Time>,
}

impl From<TokenInfo> for Shown {
    fn from(token: TokenInfo) -> Self {
        Self {
            name: token.name,
            role: token.role.as_str(),
            created_at: Time(token.created_at),
            revoked_at: token.revoked_at.map(Time),
        }
    }
}

/// A new token: the only time that it is shown.
#[derive(Serialize)]
struct Created {
    name: String,
    role: &'static str,
    token: String,
}

/// GET `/tokens`
pub(super) async fn list(State(state): State<ApiState>, _: Admin, Query(query): Query) -> Outcome {
    query.finish()?;
    let items = state.tokens.list().await?.into_iter().map(Shown::from).collect();
    Reply::ok(&Page { items, next_cursor: None })
}

/// POST `/tokens`
pub(super) async fn create(State(state): State<ApiState>, Admin(actor): Admin, mut body: Body) -> Outcome {
    let name: String = body.fields.required("name")?;
    let role: TokenRole = body.fields.required("role")?;
    body.fields.finish()?;
    let token = state.tokens.create(&name, role, &actor.0).await?;
    Reply::created(&Created { name: name.trim().to_owned(), role: role.as_str(), token })
}

/// DELETE `/tokens/{name}`
pub(super) async fn revoke(
    State(state): State<ApiState>,
    Admin(actor): Admin,
    Segment(name): Segment,
) -> Outcome {
    state.tokens.revoke(&name, &actor.0).await?;
    Ok(Reply::nothing())
}
