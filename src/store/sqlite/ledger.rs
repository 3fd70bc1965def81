//! The ledger's tables on SQLite: waiting jobs share their statements.
//!
//! Rows go in and out as one JSON parameter that `json_each` unfolds: one prepared statement for any number of rows
//! (sqlx pays per statement and per parameter, not per row).

use futures_util::{TryStreamExt, future::BoxFuture};
use serde_json::json;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    ledger_rows::{self, account_of, entry_of, event_of, figures_of, key_of},
    ledger_transfers::{self, transfer_of},
    open::Database,
    writer::Command,
};
use crate::{
    domain::{Money, Period, PlatformId, Totals},
    store::{
        StoreError,
        ledger::{
            Account, AccountFilter, AccountKey, Books, Entry, EntryFilter, EntryKey, Event, LedgerJob,
            LedgerKeys, LedgerTable, Mismatch, OpenCursor, Transfer, TransferFilter,
        },
    },
};

/// The ledger's tables.
pub(super) struct Ledger(pub(super) Database);

/// A job on its way to the writer.
struct Change(Box<dyn LedgerJob>);

impl Command for Change {
    const KIND: &'static str = "ledger";
    type Answer = ();

    fn apply<'c>(
        batch: &'c mut [Self],
        connection: &'c mut SqliteConnection,
    ) -> BoxFuture<'c, Result<Vec<()>, StoreError>> {
        Box::pin(async move {
            let mut keys = LedgerKeys::default();
            batch.iter().for_each(|Self(job)| keys.extend(job.keys()));
            let mut books = load(keys, connection).await?;
            batch.iter_mut().for_each(|Self(job)| job.decide(&mut books));
            save(&books, connection).await?;
            Ok(vec![(); batch.len()])
        })
    }
}

async fn load(mut keys: LedgerKeys, connection: &mut SqliteConnection) -> Result<Books, StoreError> {
    let mut entries = Vec::new();
    if !keys.entries.is_empty() {
        keys.entries.sort_unstable();
        keys.entries.dedup();
        let names: Vec<_> = keys.entries.iter().map(|k| (k.issuer.as_str(), k.invoice_no.as_str())).collect();
        entries = fetch(ledger_rows::LOAD_ENTRIES, json!(names), entry_of, connection).await?;
    }
    if !keys.acceptance_nos.is_empty() {
        let accepted = json!(keys.acceptance_nos);
        entries.extend(fetch(ledger_rows::LOAD_ACCEPTED, accepted, entry_of, connection).await?);
    }
    if !keys.open_of.is_empty() {
        entries.extend(fetch(ledger_rows::LOAD_OPEN, names_of(&keys.open_of), entry_of, connection).await?);
        keys.accounts.append(&mut keys.open_of);
    }
    let mut transfers = Vec::new();
    if !keys.transfers.is_empty() {
        let serials = json!(keys.transfers);
        transfers = fetch(ledger_transfers::LOAD, serials, transfer_of, connection).await?;
    }
    if !keys.own_transfers.is_empty() {
        let names: Vec<_> = keys.own_transfers.iter().map(|own| (own.issuer.as_str(), &own.origin)).collect();
        transfers.extend(fetch(ledger_transfers::LOAD_OWN, json!(names), transfer_of, connection).await?);
    }
    keys.accounts.extend(entries.iter().map(Entry::account_key));
    keys.accounts.extend(transfers.iter().map(|transfer| transfer.key.clone()));
    keys.accounts.sort_unstable();
    keys.accounts.dedup();
    let names = names_of(&keys.accounts);
    let accounts = fetch(ledger_rows::LOAD_ACCOUNTS, names, account_of, connection).await?;
    Ok(Books::of(accounts, entries, transfers))
}

fn names_of(keys: &[AccountKey]) -> serde_json::Value {
    json!(keys.iter().map(|k| (k.issuer.as_str(), k.period.number())).collect::<Vec<_>>())
}

