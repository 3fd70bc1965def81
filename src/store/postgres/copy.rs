//! Moving a SQLite database over: every table, row by row, in one transaction, counted and compared before it counts.

use aws_lc_rs::digest::{Context, SHA256};
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection, postgres::PgRow};

use super::{
    bulk::{Insert, Kind},
    open::{connected, server},
    partitions,
};
use crate::{
    domain::ExchangeId,
    store::{
        Config, StoreError,
        backend::Backend,
        moving::{Moved, Progress},
        sql::session::Value,
        value::{At, Columns},
    },
};

/// Every table, those that others refer to first, with the columns that order it.
const TABLES: [(&str, &str); 15] = [
    ("unit", "access_unit IS NOT NULL, tax_no"),
    ("quota_setting", "tax_no"),
    ("token", "id"),
    ("audit", "id"),
    ("idempotency", "actor, key"),
    ("job", "name"),
    ("ledger_account", "issuer, period"),
    ("ledger_entry", "issuer, invoice_no"),
    ("ledger_event", "id"),
    ("ledger_transfer", "serial"),
    ("confirmation", "id"),
    ("exchange", "id"),
    ("exchange_key", "bucket, kind, value, exchange"),
    ("exchange_request", "id"),
    ("exchange_response", "id"),
];

/// Rows that one statement carries.
const BATCH: usize = 500;

const COLUMNS: &str = "SELECT column_name::text, data_type::text FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position";

