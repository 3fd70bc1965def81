//! Deleting the oldest exchanges: whole months are dropped with their partitions, the rest row by row.
//!
//! Neither may hold up the writer, nor other gateways: a month is counted outside of it and once, its partitions are not
//! waited for, the tables that they belong to not long, and rows go by whole buckets of keys, as on SQLite, so that the
//! next ones are found at the beginning of their index.

use std::sync::PoisonError;

use sqlx::{AssertSqlSafe, PgConnection};

use super::{
    open::Database,
    partitions::{TABLES, first_id},
};
use crate::{
    domain::{ExchangeId, Period},
    store::{
        StoreError,
        exchanges::Purged,
        sql::{exchange_purge::delete, session::Session},
    },
};

const MONTHS: &str =
    "SELECT substr(c.relname, 10) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'exchange'::regclass ORDER BY c.relname";

/// How long a month's end may wait for each of the four tables, while calls wait behind it: a second together.
const DROP_WAIT: &str = "250ms";

impl Database {
    /// Deletes the oldest exchanges.
    pub(in crate::store) async fn purge(
        &self,
        before: ExchangeId,
        limit: usize,
    ) -> Result<Purged, StoreError> {
        let months: Vec<String> =
            sqlx::query_scalar(MONTHS).fetch_all(&self.readers).await.map_err(|e| self.explain(e))?;
        let oldest = months.iter().find_map(|month| Period::parse(month).ok());
        let Some(month) = oldest.filter(|month| first_id(month.next()) <= before.number()) else {
            return self
                .writer
                .write(move |c| {
                    Box::pin(async move { delete(&mut Session::Postgres(c), before, limit).await })
                })
                .await;
        };
        let exchanges = self.counted(month).await?;
        self.writer
            .write(move |connection| Box::pin(async move { drop_month(month, connection).await }))
            .await?;
        self.months.forget();
        // records that come late make the month anew
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(Purged { exchanges, more: true })
    }

    /// How many exchanges a month has; counted once, however often its partitions are still being read.
    async fn counted(&self, month: Period) -> Result<u64, StoreError> {
        let known = *self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, exchanges)) = known.filter(|(known, _)| *known == month) {
            return Ok(exchanges);
        }
        let exchanges = self.count(month).await?;
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some((month, exchanges));
        Ok(exchanges)
    }

    /// Counts them, which takes long where there are many.
    async fn count(&self, month: Period) -> Result<u64, StoreError> {
        // the name is a number of our own; names cannot be parameters
        let sql = AssertSqlSafe(format!("SELECT count(*) FROM exchange_{}", month.compact()));
        let count: i64 = sqlx::query_scalar(sql)
            .persistent(false)
            .fetch_one(&self.readers)
            .await
            .map_err(|e| self.explain(e))?;
        Ok(u64::try_from(count).unwrap_or_default())
    }
}

/// Takes every lock before anything is dropped, in the order in which queries take them. Whoever reads the month through
/// its tables is waited for at those; whoever has partitions of it then, such as a backup, is not waited for.
async fn lock_month(partitions: &[String], connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let tables = format!("ONLY {}", TABLES.join(", ONLY "));
    let partitions = partitions.join(", ");
    // names cannot be parameters
    for sql in [
        format!("LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"),
        format!("LOCK TABLE {partitions} IN ACCESS EXCLUSIVE MODE NOWAIT"),
    ] {
        sqlx::query(AssertSqlSafe(sql)).persistent(false).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn drop_month(month: Period, connection: &mut PgConnection) -> Result<(), StoreError> {
    const WAIT: &str = "SELECT set_config('lock_timeout', $1, true)";
    const THERE: &str = "SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NOT NULL";
    let name = month.compact();
    let partitions = TABLES.map(|table| format!("{table}_{name}")).to_vec();
    let partitions: Vec<String> =
        sqlx::query_scalar(THERE).bind(partitions).fetch_all(&mut *connection).await?;
    if partitions.is_empty() {
        return Ok(());
    }
    let usual: String = sqlx::query_scalar("SHOW lock_timeout").fetch_one(&mut *connection).await?;
    sqlx::query(WAIT).bind(DROP_WAIT).execute(&mut *connection).await?;
    lock_month(&partitions, connection).await?;
    let sql = AssertSqlSafe(format!("DROP TABLE {}", partitions.join(", ")));
    sqlx::query(sql).persistent(false).execute(&mut *connection).await?;
    // other commands of the transaction wait as ever
    sqlx::query(WAIT).bind(usual).execute(connection).await?;
    Ok(())
}
