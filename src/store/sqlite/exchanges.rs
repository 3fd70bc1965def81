//! The request log on SQLite: waiting records share their statements.
//!
//! Searchable fields go in as one JSON parameter that `json_each` unfolds; bodies as blobs, many rows per statement in
//! a few fixed sizes, so that prepared statements are reused.

use std::sync::Arc;

use futures_util::{TryStreamExt, future::BoxFuture};
use serde_json::{Value, json};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{exchange_rows as rows, open::Database, value::get, writer::Command};
use crate::{
    domain::{ExchangeId, InvoiceNo, ServiceClass, TaxNo},
    store::{
        StoreError,
        exchanges::{Decision, ExchangeTable, Filter, Record, Side, State, StoredBody},
    },
};

/// Rows of bodies per statement, largest first.
const BODY_ROWS: [usize; 3] = [32, 8, 1];

/// The tables of the request log.
pub(super) struct Exchanges(pub(super) Database);

/// Records on their way to the writer.
struct Write(Arc<[Record]>);

impl Command for Write {
    const KIND: &'static str = "exchanges";
    type Answer = ();

    fn apply<'c>(
        batch: &'c mut [Self],
        connection: &'c mut SqliteConnection,
    ) -> BoxFuture<'c, Result<Vec<()>, StoreError>> {
        Box::pin(async move {
            let records: Vec<&Record> = batch.iter().flat_map(|Self(records)| records.iter()).collect();
            put(rows::SAVE, records.iter().map(|record| rows::values(record)).collect(), connection).await?;
            let pair = |record: &Record| {
                let id = record.id.number();
                record.invoice_nos.iter().map(move |number| json!([number, id])).collect::<Vec<_>>()
            };
            put(rows::SAVE_INVOICES, records.iter().flat_map(|record| pair(record)).collect(), connection)
                .await?;
            save_bodies(&records, connection).await?;
            Ok(vec![(); batch.len()])
        })
    }
}

async fn put(
    sql: &'static str,
    rows: Vec<Value>,
    connection: &mut SqliteConnection,
) -> Result<(), StoreError> {
    if !rows.is_empty() {
        sqlx::query(sql).bind(Value::Array(rows).to_string()).execute(connection).await?;
    }
    Ok(())
}

async fn save_bodies(records: &[&Record], connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let mut rest = records;
    while !rest.is_empty() {
        let size = BODY_ROWS.into_iter().find(|size| *size <= rest.len()).unwrap_or(1);
        let (now, later) = rest.split_at(size);
        rest = later;
        let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(
            "INSERT INTO exchange_body (id, request, request_truncated, response, response_truncated) ",
        );
        query.push_values(now, |mut row, record| {
            row.push_bind(record.id.number())
                .push_bind(record.request_body.to_vec())
                .push_bind(record.request_truncated)
                .push_bind(record.response_body.to_vec())
                .push_bind(record.response_truncated);
        });
        query.push(
            " ON CONFLICT (id) DO UPDATE SET request = excluded.request, request_truncated = excluded.request_truncated, \
             response = excluded.response, response_truncated = excluded.response_truncated",
        );
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

impl ExchangeTable for Exchanges {
    fn write(&self, records: Arc<[Record]>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.0.writer.submit(Write(records)))
    }

    fn interrupt_open(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.0.writer.write(|connection| {
            Box::pin(async move {
                let done = sqlx::query("UPDATE exchange SET state = 'interrupted' WHERE state = 'sending'")
                    .execute(connection)
                    .await?;
                Ok(done.rows_affected())
            })
        }))
    }

    fn search<'a>(
        &'a self,
        filter: &'a Filter,
        before: Option<ExchangeId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            let mut query = search(filter, before, limit);
            let mut found = query.build().fetch(&self.0.readers);
            let mut records = Vec::new();
            while let Some(row) = found.try_next().await.map_err(|error| self.0.explain(error))? {
                records.push(rows::record(&row)?);
            }
            Ok(records)
        })
    }

    fn by_id(&self, id: ExchangeId) -> BoxFuture<'_, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            let row = sqlx::query(rows::BY_ID).bind(id.number()).fetch_optional(&self.0.readers).await;
            row.map_err(|error| self.0.explain(error))?.as_ref().map(rows::record).transpose()
        })
    }

    fn body(&self, id: ExchangeId, side: Side) -> BoxFuture<'_, Result<Option<StoredBody>, StoreError>> {
        let sql = match side {
            Side::Request => {
                "SELECT request AS bytes, request_truncated AS truncated FROM exchange_body WHERE id = ?1"
            }
            Side::Response => {
                "SELECT response AS bytes, response_truncated AS truncated FROM exchange_body WHERE id = ?1"
            }
        };
        Box::pin(async move {
            let row = sqlx::query(sql).bind(id.number()).fetch_optional(&self.0.readers).await;
            let row = row.map_err(|error| self.0.explain(error))?;
            row.map(|row| {
                let bytes: Vec<u8> = get(&row, "bytes")?;
                Ok(StoredBody { bytes: bytes.into(), truncated: get(&row, "truncated")? })
            })
            .transpose()
        })
    }

    fn last_id(&self) -> BoxFuture<'_, Result<Option<ExchangeId>, StoreError>> {
        Box::pin(async {
            let id: Result<Option<i64>, _> =
                sqlx::query_scalar("SELECT max(id) FROM exchange").fetch_one(&self.0.readers).await;
            Ok(id.map_err(|error| self.0.explain(error))?.map(ExchangeId::from_number))
        })
    }
}

/// The query of a search: the conditions that are given, newest first.
fn search(filter: &Filter, before: Option<ExchangeId>, limit: usize) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new("SELECT ");
    query.push(rows::COLUMNS).push(" FROM exchange AS e");
    if filter.invoice_no.is_some() {
        query.push(" JOIN exchange_invoice AS i ON i.exchange = e.id");
    }
    let until = filter.until.map(ExchangeId::first_at);
    let below = before.into_iter().chain(until).map(ExchangeId::number).min().unwrap_or(i64::MAX);
    query.push(" WHERE e.id < ").push_bind(below);
    if let Some(from) = filter.from {
        query.push(" AND e.id >= ").push_bind(ExchangeId::first_at(from).number());
    }
    if let Some(id) = &filter.platform_id {
        query.push(" AND (e.access_id = ").push_bind(id.to_string());
        query.push(" OR e.using_id = ").push_bind(id.to_string()).push(")");
    }
    let texts = [
        ("i.invoice_no", filter.invoice_no.as_ref().map(InvoiceNo::to_string)),
        ("e.tax_no", filter.tax_no.as_ref().map(TaxNo::to_string)),
        ("e.service", filter.service.clone()),
        ("e.class", filter.class.map(|class| ServiceClass::as_str(class).to_owned())),
        ("e.error_code", filter.error_code.clone()),
        ("e.decision_code", filter.decision_code.clone()),
        ("e.client_tid", filter.client_tid.clone()),
        ("e.acceptance_no", filter.acceptance_no.clone()),
        ("e.serial", filter.serial.clone()),
        ("e.request_id", filter.request_id.clone()),
        ("e.state", filter.state.map(|state| State::as_str(state).to_owned())),
        ("e.decision", filter.decision.map(|decision| Decision::as_str(decision).to_owned())),
    ];
    for (column, text) in texts {
        if let Some(text) = text {
            query.push(" AND ").push(column).push(" = ").push_bind(text);
        }
    }
    query.push(" ORDER BY e.id DESC LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    query
}
