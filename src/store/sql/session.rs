//! Statements that both engines understand, and a connection of either.
//!
//! Parameters are written `$1`, `$2`, …, which both drivers bind by their number.

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use sqlx::{
    AssertSqlSafe, PgConnection, SqlSafeStr, SqlStr, SqliteConnection, postgres::PgRow, sqlite::SqliteRow,
};

use crate::store::{
    StoreError, postgres, sqlite,
    value::{At, Columns},
};

/// A parameter of a statement.
#[derive(Clone, Debug)]
pub(in crate::store) enum Value {
    Bytes(Option<Vec<u8>>),
    Flag(bool),
    Integer(Option<i64>),
    Text(Option<String>),
}

macro_rules! value {
    ($type:ty, $kind:ident, $convert:expr) => {
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$kind(Some($convert(value)))
            }
        }
        impl From<Option<$type>> for Value {
            fn from(value: Option<$type>) -> Self {
                Self::$kind(value.map($convert))
            }
        }
    };
}

value!(i64, Integer, std::convert::identity);
value!(Timestamp, Integer, Timestamp::as_microsecond);
value!(&str, Text, str::to_owned);
value!(String, Text, std::convert::identity);
value!(Vec<u8>, Bytes, std::convert::identity);

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

/// How SQLite takes many rows in one parameter; bytes have no place there.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bytes(_) => to.serialize_unit(),
            Self::Flag(flag) => to.serialize_i64(i64::from(*flag)),
            Self::Integer(number) => number.serialize(to),
            Self::Text(text) => text.serialize(to),
        }
    }
}

/// A statement with its parameters.
#[derive(Clone, Debug)]
pub(in crate::store) struct Statement {
    sql: SqlStr,
    values: Vec<Value>,
    /// Whether it is kept prepared; a text that varies would push out statements that come again.
    kept: bool,
}

impl Statement {
    /// A statement without parameters yet.
    pub(in crate::store) fn new(sql: &'static str) -> Self {
        Self { sql: sql.into_sql_str(), values: Vec::new(), kept: true }
    }

    /// Its text.
    #[cfg(test)]
    pub(in crate::store) fn sql(&self) -> &str {
        self.sql.as_str()
    }

    /// Gives the next parameter its value.
    pub(in crate::store) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }
}

/// What the engines spell differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Dialect {
    Postgres,
    Sqlite,
}

impl Dialect {
    /// The functions that give the smaller and the larger of two numbers.
    pub(in crate::store) const fn least_and_greatest(self) -> (&'static str, &'static str) {
        match self {
            Self::Postgres => ("least", "greatest"),
            Self::Sqlite => ("min", "max"),
        }
    }

    /// A column of `exchange AS e` without regard to the case of its letters; on SQLite the column is declared so.
    pub(in crate::store) fn folded(self, column: &str) -> String {
        match self {
            Self::Postgres => format!("lower(e.{column})"),
            Self::Sqlite => format!("e.{column}"),
        }
    }

    /// Says that a table is to be read through this index, where the engine would not find out by itself.
    pub(in crate::store) fn through_index(self, index: &str) -> String {
        match self {
            Self::Postgres => String::new(),
            Self::Sqlite => format!(" INDEXED BY {index}"),
        }
    }

    /// From the buckets to their keys, in this order: <https://www.sqlite.org/optoverview.html>. The range of ids
    /// lets PostgreSQL leave out partitions.
    pub(in crate::store) const fn key_join(self) -> &'static str {
        match self {
            Self::Postgres => {
                "FROM bucket JOIN exchange_key AS k ON k.bucket = bucket.b AND k.exchange >= bucket.b << 44 \
                 AND k.exchange < (bucket.b + 1) << 44 AND "
            }
            Self::Sqlite => "FROM bucket CROSS JOIN exchange_key AS k ON k.bucket = bucket.b AND ",
        }
    }

    /// From the keys to their exchanges.
    pub(in crate::store) const fn exchange_join(self) -> &'static str {
        match self {
            Self::Postgres => " JOIN exchange AS e ON e.id = k.exchange",
            Self::Sqlite => " CROSS JOIN exchange AS e ON e.id = k.exchange",
        }
    }
}

/// A statement whose text depends on what is asked. Only texts of the program go into it; values are bound.
pub(in crate::store) struct Query {
    dialect: Dialect,
    sql: String,
    values: Vec<Value>,
}

impl Query {
    /// An empty one.
    pub(in crate::store) const fn new(dialect: Dialect) -> Self {
        Self { dialect, sql: String::new(), values: Vec::new() }
    }

