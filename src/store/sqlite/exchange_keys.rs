//! What exchanges are found by besides their columns.
//!
//! Numbers of invoices and serials are random. An index sorted by them would be written all over, and each insert
//! would cost more the longer the log is; sorted by time first, only the newest part is written. A search pays for it
//! with one step into the tree for each bucket of its time range: about 3,800 a year.

use std::sync::LazyLock;

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::exchange_rows::many;
use crate::store::{
    StoreError,
    exchanges::{Filter, Record},
};

/// How far an id is shifted to give its bucket: 21 bits below the millisecond, and 2^23 ms.
pub(super) const BUCKET_SHIFT: u32 = 44;

/// Keys per statement, largest first.
const SIZES: [usize; 4] = [256, 64, 8, 1];

static SAVE: LazyLock<[String; 4]> = LazyLock::new(|| {
    SIZES.map(|rows| {
        format!(
            "INSERT INTO exchange_key (bucket, kind, value, exchange) VALUES {} ON CONFLICT DO NOTHING",
            many(4, rows)
        )
    })
});

/// What a value is; stored as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Invoice = 1,
    ClientTid = 2,
    AcceptanceNo = 3,
    Serial = 4,
    RequestId = 5,
}

/// Adds the keys of the records; those that a committed intent brought are left out.
pub(super) async fn save(records: &[&Record], connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let keys: Vec<(i64, Kind, &str)> = records.iter().flat_map(|record| keys(record)).collect();
    let mut rest = keys.as_slice();
    while !rest.is_empty() {
        let place = SIZES.iter().position(|size| *size <= rest.len()).unwrap_or(SIZES.len() - 1);
        let (now, later) = rest.split_at(SIZES[place]);
        rest = later;
        let mut query = sqlx::query(SAVE[place].as_str());
        for (id, kind, value) in now {
            query = query.bind(id >> BUCKET_SHIFT).bind(*kind as i64).bind(*value).bind(*id);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

fn keys(record: &Record) -> impl Iterator<Item = (i64, Kind, &str)> {
    let id = record.id.number();
    let invoices = record.invoice_nos.iter().map(|number| (Kind::Invoice, number.as_str()));
    let request = [(Kind::ClientTid, record.client_tid.as_deref()), (Kind::Serial, record.serial.as_deref())];
    let answer = [
        (Kind::AcceptanceNo, record.acceptance_no.as_deref()),
        (Kind::RequestId, record.request_id.as_deref()),
    ];
    let begun = invoices.chain(request.into_iter().filter_map(|(kind, value)| Some((kind, value?))));
    begun
        .filter(|_| !record.intent_committed)
        .chain(answer.into_iter().filter_map(|(kind, value)| Some((kind, value?))))
        .filter(|(_, value)| !value.is_empty())
        .map(move |(kind, value)| (id, kind, value))
}

/// The key that narrows the search most, if one is given.
fn sought(filter: &Filter) -> Option<(Kind, &str)> {
    let keys = [
        (Kind::Invoice, filter.invoice_no.as_ref().map(crate::domain::InvoiceNo::as_str)),
        (Kind::RequestId, filter.request_id.as_deref()),
        (Kind::AcceptanceNo, filter.acceptance_no.as_deref()),
        (Kind::Serial, filter.serial.as_deref()),
        (Kind::ClientTid, filter.client_tid.as_deref()),
    ];
    keys.into_iter().find_map(|(kind, value)| Some((kind, value?)))
}

/// Begins a search by key: ids from `from` up to below `below`. `None` when no key is given.
pub(super) fn search(filter: &Filter, from: i64, below: i64, columns: &str) -> Option<QueryBuilder<Sqlite>> {
    let (kind, value) = sought(filter)?;
    let mut query = QueryBuilder::new("WITH RECURSIVE bucket (b) AS (SELECT min(");
    query.push_bind(below);
    query.push(format_args!(", (SELECT max(id) FROM exchange)) >> {BUCKET_SHIFT} UNION ALL "));
    query.push("SELECT b - 1 FROM bucket WHERE b > max(").push_bind(from);
    query.push(format_args!(", (SELECT min(id) FROM exchange)) >> {BUCKET_SHIFT}) SELECT {columns} "));
    // CROSS JOIN keeps this order (sqlite.org/optoverview.html)
    query.push("FROM bucket CROSS JOIN exchange_key AS k ON k.bucket = bucket.b AND k.kind = ");
    query.push_bind(kind as i64).push(" AND k.value = ").push_bind(value.to_owned());
    query.push(" CROSS JOIN exchange AS e ON e.id = k.exchange");
    Some(query)
}
