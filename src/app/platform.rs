//! The gateway's own calls in the name of registered units: what the ledger and the confirmations ask the platform.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::{
    confirmation::{CallEnded, Identity, Platform},
    domain::{CapabilityCode, Environment, TaxNo},
    leqi::{
        client::{CallError, Caller, Client},
        messages::{QuotaBalance, SummaryList, SummaryQuery, SummaryUpload},
    },
    quota::QuotaSource,
    unit::Registry,
};

/// The client, and the registry that knows in whose name it calls.
pub(super) struct OwnCalls {
    pub(super) client: Client,
    pub(super) registry: Arc<Registry>,
    pub(super) capability: CapabilityCode,
}

impl OwnCalls {
    fn caller(&self, tax_no: &TaxNo) -> Result<Caller, String> {
        self.registry
            .caller_for(tax_no, self.capability.clone(), Environment::Production)
            .map_err(|error| error.to_string())
    }
}

impl QuotaSource for OwnCalls {
    fn balance<'a>(&'a self, issuer: &'a TaxNo) -> BoxFuture<'a, Result<QuotaBalance, String>> {
        Box::pin(async move {
            let caller = self.caller(issuer)?;
            self.client.query_quota(&caller, issuer).await.map_err(|error| match error {
                CallError::Refused { code, text, .. } => format!("平台返回 {code} {text}"),
                CallError::Journal { source, .. } => format!("请求日志无法写入：{source}"),
                CallError::NotSent { source, .. } => format!("无法连接平台：{source}"),
                CallError::Unclear { reason, .. } => format!("平台应答不明：{reason}"),
            })
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
            self.client.upload_summary(&caller, upload).await.map(drop).map_err(ended)
        })
    }

    fn query<'a>(&'a self, query: &'a SummaryQuery) -> BoxFuture<'a, Result<SummaryList, CallEnded>> {
        Box::pin(async move {
            let caller = self.caller(&query.seller).map_err(CallEnded::NotSent)?;
            self.client.query_summary(&caller, query).await.map_err(ended)
        })
    }
}

fn ended(error: CallError) -> CallEnded {
    match error {
        CallError::Journal { sent: false, source, .. } => CallEnded::NotSent(source.to_string()),
        CallError::Journal { sent: true, source, .. } => CallEnded::Unclear(source.to_string()),
        CallError::NotSent { source, .. } => CallEnded::NotSent(source.to_string()),
        CallError::Refused { code, text, .. } => CallEnded::Refused { code, text },
        CallError::Unclear { reason, .. } => CallEnded::Unclear(reason),
    }
}