    /// Whose SQL it is.
    pub(in crate::store) const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Adds SQL.
    pub(in crate::store) fn push(&mut self, sql: &str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    /// Adds a parameter.
    pub(in crate::store) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self.sql.push_str(&format!("${}", self.values.len()));
        self
    }

    /// The statement.
    pub(in crate::store) fn finish(self) -> Statement {
        Statement { sql: AssertSqlSafe(self.sql).into_sql_str(), values: self.values, kept: false }
    }
}

/// The driver's query with all parameters bound.
macro_rules! query {
    ($statement:expr) => {{
        let Statement { sql, values, kept } = $statement;
        values.into_iter().fold(sqlx::query(sql).persistent(kept), |query, value| match value {
            Value::Bytes(bytes) => query.bind(bytes),
            Value::Flag(flag) => query.bind(flag),
            Value::Integer(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
        })
    }};
}

/// A row of either engine.
pub(in crate::store) enum Row {
    Postgres(PgRow),
    Sqlite(SqliteRow),
}

macro_rules! of_either {
    ($self:ident, $row:ident => $read:expr) => {
        match $self {
            Self::Postgres($row) => $read,
            Self::Sqlite($row) => $read,
        }
    };
}

impl Columns for Row {
    fn integer(&self, at: At) -> Result<Option<i64>, sqlx::Error> {
        of_either!(self, row => row.integer(at))
    }

    fn boolean(&self, at: At) -> Result<Option<bool>, sqlx::Error> {
        of_either!(self, row => row.boolean(at))
    }

    fn text(&self, at: At) -> Result<Option<&str>, sqlx::Error> {
        of_either!(self, row => row.text(at))
    }

    fn bytes(&self, at: At) -> Result<Option<&[u8]>, sqlx::Error> {
        of_either!(self, row => row.bytes(at))
    }
}

/// The connection of a transaction, of either engine.
pub(in crate::store) enum Session<'c> {
    Postgres(&'c mut PgConnection),
    Sqlite(&'c mut SqliteConnection),
}

impl Session<'_> {
    /// Carries out a statement and gives the number of rows that it changed.
    pub(in crate::store) async fn execute(&mut self, statement: Statement) -> Result<u64, StoreError> {
        Ok(match self {
            Self::Postgres(c) => query!(statement).execute(&mut **c).await?.rows_affected(),
            Self::Sqlite(c) => query!(statement).execute(&mut **c).await?.rows_affected(),
        })
    }

    /// The one row of a query, if there is one.
    pub(in crate::store) async fn row(&mut self, statement: Statement) -> Result<Option<Row>, StoreError> {
        Ok(match self {
            Self::Postgres(c) => query!(statement).fetch_optional(&mut **c).await?.map(Row::Postgres),
            Self::Sqlite(c) => query!(statement).fetch_optional(&mut **c).await?.map(Row::Sqlite),
        })
    }
}

/// The database of either engine, as tables see it that are written rarely.
#[derive(Clone, Debug)]
pub(in crate::store) enum Tables {
    Postgres(Box<postgres::Database>),
    Sqlite(Box<sqlite::Database>),
}

impl Tables {
    /// Whose SQL it speaks.
    pub(in crate::store) const fn dialect(&self) -> Dialect {
        match self {
            Self::Postgres(_) => Dialect::Postgres,
            Self::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// Runs the closure in a savepoint of its own and waits for the commit. It may be called again when the
    /// transaction around it failed.
    ///
    /// # Errors
    /// The closure's error, after which nothing of it is kept, or the commit's.
    pub(in crate::store) async fn write<T, F>(&self, mut work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnMut(Session<'c>) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        match self {
            Self::Postgres(database) => database.writer.write(move |c| work(Session::Postgres(c))).await,
            Self::Sqlite(database) => database.writer.write(move |c| work(Session::Sqlite(c))).await,
        }
    }

    /// All rows of a query.
    pub(in crate::store) async fn rows(&self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        Ok(match self {
            Self::Postgres(database) => {
                let rows = query!(statement).fetch_all(&database.readers).await;
                rows.map_err(|e| database.explain(e))?.into_iter().map(Row::Postgres).collect()
            }
            Self::Sqlite(database) => {
                let rows = query!(statement).fetch_all(&database.readers).await;
                rows.map_err(|e| database.explain(e))?.into_iter().map(Row::Sqlite).collect()
            }
        })
    }

    /// The one row of a query, if there is one.
    pub(in crate::store) async fn row(&self, statement: Statement) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(statement).await?.into_iter().next())
    }
}
