//! What goes into the spool while the server is away, and how it comes out again.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{
    bulk::Kind,
    exchanges::{kind_of, row},
    open::Database,
};
use crate::store::{
    Replay, StoreError,
    exchanges::{Record, State},
    sql::{
        exchange_rows::{BEGUN, ENDED, record},
        session::Value,
    },
    value::{At, Columns},
};

/// How often the spool is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Records that are handed over at once.
const BATCH: usize = 256;
/// The note of records that were kept here.
const NOTE: &str = "recorded while the database was away";

/// One entry of the spool.
#[derive(Serialize, Deserialize)]
enum Entry {
    /// Evidence for the ledger, which alone knows what is in it.
    Evidence(String),
    /// A record: its columns, its bodies, and whether its intent is committed.
    Record { columns: Vec<serde_json::Value>, request: String, response: String, intent: bool },
}

impl Database {
    /// Keeps records that the server did not take; `error` is why, and what is given back when they cannot be kept.
    pub(super) async fn spool_records(
        &self,
        records: &[Record],
        error: StoreError,
    ) -> Result<(), StoreError> {
        // nothing may be sent whose intent is not in the database
        if !error.is_outage() || records.iter().any(|record| record.state == State::Sending) {
            return Err(error);
        }
        let common = !records.iter().any(|record| record.class.changes_platform());
        let entries = records.iter().map(encoded).collect::<Result<Vec<_>, _>>()?;
        self.spool.keep(entries, common).await.map_err(|full| {
            tracing::error!(%full, "the spool takes no more");
            error
        })
    }

    /// Keeps evidence for the ledger; `false` when there is no spool, or no room.
    pub(in crate::store) async fn spool_evidence(&self, evidence: Vec<u8>) -> bool {
        let entry = serde_json::to_vec(&Entry::Evidence(STANDARD.encode(evidence)));
        let Ok(entry) = entry else { return false };
        let kept = self.spool.keep(vec![entry], false).await;
        kept.inspect_err(|error| tracing::error!(%error, "evidence for the ledger could not be kept")).is_ok()
    }

    /// Hands the spool over whenever the server is there, until the store is about to be closed.
    pub(super) async fn run_hand_over(self, replay: Replay) {
        loop {
            tokio::select! {
                () = self.handing_over.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            if let Err(error) = self.spool.settle().await {
                tracing::warn!(%error, "the spool of the gateway before cannot be taken over yet");
            }
            while !self.handing_over.is_cancelled() {
                match self.hand_over_oldest(&replay).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::debug!(%error, "the spool is handed over later");
                        break;
                    }
                }
            }
        }
    }

    /// Whether there was a file. It is forgotten once the database has all of it; what holds anything that the database
    /// refuses, or that cannot be read, is put aside whole.
    pub(super) async fn hand_over_oldest(&self, replay: &Replay) -> Result<bool, StoreError> {
        let fail = |error: std::io::Error| StoreError::Away { reason: format!("the spool: {error}") };
        let Some((path, entries)) = self.spool.oldest().await.map_err(fail)? else { return Ok(false) };
        let count = entries.len();
        let mut records: Vec<Record> = Vec::new();
        let mut refused: Option<StoreError> = None;
        for entry in entries {
            match serde_json::from_slice(&entry) {
                Ok(Entry::Evidence(evidence)) => {
                    self.write_kept(&mut records, &mut refused).await?;
                    match STANDARD.decode(evidence) {
                        Ok(evidence) => unless_refused(replay(evidence).await, &mut refused)?,
                        Err(error) => refused = Some(StoreError::value("evidence", error)),
                    }
                }
                Ok(Entry::Record { columns, request, response, intent }) => {
                    match decoded(columns, &request, &response, intent) {
                        Ok(record) => records.push(record),
                        Err(error) => refused = Some(error),
                    }
                }
                Err(error) => refused = Some(StoreError::value("entry", error)),
            }
            if records.len() >= BATCH {
                self.write_kept(&mut records, &mut refused).await?;
            }
        }
        self.write_kept(&mut records, &mut refused).await?;
        if let Some(error) = refused {
            let aside = self.spool.put_aside(&path).await.map_err(fail)?;
            tracing::error!(file = %aside.display(), entries = count, %error,
                "the database refuses something that was kept while it was away; all of it stays in the file: remove \
                 the cause, then give the file the ending .spool again, nothing of it counts twice");
            return Ok(true);
        }
        self.spool.done(&path, count).await.map_err(fail)?;
        tracing::info!(entries = count, "what was kept while the database was away is handed over");
        Ok(true)
    }

    async fn write_kept(
        &self,
        records: &mut Vec<Record>,
        refused: &mut Option<StoreError>,
    ) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        let records: Arc<[Record]> = std::mem::take(records).into();
        unless_refused(self.write_records(records).await, refused)
    }
}

