//! What exchanges are found by besides their columns.
//!
//! Numbers of invoices and serials are random. An index sorted by them would be written all over, and each insert
//! would cost more the longer the log is; sorted by time first, only the newest part is written. A search pays for it
//! with one step into the tree for each bucket of its time range: about 3,800 a year.

use crate::store::{
    exchanges::Record,
    sql::exchange_keys::{BUCKET_SHIFT, keys},
    value::json_text,
};

/// Adds keys, given as [`json()`] in one parameter: each record has another number of them.
pub(super) const SAVE: &str = "
INSERT INTO exchange_key (bucket, kind, value, exchange)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?) WHERE true
ON CONFLICT DO NOTHING";

/// The keys of the records; those that a committed intent brought are left out.
pub(super) fn json(records: &[&Record]) -> String {
    let keys = records.iter().flat_map(|record| keys(record));
    let rows: Vec<_> = keys.map(|(id, kind, value)| (id >> BUCKET_SHIFT, kind as i64, value, id)).collect();
    json_text(&rows)
}
