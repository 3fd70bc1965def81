//! Asking the platform for a balance: one query at a time per taxpayer, and not too often.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;

use crate::{domain::TaxNo, leqi::messages::QuotaBalance, store::StoreError};

/// Where balances come from: the gateway's own `CXSXED`, with the unit's key and ids.
pub trait QuotaSource: Send + Sync {
    /// The taxpayer's balance of the current month.
    ///
    /// # Errors
    /// Why there is none, as a clerk may read it.
    fn balance<'a>(&'a self, issuer: &'a TaxNo) -> BoxFuture<'a, Result<QuotaBalance, String>>;
}

/// Why no balance was taken over.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The platform could not be asked or refused.
    #[error("{0}")]
    Source(String),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who asks for which taxpayer's balance.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<TaxNo, Arc<tokio::sync::Mutex<Option<Flight>>>>>);

/// The last query for a taxpayer.
#[derive(Clone, Debug)]
struct Flight {
    ended: Instant,
    outcome: Result<(), String>,
}

impl Flights {
    /// Asks, unless somebody else has asked since the caller came, or since `cooldown` ago. Gives whether a query's
    /// answer is newer than the caller's coming.
    pub(super) async fn ask<F>(&self, issuer: &TaxNo, cooldown: Duration, query: F) -> Result<bool, SyncError>
    where
        F: AsyncFnOnce() -> Result<(), SyncError>,
    {
        let came = Instant::now();
        let seat = Arc::clone(self.seats().entry(issuer.clone()).or_default());
        let mut last = seat.lock().await;
        if let Some(flight) = &*last {
            if flight.ended >= came {
                return flight.outcome.clone().map(|()| true).map_err(SyncError::Source);
            }
            if flight.ended.elapsed() < cooldown {
                return Ok(false);
            }
        }
        let outcome = query().await;
        let noted = outcome.as_ref().copied().map_err(ToString::to_string);
        *last = Some(Flight { ended: Instant::now(), outcome: noted });
        outcome.map(|()| true)
    }

    fn seats(&self) -> std::sync::MutexGuard<'_, HashMap<TaxNo, Arc<tokio::sync::Mutex<Option<Flight>>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
