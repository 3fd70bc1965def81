//! The request log on PostgreSQL: waiting records share their statements, many rows each.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use sqlx::PgConnection;

use super::{
    bulk::{
        Insert,
        Kind::{self, Bytes as Blob, Flag, Integer, Text},
    },
    node,
    open::Database,
    partitions,
    server::Server,
};
use crate::{
    domain::{ExchangeId, TaxNo},
    store::{
        StoreError,
        exchanges::Record,
        sql::{
            exchange_keys::{BUCKET_SHIFT, keys},
            exchange_rows::{BEGUN, ENDED, signed},
            session::Value,
        },
        value::json_text,
        writer::Command,
    },
};

/// How soon it is tried again to mark calls of gateways that are gone when the server is away.
const AGAIN: Duration = Duration::from_secs(1);

static SAVE: LazyLock<Insert> = LazyLock::new(|| {
    let columns: Vec<(&str, Kind)> =
        BEGUN.into_iter().chain(ENDED).map(|column| (column, kind_of(column))).collect();
    let set = ENDED.map(|column| format!("{column} = excluded.{column}")).join(", ");
    Insert::new("exchange", &columns, &format!("ON CONFLICT (id) DO UPDATE SET {set}"))
});

static SAVE_KEYS: LazyLock<Insert> = LazyLock::new(|| {
    let columns = [("bucket", Integer), ("kind", Integer), ("value", Text), ("exchange", Integer)];
    Insert::new("exchange_key", &columns, "ON CONFLICT DO NOTHING")
});

static SAVE_REQUESTS: LazyLock<Insert> = LazyLock::new(|| save_bodies("exchange_request"));
static SAVE_RESPONSES: LazyLock<Insert> = LazyLock::new(|| save_bodies("exchange_response"));

fn save_bodies(table: &str) -> Insert {
    let columns = [("id", Integer), ("body", Blob)];
    Insert::new(table, &columns, "ON CONFLICT (id) DO UPDATE SET body = excluded.body")
}

/// The type of a column of `exchange`.
pub(super) fn kind_of(column: &str) -> Kind {
    match column {
        "request_truncated" | "response_truncated" => Flag,
        "request_sha256" | "response_sha256" => Blob,
        "id" | "started_at" | "finished_at" | "request_size" | "response_size" | "status" | "upstream_us"
        | "gateway_us" => Integer,
        _ => Text,
    }
}

/// Records on their way to the writer.
struct Write(Arc<[Record]>);

impl Command<Server> for Write {
    const KIND: &'static str = "exchanges";
    type Answer = ();

    fn apply<'c>(
        batch: &'c mut [Self],
        connection: &'c mut PgConnection,
    ) -> BoxFuture<'c, Result<Vec<()>, StoreError>> {
        Box::pin(async move {
            save(batch.iter().flat_map(|Self(records)| records.iter()), connection).await?;
            Ok(vec![(); batch.len()])
        })
    }
}

/// Writes records with their keys and bodies.
pub(super) async fn save<'r>(
    records: impl Iterator<Item = &'r Record>,
    connection: &mut PgConnection,
) -> Result<(), StoreError> {
    let records = latest(records);
    if records.is_empty() {
        return Ok(());
    }
    SAVE.execute(records.iter().map(|record| row(record)), connection).await?;
    let keys = records.iter().flat_map(|record| keys(record)).map(|(id, kind, value)| {
        vec![(id >> BUCKET_SHIFT).into(), (kind as i64).into(), value.into(), id.into()]
    });
    SAVE_KEYS.execute(keys, connection).await?;
    let requests = records.iter().filter(|r| !r.intent_committed).map(|r| (r.id, &r.request_body));
    SAVE_REQUESTS.execute(bodies(requests), connection).await?;
    let responses = records.iter().map(|r| (r.id, &r.response_body));
    SAVE_RESPONSES.execute(bodies(responses), connection).await?;
    Ok(())
}

/// One statement cannot write a row twice, so of several records of an exchange the last one counts.
fn latest<'r>(records: impl Iterator<Item = &'r Record>) -> Vec<&'r Record> {
    let mut records: Vec<&Record> = records.collect();
    records.sort_by_key(|record| record.id);
    let mut kept: Vec<&Record> = Vec::with_capacity(records.len());
    for record in records {
        match kept.last_mut().filter(|last| last.id == record.id) {
            Some(last) => *last = record,
            None => kept.push(record),
        }
    }
    kept
}

fn bodies<'r>(bodies: impl Iterator<Item = (ExchangeId, &'r Bytes)>) -> impl Iterator<Item = Vec<Value>> {
    bodies
        .filter(|(_, body)| !body.is_empty())
        .map(|(id, body)| vec![id.number().into(), body.to_vec().into()])
}

/// The values in the order of the columns.
pub(super) fn row(record: &Record) -> Vec<Value> {
    let mut values = begun(record);
    values.extend(ended(record));
    values
}

