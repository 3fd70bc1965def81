//! Bearer tokens.

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{
    audit,
    session::{Row, Statement, Tables},
};
use crate::store::{
    StoreError,
    audit::AuditRow,
    tokens::{TokenRow, TokenTable},
    value::{get, instant, instant_opt},
};

/// The table of tokens.
pub(in crate::store) struct Tokens(pub(in crate::store) Tables);

impl TokenTable for Tokens {
    fn insert(&self, row: TokenRow, audit: AuditRow) -> BoxFuture<'_, Result<Option<i64>, StoreError>> {
        Box::pin(self.0.write(move |mut session| {
            let (row, audit) = (row.clone(), audit.clone());
            Box::pin(async move {
                let statement = Statement::new(
                    "INSERT INTO token (name, role, hash, created_at) VALUES ($1, $2, $3, $4) \
                     ON CONFLICT DO NOTHING RETURNING id",
                )
                .bind(row.name)
                .bind(row.role)
                .bind(row.hash.to_vec())
                .bind(row.created_at);
                let Some(inserted) = session.row(statement).await? else { return Ok(None) };
                audit::append(&mut session, &audit).await?;
                get(&inserted, "id").map(Some)
            })
        }))
    }

    fn by_hash(&self, hash: [u8; 32]) -> BoxFuture<'_, Result<Option<TokenRow>, StoreError>> {
        Box::pin(async move {
            let statement = Statement::new("SELECT * FROM token WHERE hash = $1").bind(hash.to_vec());
            self.0.row(statement).await?.as_ref().map(token).transpose()
        })
    }

    fn all(&self) -> BoxFuture<'_, Result<Vec<TokenRow>, StoreError>> {
        Box::pin(async {
            let rows = self.0.rows(Statement::new("SELECT * FROM token ORDER BY id DESC")).await?;
            rows.iter().map(token).collect()
        })
    }

    fn forget_revoked(&self, before: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.0.write(move |mut session| {
            Box::pin(async move {
                session.execute(Statement::new("DELETE FROM token WHERE revoked_at < $1").bind(before)).await
            })
        }))
    }

    fn revoke(
        &self,
        name: String,
        at: Timestamp,
        audit: AuditRow,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.0.write(move |mut session| {
            let (name, audit) = (name.clone(), audit.clone());
            Box::pin(async move {
                let statement =
                    Statement::new("UPDATE token SET revoked_at = $2 WHERE name = $1 AND revoked_at IS NULL");
                let revoked = session.execute(statement.bind(name).bind(at)).await? > 0;
                if revoked {
                    audit::append(&mut session, &audit).await?;
                }
                Ok(revoked)
            })
        }))
    }
}

fn token(row: &Row) -> Result<TokenRow, StoreError> {
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
