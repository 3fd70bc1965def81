//! Opening the ports and the database, also those that another process is about to let go of.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::time::{Instant, sleep};

use super::{Addresses, AppError, plane::Gate, service};
use crate::{
    config::Config,
    listener::{Bound, Inherited, ListenerMetrics},
    proxy::Admission,
    store::{self, Claim, StoreError},
};

/// How often it is looked whether the gateway before has ended.
const LOOK: Duration = Duration::from_millis(10);
/// How often it is said that it has not.
const REMIND: Duration = Duration::from_secs(10);

/// All open ports.
pub(super) struct Ports {
    pub(super) data: Vec<(Bound, Gate)>,
    pub(super) admin: Bound,
    pub(super) ops: Bound,
}

impl Ports {
    /// Takes the sockets that were handed over, and opens the others.
    ///
    /// # Errors
    /// Which one cannot be opened, or was handed over for nothing.
    pub(super) async fn open(
        config: &Config,
        metrics: &ListenerMetrics,
        mut inherited: Inherited,
    ) -> Result<Self, AppError> {
        let mut data = Vec::with_capacity(config.listen.len());
        for listen in &config.listen {
            let bound = Bound::take_or_bind("data", listen.listener.clone(), metrics, &mut inherited).await?;
            let admission = Arc::new(ArcSwap::from_pointee(Admission::new(listen.allow.clone())));
            let gate = Gate { settings: bound.settings(), admission };
            data.push((bound, gate));
        }
        let admin = Bound::take_or_bind("admin", config.admin.clone(), metrics, &mut inherited).await?;
        let ops = Bound::take_or_bind("ops", config.ops.clone(), metrics, &mut inherited).await?;
        inherited.all_taken()?;
        Ok(Self { data, admin, ops })
    }

    /// Where they are.
    pub(super) fn addresses(&self, config: &Config) -> Addresses {
        let data = self.data.iter().zip(&config.listen);
        Addresses {
            data: data.map(|((bound, _), of)| (bound.local_addr(), of.listener.tls.is_some())).collect(),
            admin: (self.admin.local_addr(), config.admin.tls.is_some()),
            ops: self.ops.local_addr(),
        }
    }
}

/// Claims the database as soon as the gateway before lets go of it; meanwhile clients wait in the queues of the sockets
/// that were handed over.
///
/// # Errors
/// [`StoreError::Busy`] when it has not let go within the limit.
pub(super) async fn claim_after(config: &store::Config, limit: Duration) -> Result<Claim, StoreError> {
    let begun = Instant::now();
    let mut reminder = begun;
    loop {
        match store::claim(config) {
            Err(StoreError::Busy { .. }) if begun.elapsed() < limit => {}
            claimed => {
                if claimed.is_ok() && reminder > begun {
                    let waited = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                    tracing::info!(waited_ms = waited, "the gateway before has ended; taking over");
                }
                return claimed;
            }
        }
        if reminder <= Instant::now() {
            tracing::info!(
                limit = ?limit,
                "another gateway still uses the database; waiting for it to end, clients wait in the queue"
            );
            service::busy("waiting for the gateway before to end", 2 * REMIND);
            reminder = Instant::now() + REMIND;
        }
        sleep(LOOK).await;
    }
}
