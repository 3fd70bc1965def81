//! Leases on PostgreSQL: each is an advisory lock of a connection of its own, which the server gives up when the
//! connection ends, however it ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use sqlx::{Connection, PgConnection};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{ledger::fnv1a, server::Server};
use crate::store::{
    StoreError,
    backend::Backend,
    leases::{Lease, LeaseTable},
};

/// What the locks of leases are told apart by from others.
const LOCK_SPACE: i32 = 0x1ea5;
/// How often the connection of a lease is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Where leases are taken.
pub(super) struct Leases(pub(super) Server);

impl LeaseTable for Leases {
    fn try_lease(&self, name: &'static str) -> BoxFuture<'_, Result<Option<Box<dyn Lease>>, StoreError>> {
        Box::pin(async move {
            let fail = |error: sqlx::Error| self.0.explain(StoreError::Sql(error));
            let mut connection = self.0.connect().await.map_err(fail)?;
            let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1, $2)")
                .bind(LOCK_SPACE)
                .bind(lock_of(name))
                .fetch_one(&mut connection)
                .await
                .map_err(fail)?;
            if !taken {
                let _ = connection.close().await;
                return Ok(None);
            }
            Ok(Some(Box::new(Held::start(connection)) as Box<dyn Lease>))
        })
    }
}

/// The number of a lease's lock; the same in every gateway, of whatever version.
fn lock_of(name: &str) -> i32 {
    i32::try_from(fnv1a(name.as_bytes()) & 0x7fff_ffff).unwrap_or_default()
}

/// A lease that was taken.
struct Held {
    held: Arc<AtomicBool>,
    _given_up: DropGuard,
}

impl Held {
    fn start(connection: PgConnection) -> Self {
        let held = Arc::new(AtomicBool::new(true));
        let given_up = CancellationToken::new();
        tokio::spawn(keep(connection, Arc::clone(&held), given_up.clone()));
        Self { held, _given_up: given_up.drop_guard() }
    }
}

impl Lease for Held {
    fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }
}

/// Looks after the connection until the lease is given up.
async fn keep(mut connection: PgConnection, held: Arc<AtomicBool>, given_up: CancellationToken) {
    while !given_up.is_cancelled() {
        tokio::select! {
            () = given_up.cancelled() => break,
            () = tokio::time::sleep(LOOK) => {}
        }
        let pinged = tokio::time::timeout(LOOK * 3, connection.ping()).await;
        if !pinged.is_ok_and(|pinged| pinged.is_ok()) {
            held.store(false, Ordering::Release);
            tracing::warn!("a lease is lost: the connection that held it broke");
            return;
        }
    }
    let _ = connection.close().await;
}
