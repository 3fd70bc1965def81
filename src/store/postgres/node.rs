//! The number of this gateway among all on the database, and who else is alive.
//!
//! Ids of exchanges carry it, so that no two gateways give out the same. It is held by an advisory lock of a connection
//! of its own: a lock that nobody holds belongs to no living gateway. After an outage of the server, which frees all
//! locks, gateways get some time to take theirs again before anybody is believed to be gone. Meanwhile they go on giving
//! out ids; so whoever starts takes the number after the one that was taken last, which nobody has had for longest. The
//! numbers come round after 512; those in use are passed over for good, so that one that is free just for a moment is
//! met at the next round at the earliest.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use super::server::Server;
use crate::{
    domain::Node,
    store::{StoreError, backend::Backend},
};

/// What the locks of gateways are told apart by from others.
pub(super) const LOCK_SPACE: i32 = 0x1e0d;
/// How often the connection is looked at, and made again.
const LOOK: Duration = Duration::from_millis(500);
/// How long a gateway may take to come back after the server was away.
const GRACE: Duration = Duration::from_secs(4);

/// How many numbers there are.
const NUMBERS: u16 = 512;

/// The number after the one that was taken or passed over last.
const NEXT: &str = "SELECT (nextval('gateway_node') % 512)::int";

/// Those of the numbers whose locks nobody holds. Looking does not take a lock: its gateway could be about to.
const FREE: &str = "SELECT n FROM unnest($2::int[]) AS n WHERE NOT EXISTS (
    SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2
    AND classid = $1::int::oid AND objid = n::oid
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";

/// Nodes that have open exchanges, other than this one.
const OPEN: &str = "SELECT DISTINCT ((id >> 12) & 511)::int FROM exchange
WHERE state = 'sending' AND state <> 'complete' AND ((id >> 12) & 511)::int <> $1";

/// Takes a number and keeps it until the token is cancelled.
pub(super) async fn join(server: &Server, closing: CancellationToken) -> Result<Node, StoreError> {
    let fail = |error: sqlx::Error| server.explain(StoreError::Sql(error));
    let mut connection = server.connect().await.map_err(fail)?;
    let number = take(&mut connection, None).await.map_err(fail)?;
    let node = Node::new(number.ok_or_else(too_many)?);
    tokio::spawn(keep(server.clone(), connection, node.clone(), closing));
    Ok(node)
}

fn too_many() -> StoreError {
    StoreError::Conflict("512 gateways run on this database already; stop one".to_owned())
}

/// Takes the preferred number if it is free, else the next one.
async fn take(connection: &mut PgConnection, preferred: Option<u16>) -> Result<Option<u16>, sqlx::Error> {
    if let Some(preferred) = preferred
        && try_lock(connection, i32::from(preferred)).await?
    {
        return Ok(Some(preferred));
    }
    for _ in 0..NUMBERS {
        // asked each time, so that the next one to start begins behind the number that is taken in the end
        let next: i32 = sqlx::query_scalar(NEXT).fetch_one(&mut *connection).await?;
        if try_lock(connection, next).await? {
            return Ok(u16::try_from(next).ok());
        }
    }
    Ok(None)
}

/// Takes the lock of a number; `false` when somebody has it.
pub(super) async fn try_lock(connection: &mut PgConnection, number: i32) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock($1, $2)")
        .bind(LOCK_SPACE)
        .bind(number)
        .fetch_one(connection)
        .await
}

/// Looks after the connection; takes the number again, or another one, when it broke.
async fn keep(server: Server, mut connection: PgConnection, node: Node, closing: CancellationToken) {
    loop {
        tokio::select! {
            () = closing.cancelled() => break,
            () = tokio::time::sleep(LOOK) => {}
        }
        let pinged = tokio::time::timeout(server.patience, connection.ping()).await;
        if pinged.is_ok_and(|pinged| pinged.is_ok()) {
            continue;
        }
        let Ok(mut new) = server.connect().await else { continue };
        match take(&mut new, Some(node.number())).await {
            Ok(Some(number)) => {
                if number != node.number() {
                    tracing::warn!(
                        number,
                        "this gateway's number was taken meanwhile; it goes on under another"
                    );
                    node.change(number);
                }
                connection = new;
            }
            Ok(None) => {
                tracing::error!("512 gateways run on this database; this one has no number of its own");
            }
            Err(error) => tracing::debug!(%error, "this gateway's number could not be taken again yet"),
        }
    }
    let _ = connection.close().await;
}

/// Those of the nodes with open exchanges that belong to no living gateway.
pub(super) async fn gone(server: &Server, own: &Node) -> Result<Vec<i32>, StoreError> {
    let fail = |error: sqlx::Error| server.explain(StoreError::Sql(error));
    let mut connection = server.connect().await.map_err(fail)?;
    let open: Vec<i32> = sqlx::query_scalar(OPEN)
        .bind(i32::from(own.number()))
        .fetch_all(&mut connection)
        .await
        .map_err(fail)?;
    let mut missing = free(&mut connection, open).await.map_err(fail)?;
    if !missing.is_empty() {
        tokio::time::sleep(GRACE).await;
        missing = free(&mut connection, missing).await.map_err(fail)?;
    }
    let _ = connection.close().await;
    Ok(missing)
}

/// Those whose locks nobody holds.
pub(super) async fn free(connection: &mut PgConnection, numbers: Vec<i32>) -> Result<Vec<i32>, sqlx::Error> {
    sqlx::query_scalar(FREE).bind(LOCK_SPACE).bind(numbers).fetch_all(connection).await
}
