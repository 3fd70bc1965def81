//! The ledger's changes on PostgreSQL: waiting jobs share their statements and one transaction.
//!
//! Several gateways change the same accounts. Before its rows are loaded, a transaction locks the issuing parties that
//! its jobs name, always in the same order, so that no two can wait for one another; at the default isolation level
//! the statements after that see whatever the one before has committed. Locking parties rather than rows covers rows
//! that are not there yet. What else is loaded, by acceptance number or serial, may lead to further parties: they are
//! known only after a first look, which is repeated under the locks.

use std::{collections::BTreeSet, sync::LazyLock};

use futures_util::future::BoxFuture;
use sqlx::{PgConnection, postgres::PgRow};

use super::{
    bulk::{
        Insert,
        Kind::{self, Flag, Integer, Text},
    },
    exchanges,
    open::Database,
    server::Server,
};
use crate::store::{
    StoreError,
    ledger::{Account, AccountKey, Books, Entry, LedgerJob, LedgerKeys, Transfer},
    sql::{
        ledger_rows::{self as rows, account_columns, account_of, entry_columns, entry_of},
        ledger_transfers::{transfer, transfer_columns, transfer_of},
    },
    writer::Command,
};

/// Lock numbers: so many for all issuing parties, so that no batch can fill the server's table of locks (6,400 places
/// by default). Two parties with the same number only wait for one another.
const LOCKS: u64 = 2048;
/// What the locks of issuing parties are told apart by from others.
const LOCK_SPACE: i32 = 0x1ed9;

const LOCK: &str = "SELECT pg_advisory_xact_lock($1, k) FROM unnest($2::int[]) AS k";

const PARTIES: &str = "
SELECT issuer FROM ledger_entry WHERE acceptance_no = ANY($1)
UNION SELECT issuer FROM ledger_transfer WHERE serial = ANY($2)";

const LOAD_ACCOUNTS: &str = concat!(
    "SELECT ",
    account_columns!(),
    " FROM unnest($1::text[], $2::bigint[]) AS k (issuer, period)",
    " JOIN ledger_account AS a ON a.issuer = k.issuer AND a.period = k.period"
);

const LOAD_ENTRIES: &str = concat!(
    "SELECT ",
    entry_columns!(),
    " FROM unnest($1::text[], $2::text[]) AS k (issuer, invoice_no)",
    " JOIN ledger_entry AS e ON e.issuer = k.issuer AND e.invoice_no = k.invoice_no"
);

const LOAD_ACCEPTED: &str =
    concat!("SELECT ", entry_columns!(), " FROM ledger_entry AS e WHERE e.acceptance_no = ANY($1)");

const LOAD_OPEN: &str = concat!(
    "SELECT ",
    entry_columns!(),
    " FROM unnest($1::text[], $2::bigint[]) AS k (issuer, period)",
    " JOIN ledger_entry AS e ON e.issuer = k.issuer AND e.period = k.period AND e.state = 'reserved'"
);

const LOAD_TRANSFERS: &str =
    concat!("SELECT ", transfer_columns!(), " FROM ledger_transfer AS t WHERE t.serial = ANY($1)");

/// The open own ones of an issuer, and the one of an origin.
const LOAD_OWN: &str = concat!(
    "SELECT DISTINCT ",
    transfer_columns!(),
    " FROM unnest($1::text[], $2::text[]) AS k (issuer, origin)",
    " JOIN ledger_transfer AS t ON t.issuer = k.issuer AND (t.own AND t.state = 'open' OR t.origin = k.origin)"
);

static SAVE_ACCOUNTS: LazyLock<Insert> = LazyLock::new(|| {
    let columns = [
        ("issuer", Text),
        ("period", Integer),
        ("downloaded", Integer),
        ("elsewhere", Integer),
        ("issued", Integer),
        ("reserved", Integer),
        ("pending_return", Integer),
        ("bureau_total", Integer),
        ("bureau_available", Integer),
        ("suspended", Flag),
        ("valid_from", Text),
        ("valid_to", Text),
        ("closed_for", Text),
        ("epoch", Integer),
        ("stale", Flag),
        ("synced_at", Integer),
        ("updated_at", Integer),
        ("bureau_downloaded", Integer),
        ("bureau_unused", Integer),
        ("exact", Flag),
        ("valid_since", Integer),
    ];
    upsert("ledger_account", &columns, &["issuer", "period"], &[])
});

