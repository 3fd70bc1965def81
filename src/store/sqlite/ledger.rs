//! The ledger's tables on SQLite: waiting jobs share their statements.
//!
//! Rows go in and out as one JSON parameter that `json_each` unfolds: one prepared statement for any number of rows
//! (sqlx pays per statement and per parameter, not per row).

use futures_util::future::BoxFuture;
use sqlx::{Column, Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    exchanges, ledger_rows, ledger_transfers,
    open::{Database, File},
};
use crate::store::{
    StoreError,
    ledger::{AccountKey, Books, Entry, Intent, LedgerJob, LedgerKeys},
    sql::{
        ledger_rows::{self as rows, account_of, entry_of},
        ledger_transfers::{transfer, transfer_of},
        session::Value,
    },
    value::json_text,
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
            let records: Vec<_> = batch.iter().filter_map(|Self(job)| job.record()).collect();
            let records: Vec<&Intent> = records.iter().map(AsRef::as_ref).collect();
            exchanges::save(&records, connection).await?;
            Ok(vec![(); batch.len()])
        })
    }
}

async fn load(mut keys: LedgerKeys, connection: &mut SqliteConnection) -> Result<Books, StoreError> {
    let mut entries = Vec::new();
    if !keys.acceptance_nos.is_empty() {
        let accepted = json_text(&keys.acceptance_nos);
        entries.extend(fetch(ledger_rows::LOAD_ACCEPTED, accepted, entry_of, connection).await?);
    }
    if !keys.open_of.is_empty() {
        entries.extend(fetch(ledger_rows::LOAD_OPEN, names_of(&keys.open_of), entry_of, connection).await?);
        keys.accounts.append(&mut keys.open_of);
    }
    let mut transfers = Vec::new();
    if !keys.transfers.is_empty() {
        let serials = json_text(&keys.transfers);
        transfers = fetch(ledger_transfers::LOAD, serials, transfer_of, connection).await?;
    }
    if !keys.own_transfers.is_empty() {
        let names: Vec<_> = keys.own_transfers.iter().map(|own| (own.issuer.as_str(), &own.origin)).collect();
        transfers
            .extend(fetch(ledger_transfers::LOAD_OWN, json_text(&names), transfer_of, connection).await?);
    }
    keys.accounts.extend(entries.iter().map(Entry::account_key));
    keys.accounts.extend(transfers.iter().map(|transfer| transfer.key.clone()));
    keys.accounts.sort_unstable();
    keys.accounts.dedup();
    keys.entries.sort_unstable();
    keys.entries.dedup();
    let named: Vec<_> = keys.entries.iter().map(|k| (k.issuer.as_str(), k.invoice_no.as_str())).collect();
    let query = sqlx::query(ledger_rows::LOAD).bind(json_text(&named));
    let found = query.bind(names_of(&keys.accounts)).fetch_all(connection).await?;
    let (named, accounts): (Vec<_>, Vec<_>) =
        found.iter().partition(|row| row.column(1).name() == "invoice_no");
    for row in named {
        entries.push(entry_of(row)?);
    }
    let accounts: Vec<_> = accounts.into_iter().map(account_of).collect::<Result<_, _>>()?;
    Ok(Books::of(accounts, entries, transfers))
}

fn names_of(keys: &[AccountKey]) -> String {
    json_text(&keys.iter().map(|k| (k.issuer.as_str(), k.period.number())).collect::<Vec<_>>())
}

async fn fetch<T>(
    sql: &'static str,
    names: String,
    read: impl Fn(&SqliteRow) -> Result<T, StoreError>,
    connection: &mut SqliteConnection,
) -> Result<Vec<T>, StoreError> {
    let rows = sqlx::query(sql).bind(names).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

async fn save(books: &Books, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let accounts = books.changed_accounts().map(rows::account).collect();
    let entries = books.changed_entries().map(rows::entry).collect();
    let events = books.events().iter().map(rows::event).collect();
    put(ledger_rows::SAVE, [accounts, entries, events], connection).await?;
    let transfers = books.changed_transfers().into_iter().map(transfer).collect();
    put(ledger_transfers::SAVE, [transfers], connection).await
}

async fn put<const KINDS: usize>(
    sql: &'static str,
    kinds: [Vec<Vec<Value>>; KINDS],
    connection: &mut SqliteConnection,
) -> Result<(), StoreError> {
    let count: usize = kinds.iter().map(Vec::len).sum();
    if count == 0 {
        return Ok(());
    }
    let query = kinds.iter().fold(sqlx::query(sql), |query, rows| query.bind(json_text(rows)));
    let written = query.execute(connection).await?.rows_affected();
    if usize::try_from(written) == Ok(count) {
        return Ok(());
    }
    Err(StoreError::value("ledger", format!("{written} of {count} rows were written")))
}
