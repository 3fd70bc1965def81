//! The request log on SQLite: waiting records share their statements, many rows each.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::SqliteConnection;

use super::{
    exchange_keys as keys, exchange_rows as rows,
    open::{Database, File},
};
use crate::store::{StoreError, exchanges::Record, writer::Command};

/// Bytes of bodies in one statement: the driver copies all that is bound, and many large bodies may end at once.
const STATEMENT_BYTES: usize = 4 << 20;

impl Database {
    /// Writes records of the request log.
    pub(in crate::store) async fn record(&self, records: Arc<[Record]>) -> Result<(), StoreError> {
        self.writer.submit(Write(records)).await
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
            Ok(vec![(); batch.len()])
        })
    }
}

/// Writes records with their keys and bodies, so many at a time as one statement may carry.
pub(super) async fn save(records: &[&Record], connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let mut rest = records;
    while !rest.is_empty() {
        let mut bytes = 0;
        let light = rest.iter().take(rows::ROWS).take_while(|record| {
            bytes += record.request_body.len() + record.response_body.len();
            bytes <= STATEMENT_BYTES
        });
        let (now, later) = rest.split_at(light.count().max(1));
        rest = later;
        let query = now.iter().fold(sqlx::query(rows::SAVE.of(now.len())), |q, record| rows::bind(q, record));
        let query = now.iter().fold(query, |query, record| {
            // the intent brought it
            let body = (!record.intent_committed).then_some(&record.request_body);
            rows::bind_body(query, record.id, body)
        });
        let query = now.iter().fold(query, |q, r| rows::bind_body(q, r.id, Some(&r.response_body)));
        query.bind(keys::json(now)).execute(&mut *connection).await?;
    }
    Ok(())
}
