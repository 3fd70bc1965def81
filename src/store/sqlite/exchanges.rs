//! The request log on SQLite: waiting records share their statements, many rows each.

use std::sync::{Arc, LazyLock};

use futures_util::{TryStreamExt, future::BoxFuture};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    exchange_keys as keys, exchange_purge::purge, exchange_rows as rows, exchange_search::search,
    open::Database, value::get, writer::Command,
};
use crate::{
    domain::ExchangeId,
    store::{
        StoreError,
        exchanges::{ExchangeTable, Filter, Purged, Record, Side, StoredBody},
    },
};

static SAVE_REQUESTS: LazyLock<[String; 3]> = LazyLock::new(|| save_bodies_sql("exchange_request"));
static SAVE_RESPONSES: LazyLock<[String; 3]> = LazyLock::new(|| save_bodies_sql("exchange_response"));

fn save_bodies_sql(table: &str) -> [String; 3] {
    rows::SIZES.map(|size| {
        let values = rows::many(2, size);
        format!("INSERT INTO {table} (id, body) VALUES {values} ON CONFLICT (id) DO UPDATE SET body = excluded.body")
    })
}

/// Bytes of bodies in one statement: the driver copies all that is bound, and many large bodies may end at once.
const STATEMENT_BYTES: usize = 4 << 20;

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
            save(&records, connection).await?;
            keys::save(&records, connection).await?;
            let requests = records.iter().filter(|r| !r.intent_committed).map(|r| (r.id, &r.request_body));
            save_bodies(&SAVE_REQUESTS, requests, connection).await?;
            let responses = records.iter().map(|r| (r.id, &r.response_body));
            save_bodies(&SAVE_RESPONSES, responses, connection).await?;
            Ok(vec![(); batch.len()])
        })
    }
}

async fn save(records: &[&Record], connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let mut rest = records;
    while !rest.is_empty() {
        let (place, size) = rows::next_size(rest.len());
        let (now, later) = rest.split_at(size);
        rest = later;
        let query =
            now.iter().fold(sqlx::query(rows::SAVE[place].as_str()), |q, record| rows::bind(q, record));
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn save_bodies<'r>(
    sql: &'static [String; 3],
    bodies: impl Iterator<Item = (ExchangeId, &'r bytes::Bytes)>,
    connection: &mut SqliteConnection,
) -> Result<(), StoreError> {
    let bodies: Vec<_> = bodies.filter(|(_, body)| !body.is_empty()).collect();
    let mut rest = bodies.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let light = rest.iter().take(rows::SIZES[0]).take_while(|(_, body)| {
            bytes += body.len();
            bytes <= STATEMENT_BYTES
        });
        let (place, size) = rows::next_size(light.count().max(1));
        let (now, later) = rest.split_at(size);
        rest = later;
        let mut query = sqlx::query(sql[place].as_str());
        for (id, body) in now {
            query = query.bind(id.number()).bind(body.to_vec());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

impl ExchangeTable for Exchanges {
    fn write(&self, records: Arc<[Record]>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.0.writer.submit(Write(records)))
    }

    fn interrupt_open(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        // the second condition lets the partial index be used
        const SQL: &str =
            "UPDATE exchange SET state = 'interrupted' WHERE state = 'sending' AND state <> 'complete'";
        Box::pin(self.0.writer.write(|connection| {
            Box::pin(async move { Ok(sqlx::query(SQL).execute(connection).await?.rows_affected()) })
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
            // the text varies, so keeping it prepared would push out statements that come again
            let mut found = query.build().persistent(false).fetch(&self.0.readers);
            let mut records = Vec::new();
            while let Some(row) = found.try_next().await.map_err(|error| self.0.explain(error))? {
                records.push(rows::record(&row)?);
            }
            Ok(records)
        })
    }

    fn by_id(&self, id: ExchangeId) -> BoxFuture<'_, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            let row = self.row("SELECT * FROM exchange WHERE id = ?1", id).await?;
            row.as_ref().map(rows::record).transpose()
        })
    }

    fn body(&self, id: ExchangeId, side: Side) -> BoxFuture<'_, Result<Option<StoredBody>, StoreError>> {
        let sql = match side {
            Side::Request => {
                "SELECT e.request_truncated AS truncated, b.body FROM exchange AS e \
                 LEFT JOIN exchange_request AS b ON b.id = e.id WHERE e.id = ?1"
            }
            Side::Response => {
                "SELECT e.response_truncated AS truncated, b.body FROM exchange AS e \
                 LEFT JOIN exchange_response AS b ON b.id = e.id WHERE e.id = ?1"
            }
        };
        Box::pin(async move {
            let Some(row) = self.row(sql, id).await? else { return Ok(None) };
            let bytes: Option<Vec<u8>> = get(&row, "body")?;
            let bytes = bytes.unwrap_or_default().into();
            Ok(Some(StoredBody { bytes, truncated: get(&row, "truncated")? }))
        })
    }

    fn purge(&self, before: ExchangeId, limit: usize) -> BoxFuture<'_, Result<Purged, StoreError>> {
        Box::pin(
            self.0
                .writer
                .write(move |connection| Box::pin(async move { purge(connection, before, limit).await })),
        )
    }

    fn last_id(&self) -> BoxFuture<'_, Result<Option<ExchangeId>, StoreError>> {
        Box::pin(async {
            let id: Result<Option<i64>, _> =
                sqlx::query_scalar("SELECT max(id) FROM exchange").fetch_one(&self.0.readers).await;
            Ok(id.map_err(|error| self.0.explain(error))?.map(ExchangeId::from_number))
        })
    }
}

impl Exchanges {
    async fn row(&self, sql: &'static str, id: ExchangeId) -> Result<Option<SqliteRow>, StoreError> {
        let row = sqlx::query(sql).bind(id.number()).fetch_optional(&self.0.readers).await;
        row.map_err(|error| self.0.explain(error))
    }
}
