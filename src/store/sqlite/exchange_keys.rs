//! What exchanges are found by besides their columns.
//!
//! Numbers of invoices and serials are random. An index sorted by them would be written all over, and each insert
//! would cost more the longer the log is; sorted by time first, only the newest part is written. A search pays for it
//! with one step into the tree for each bucket of its time range: about 3,800 a year.

use std::sync::LazyLock;

use sqlx::SqliteConnection;

use super::exchange_rows::many;
use crate::store::{
    StoreError,
    exchanges::Record,
    sql::exchange_keys::{BUCKET_SHIFT, Kind, keys},
};

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
