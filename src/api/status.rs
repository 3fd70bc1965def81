//! `/status`: what runs here.

use axum::extract::State;
use serde::Serialize;

use super::{
    ApiState,
    auth::Viewer,
    page::Time,
    reply::{Outcome, Reply},
};
use crate::{domain::Period, unit::Role};

/// The gateway as it is now.
#[derive(Debug, Serialize)]
struct Shown {
    name: &'static str,
    version: &'static str,
    started_at: Time,
    now: Time,
    uptime_seconds: i64,
    period: Period,
    access_units: usize,
    using_units: usize,
    store: &'static str,
}

/// GET `/status`
pub(super) async fn read(State(state): State<ApiState>, _: Viewer) -> Outcome {
    let now = state.clock.now();
    let units = state.registry.list();
    let access_units = units.iter().filter(|unit| matches!(unit.role, Role::Access { .. })).count();
    let store = match state.store.ping().await {
        Ok(()) => "ok",
        Err(error) => {
            tracing::warn!(%error, "the database does not answer");
            "failing"
        }
    };
    Reply::ok(&Shown {
        name: "leqi-gateway",
        version: env!("CARGO_PKG_VERSION"),
        started_at: Time(state.started_at),
        now: Time(now),
        uptime_seconds: now.as_second() - state.started_at.as_second(),
        period: state.clock.period(),
        access_units,
        using_units: units.len() - access_units,
        store,
    })
}