/// Copies every row into an empty database, whose tables are there.
pub(in crate::store) async fn copy(
    from: &mut SqliteConnection,
    to: &Config,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Vec<Moved>, StoreError> {
    let server = server(to)?;
    let explain = |error: StoreError| server.explain(error);
    let (mut connection, _) = connected(&server).await?;
    let mut transaction = connection.begin().await.map_err(|error| explain(error.into()))?;
    let moved = everything(from, &mut transaction, progress).await.map_err(explain)?;
    transaction.commit().await.map_err(|error| explain(error.into()))?;
    Ok(moved)
}

async fn everything(
    from: &mut SqliteConnection,
    to: &mut PgConnection,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Vec<Moved>, StoreError> {
    for (table, _) in TABLES {
        let filled = AssertSqlSafe(format!("SELECT EXISTS (SELECT FROM {table})"));
        if sqlx::query_scalar(filled).fetch_one(&mut *to).await? {
            let reason =
                format!("its table {table} is not empty; only an empty database can take another one over");
            return Err(StoreError::Conflict(reason));
        }
    }
    make_partitions(from, to).await?;
    let mut moved = Vec::with_capacity(TABLES.len());
    for (table, order) in TABLES {
        moved.push(one(table, order, from, to, progress).await?);
    }
    Ok(moved)
}

/// Every month that has exchanges gets its partitions first.
async fn make_partitions(from: &mut SqliteConnection, to: &mut PgConnection) -> Result<(), StoreError> {
    let ends: (Option<i64>, Option<i64>) =
        sqlx::query_as("SELECT min(id), max(id) FROM exchange").fetch_one(from).await?;
    let (Some(first), Some(last)) = ends else { return Ok(()) };
    let months = partitions::months_between(ExchangeId::from_number(first), ExchangeId::from_number(last));
    partitions::make(&months, to).await
}

async fn one(
    table: &'static str,
    order: &str,
    from: &mut SqliteConnection,
    to: &mut PgConnection,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Moved, StoreError> {
    let columns = columns(table, to).await?;
    let names: Vec<String> = columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let select = format!("SELECT {} FROM {table} ORDER BY {order}", names.join(", "));
    let count = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    let total: i64 = sqlx::query_scalar(count).fetch_one(&mut *from).await?;
    let total = u64::try_from(total).unwrap_or_default();
    let described: Vec<(&str, Kind)> = columns.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
    let insert = Insert::new(table, &described, "");

    let mut source = Sum::default();
    let mut batch = Vec::with_capacity(BATCH);
    let mut rows = sqlx::query(AssertSqlSafe(select.clone())).persistent(false).fetch(from);
    loop {
        let row = rows.try_next().await?;
        let more = row.is_some();
        if let Some(row) = row {
            let values = values_of(&row, &columns)?;
            source.add(&values);
            batch.push(values);
        }
        if batch.len() == BATCH || !more {
            insert.execute(batch.drain(..), to).await?;
            progress(Progress { table, rows: source.rows, of: total });
        }
        if !more {
            break;
        }
    }
    let mut target = Sum::default();
    let mut rows = sqlx::query(AssertSqlSafe(select)).persistent(false).fetch(&mut *to);
    while let Some(row) = rows.try_next().await? {
        target.add(&values_of(&row, &columns)?);
    }
    drop(rows);
    if source.rows != total || source != target {
        let reason =
            format!("table {table}: {} of {total} rows arrived, or they are not the same", target.rows);
        return Err(StoreError::Conflict(reason));
    }
    if columns.iter().any(|(name, _)| name == "id") && !table.starts_with("exchange") {
        // numbers go on after the largest
        let next = format!(
            "SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT coalesce(max(id), 0) + 1 FROM {table}), false)"
        );
        sqlx::query(AssertSqlSafe(next)).execute(to).await?;
    }
    Ok(Moved { table, rows: source.rows, checksum: source.hex() })
}

async fn columns(table: &str, to: &mut PgConnection) -> Result<Vec<(String, Kind)>, StoreError> {
    let rows = sqlx::query(COLUMNS).bind(table).fetch_all(to).await?;
    let column = |row: &PgRow| -> Result<(String, Kind), StoreError> {
        let (name, kind): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let kind = match kind.as_str() {
            "bigint" => Kind::Integer,
            "boolean" => Kind::Flag,
            "bytea" => Kind::Bytes,
            _ => Kind::Text,
        };
        Ok((name, kind))
    };
    rows.iter().map(column).collect()
}

/// The row's values, of either engine, in the order of the columns.
fn values_of(row: &impl Columns, columns: &[(String, Kind)]) -> Result<Vec<Value>, StoreError> {
    let value = |(place, (_, kind)): (usize, &(String, Kind))| -> Result<Value, StoreError> {
        let at = At::Place(place);
        Ok(match kind {
            Kind::Bytes => Value::Bytes(row.bytes(at)?.map(<[u8]>::to_vec)),
            Kind::Flag => Value::Flag(row.boolean(at)?.unwrap_or_default()),
            Kind::Integer => Value::Integer(row.integer(at)?),
            Kind::Text => Value::Text(row.text(at)?.map(str::to_owned)),
        })
    };
    columns.iter().enumerate().map(value).collect()
}

/// Count and sum of a table's rows, whatever their order: the digests of the rows added up.
#[derive(Default, PartialEq, Eq)]
struct Sum {
    rows: u64,
    digest: [u64; 4],
}

impl Sum {
    fn add(&mut self, row: &[Value]) {
        let mut hasher = Context::new(&SHA256);
        for value in row {
            hasher.update(&canonical(value));
        }
        self.rows += 1;
        for (sum, part) in self.digest.iter_mut().zip(hasher.finish().as_ref().chunks_exact(8)) {
            *sum = sum.wrapping_add(part.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
        }
    }

    fn hex(&self) -> String {
        self.digest.iter().map(|part| format!("{part:016x}")).collect()
    }
}

/// Each kind of value with its length, so that no two rows look the same.
fn canonical(value: &Value) -> Vec<u8> {
    let with_length = |mark: u8, bytes: &[u8]| {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes();
        [&[mark], length.as_slice(), bytes].concat()
    };
    match value {
        Value::Bytes(None) | Value::Integer(None) | Value::Text(None) => vec![0],
        Value::Bytes(Some(bytes)) => with_length(1, bytes),
        Value::Flag(flag) => with_length(2, &[u8::from(*flag)]),
        Value::Integer(Some(number)) => with_length(3, &number.to_be_bytes()),
        Value::Text(Some(text)) => with_length(4, text.as_bytes()),
    }
}
