//! Who calls: bearer tokens and their roles. A handler's first argument says which role it needs.

use axum::extract::FromRequestParts;
use http::{header, request::Parts};

use super::{
    ApiState,
    problem::{Kind, Problem},
};
use crate::unit::token::TokenRole;

/// Who calls: the token's name, which audit rows show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor(pub String);

/// Any valid token.
#[derive(Debug)]
pub struct Viewer(pub Actor);

/// An operator's token or more.
#[derive(Debug)]
pub struct Operator(pub Actor);

/// An administrator's token.
#[derive(Debug)]
pub struct Admin(pub Actor);

impl FromRequestParts<ApiState> for Viewer {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        authorise(parts, state, TokenRole::Viewer).await.map(Self)
    }
}

impl FromRequestParts<ApiState> for Operator {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        authorise(parts, state, TokenRole::Operator).await.map(Self)
    }
}

impl FromRequestParts<ApiState> for Admin {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        authorise(parts, state, TokenRole::Admin).await.map(Self)
    }
}

async fn authorise(parts: &Parts, state: &ApiState, needed: TokenRole) -> Result<Actor, Problem> {
    let unauthenticated = |why: &str| Problem::new(Kind::Unauthenticated, why);
    let Some(bearer) = bearer(parts) else {
        return Err(unauthenticated(
            "send `Authorization: Bearer <token>`; `leqi-gateway token create` makes a token",
        ));
    };
    let Some(token) = state.tokens.check(bearer).await? else {
        return Err(unauthenticated("the token is unknown or was revoked"));
    };
    if token.role < needed {
        let (name, has, needs) = (&token.name, token.role.as_str(), needed.as_str());
        let detail = format!("token {name:?} has the role {has}; this needs {needs}");
        return Err(Problem::new(Kind::Forbidden, detail));
    }
    Ok(Actor(token.name))
}

fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