fn begun(record: &Record) -> Vec<Value> {
    vec![
        record.id.number().into(),
        record.started_at.into(),
        record.client.as_str().into(),
        record.client_identity.as_deref().into(),
        record.listener.as_str().into(),
        record.route.as_str().into(),
        record.upstream.as_str().into(),
        record.environment.as_str().into(),
        record.method.as_str().into(),
        record.target.as_str().into(),
        record.service.as_deref().into(),
        record.capability.as_deref().into(),
        record.class.as_str().into(),
        record.access_id.as_deref().into(),
        record.using_id.as_deref().into(),
        record.tax_no.as_ref().map(TaxNo::as_str).into(),
        record.client_tid.as_deref().into(),
        json_text(&record.request_headers).into(),
        signed(record.request_size).into(),
        record.request_sha256.map(|digest| digest.to_vec()).into(),
        record.serial.as_deref().into(),
        record.request_truncated.into(),
    ]
}

fn ended(record: &Record) -> [Value; ENDED.len()] {
    [
        record.finished_at.into(),
        json_text(&record.response_headers).into(),
        signed(record.response_size).into(),
        record.response_sha256.map(|digest| digest.to_vec()).into(),
        record.status.map(i64::from).into(),
        record.platform_status.as_deref().into(),
        record.request_id.as_deref().into(),
        record.error_code.as_deref().into(),
        record.error_text.as_deref().into(),
        record.return_code.as_deref().into(),
        record.return_message.as_deref().into(),
        record.acceptance_no.as_deref().into(),
        record.decision.as_str().into(),
        record.decision_code.as_deref().into(),
        record.note.as_deref().into(),
        record.state.as_str().into(),
        record.upstream_us.map(signed).into(),
        record.gateway_us.map(signed).into(),
        json_text(&record.invoice_nos).into(),
        record.response_truncated.into(),
    ]
}

impl Database {
    /// Writes records of the request log; while the server is away, finished ones go into the spool.
    pub(in crate::store) async fn record(&self, records: Arc<[Record]>) -> Result<(), StoreError> {
        match self.write_records(Arc::clone(&records)).await {
            Err(error) => self.spool_records(&records, error).await,
            Ok(()) => Ok(()),
        }
    }

    pub(super) async fn write_records(&self, records: Arc<[Record]>) -> Result<(), StoreError> {
        self.make_partitions(records.iter().map(|record| record.id)).await?;
        match self.writer.submit(Write(Arc::clone(&records))).await {
            // somebody dropped a partition that was known to be there
            Err(StoreError::Conflict(_)) => {
                self.months.forget();
                self.make_partitions(records.iter().map(|record| record.id)).await?;
                self.writer.submit(Write(records)).await
            }
            done => done,
        }
    }

    /// Makes the partitions that records with these ids belong to.
    pub(super) async fn make_partitions(
        &self,
        ids: impl Iterator<Item = ExchangeId>,
    ) -> Result<(), StoreError> {
        let missing = self.months.missing(ids);
        if missing.is_empty() {
            return Ok(());
        }
        let months = missing.clone();
        self.writer
            .write(move |connection| {
                let months = months.clone();
                Box::pin(async move { partitions::make(&months, connection).await })
            })
            .await?;
        self.months.made(missing);
        Ok(())
    }

    /// Marks exchanges whose outcome is open and whose gateway is no more: those of this number, which are somebody's
    /// who had it before, and before long those of other numbers that nobody holds. That takes some seconds, for which
    /// no start needs to wait.
    pub(in crate::store) async fn interrupt_open(&self) -> Result<u64, StoreError> {
        let this = self.clone();
        tokio::spawn(async move {
            let error = loop {
                match this.interrupt_gone().await {
                    Ok(0) => return,
                    Ok(interrupted) => {
                        tracing::warn!(
                            interrupted,
                            "a gateway stopped during calls; their outcome is unknown"
                        );
                        return;
                    }
                    Err(error) if error.is_outage() => {}
                    Err(error) => break error,
                }
                tokio::select! {
                    () = this.closing.cancelled() => return,
                    () = tokio::time::sleep(AGAIN) => {}
                }
            };
            // the reconciliation looks as well
            tracing::debug!(%error, "calls of gateways that are gone are marked later");
        });
        self.interrupt(vec![i32::from(self.node.number())]).await
    }

    /// Marks those of other numbers that nobody holds.
    pub(in crate::store) async fn interrupt_gone(&self) -> Result<u64, StoreError> {
        let gone = node::gone(&self.server, &self.node).await?;
        if gone.is_empty() {
            return Ok(0);
        }
        self.interrupt(gone).await
    }

    async fn interrupt(&self, nodes: Vec<i32>) -> Result<u64, StoreError> {
        // the second condition lets the partial index be used
        const SQL: &str = "UPDATE exchange SET state = 'interrupted' \
            WHERE state = 'sending' AND state <> 'complete' AND ((id >> 12) & 511)::int = ANY($1)";
        self.writer
            .write(move |connection| {
                let nodes = nodes.clone();
                Box::pin(async move {
                    Ok(sqlx::query(SQL).bind(nodes).execute(connection).await?.rows_affected())
                })
            })
            .await
    }
}