/// An outage, or that the gateway stops, ends the hand-over; anything else would not go away by trying again.
fn unless_refused(done: Result<(), StoreError>, refused: &mut Option<StoreError>) -> Result<(), StoreError> {
    match done {
        Err(error) if error.is_outage() || matches!(error, StoreError::Closed) => Err(error),
        Err(error) => {
            *refused = Some(error);
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn encoded(record: &Record) -> Result<Vec<u8>, StoreError> {
    let mut record = record.clone();
    let before = record.note.take().map(|before| before + "; ").unwrap_or_default();
    record.note = Some(before + NOTE);
    let columns = row(&record).into_iter().map(|value| match value {
        Value::Bytes(bytes) => bytes.map(|bytes| STANDARD.encode(bytes)).into(),
        other @ (Value::Flag(_) | Value::Integer(_) | Value::Text(_)) => serde_json::json!(other),
    });
    let entry = Entry::Record {
        columns: columns.collect(),
        request: STANDARD.encode(&record.request_body),
        response: STANDARD.encode(&record.response_body),
        intent: record.intent_committed,
    };
    serde_json::to_vec(&entry).map_err(|error| StoreError::value("record", error))
}

fn decoded(
    columns: Vec<serde_json::Value>,
    request: &str,
    response: &str,
    intent: bool,
) -> Result<Record, StoreError> {
    let values = BEGUN.into_iter().chain(ENDED).zip(columns).map(|(column, value)| match kind_of(column) {
        Kind::Bytes => Value::Bytes(value.as_str().and_then(|text| STANDARD.decode(text).ok())),
        Kind::Flag => Value::Flag(value.as_i64() == Some(1)),
        Kind::Integer => Value::Integer(value.as_i64()),
        Kind::Text => Value::Text(value.as_str().map(str::to_owned)),
    });
    let body = |text: &str| STANDARD.decode(text).map_err(|error| StoreError::value("body", error));
    Ok(Record {
        request_body: body(request)?.into(),
        response_body: body(response)?.into(),
        intent_committed: intent,
        ..record(&Kept(values.collect()))?
    })
}

/// The columns of a record in the spool.
struct Kept(Vec<Value>);

impl Kept {
    fn value(&self, at: At) -> Result<&Value, sqlx::Error> {
        let place = match at {
            At::Place(place) => Some(place),
            At::Name(name) => BEGUN.into_iter().chain(ENDED).position(|column| column == name),
        };
        place
            .and_then(|place| self.0.get(place))
            .ok_or_else(|| sqlx::Error::ColumnNotFound("of a record in the spool".to_owned()))
    }
}

impl Columns for Kept {
    fn integer(&self, at: At) -> Result<Option<i64>, sqlx::Error> {
        Ok(if let Value::Integer(number) = self.value(at)? { *number } else { None })
    }

    fn boolean(&self, at: At) -> Result<Option<bool>, sqlx::Error> {
        Ok(if let Value::Flag(flag) = self.value(at)? { Some(*flag) } else { None })
    }

    fn text(&self, at: At) -> Result<Option<&str>, sqlx::Error> {
        Ok(if let Value::Text(text) = self.value(at)? { text.as_deref() } else { None })
    }

    fn bytes(&self, at: At) -> Result<Option<&[u8]>, sqlx::Error> {
        Ok(if let Value::Bytes(bytes) = self.value(at)? { bytes.as_deref() } else { None })
    }
}
