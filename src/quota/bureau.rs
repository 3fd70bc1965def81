//! What the ledger needs of the platform; the composition root puts units and the client behind it.

use futures_util::future::BoxFuture;

use super::QuotaSource;
use crate::{
    domain::{PlatformId, TaxNo},
    leqi::{
        client::CallEnded,
        messages::{QuotaTransfer, QuotaTransferAnswer, QuotaValidity, QuotaValidityAnswer, ResultAnswer},
    },
};

/// How a taxpayer is known to the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The platform id of its access unit (`ptbh`).
    pub access: PlatformId,
    /// Its own.
    pub using: PlatformId,
}

/// The calls of the ledger, in the name of the taxpayer's registered unit.
pub trait Bureau: QuotaSource {
    /// Taxpayers whose credit the gateway keeps: registered, with books, and with a key to call with.
    fn taxpayers(&self) -> Vec<TaxNo>;

    /// How the taxpayer is known.
    ///
    /// # Errors
    /// Why the gateway cannot call in its name: it is not registered, or there is no key.
    fn ids(&self, issuer: &TaxNo) -> Result<Ids, NoCaller>;

    /// `XZTHSXED`.
    fn transfer<'a>(
        &'a self,
        request: &'a QuotaTransfer,
    ) -> BoxFuture<'a, Result<QuotaTransferAnswer, CallEnded>>;

    /// `TZSXEDYXQ`.
    fn extend<'a>(
        &'a self,
        request: &'a QuotaValidity,
    ) -> BoxFuture<'a, Result<QuotaValidityAnswer, CallEnded>>;

    /// `CXQDFPSCJG`.
    fn results<'a>(
        &'a self,
        issuer: &'a TaxNo,
        acceptance_no: &'a str,
    ) -> BoxFuture<'a, Result<ResultAnswer, CallEnded>>;
}

/// Why the gateway cannot call in a taxpayer's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCaller {
    /// Its access unit has no production key.
    #[error("{0}")]
    Key(String),
    /// No unit has its tax number.
    #[error("no unit with tax number {0} is registered; register it first (/api/v1/units)")]
    Unit(TaxNo),
}
