//! Columns to values: what a column holds must be what its type accepts.

use jiff::Timestamp;
use sqlx::{Decode, Row, Sqlite, Type, sqlite::SqliteRow};

use crate::{domain::Invalid, store::StoreError};

/// The column of that name.
pub(super) fn get<'r, T>(row: &'r SqliteRow, column: &'static str) -> Result<T, StoreError>
where
    T: Decode<'r, Sqlite> + Type<Sqlite>,
{
    row.try_get(column).map_err(|error| StoreError::value(column, error))
}

/// The column through its type's own parser.
pub(super) fn parse<T>(
    row: &SqliteRow,
    column: &'static str,
    parse: impl Fn(&str) -> Result<T, Invalid>,
) -> Result<T, StoreError> {
    parse(get(row, column)?).map_err(|error| StoreError::value(column, error))
}

/// The same for a column that may be NULL.
pub(super) fn parse_opt<T>(
    row: &SqliteRow,
    column: &'static str,
    parse: impl Fn(&str) -> Result<T, Invalid>,
) -> Result<Option<T>, StoreError> {
    let text: Option<&str> = get(row, column)?;
    text.map(|text| parse(text).map_err(|error| StoreError::value(column, error))).transpose()
}

/// An instant, stored in microseconds since 1970.
pub(super) fn instant(row: &SqliteRow, column: &'static str) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(get(row, column)?).map_err(|error| StoreError::value(column, error))
}

/// An instant that may be NULL.
pub(super) fn instant_opt(row: &SqliteRow, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
    let us: Option<i64> = get(row, column)?;
    us.map(|us| Timestamp::from_microsecond(us).map_err(|error| StoreError::value(column, error))).transpose()
}

/// A JSON column.
pub(super) fn json<T: serde::de::DeserializeOwned>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<T, StoreError> {
    serde_json::from_str(get(row, column)?).map_err(|error| StoreError::value(column, error))
}

/// A size or duration that is never negative.
pub(super) fn unsigned(row: &SqliteRow, column: &'static str) -> Result<Option<u64>, StoreError> {
    let number: Option<i64> = get(row, column)?;
    number.map(|number| u64::try_from(number).map_err(|error| StoreError::value(column, error))).transpose()
}
