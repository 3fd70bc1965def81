//! The audit log.

use futures_util::future::BoxFuture;

use super::session::{Row, Session, Statement, Tables};
use crate::store::{
    StoreError,
    audit::{AuditEntry, AuditRow, AuditTable},
    value::{get, instant},
};

/// Adds a row inside the transaction of the change that it tells of.
pub(super) async fn append(session: &mut Session<'_>, row: &AuditRow) -> Result<(), StoreError> {
    let statement =
        Statement::new("INSERT INTO audit (at, actor, action, subject, detail) VALUES ($1, $2, $3, $4, $5)");
    let statement = statement
        .bind(row.at)
        .bind(row.actor.as_str())
        .bind(row.action.as_str())
        .bind(row.subject.as_str())
        .bind(row.detail.as_str());
    session.execute(statement).await.map(drop)
}

/// The table of changes.
pub(in crate::store) struct Audit(pub(in crate::store) Tables);

impl AuditTable for Audit {
    fn append(&self, row: AuditRow) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.0.write(move |mut session| {
            let row = row.clone();
            Box::pin(async move { append(&mut session, &row).await })
        }))
    }

    fn list<'a>(
        &'a self,
        subject: Option<&'a str>,
        before: Option<i64>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<AuditEntry>, StoreError>> {
        Box::pin(async move {
            let statement = Statement::new(
                "SELECT id, at, actor, action, subject, detail FROM audit \
                 WHERE ($1 IS NULL OR subject = $1) AND id < $2 ORDER BY id DESC LIMIT $3",
            )
            .bind(subject)
            .bind(before.unwrap_or(i64::MAX))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
            self.0.rows(statement).await?.iter().map(entry).collect()
        })
    }
}

fn entry(row: &Row) -> Result<AuditEntry, StoreError> {
    Ok(AuditEntry {
        id: get(row, "id")?,
        row: AuditRow {
            at: instant(row, "at")?,
            actor: get(row, "actor")?,
            action: get(row, "action")?,
            subject: get(row, "subject")?,
            detail: get(row, "detail")?,
        },
    })
}