static SAVE_ENTRIES: LazyLock<Insert> = LazyLock::new(|| {
    let columns = [
        ("issuer", Text),
        ("invoice_no", Text),
        ("period", Integer),
        ("platform_id", Text),
        ("red", Flag),
        ("net", Integer),
        ("tax", Integer),
        ("credit", Integer),
        ("reversed_no", Text),
        ("state", Text),
        ("sends", Text),
        ("acceptance_no", Text),
        ("result_code", Text),
        ("result_text", Text),
        ("dated_at", Integer),
        ("created_at", Integer),
        ("updated_at", Integer),
        ("exchange", Integer),
    ];
    upsert("ledger_entry", &columns, &["issuer", "invoice_no"], &["created_at"])
});

static SAVE_EVENTS: LazyLock<Insert> = LazyLock::new(|| {
    let columns = [
        ("issuer", Text),
        ("period", Integer),
        ("invoice_no", Text),
        ("kind", Text),
        ("downloaded", Integer),
        ("elsewhere", Integer),
        ("issued", Integer),
        ("reserved", Integer),
        ("pending_return", Integer),
        ("exchange", Integer),
        ("at", Integer),
    ];
    Insert::new("ledger_event", &columns, "")
});

static SAVE_TRANSFERS: LazyLock<Insert> = LazyLock::new(|| {
    let columns = [
        ("serial", Text),
        ("issuer", Text),
        ("period", Integer),
        ("booked", Integer),
        ("epoch", Integer),
        ("at", Integer),
        ("direction", Text),
        ("amount", Integer),
        ("platform_id", Text),
        ("state", Text),
        ("own", Flag),
        ("origin", Text),
        ("actor", Text),
        ("code", Text),
        ("text", Text),
        ("begun_at", Integer),
        ("before", Integer),
    ];
    upsert("ledger_transfer", &columns, &["serial"], &[])
});

/// Inserts rows, or replaces all their columns but the key and those to keep.
fn upsert(table: &str, columns: &[(&str, Kind)], key: &[&str], kept: &[&str]) -> Insert {
    let set: Vec<String> = columns
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !key.contains(name) && !kept.contains(name))
        .map(|name| format!("\"{name}\" = excluded.\"{name}\""))
        .collect();
    let conflict = format!("ON CONFLICT ({}) DO UPDATE SET {}", key.join(", "), set.join(", "));
    Insert::new(table, columns, &conflict)
}

impl Database {
    /// Hands in a change of the ledger.
    pub(in crate::store) async fn change(&self, job: Box<dyn LedgerJob>) -> Result<(), StoreError> {
        self.make_partitions(job.announces().into_iter()).await?;
        let finish = |Change(job), result| LedgerJob::finish(job, result);
        self.ledger.send(Change(job), Box::new(finish)).await
    }
}

/// A job on its way to the writer.
struct Change(Box<dyn LedgerJob>);

impl Command<Server> for Change {
    const KIND: &'static str = "ledger";
    type Answer = ();

    fn apply<'c>(
        batch: &'c mut [Self],
        connection: &'c mut PgConnection,
    ) -> BoxFuture<'c, Result<Vec<()>, StoreError>> {
        Box::pin(async move {
            let mut keys = LedgerKeys::default();
            batch.iter().for_each(|Self(job)| keys.extend(job.keys()));
            let locks = lock(&keys, connection).await?;
            let mut books = load(keys, &locks, connection).await?;
            batch.iter_mut().for_each(|Self(job)| job.decide(&mut books));
            save(&books, connection).await?;
            let records: Vec<_> = batch.iter().filter_map(|Self(job)| job.record()).collect();
            exchanges::save(records.iter().map(AsRef::as_ref), connection).await?;
            Ok(vec![(); batch.len()])
        })
    }
}

/// Locks every issuing party that the keys lead to.
async fn lock(keys: &LedgerKeys, connection: &mut PgConnection) -> Result<BTreeSet<i32>, StoreError> {
    let named = keys.accounts.iter().chain(&keys.open_of).map(|key| &key.issuer);
    let named = named.chain(keys.entries.iter().map(|key| &key.issuer));
    let named = named.chain(keys.own_transfers.iter().map(|own| &own.issuer));
    let mut locks: BTreeSet<i32> = named.map(|issuer| lock_of(issuer.as_str())).collect();
    if !keys.acceptance_nos.is_empty() || !keys.transfers.is_empty() {
        let found: Vec<String> = sqlx::query_scalar(PARTIES)
            .bind(&keys.acceptance_nos)
            .bind(&keys.transfers)
            .fetch_all(&mut *connection)
            .await?;
        locks.extend(found.iter().map(|issuer| lock_of(issuer)));
    }
    let in_order: Vec<i32> = locks.iter().copied().collect();
    sqlx::query(LOCK).bind(LOCK_SPACE).bind(in_order).execute(connection).await?;
    Ok(locks)
}

/// The number of an issuing party's lock; the same in every gateway, of whatever version.
fn lock_of(issuer: &str) -> i32 {
    i32::try_from(fnv1a(issuer.as_bytes()) % LOCKS).unwrap_or_default()
}

