//! Many rows in one statement: each column goes over as an array, which `unnest` makes rows of again.

use sqlx::{AssertSqlSafe, PgConnection, SqlSafeStr, SqlStr};

use crate::store::{StoreError, sql::session::Value};

/// The type of a column.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Bytes,
    Flag,
    Integer,
    Text,
}

impl Kind {
    const fn array(self) -> &'static str {
        match self {
            Self::Bytes => "bytea[]",
            Self::Flag => "boolean[]",
            Self::Integer => "bigint[]",
            Self::Text => "text[]",
        }
    }
}

/// A statement that inserts any number of rows.
pub(super) struct Insert {
    sql: SqlStr,
    kinds: Vec<Kind>,
}

impl Insert {
    /// Inserts into the columns of the table; `conflict` is what follows, such as `ON CONFLICT DO NOTHING`.
    pub(super) fn new(table: &str, columns: &[(&str, Kind)], conflict: &str) -> Self {
        let names: Vec<String> = columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let kinds: Vec<Kind> = columns.iter().map(|(_, kind)| *kind).collect();
        let arrays: Vec<String> =
            kinds.iter().zip(1..).map(|(kind, place)| format!("${place}::{}", kind.array())).collect();
        let sql = format!(
            "INSERT INTO {table} ({}) SELECT * FROM unnest({}) {conflict}",
            names.join(", "),
            arrays.join(", ")
        );
        Self { sql: AssertSqlSafe(sql).into_sql_str(), kinds }
    }

    /// Inserts the rows, whose values stand in the order of the columns, and gives how many were written.
    pub(super) async fn execute(
        &self,
        rows: impl Iterator<Item = Vec<Value>>,
        connection: &mut PgConnection,
    ) -> Result<usize, StoreError> {
        let mut columns: Vec<Array> = self.kinds.iter().map(|kind| Array::new(*kind)).collect();
        let mut count = 0;
        for row in rows {
            count += 1;
            for (column, value) in columns.iter_mut().zip(row) {
                column.push(value);
            }
        }
        if count == 0 {
            return Ok(0);
        }
        let query = columns.into_iter().fold(sqlx::query(self.sql.clone()), |query, column| match column {
            Array::Bytes(values) => query.bind(values),
            Array::Flag(values) => query.bind(values),
            Array::Integer(values) => query.bind(values),
            Array::Text(values) => query.bind(values),
        });
        let written = query.execute(connection).await?.rows_affected();
        Ok(usize::try_from(written).unwrap_or(usize::MAX))
    }
}

/// The values of one column.
enum Array {
    Bytes(Vec<Option<Vec<u8>>>),
    Flag(Vec<Option<bool>>),
    Integer(Vec<Option<i64>>),
    Text(Vec<Option<String>>),
}

impl Array {
    const fn new(kind: Kind) -> Self {
        match kind {
            Kind::Bytes => Self::Bytes(Vec::new()),
            Kind::Flag => Self::Flag(Vec::new()),
            Kind::Integer => Self::Integer(Vec::new()),
            Kind::Text => Self::Text(Vec::new()),
        }
    }

    /// A value of another type cannot come here but by a bug; it goes in as NULL, which the table refuses.
    fn push(&mut self, value: Value) {
        match (self, value) {
            (Self::Bytes(values), Value::Bytes(value)) => values.push(value),
            (Self::Flag(values), Value::Flag(value)) => values.push(Some(value)),
            (Self::Integer(values), Value::Integer(value)) => values.push(value),
            (Self::Text(values), Value::Text(value)) => values.push(value),
            (Self::Bytes(values), _) => values.push(None),
            (Self::Flag(values), _) => values.push(None),
            (Self::Integer(values), _) => values.push(None),
            (Self::Text(values), _) => values.push(None),
        }
    }
}
