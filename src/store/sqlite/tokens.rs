//! Bearer tokens on SQLite.

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;

use super::{
    audit,
    open::Database,
    value::{get, instant, instant_opt},
};
use crate::store::{
    StoreError,
    audit::AuditRow,
    tokens::{TokenRow, TokenTable},
};

/// The table of tokens.
pub(super) struct Tokens(pub(super) Database);

impl TokenTable for Tokens {
    fn insert(&self, row: TokenRow, audit: AuditRow) -> BoxFuture<'_, Result<Option<i64>, StoreError>> {
        Box::pin(self.0.writer.write(move |connection| {
            let (row, audit) = (row.clone(), audit.clone());
            Box::pin(async move {
                let id: Option<i64> = sqlx::query_scalar(
                    "INSERT INTO token (name, role, hash, created_at) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT DO NOTHING RETURNING id",
                )
                .bind(row.name)
                .bind(row.role)
                .bind(row.hash.to_vec())
                .bind(row.created_at.as_microsecond())
                .fetch_optional(&mut *connection)
                .await?;
                if id.is_some() {
                    audit::append(connection, &audit).await?;
                }
                Ok(id)
            })
        }))
    }

    fn by_hash(&self, hash: [u8; 32]) -> BoxFuture<'_, Result<Option<TokenRow>, StoreError>> {
        Box::pin(async move {
            let row = sqlx::query("SELECT * FROM token WHERE hash = ?1")
                .bind(hash.to_vec())
                .fetch_optional(&self.0.readers)
                .await;
            row.map_err(|error| self.0.explain(error))?.as_ref().map(token).transpose()
        })
    }

    fn all(&self) -> BoxFuture<'_, Result<Vec<TokenRow>, StoreError>> {
        Box::pin(async {
            let rows = sqlx::query("SELECT * FROM token ORDER BY id DESC").fetch_all(&self.0.readers).await;
            rows.map_err(|error| self.0.explain(error))?.iter().map(token).collect()
        })
    }

    fn forget_revoked(&self, before: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.0.writer.write(move |connection| {
            Box::pin(async move {
                let done = sqlx::query("DELETE FROM token WHERE revoked_at < ?1")
                    .bind(before.as_microsecond())
                    .execute(connection)
                    .await?;
                Ok(done.rows_affected())
            })
        }))
    }

    fn revoke(
        &self,
        name: String,
        at: Timestamp,
        audit: AuditRow,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.0.writer.write(move |connection| {
            let (name, audit) = (name.clone(), audit.clone());
            Box::pin(async move {
                let done =
                    sqlx::query("UPDATE token SET revoked_at = ?2 WHERE name = ?1 AND revoked_at IS NULL")
                        .bind(name)
                        .bind(at.as_microsecond())
                        .execute(&mut *connection)
                        .await?;
                if done.rows_affected() > 0 {
                    audit::append(connection, &audit).await?;
                }
                Ok(done.rows_affected() > 0)
            })
        }))
    }
}

fn token(row: &SqliteRow) -> Result<TokenRow, StoreError> {
    let hash: Vec<u8> = get(row, "hash")?;
    Ok(TokenRow {
        id: get(row, "id")?,
        name: get(row, "name")?,
        role: get(row, "role")?,
        hash: hash.try_into().map_err(|_| StoreError::value("hash", "it has not 32 bytes"))?,
        created_at: instant(row, "created_at")?,
        revoked_at: instant_opt(row, "revoked_at")?,
    })
}
