//! The request log on SQLite: waiting records share their statements, many rows each.

use std::sync::{Arc, LazyLock};

use futures_util::future::BoxFuture;
use sqlx::SqliteConnection;

use super::{
    exchange_keys as keys,
    exchange_purge::purge,
    exchange_rows as rows,
    open::{Database, File},
};
use crate::{
    domain::ExchangeId,
    store::{
        StoreError,
        exchanges::{Purged, Record},
        writer::Command,
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

impl Database {
    /// Writes records of the request log.
    pub(in crate::store) async fn record(&self, records: Arc<[Record]>) -> Result<(), StoreError> {
        self.writer.submit(Write(records)).await
    }

    /// Deletes the oldest exchanges.
    pub(in crate::store) async fn purge(
        &self,
        before: ExchangeId,
        limit: usize,
    ) -> Result<Purged, StoreError> {
        self.writer
            .write(move |connection| Box::pin(async move { purge(connection, before, limit).await }))
            .await
    }

    /// Marks every exchange whose outcome is open: there is one gateway, which has just started.
    pub(in crate::store) async fn interrupt_open(&self) -> Result<u64, StoreError> {
        // the second condition lets the partial index be used
        const SQL: &str =
            "UPDATE exchange SET state = 'interrupted' WHERE state = 'sending' AND state <> 'complete'";
        self.writer
            .write(|connection| {
                Box::pin(async move { Ok(sqlx::query(SQL).execute(connection).await?.rows_affected()) })
            })
            .await
    }
}

/// Records on their way to the writer.
struct Write(Arc<[Record]>);

impl Command<File> for Write {
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
