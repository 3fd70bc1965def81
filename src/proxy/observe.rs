//! What an answer proves goes into the books: the reservation is settled on evidence only, and quota queries,
//! transfers, results and confirmations that pass are watched (design.md §3).

use std::sync::Arc;

use bytes::Bytes;
use http::response;

use super::{Call, Proxy, exchange::Exchange, gate::Passed, headers};
use crate::{
    domain::ServiceClass,
    leqi::{
        self, Opened, Sm4Key, Verdict,
        messages::{
            self, QuotaBalance, QuotaRequest, QuotaTransfer, QuotaTransferAnswer, QuotaValidity,
            QuotaValidityAnswer,
        },
    },
    quota::{Mark, Reservation, Settlement},
    request_log::extract,
    store::StoreError,
    unit::Unit,
};

impl Proxy {
    /// The call never left.
    pub(super) async fn settle_unsent(&self, call: &Call, passed: Passed) {
        self.settle(passed.reservation, Settlement::NotSent).await;
        if call.is_production()
            && call.class() == ServiceClass::QuotaTransfer
            && let Some(decoded) = &passed.decoded
            && let Ok(asked) = messages::read::<QuotaTransfer>(&decoded.json)
        {
            let refused = self.services.ledger.observe_transfer_refused(&asked, "GW-NOT-SENT", "").await;
            self.stored(call, refused);
        }
    }

    /// The call was sent and got no answer that can be read: that proves nothing.
    pub(super) async fn settle_unclear(&self, exchange: &Exchange, call: &Call, passed: Passed) {
        let unclear = Verdict::Unclear { reason: "no answer was read" };
        self.settle_answer(self.unit_of(exchange), call, passed, unclear).await;
    }

    /// What the platform's answer proves; what it says is noted.
    pub(super) fn judge(
        exchange: &mut Exchange,
        call: &Call,
        key: Option<&Sm4Key>,
        head: &response::Parts,
        bytes: &Bytes,
    ) -> Verdict {
        let verdict = match extract::unpacked(&headers::for_log(&head.headers), bytes) {
            Ok(plain) => {
                let opened = Opened::read(&plain, key);
                if let Ok(answer) = &opened {
                    exchange.told(answer);
                }
                leqi::judge_opened(head.status.as_u16(), &plain, opened)
            }
            Err(_) => Verdict::Unclear { reason: "the compressed answer cannot be read" },
        };
        if let Verdict::Unclear { reason } = &verdict
            && call.class().changes_platform()
            && key.is_some()
        {
            exchange.noted(&format!("outcome unclear: {reason}"));
        }
        verdict
    }

    /// The unit that the call is for, if it is known.
    pub(super) fn unit_of(&self, exchange: &Exchange) -> Option<Arc<Unit>> {
        self.services.registry.by_platform_id(exchange.using_id())
    }

    /// Books what the verdict proves for the unit.
    pub(super) async fn settle_answer(
        &self,
        unit: Option<Arc<Unit>>,
        call: &Call,
        passed: Passed,
        verdict: Verdict,
    ) {
        self.settle(passed.reservation, Settlement::from(&verdict)).await;
        if let Some(decoded) = passed.decoded.as_ref().filter(|_| call.is_production()) {
            self.watch(unit, call, &decoded.json, passed.mark.as_ref(), &verdict).await;
        }
    }

    async fn settle(&self, reservation: Option<Reservation>, settlement: Settlement) {
        let Some(reservation) = reservation else { return };
        if let Err(error) = self.services.ledger.settle(reservation, settlement).await {
            self.metrics.unstored.inc();
            tracing::error!(%error, "a reservation could not be settled and stays reserved until a result is seen");
        }
    }

    /// Feeds the books with a call that passed; `request` is its decoded JSON.
    async fn watch(
        &self,
        unit: Option<Arc<Unit>>,
        call: &Call,
        request: &[u8],
        mark: Option<&Mark>,
        verdict: &Verdict,
    ) {
        let watched = match call.class() {
            ServiceClass::IssueResult => self.watch_results(unit, request, verdict).await,
            ServiceClass::QuotaQuery => self.watch_balance(request, mark, verdict).await,
            ServiceClass::QuotaTransfer => self.watch_transfer(request, mark, verdict).await,
            ServiceClass::QuotaValidity => self.watch_validity(request, verdict).await,
            ServiceClass::SummaryQuery | ServiceClass::SummaryUpload => {
                self.watch_summary(call, request, verdict).await;
                Ok(())
            }
            ServiceClass::Issue | ServiceClass::Precode | ServiceClass::Read | ServiceClass::Write => Ok(()),
        };
        self.stored(call, watched);
    }

