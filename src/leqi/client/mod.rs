//! The gateway's own calls to the platform.

mod call;
mod ended;
mod journal;

pub use ended::CallEnded;
pub use journal::{Failure, Journal, JournalError, OwnCall, OwnOutcome};

use std::sync::Arc;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::task::TaskTracker;

use super::{
    Sm4Key,
    messages::{
        self, QuotaBalance, QuotaRequest, QuotaTransfer, QuotaTransferAnswer, QuotaValidity,
        QuotaValidityAnswer, ResultAnswer, ResultRequest, SummaryList, SummaryQuery, SummaryUpload,
    },
};
use crate::{
    clock::Clock,
    domain::{CapabilityCode, Environment, ExchangeId, ExchangeIds, PlatformId, ServiceCode, TaxNo},
    upstream::Upstream,
};

/// Calls the platform in the name of a unit; cheap to clone.
///
/// Every call is written into the journal: before it is sent when it changes something at the platform, and when it
/// ended. A call that has begun runs to its end also when nobody waits for it any more, so that no answer is lost.
#[derive(Clone)]
pub struct Client(Arc<call::Line>);

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("upstream", &self.0.upstream.name()).finish_non_exhaustive()
    }
}

/// In whose name a call is made.
#[derive(Clone, Debug)]
pub struct Caller {
    /// `jrdwptbh`: the access unit.
    pub access_id: PlatformId,
    /// `sydwptbh`: the using unit; the access unit itself when it invoices for itself.
    pub using_id: PlatformId,
    /// The access unit's key.
    pub key: Sm4Key,
    /// `nlbm`: the capability that the service is called under.
    pub capability: CapabilityCode,
}

/// A call that was answered with success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallAnswer {
    /// The call's id in the request log.
    pub exchange: ExchangeId,
    /// The decrypted `Data`.
    pub json: Vec<u8>,
}

/// Why a call was not answered with success.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The request log could not be written.
    #[error("{source}")]
    Journal {
        /// The call's id in the request log.
        exchange: ExchangeId,
        /// Whether the request had been sent: then its answer is not used, and the outcome counts as unknown.
        sent: bool,
        /// Why.
        source: JournalError,
    },
    /// Proven: no byte of the request left.
    #[error("not sent: {source}")]
    NotSent {
        /// The call's id in the request log.
        exchange: ExchangeId,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Proven: the platform refused.
    #[error("refused by the platform: {code} {text}")]
    Refused {
        /// The call's id in the request log.
        exchange: ExchangeId,
        /// `Error.Code`, `returncode`, the front door's number or the HTTP status.
        code: String,
        /// The platform's words.
        text: String,
    },
    /// It may have been done or not.
    #[error("outcome unknown: {reason}")]
    Unclear {
        /// The call's id in the request log.
        exchange: ExchangeId,
        /// Why, in English.
        reason: String,
    },
}

impl Client {
    /// A client for production calls through this upstream. `path_prefix` is what stands between the upstream's base
    /// path and the capability, such as `/access/v2/invoke/`.
    #[must_use]
    pub fn new(
        upstream: Arc<Upstream>,
        path_prefix: String,
        ids: Arc<ExchangeIds>,
        clock: Clock,
        journal: Arc<dyn Journal>,
    ) -> Self {
        let environment = Environment::Production;
        let tasks = TaskTracker::new();
        Self(Arc::new(call::Line { upstream, path_prefix, environment, ids, clock, journal, tasks }))
    }

    /// The same client with another way to the platform.
    #[must_use]
    pub fn through(&self, upstream: Arc<Upstream>, path_prefix: String) -> Self {
        let line = &*self.0;
        Self(Arc::new(call::Line {
            upstream,
            path_prefix,
            environment: line.environment,
            ids: Arc::clone(&line.ids),
            clock: line.clock.clone(),
            journal: Arc::clone(&line.journal),
            tasks: line.tasks.clone(),
        }))
    }

    /// Waits until every call that was begun has been written down, also those that nobody waits for any more.
    pub async fn drained(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Calls a service with a JSON text.
    ///
    /// # Errors
    /// How else it ended: see [`CallError`].
    pub async fn call(
        &self,
        caller: &Caller,
        service: &ServiceCode,
        json: &[u8],
    ) -> Result<CallAnswer, CallError> {
        let line = Arc::clone(&self.0);
        let (caller, service, json) = (caller.clone(), service.clone(), Bytes::copy_from_slice(json));
        let exchange = ExchangeId::first_at(self.0.clock.now());
        // its own task: dropping this future must not end the call
        let tasks = self.0.tasks.clone();
        match tasks.spawn(async move { line.call(caller, service, json).await }).await {
            Ok(ended) => ended,
            Err(error) => {
                Err(CallError::Unclear { exchange, reason: format!("the call was stopped: {error}") })
            }
        }
    }

    /// `CXSXED`: a taxpayer's credit.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn query_quota(&self, caller: &Caller, tax_no: &TaxNo) -> Result<QuotaBalance, CallError> {
        self.ask(caller, "CXSXED", &QuotaRequest { tax_no: tax_no.clone() }).await
    }

    /// `XZTHSXED`: downloads or returns credit. After an unclear outcome call again with the same serial, direction
    /// and amount: the original result comes back.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn transfer_quota(
        &self,
        caller: &Caller,
        transfer: &QuotaTransfer,
    ) -> Result<QuotaTransferAnswer, CallError> {
        self.ask(caller, "XZTHSXED", transfer).await
    }

    /// `TZSXEDYXQ`: extends the credit's interval.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn adjust_validity(
        &self,
        caller: &Caller,
        validity: &QuotaValidity,
    ) -> Result<QuotaValidityAnswer, CallError> {
        self.ask(caller, "TZSXEDYXQ", validity).await
    }

    /// `CXQDFPSCJG`: what became of an upload.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn query_results(
        &self,
        caller: &Caller,
        acceptance_no: &str,
    ) -> Result<ResultAnswer, CallError> {
        self.ask(caller, "CXQDFPSCJG", &ResultRequest { acceptance_no: acceptance_no.to_owned() }).await
    }

    /// `SCFPHZQRXX`: confirms a month or cancels the confirmation.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn upload_summary(
        &self,
        caller: &Caller,
        upload: &SummaryUpload,
    ) -> Result<CallAnswer, CallError> {
        self.call(caller, &self.code("SCFPHZQRXX")?, &messages::write(upload)).await
    }

    /// `CXFPHZQRXX`: what is confirmed.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn query_summary(
        &self,
        caller: &Caller,
        query: &SummaryQuery,
    ) -> Result<SummaryList, CallError> {
        self.ask(caller, "CXFPHZQRXX", query).await
    }

    fn code(&self, service: &str) -> Result<ServiceCode, CallError> {
        let exchange = ExchangeId::first_at(self.0.clock.now());
        ServiceCode::parse(service).map_err(|source| CallError::NotSent { exchange, source: source.into() })
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        caller: &Caller,
        service: &str,
        request: &Q,
    ) -> Result<A, CallError> {
        let answer = self.call(caller, &self.code(service)?, &messages::write(request)).await?;
        // it was accepted, so what cannot be read in it is no refusal
        messages::read(&answer.json)
            .map_err(|error| CallError::Unclear { exchange: answer.exchange, reason: error.to_string() })
    }
}
