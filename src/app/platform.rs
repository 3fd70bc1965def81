//! The gateway's own calls in the name of registered units: what the ledger and the confirmations ask the platform.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;

use crate::{
    confirmation::{Identity, Platform},
    domain::{CapabilityCode, Environment, TaxNo},
    leqi::{
        client::{CallEnded, Caller, Client},
        messages::{
            QuotaBalance, QuotaTransfer, QuotaTransferAnswer, QuotaValidity, QuotaValidityAnswer,
            ResultAnswer, SummaryList, SummaryQuery, SummaryUpload,
        },
    },
    quota::{Bureau, Ids, NoCaller, QuotaSource},
    unit::{QuotaMode, Registry, Unit, UnitError},
    upstream::Upstream,
};

/// The way to the platform, and the registry that knows in whose name calls are made.
pub(super) struct OwnCalls {
    way: ArcSwap<Way>,
    registry: Arc<Registry>,
}

/// What a reload replaces.
pub(super) struct Way {
    pub(super) client: Client,
    pub(super) capability: CapabilityCode,
}

impl OwnCalls {
    pub(super) fn new(way: Way, registry: Arc<Registry>) -> Self {
        Self { way: ArcSwap::from_pointee(way), registry }
    }

    /// Further calls go another way; those under way end where they are.
    pub(super) fn reroute(&self, upstream: Arc<Upstream>, path_prefix: String, capability: CapabilityCode) {
        let client = self.client().through(upstream, path_prefix);
        self.way.store(Arc::new(Way { client, capability }));
    }

    /// Waits until every call that was begun has been written down.
    pub(super) async fn drained(&self) {
        self.client().drained().await;
    }

    fn client(&self) -> Client {
        self.way.load().client.clone()
    }

    fn caller(&self, tax_no: &TaxNo) -> Result<Caller, String> {
        self.registry
            .caller_for(tax_no, self.way.load().capability.clone(), Environment::Production)
            .map_err(|error| error.to_string())
    }
}

impl QuotaSource for OwnCalls {
    fn balance<'a>(&'a self, issuer: &'a TaxNo) -> BoxFuture<'a, Result<QuotaBalance, String>> {
        Box::pin(async move {
            let caller = self.caller(issuer)?;
            let asked = self.client().query_quota(&caller, issuer).await;
            asked.map_err(|error| CallEnded::from(error).chinese())
        })
    }
}

impl Bureau for OwnCalls {
    fn taxpayers(&self) -> Vec<TaxNo> {
        let served = |unit: &Arc<Unit>| unit.quota_mode != QuotaMode::Off && self.ids(&unit.tax_no).is_ok();
        self.registry.list().into_iter().filter(served).map(|unit| unit.tax_no.clone()).collect()
    }

    fn ids(&self, issuer: &TaxNo) -> Result<Ids, NoCaller> {
        let caller =
            self.registry.caller_for(issuer, self.way.load().capability.clone(), Environment::Production);
        match caller {
            Ok(caller) => Ok(Ids { access: caller.access_id, using: caller.using_id }),
            Err(UnitError::Unknown(tax_no)) => Err(NoCaller::Unit(tax_no)),
            Err(error) => Err(NoCaller::Key(error.to_string())),
        }
    }

    fn transfer<'a>(
        &'a self,
        request: &'a QuotaTransfer,
    ) -> BoxFuture<'a, Result<QuotaTransferAnswer, CallEnded>> {
        Box::pin(async move {
            let caller = self.caller(&request.tax_no).map_err(CallEnded::NotSent)?;
            self.client().transfer_quota(&caller, request).await.map_err(CallEnded::from)
        })
    }

    fn extend<'a>(
        &'a self,
        request: &'a QuotaValidity,
    ) -> BoxFuture<'a, Result<QuotaValidityAnswer, CallEnded>> {
        Box::pin(async move {
            let caller = self.caller(&request.tax_no).map_err(CallEnded::NotSent)?;
            self.client().adjust_validity(&caller, request).await.map_err(CallEnded::from)
        })
    }

    fn results<'a>(
        &'a self,
        issuer: &'a TaxNo,
        acceptance_no: &'a str,
    ) -> BoxFuture<'a, Result<ResultAnswer, CallEnded>> {
        Box::pin(async move {
            let caller = self.caller(issuer).map_err(CallEnded::NotSent)?;
            self.client().query_results(&caller, acceptance_no).await.map_err(CallEnded::from)
        })
    }
}

impl Platform for OwnCalls {
    fn identity(&self, tax_no: &TaxNo) -> Option<Identity> {
        let unit = self.registry.by_tax_no(tax_no)?;
        let access = self.registry.by_tax_no(unit.access_unit())?;
        Some(Identity { platform_id: access.platform_id.clone(), province: unit.province.clone() })
    }

    fn upload<'a>(&'a self, upload: &'a SummaryUpload) -> BoxFuture<'a, Result<(), CallEnded>> {
        Box::pin(async move {
            let caller = self.caller(&upload.seller).map_err(CallEnded::NotSent)?;
            self.client().upload_summary(&caller, upload).await.map(drop).map_err(CallEnded::from)
        })
    }

    fn query<'a>(&'a self, query: &'a SummaryQuery) -> BoxFuture<'a, Result<SummaryList, CallEnded>> {
        Box::pin(async move {
            let caller = self.caller(&query.seller).map_err(CallEnded::NotSent)?;
            self.client().query_summary(&caller, query).await.map_err(CallEnded::from)
        })
    }
}
