//! The gateway's own calls in the request log, written like everybody else's.

use futures_util::future::BoxFuture;

use super::{Decision, LogError, Record, RequestLog, State, extract};
use crate::leqi::client::{Journal, JournalError, OwnCall, OwnOutcome};

/// Who called, in records of the gateway's own calls.
pub const GATEWAY: &str = "gateway";

impl Journal for RequestLog {
    fn intent<'a>(&'a self, call: &'a OwnCall) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move { RequestLog::intent(self, &mut begun(call)).await.map_err(failed) })
    }

    fn record<'a>(
        &'a self,
        call: &'a OwnCall,
        outcome: &'a OwnOutcome,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        let record = ended(call, outcome);
        Box::pin(async move {
            if call.class.changes_platform() {
                self.complete(record).await.map_err(failed)
            } else {
                self.enqueue(record).await.map_err(failed)
            }
        })
    }
}

fn failed(error: LogError) -> JournalError {
    JournalError(Box::new(error))
}

/// The record of a call that is about to be sent.
fn begun(call: &OwnCall) -> Record {
    let mut record = Record::open(call.id, call.started_at);
    GATEWAY.clone_into(&mut record.client);
    record.upstream.clone_from(&call.upstream);
    record.environment = call.environment;
    record.method = call.method.to_string();
    record.target.clone_from(&call.path);
    record.service = Some(call.service.to_string());
    record.capability = Some(call.caller.capability.to_string());
    record.class = call.class;
    record.access_id = Some(call.caller.access_id.to_string());
    record.using_id = Some(call.caller.using_id.to_string());
    record.request_headers.clone_from(&call.request_headers);
    record.request_size = u64::try_from(call.request_body.len()).unwrap_or(u64::MAX);
    record.request_sha256 = Some(extract::sha256(&call.request_body));
    record.request_body = call.request_body.clone();
    extract::request(&mut record, &call.request_json);
    record
}

/// The record of a call that ended.
fn ended(call: &OwnCall, outcome: &OwnOutcome) -> Record {
    let mut record = begun(call);
    record.intent_committed = call.class.changes_platform();
    record.finished_at = Some(outcome.finished_at);
    record.upstream_us = Some(outcome.upstream_us);
    record.status = outcome.status;
    record.response_headers.clone_from(&outcome.response_headers);
    record.response_size = u64::try_from(outcome.response_body.len()).unwrap_or(u64::MAX);
    record.response_body = outcome.response_body.clone();
    record.state = State::Complete;
    match &outcome.failure {
        Some(failure) => {
            record.decision = Decision::Failed;
            record.note = Some(failure.reason.clone());
            if outcome.status.is_some() {
                record.state = State::Aborted;
            }
        }
        None => record.response_sha256 = Some(extract::sha256(&outcome.response_body)),
    }
    read_answer(&mut record, outcome, call);
    record
}

fn read_answer(record: &mut Record, outcome: &OwnOutcome, call: &OwnCall) {
    // what cannot be unpacked is kept as it came
    let bytes = extract::unpacked(&outcome.response_headers, &outcome.response_body).unwrap_or_default();
    match &outcome.response_json {
        Some(json) => {
            extract::response(record, &bytes, None);
            extract::data(record, json);
        }
        None => extract::response(record, &bytes, Some(&call.caller.key)),
    }
}
