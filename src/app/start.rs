//! Opening the ports and the database, also those that another process is about to let go of.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::time::{Instant, sleep};

use super::{Addresses, AppError, plane::Gate, service};
use crate::{
    config::Config,
    listener::{self, Bound, Inherited, ListenError, ListenerMetrics},
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
    /// Takes the sockets that were handed over, and opens the others, for which it waits so long when another process
    /// has them.
    ///
    /// # Errors
    /// Which one cannot be opened, or was handed over for nothing.
    pub(super) async fn open(
        config: &Config,
        metrics: &ListenerMetrics,
        mut inherited: Inherited,
        limit: Duration,
    ) -> Result<Self, AppError> {
        let mut wait = Wait::new(limit);
        let mut data = Vec::with_capacity(config.listen.len());
        for listen in &config.listen {
            let bound = wait.bound("data", &listen.listener, metrics, &mut inherited).await?;
            let admission = Arc::new(ArcSwap::from_pointee(Admission::new(listen.allow.clone())));
            let gate = Gate { settings: bound.settings(), admission };
            data.push((bound, gate));
        }
        let admin = wait.bound("admin", &config.admin, metrics, &mut inherited).await?;
        let ops = wait.bound("ops", &config.ops, metrics, &mut inherited).await?;
        wait.over("all ports are free");
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
    const WHY: &str = "another gateway still uses the database; waiting for it to end, clients wait in the queues of the \
        sockets that were handed over";
    let mut wait = Wait::new(limit);
    loop {
        match store::claim(config) {
            Err(StoreError::Busy { .. }) if wait.again(WHY).await => {}
            claimed => {
                if claimed.is_ok() {
                    wait.over("the database is free");
                }
                return claimed;
            }
        }
    }
}

/// Waiting for what another process has, most likely the gateway before.
struct Wait {
    begun: Instant,
    limit: Duration,
    reminder: Option<Instant>,
}

impl Wait {
    fn new(limit: Duration) -> Self {
        Self { begun: Instant::now(), limit, reminder: None }
    }

    /// Waits for the next look, and says now and then why; `false` when it is of no use any more.
    async fn again(&mut self, why: &str) -> bool {
        if self.begun.elapsed() >= self.limit {
            return false;
        }
        if self.reminder.is_none_or(|at| at <= Instant::now()) {
            tracing::info!(limit = ?self.limit, "{why}");
            service::busy(
                "waiting for what another process, perhaps the gateway before, still has",
                2 * REMIND,
            );
            self.reminder = Some(Instant::now() + REMIND);
        }
        sleep(LOOK).await;
        true
    }

    /// Says what has come of it, if anything was waited for.
    fn over(&self, what: &str) {
        if self.reminder.is_some() {
            let waited = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(waited_ms = waited, "{what}; taking over");
        }
    }

    /// The listener on the socket that was handed over for it, or on a port as soon as that is free.
    async fn bound(
        &mut self,
        name: &'static str,
        config: &listener::Config,
        metrics: &ListenerMetrics,
        inherited: &mut Inherited,
    ) -> Result<Bound, ListenError> {
        loop {
            match Bound::take_or_bind(name, config.clone(), metrics, inherited).await {
                Err(ListenError::InUse(address)) if self.again(&in_use(name, &address)).await => {}
                bound => return bound,
            }
        }
    }
}

/// Whether clients are served meanwhile depends on who has the port, and on the store.
fn in_use(name: &str, address: &impl std::fmt::Display) -> String {
    format!("the {name} port {address} is in use, perhaps by the gateway before; waiting for it to end")
}
