//! What a confirmation needs of the platform; the composition root puts units and the client behind it.

use futures_util::future::BoxFuture;

use crate::{
    domain::{PlatformId, ProvinceCode, TaxNo},
    leqi::{
        client::CallEnded,
        messages::{SummaryList, SummaryQuery, SummaryUpload},
    },
};

/// How a taxpayer is known to the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The platform id of its access unit (`ptbh`).
    pub platform_id: PlatformId,
    /// Its provincial tax authority (`xsfsjswjgdm`).
    pub province: ProvinceCode,
}

/// The calls of a confirmation, in the name of the taxpayer's registered unit.
pub trait Platform: Send + Sync {
    /// How the taxpayer is known; `None` when no unit has its tax number.
    fn identity(&self, tax_no: &TaxNo) -> Option<Identity>;

    /// `SCFPHZQRXX`.
    fn upload<'a>(&'a self, upload: &'a SummaryUpload) -> BoxFuture<'a, Result<(), CallEnded>>;

    /// `CXFPHZQRXX`.
    fn query<'a>(&'a self, query: &'a SummaryQuery) -> BoxFuture<'a, Result<SummaryList, CallEnded>>;
}
