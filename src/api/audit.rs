//! `/audit`: who changed what, and when.

use axum::extract::State;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    ApiState,
    auth::{Actor, Operator},
    fields::Query,
    page::{Page, PageRequest, Time},
    problem::Problem,
    reply::{Outcome, Reply},
};
use crate::store::audit::{AuditEntry, AuditRow};

/// A change as shown.
#[derive(Debug, Serialize)]
struct Shown {
    id: i64,
    at: Time,
    actor: String,
    action: String,
    subject: String,
    detail: Option<Box<RawValue>>,
}

impl From<AuditEntry> for Shown {
    fn from(AuditEntry { id, row }: AuditEntry) -> Self {
        Self {
            id,
            at: Time(row.at),
            actor: row.actor,
            action: row.action,
            subject: row.subject,
            detail: RawValue::from_string(row.detail).ok(),
        }
    }
}

/// GET `/audit`
pub(super) async fn list(State(state): State<ApiState>, _: Operator, Query(mut query): Query) -> Outcome {
    let page = PageRequest::<i64>::take(&mut query)?;
    let subject: Option<String> = query.optional("subject")?;
    query.finish()?;
    let rows = state.store.audit.list(subject.as_deref(), page.cursor, page.limit + 1).await?;
    Reply::ok(&Page::cut(rows, page.limit, |entry| entry.id.to_string(), Shown::from))
}

/// Writes down something that no service writes down by itself.
pub(super) async fn note(
    state: &ApiState,
    actor: &Actor,
    action: &str,
    subject: String,
    detail: &serde_json::Value,
) -> Result<(), Problem> {
    let row = AuditRow {
        at: state.clock.now(),
        actor: actor.0.clone(),
        action: action.to_owned(),
        subject,
        detail: detail.to_string(),
    };
    Ok(state.store.audit.append(row).await?)
}