async fn fetch<T>(
    sql: &'static str,
    names: serde_json::Value,
    read: impl Fn(&SqliteRow) -> Result<T, StoreError>,
    connection: &mut SqliteConnection,
) -> Result<Vec<T>, StoreError> {
    let rows = sqlx::query(sql).bind(names.to_string()).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

async fn save(books: &Books, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let accounts = books.changed_accounts().map(ledger_rows::account).collect();
    put(ledger_rows::SAVE_ACCOUNTS, accounts, connection).await?;
    let entries = books.changed_entries().map(ledger_rows::entry).collect();
    put(ledger_rows::SAVE_ENTRIES, entries, connection).await?;
    let events = books.events().iter().map(ledger_rows::event).collect();
    put(ledger_rows::SAVE_EVENTS, events, connection).await?;
    let transfers = books.changed_transfers().into_iter().map(ledger_transfers::transfer).collect();
    put(ledger_transfers::SAVE, transfers, connection).await
}

async fn put(
    sql: &'static str,
    rows: Vec<serde_json::Value>,
    connection: &mut SqliteConnection,
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let count = rows.len();
    let rows = serde_json::Value::Array(rows).to_string();
    let written = sqlx::query(sql).bind(rows).execute(connection).await?.rows_affected();
    if usize::try_from(written) == Ok(count) {
        return Ok(());
    }
    Err(StoreError::value("ledger", format!("{written} of {count} rows were written")))
}

impl Ledger {
    /// All rows of a query, read one by one.
    async fn list<T>(
        &self,
        query: sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
        read: impl Fn(&SqliteRow) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut rows = query.fetch(&self.0.readers);
        let mut all = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(|e| self.0.explain(e))? {
            all.push(read(&row)?);
        }
        Ok(all)
    }
}

impl LedgerTable for Ledger {
    fn submit(&self, job: Box<dyn LedgerJob>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let finish = |Change(job), result| LedgerJob::finish(job, result);
            self.0.writer.send(Change(job), Box::new(finish)).await
        })
    }

    fn account<'a>(&'a self, key: &'a AccountKey) -> BoxFuture<'a, Result<Option<Account>, StoreError>> {
        Box::pin(async move {
            let names = json!([[key.issuer.as_str(), key.period.number()]]).to_string();
            Ok(self.list(sqlx::query(ledger_rows::LOAD_ACCOUNTS).bind(names), account_of).await?.pop())
        })
    }

    fn accounts<'a>(&'a self, filter: &'a AccountFilter) -> BoxFuture<'a, Result<Vec<Account>, StoreError>> {
        Box::pin(async move {
            let after = filter.after.as_ref();
            let query = sqlx::query(ledger_rows::LIST_ACCOUNTS)
                .bind(filter.period.map(Period::number))
                .bind(after.map_or("", |key| key.issuer.as_str()))
                .bind(after.map_or(0, |key| key.period.number()))
                .bind(filter.limit);
            self.list(query, account_of).await
        })
    }

    fn entry<'a>(&'a self, key: &'a EntryKey) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        Box::pin(async move {
            let names = json!([[key.issuer.as_str(), key.invoice_no.as_str()]]).to_string();
            Ok(self.list(sqlx::query(ledger_rows::LOAD_ENTRIES).bind(names), entry_of).await?.pop())
        })
    }

    fn entries<'a>(&'a self, filter: &'a EntryFilter) -> BoxFuture<'a, Result<Vec<Entry>, StoreError>> {
        Box::pin(async move { self.list(ledger_rows::list_entries(filter).build(), entry_of).await })
    }

    fn entries_by_acceptance<'a>(
        &'a self,
        acceptance_no: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Entry>, StoreError>> {
        Box::pin(async move {
            let names = json!([acceptance_no]).to_string();
            self.list(sqlx::query(ledger_rows::LOAD_ACCEPTED).bind(names), entry_of).await
        })
    }

    fn open_entries(
        &self,
        unchanged_since: jiff::Timestamp,
        after: Option<OpenCursor>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>> {
        Box::pin(async move {
            let after = after.as_ref();
            let query = sqlx::query(ledger_rows::LIST_OPEN)
                .bind(unchanged_since.as_microsecond())
                .bind(after.map_or(i64::MIN, |(at, _)| at.as_microsecond()))
                .bind(after.map_or("", |(_, key)| key.issuer.as_str()))
                .bind(after.map_or("", |(_, key)| key.invoice_no.as_str()))
                .bind(limit);
            self.list(query, entry_of).await
        })
    }

    fn open_until(&self, period: Period, limit: u32) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>> {
        Box::pin(async move {
            let query = sqlx::query(ledger_rows::LIST_OPEN_UNTIL).bind(period.number()).bind(limit);
            self.list(query, entry_of).await
        })
    }

    fn transfers<'a>(
        &'a self,
        filter: &'a TransferFilter,
    ) -> BoxFuture<'a, Result<Vec<Transfer>, StoreError>> {
        Box::pin(async move { self.list(ledger_transfers::list(filter).build(), transfer_of).await })
    }

    fn events<'a>(
        &'a self,
        key: &'a AccountKey,
        before: Option<i64>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Event>, StoreError>> {
        Box::pin(async move {
            let query = sqlx::query(ledger_rows::LIST_EVENTS)
                .bind(key.issuer.as_str())
                .bind(key.period.number())
                .bind(before.unwrap_or(i64::MAX))
                .bind(limit);
            self.list(query, event_of).await
        })
    }

    fn totals<'a>(
        &'a self,
        key: &'a AccountKey,
        platform_id: &'a PlatformId,
    ) -> BoxFuture<'a, Result<Totals, StoreError>> {
        Box::pin(async move {
            let query = sqlx::query(ledger_rows::TOTALS)
                .bind(key.issuer.as_str())
                .bind(key.period.number())
                .bind(platform_id.folded());
            let mut totals = Totals::default();
            let row = |row: &SqliteRow| -> Result<(bool, i64, i64, i64), StoreError> {
                Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
            };
            for (red, count, net, tax) in self.list(query, row).await? {
                let (net, tax) = (Money::from_fen(net), Money::from_fen(tax));
                if red {
                    (totals.red_count, totals.red_net, totals.red_tax) = (count, net, tax);
                } else {
                    (totals.blue_count, totals.blue_net, totals.blue_tax) = (count, net, tax);
                }
            }
            Ok(totals)
        })
    }

    fn verify(&self, period: Period) -> BoxFuture<'_, Result<Vec<Mismatch>, StoreError>> {
        Box::pin(async move {
            let row = |row: &SqliteRow| -> Result<Mismatch, StoreError> {
                Ok(Mismatch {
                    key: key_of(row, 0)?,
                    account: figures_of(row, 2)?,
                    entries: figures_of(row, 7)?,
                    events: figures_of(row, 12)?,
                })
            };
            self.list(sqlx::query(ledger_rows::VERIFY).bind(period.number()), row).await
        })
    }
}
