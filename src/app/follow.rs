//! What other gateways on the database change: units and how their credit is managed.

use std::{sync::Arc, time::Duration};

use super::Parts;
use crate::{
    store::{
        Store,
        units::{UnitTable, Version},
    },
    unit::UnitError,
};

/// How often it is looked whether something was changed.
const LOOK: Duration = Duration::from_secs(1);

/// Takes over whatever other gateways change, about a second after them. Ends at once where there is only one gateway.
pub(super) async fn follow(store: Store, parts: Parts) {
    if !store.is_shared() {
        return;
    }
    let mut seen = None;
    loop {
        match changed(&store.units, &parts, seen).await {
            Ok(version) => seen = Some(version),
            // an outage is told by whatever it gets in the way of
            Err(error) => tracing::debug!(%error, "what other gateways changed cannot be read"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn changed(
    units: &Arc<dyn UnitTable>,
    parts: &Parts,
    seen: Option<Version>,
) -> Result<Version, UnitError> {
    let version = units.version().await?;
    if seen != Some(version) {
        parts.registry.refresh().await?;
        parts.transfers.refresh_settings().await?;
    }
    Ok(version)
}
