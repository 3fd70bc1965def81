//! What must hold before a call that uses credit may leave: a registered unit, a readable body, a reservation.

use std::sync::Arc;

use bytes::Bytes;

use super::{Call, GatewayError, Proxy, Unregistered, exchange::Exchange};
use crate::{
    domain::{ServiceClass, ServiceCode},
    leqi::{
        self, DecodedBody, Sm4Key,
        messages::{self, MessageError},
    },
    quota::{self, Mark, Mode, Refusal, Reservation, ReserveError, Upload},
    unit::{IdCheck, QuotaMode, Unit},
};

/// A call whose request is known: what was decoded of it, and what holds its credit.
#[derive(Default)]
pub(super) struct Passed {
    /// The access unit's key for the route's environment, if there is one.
    pub(super) key: Option<Sm4Key>,
    /// The decoded request, if it could be decoded.
    pub(super) decoded: Option<DecodedBody>,
    /// The reservation of an upload.
    pub(super) reservation: Option<Reservation>,
    /// What the books said before a quota query or transfer was sent.
    pub(super) mark: Option<Mark>,
}

impl Proxy {
    /// Decodes the request, finds out what it is, and reserves the credit that it needs.
    ///
    /// # Errors
    /// The reason why the call must not leave.
    pub(super) async fn pass(
        &self,
        exchange: &mut Exchange,
        call: &Call,
        body: &Bytes,
    ) -> Result<Passed, GatewayError> {
        if self.services.registry.look_for([exchange.access_id(), exchange.using_id()]).await {
            exchange.identified();
        }
        let key = self.services.registry.key_for(exchange.access_id(), call.route.environment);
        let decoded = leqi::read_body(body, key.as_ref());
        if let Ok(decoded) = &decoded {
            exchange.understood(&decoded.json);
        }
        let class = self.class_of(exchange, call, decoded.as_ref().ok());
        let mut passed = Passed { key, ..Passed::default() };
        if class == ServiceClass::Issue && call.is_production() {
            passed.reservation = self.claim(exchange, call, passed.key.is_some(), decoded.as_ref()).await?;
        }
        passed.decoded = decoded.ok();
        if call.is_production()
            && let Some(decoded) = &passed.decoded
        {
            passed.mark = self.mark(exchange, class, &decoded.json).await?;
        }
        Ok(passed)
    }

    /// The class by the service, or `issue` for an unknown service whose body looks like invoices.
    fn class_of(&self, exchange: &mut Exchange, call: &Call, decoded: Option<&DecodedBody>) -> ServiceClass {
        let disguised = call.class.is_none()
            && decoded.is_some_and(|decoded| messages::looks_like_invoices(&decoded.json));
        if !disguised {
            return call.class();
        }
        self.metrics.disguised.inc();
        tracing::warn!(exchange = %exchange.id(), path = call.target.path(), "a service that the catalogue does not know carries invoices; treated as an upload");
        exchange
            .reclassified(ServiceClass::Issue, "unknown service whose body holds invoices, treated as issue");
        ServiceClass::Issue
    }

