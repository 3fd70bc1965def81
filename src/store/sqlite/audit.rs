//! The audit log on SQLite.

use futures_util::future::BoxFuture;
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    open::Database,
    value::{get, instant},
};
use crate::store::{
    StoreError,
    audit::{AuditEntry, AuditRow, AuditTable},
};

/// Adds a row inside the transaction of the change that it tells of.
pub(super) async fn append(connection: &mut SqliteConnection, row: &AuditRow) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO audit (at, actor, action, subject, detail) VALUES (?1, ?2, ?3, ?4, ?5)")
        .bind(row.at.as_microsecond())
        .bind(row.actor.clone())
        .bind(row.action.clone())
        .bind(row.subject.clone())
        .bind(row.detail.clone())
        .execute(connection)
        .await?;
    Ok(())
}

/// The table of changes.
pub(super) struct Audit(pub(super) Database);

impl AuditTable for Audit {
    fn append(&self, row: AuditRow) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.0.writer.write(move |connection| {
            let row = row.clone();
            Box::pin(async move { append(connection, &row).await })
        }))
    }

    fn list<'a>(
        &'a self,
        subject: Option<&'a str>,
        before: Option<i64>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<AuditEntry>, StoreError>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT id, at, actor, action, subject, detail FROM audit \
                 WHERE (?1 IS NULL OR subject = ?1) AND id < ?2 ORDER BY id DESC LIMIT ?3",
            )
            .bind(subject)
            .bind(before.unwrap_or(i64::MAX))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.0.readers)
            .await
            .map_err(|error| self.0.explain(error))?;
            rows.iter().map(entry).collect()
        })
    }
}

fn entry(row: &SqliteRow) -> Result<AuditEntry, StoreError> {
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
