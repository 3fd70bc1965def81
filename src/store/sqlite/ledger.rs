//! The ledger's tables on SQLite: waiting jobs share their statements.
//!
//! Rows go in and out as one JSON parameter that `json_each` unfolds: one prepared statement for any number of rows
//! (sqlx pays per statement and per parameter, not per row).

use futures_util::future::BoxFuture;
use serde_json::json;
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    ledger_rows, ledger_transfers,
    open::{Database, File},
};
use crate::store::{
    StoreError,
    ledger::{AccountKey, Books, Entry, LedgerJob, LedgerKeys},
    sql::{
        ledger_rows::{self as rows, account_of, entry_of},
        ledger_transfers::{transfer, transfer_of},
        session::Value,
    },
    writer::Command,
};

impl Database {
    /// Hands in a change of the ledger.
    pub(in crate::store) async fn change(&self, job: Box<dyn LedgerJob>) -> Result<(), StoreError> {
        let finish = |Change(job), result| LedgerJob::finish(job, result);
        self.writer.send(Change(job), Box::new(finish)).await
    }
}

/// A job on its way to the writer.
struct Change(Box<dyn LedgerJob>);

impl Command<File> for Change {
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
    let accounts = books.changed_accounts().map(rows::account).collect();
    put(ledger_rows::SAVE_ACCOUNTS, accounts, connection).await?;
    let entries = books.changed_entries().map(rows::entry).collect();
    put(ledger_rows::SAVE_ENTRIES, entries, connection).await?;
    let events = books.events().iter().map(rows::event).collect();
    put(ledger_rows::SAVE_EVENTS, events, connection).await?;
    let transfers = books.changed_transfers().into_iter().map(transfer).collect();
    put(ledger_transfers::SAVE, transfers, connection).await
}

async fn put(
    sql: &'static str,
    rows: Vec<Vec<Value>>,
    connection: &mut SqliteConnection,
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let count = rows.len();
    let rows: serde_json::Value = rows.into_iter().map(serde_json::Value::from_iter).collect();
    let rows = rows.to_string();
    let written = sqlx::query(sql).bind(rows).execute(connection).await?.rows_affected();
    if usize::try_from(written) == Ok(count) {
        return Ok(());
    }
    Err(StoreError::value("ledger", format!("{written} of {count} rows were written")))
}