    /// The answer goes on to the client also when the books could not follow; the operator must know.
    fn stored(&self, call: &Call, done: Result<(), impl std::fmt::Display>) {
        if let Err(error) = done {
            self.metrics.unstored.inc();
            tracing::error!(%error, class = call.class().as_str(), "what was seen passing could not be stored");
        }
    }

    async fn watch_results(
        &self,
        unit: Option<Arc<Unit>>,
        request: &[u8],
        verdict: &Verdict,
    ) -> Result<(), StoreError> {
        let Verdict::Accepted { json, .. } = verdict else { return Ok(()) };
        let (Ok(asked), Ok(answer)) = (
            messages::read::<messages::ResultRequest>(request),
            messages::read_answer::<messages::ResultAnswer>(json),
        ) else {
            return Ok(());
        };
        let issuer = unit.as_ref().map(|unit| &unit.tax_no);
        self.services.ledger.observe_results(issuer, &asked.acceptance_no, &answer.results).await.map(drop)
    }

    async fn watch_balance(
        &self,
        request: &[u8],
        mark: Option<&Mark>,
        verdict: &Verdict,
    ) -> Result<(), StoreError> {
        let (Verdict::Accepted { json, .. }, Some(mark)) = (verdict, mark) else { return Ok(()) };
        let (Ok(asked), Ok(balance)) =
            (messages::read::<QuotaRequest>(request), messages::read_answer::<QuotaBalance>(json))
        else {
            return Ok(());
        };
        self.services.ledger.observe_balance(&asked.tax_no, &balance, mark).await.map(drop)
    }

    async fn watch_transfer(
        &self,
        request: &[u8],
        mark: Option<&Mark>,
        verdict: &Verdict,
    ) -> Result<(), StoreError> {
        let (Ok(asked), Some(mark)) = (messages::read::<QuotaTransfer>(request), mark) else { return Ok(()) };
        let ledger = &self.services.ledger;
        match verdict {
            Verdict::Accepted { json, .. } => match messages::read_answer::<QuotaTransferAnswer>(json) {
                Ok(answer) => ledger.observe_transfer(&asked, &answer, mark).await.map(drop),
                Err(error) => ledger.observe_transfer_unclear(&asked, mark, &error.to_string()).await,
            },
            Verdict::Unclear { reason } => ledger.observe_transfer_unclear(&asked, mark, reason).await,
            Verdict::AlreadyUploaded { code, text, .. } | Verdict::Refused { code, text } => {
                ledger.observe_transfer_refused(&asked, code, text).await
            }
        }
    }

    async fn watch_validity(&self, request: &[u8], verdict: &Verdict) -> Result<(), StoreError> {
        let Verdict::Accepted { json, .. } = verdict else { return Ok(()) };
        let (Ok(asked), Ok(answer)) =
            (messages::read::<QuotaValidity>(request), messages::read_answer::<QuotaValidityAnswer>(json))
        else {
            return Ok(());
        };
        self.services.ledger.observe_validity(&asked, &answer).await
    }

    async fn watch_summary(&self, call: &Call, request: &[u8], verdict: &Verdict) {
        let confirmations = &self.services.confirmations;
        let watched = if call.class() == ServiceClass::SummaryUpload {
            let Ok(upload) = messages::read::<messages::SummaryUpload>(request) else { return };
            confirmations.observe(&upload, verdict).await
        } else {
            let Verdict::Accepted { json, .. } = verdict else { return };
            let (Ok(query), Ok(list)) = (
                messages::read::<messages::SummaryQuery>(request),
                messages::read_answer::<messages::SummaryList>(json),
            ) else {
                return;
            };
            confirmations.observe_list(&query, &list).await
        };
        self.stored(call, watched);
    }
}

impl From<&Verdict> for Settlement {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Accepted { acceptance_no, .. } => {
                Self::Accepted { acceptance_no: acceptance_no.clone() }
            }
            Verdict::AlreadyUploaded { invoice_nos, code, text } => Self::AlreadyUploaded {
                invoice_nos: invoice_nos.clone(),
                code: code.clone(),
                text: text.clone(),
            },
            Verdict::Refused { code, text } => Self::Refused { code: code.clone(), text: text.clone() },
            Verdict::Unclear { .. } => Self::Unclear,
        }
    }
}
