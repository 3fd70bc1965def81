//! Columns to values, of either engine: what a column holds must be what its type accepts.

use jiff::Timestamp;
use sqlx::{postgres::PgRow, sqlite::SqliteRow};

use crate::{domain::Invalid, store::StoreError};

/// Which column.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum At {
    Name(&'static str),
    Place(usize),
}

impl From<&'static str> for At {
    fn from(name: &'static str) -> Self {
        Self::Name(name)
    }
}

impl From<usize> for At {
    fn from(place: usize) -> Self {
        Self::Place(place)
    }
}

/// A row of either engine.
pub(in crate::store) trait Columns {
    /// A number.
    fn integer(&self, at: At) -> Result<Option<i64>, sqlx::Error>;
    /// A flag.
    fn boolean(&self, at: At) -> Result<Option<bool>, sqlx::Error>;
    /// A text.
    fn text(&self, at: At) -> Result<Option<&str>, sqlx::Error>;
    /// Bytes.
    fn bytes(&self, at: At) -> Result<Option<&[u8]>, sqlx::Error>;
}

macro_rules! columns {
    ($row:ty) => {
        impl Columns for $row {
            fn integer(&self, at: At) -> Result<Option<i64>, sqlx::Error> {
                columns!(self, at)
            }
            fn boolean(&self, at: At) -> Result<Option<bool>, sqlx::Error> {
                columns!(self, at)
            }
            fn text(&self, at: At) -> Result<Option<&str>, sqlx::Error> {
                columns!(self, at)
            }
            fn bytes(&self, at: At) -> Result<Option<&[u8]>, sqlx::Error> {
                columns!(self, at)
            }
        }
    };
    ($self:ident, $at:ident) => {
        match $at {
            At::Name(name) => sqlx::Row::try_get($self, name),
            At::Place(place) => sqlx::Row::try_get($self, place),
        }
    };
}

columns!(SqliteRow);
columns!(PgRow);

/// A type that a column is read as; `Option` of it for columns that may be NULL.
pub(in crate::store) trait Column<'r>: Sized {
    /// The column's value.
    fn read(row: &'r impl Columns, at: At) -> Result<Self, sqlx::Error>;
}

macro_rules! column {
    ($type:ty, $read:ident, $convert:expr) => {
        impl<'r> Column<'r> for Option<$type> {
            fn read(row: &'r impl Columns, at: At) -> Result<Self, sqlx::Error> {
                Ok(row.$read(at)?.map($convert))
            }
        }
        impl<'r> Column<'r> for $type {
            fn read(row: &'r impl Columns, at: At) -> Result<Self, sqlx::Error> {
                row.$read(at)?.map($convert).ok_or_else(|| sqlx::Error::Decode("it is NULL".into()))
            }
        }
    };
}

column!(i64, integer, std::convert::identity);
column!(bool, boolean, std::convert::identity);
column!(&'r str, text, std::convert::identity);
column!(String, text, str::to_owned);
column!(Vec<u8>, bytes, <[u8]>::to_vec);

/// The column of that name.
pub(in crate::store) fn get<'r, T: Column<'r>>(
    row: &'r impl Columns,
    column: &'static str,
) -> Result<T, StoreError> {
    T::read(row, column.into()).map_err(|error| StoreError::value(column, error))
}

/// The column at that place.
pub(in crate::store) fn at<'r, T: Column<'r>>(row: &'r impl Columns, place: usize) -> Result<T, sqlx::Error> {
    T::read(row, place.into())
}

/// The column through its type's own parser.
pub(in crate::store) fn parse<T>(
    row: &impl Columns,
    column: &'static str,
    parse: impl Fn(&str) -> Result<T, Invalid>,
) -> Result<T, StoreError> {
    parse(get(row, column)?).map_err(|error| StoreError::value(column, error))
}

/// The same for a column that may be NULL.
pub(in crate::store) fn parse_opt<T>(
    row: &impl Columns,
    column: &'static str,
    parse: impl Fn(&str) -> Result<T, Invalid>,
) -> Result<Option<T>, StoreError> {
    let text: Option<&str> = get(row, column)?;
    text.map(|text| parse(text).map_err(|error| StoreError::value(column, error))).transpose()
}

/// An instant, stored in microseconds since 1970.
pub(in crate::store) fn instant(row: &impl Columns, column: &'static str) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(get(row, column)?).map_err(|error| StoreError::value(column, error))
}

/// An instant that may be NULL.
pub(in crate::store) fn instant_opt(
    row: &impl Columns,
    column: &'static str,
) -> Result<Option<Timestamp>, StoreError> {
    let us: Option<i64> = get(row, column)?;
    us.map(|us| Timestamp::from_microsecond(us).map_err(|error| StoreError::value(column, error))).transpose()
}

/// A JSON column.
pub(in crate::store) fn json<T: serde::de::DeserializeOwned>(
    row: &impl Columns,
    column: &'static str,
) -> Result<T, StoreError> {
    serde_json::from_str(get(row, column)?).map_err(|error| StoreError::value(column, error))
}

/// Lists as the database takes and keeps them.
pub(in crate::store) fn json_text(list: &impl serde::Serialize) -> String {
    // lists of texts and numbers always are JSON
    serde_json::to_string(list).unwrap_or_else(|_| "[]".to_owned())
}

/// A size or duration that is never negative.
pub(in crate::store) fn unsigned(
    row: &impl Columns,
    column: &'static str,
) -> Result<Option<u64>, StoreError> {
    let number: Option<i64> = get(row, column)?;
    number.map(|number| u64::try_from(number).map_err(|error| StoreError::value(column, error))).transpose()
}