    /// Reserves the credit of an upload, as strictly as the unit's mode asks.
    async fn claim(
        &self,
        exchange: &mut Exchange,
        call: &Call,
        has_key: bool,
        decoded: Result<&DecodedBody, &leqi::CodecError>,
    ) -> Result<Option<Reservation>, GatewayError> {
        let unit = match self.using_unit(exchange) {
            Ok(unit) => unit,
            Err(_) if call.config.unregistered == Unregistered::Observe => {
                return Ok(self.unchecked(exchange, "the unit is not registered"));
            }
            Err(error) => return Err(error),
        };
        let mode = mode_of(&unit);
        if mode == Mode::Off {
            return Ok(self.unchecked(exchange, "the unit's ledger is off"));
        }
        let upload = match decoded {
            Ok(decoded) => upload(exchange, call, &unit, decoded),
            Err(_) if !has_key => Err(GatewayError::KeyMissing(exchange.access_id().to_owned())),
            Err(error) => Err(GatewayError::BodyUnreadable(error.to_string())),
        };
        match upload {
            Ok(upload) => self.reserve_with_intent(exchange, upload).await.map(Some),
            Err(error) if mode == Mode::Observe => Ok(self.unchecked(exchange, &error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// Commits the reservation together with the intent: neither is there without the other.
    async fn reserve_with_intent(
        &self,
        exchange: &mut Exchange,
        mut upload: Upload,
    ) -> Result<Reservation, GatewayError> {
        let log = &self.services.log;
        upload.intent = exchange.record_mut().map(|record| log.intent_beside(record));
        let reservation = self.reserve(upload).await?;
        exchange.change(|record| log.intent_committed(record));
        Ok(reservation)
    }

    /// Commits the intent of a call that changes something, before its first byte goes out (design.md §3); once.
    ///
    /// # Errors
    /// When the store fails: nothing may be sent.
    pub(super) async fn store_intent(&self, exchange: &mut Exchange) -> Result<(), GatewayError> {
        let Some(record) = exchange
            .record_mut()
            .filter(|record| record.class.changes_platform() && !record.intent_committed)
        else {
            return Ok(());
        };
        let stored = self.services.log.intent(record).await;
        stored.map_err(|error| GatewayError::StoreDown(error.to_string()))
    }

    async fn reserve(&self, upload: Upload) -> Result<Reservation, GatewayError> {
        self.services.transfers.reserve(upload).await.map_err(|error| match error {
            ReserveError::Refused(refusal) => GatewayError::Credit(refusal),
            ReserveError::Store(error) => GatewayError::StoreDown(error.to_string()),
        })
    }

    /// What the books say before a quota query is sent, or that a transfer is about to be sent, so that its answer
    /// can be set against it.
    async fn mark(
        &self,
        exchange: &Exchange,
        class: ServiceClass,
        json: &[u8],
    ) -> Result<Option<Mark>, GatewayError> {
        let ledger = &self.services.ledger;
        // what cannot be read is the platform's to refuse
        match class {
            ServiceClass::QuotaQuery => {
                let Ok(asked) = messages::read::<messages::QuotaRequest>(json) else { return Ok(None) };
                let mark = ledger.mark(&asked.tax_no).await;
                Ok(mark
                    .inspect_err(|error| tracing::error!(%error, "a quota query goes through unobserved"))
                    .ok())
            }
            ServiceClass::QuotaTransfer => {
                let unit = self.services.registry.by_platform_id(exchange.using_id());
                let asked = quota::read_transfer(json, unit.as_ref().map(|unit| &unit.tax_no));
                let Some(asked) = asked.map_err(GatewayError::Credit)? else { return Ok(None) };
                let noted = ledger.begin_transfer(&asked).await;
                let mark = noted.map_err(|error| GatewayError::StoreDown(error.to_string()))?;
                mark.map(Some).map_err(|reused| GatewayError::Credit(Refusal::of_serial(&asked, reused)))
            }
            ServiceClass::Issue
            | ServiceClass::IssueResult
            | ServiceClass::Precode
            | ServiceClass::QuotaValidity
            | ServiceClass::Read
            | ServiceClass::SummaryQuery
            | ServiceClass::SummaryUpload
            | ServiceClass::Write => Ok(None),
        }
    }

    fn unchecked<T>(&self, exchange: &mut Exchange, why: &str) -> Option<T> {
        self.metrics.unchecked.inc();
        exchange.noted(&format!("passed without a check of the credit: {why}"));
        None
    }

    /// The using unit that the headers name, if both ids are registered and belong together.
    fn using_unit(&self, exchange: &Exchange) -> Result<Arc<Unit>, GatewayError> {
        let (access_id, using_id) = (exchange.access_id(), exchange.using_id());
        match self.services.registry.diagnose_ids(access_id, using_id) {
            IdCheck::Fits { using, .. } => Ok(using),
            check @ (IdCheck::NotTogether { .. }
            | IdCheck::Swapped { .. }
            | IdCheck::UnknownAccess
            | IdCheck::UnknownUsing { .. }) => Err(GatewayError::Units {
                check,
                access_id: access_id.to_owned(),
                using_id: using_id.to_owned(),
            }),
        }
    }
}

/// The registry stores the mode, the ledger's rules give it its meaning.
const fn mode_of(unit: &Unit) -> Mode {
    match unit.quota_mode {
        QuotaMode::Enforce => Mode::Enforce,
        QuotaMode::Observe => Mode::Observe,
        QuotaMode::Off => Mode::Off,
    }
}

/// The upload that the body describes, for the unit that the header names.
fn upload(
    exchange: &Exchange,
    call: &Call,
    unit: &Unit,
    decoded: &DecodedBody,
) -> Result<Upload, GatewayError> {
    let invoices = messages::read_invoices(&decoded.json).map_err(|error| match error {
        MessageError::Invoice(field) => GatewayError::Credit(Refusal::from(field)),
        error @ (MessageError::Codec(_)
        | MessageError::Refused { .. }
        | MessageError::Shape(_)
        | MessageError::NoInvoices) => GatewayError::BodyUnreadable(error.to_string()),
    })?;
    // a path without a code of service has no class and is issue only by its body, which the common rules fit
    let plain = ServiceCode::parse("QDFPSC");
    let service = call
        .service
        .as_ref()
        .map_or_else(|| plain.map_err(|e| GatewayError::BodyUnreadable(e.to_string())), |s| Ok(s.clone()))?;
    let (issuer, claims) = quota::claims(&invoices, &service).map_err(GatewayError::Credit)?;
    if issuer != unit.tax_no {
        return Err(GatewayError::IssuerMismatch {
            issuer: issuer.to_string(),
            unit: unit.tax_no.to_string(),
        });
    }
    Ok(Upload {
        exchange: exchange.id(),
        issuer,
        mode: mode_of(unit),
        claims,
        allowance_returns: false,
        intent: None,
    })
}
