//! The request log: queries for both engines; records go to the engine's writer.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{
    exchange_purge::delete,
    exchange_rows::record,
    exchange_search::search,
    session::{Statement, Tables},
};
use crate::{
    domain::ExchangeId,
    store::{
        StoreError,
        exchanges::{ExchangeTable, Filter, Purged, Record, Side, StoredBody},
        value::get,
    },
};

/// The tables of the request log.
pub(in crate::store) struct Exchanges(pub(in crate::store) Tables);

impl ExchangeTable for Exchanges {
    fn write(&self, records: Arc<[Record]>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            match &self.0 {
                Tables::Postgres(database) => database.record(records).await,
                Tables::Sqlite(database) => database.record(records).await,
            }
        })
    }

    fn interrupt_open(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            match &self.0 {
                Tables::Postgres(database) => database.interrupt_open().await,
                Tables::Sqlite(database) => database.interrupt_open().await,
            }
        })
    }

    fn interrupt_gone(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            match &self.0 {
                Tables::Postgres(database) => database.interrupt_gone().await,
                // there is one gateway
                Tables::Sqlite(_) => Ok(0),
            }
        })
    }

    fn search<'a>(
        &'a self,
        filter: &'a Filter,
        before: Option<ExchangeId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            let statement = search(self.0.dialect(), filter, before, limit);
            self.0.rows(statement).await?.iter().map(record).collect()
        })
    }

    fn by_id(&self, id: ExchangeId) -> BoxFuture<'_, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            let statement = Statement::new("SELECT * FROM exchange WHERE id = $1").bind(id.number());
            self.0.row(statement).await?.as_ref().map(record).transpose()
        })
    }

    fn body(&self, id: ExchangeId, side: Side) -> BoxFuture<'_, Result<Option<StoredBody>, StoreError>> {
        let sql = match side {
            Side::Request => {
                "SELECT e.request_truncated AS truncated, b.body FROM exchange AS e \
                 LEFT JOIN exchange_request AS b ON b.id = e.id WHERE e.id = $1"
            }
            Side::Response => {
                "SELECT e.response_truncated AS truncated, b.body FROM exchange AS e \
                 LEFT JOIN exchange_response AS b ON b.id = e.id WHERE e.id = $1"
            }
        };
        Box::pin(async move {
            let Some(row) = self.0.row(Statement::new(sql).bind(id.number())).await? else { return Ok(None) };
            let bytes: Option<Vec<u8>> = get(&row, "body")?;
            let bytes = bytes.unwrap_or_default().into();
            Ok(Some(StoredBody { bytes, truncated: get(&row, "truncated")? }))
        })
    }

    fn purge(&self, before: ExchangeId, limit: usize) -> BoxFuture<'_, Result<Purged, StoreError>> {
        Box::pin(async move {
            match &self.0 {
                Tables::Postgres(database) => database.purge(before, limit).await,
                // months are not kept apart
                tables @ Tables::Sqlite(_) => {
                    tables
                        .write(move |mut session| {
                            Box::pin(async move { delete(&mut session, before, limit).await })
                        })
                        .await
                }
            }
        })
    }

    fn last_id(&self) -> BoxFuture<'_, Result<Option<ExchangeId>, StoreError>> {
        Box::pin(async {
            let row = self.0.row(Statement::new("SELECT max(id) AS id FROM exchange")).await?;
            let id: Option<i64> = row.as_ref().map(|row| get(row, "id")).transpose()?.flatten();
            Ok(id.map(ExchangeId::from_number))
        })
    }
}