/// FNV-1a, whose values never change, unlike those of the standard library's hashers.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

async fn load(
    mut keys: LedgerKeys,
    locks: &BTreeSet<i32>,
    connection: &mut PgConnection,
) -> Result<Books, StoreError> {
    let mut entries = Vec::new();
    if !keys.entries.is_empty() {
        keys.entries.sort_unstable();
        keys.entries.dedup();
        let issuers: Vec<&str> = keys.entries.iter().map(|key| key.issuer.as_str()).collect();
        let numbers: Vec<&str> = keys.entries.iter().map(|key| key.invoice_no.as_str()).collect();
        let query = sqlx::query(LOAD_ENTRIES).bind(issuers).bind(numbers);
        entries = read(query.fetch_all(&mut *connection).await?, entry_of)?;
    }
    if !keys.acceptance_nos.is_empty() {
        let query = sqlx::query(LOAD_ACCEPTED).bind(&keys.acceptance_nos);
        entries.extend(read(query.fetch_all(&mut *connection).await?, entry_of)?);
    }
    if !keys.open_of.is_empty() {
        let (issuers, periods) = columns_of(&keys.open_of);
        let query = sqlx::query(LOAD_OPEN).bind(issuers).bind(periods);
        entries.extend(read(query.fetch_all(&mut *connection).await?, entry_of)?);
        keys.accounts.append(&mut keys.open_of);
    }
    let mut transfers = Vec::new();
    if !keys.transfers.is_empty() {
        let query = sqlx::query(LOAD_TRANSFERS).bind(&keys.transfers);
        transfers = read(query.fetch_all(&mut *connection).await?, transfer_of)?;
    }
    if !keys.own_transfers.is_empty() {
        let issuers: Vec<&str> = keys.own_transfers.iter().map(|own| own.issuer.as_str()).collect();
        let origins: Vec<Option<&str>> = keys.own_transfers.iter().map(|own| own.origin.as_deref()).collect();
        let query = sqlx::query(LOAD_OWN).bind(issuers).bind(origins);
        transfers.extend(read(query.fetch_all(&mut *connection).await?, transfer_of)?);
    }
    // what came in between the look and the lock belongs to somebody else's transaction: as if it were not there yet
    entries.retain(|entry| locks.contains(&lock_of(entry.key.issuer.as_str())));
    transfers.retain(|transfer| locks.contains(&lock_of(transfer.key.issuer.as_str())));
    let accounts = accounts(keys.accounts, &entries, &transfers, connection).await?;
    Ok(Books::of(accounts, entries, transfers))
}

/// The accounts that are named, and those that the entries and transfers count in.
async fn accounts(
    mut keys: Vec<AccountKey>,
    entries: &[Entry],
    transfers: &[Transfer],
    connection: &mut PgConnection,
) -> Result<Vec<Account>, StoreError> {
    keys.extend(entries.iter().map(Entry::account_key));
    keys.extend(transfers.iter().map(|transfer| transfer.key.clone()));
    keys.sort_unstable();
    keys.dedup();
    let (issuers, periods) = columns_of(&keys);
    let query = sqlx::query(LOAD_ACCOUNTS).bind(issuers).bind(periods);
    read(query.fetch_all(connection).await?, account_of)
}

fn columns_of(keys: &[AccountKey]) -> (Vec<&str>, Vec<i64>) {
    keys.iter().map(|key| (key.issuer.as_str(), key.period.number())).unzip()
}

fn read<T>(rows: Vec<PgRow>, of: impl Fn(&PgRow) -> Result<T, StoreError>) -> Result<Vec<T>, StoreError> {
    rows.iter().map(of).collect()
}

async fn save(books: &Books, connection: &mut PgConnection) -> Result<(), StoreError> {
    let accounts = books.changed_accounts().map(rows::account);
    let written = SAVE_ACCOUNTS.execute(accounts, connection).await?;
    check(written, books.changed_accounts().count())?;
    let written = SAVE_ENTRIES.execute(books.changed_entries().map(rows::entry), connection).await?;
    check(written, books.changed_entries().count())?;
    let written = SAVE_EVENTS.execute(books.events().iter().map(rows::event), connection).await?;
    check(written, books.events().len())?;
    let transfers = books.changed_transfers();
    let written = SAVE_TRANSFERS.execute(transfers.iter().map(|t| transfer(t)), connection).await?;
    check(written, transfers.len())
}

fn check(written: usize, count: usize) -> Result<(), StoreError> {
    if written == count {
        return Ok(());
    }
    Err(StoreError::value("ledger", format!("{written} of {count} rows were written")))
}
