//! The registry: look-ups in memory.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use super::{IdCheck, Keys, MasterKey, Unit, UnitError, diagnose, snapshot::Snapshot};
use crate::clock::Clock;
use crate::domain::{CapabilityCode, Environment, PlatformId, TaxNo};
use crate::leqi::{Sm4Key, client::Caller};
use crate::store::units::UnitTable;

/// How often an unknown id makes this gateway look what others have registered, and how long that may take.
const LOOK: Duration = Duration::from_secs(1);

/// All units. Look-ups take no lock; changes are made one at a time, each with its audit row in one transaction.
pub struct Registry {
    pub(super) table: Arc<dyn UnitTable>,
    pub(super) master: MasterKey,
    pub(super) clock: Clock,
    pub(super) snapshot: ArcSwap<Snapshot>,
    pub(super) changing: Mutex<()>,
    /// When [`Self::look_for`] last looked.
    looked: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("units", &self.list().len()).finish_non_exhaustive()
    }
}

impl Registry {
    /// Reads all units and opens their keys.
    ///
    /// # Errors
    /// When the store fails, or the unit whose key does not open with this master key.
    pub async fn open(
        table: Arc<dyn UnitTable>,
        master: MasterKey,
        clock: Clock,
    ) -> Result<Arc<Self>, UnitError> {
        let version = table.version().await?;
        let snapshot = Snapshot::build(version, table.all().await?, &master)?;
        Ok(Arc::new(Self {
            table,
            master,
            clock,
            snapshot: ArcSwap::from_pointee(snapshot),
            changing: Mutex::new(()),
            looked: Mutex::new(None),
        }))
    }

    /// The unit of that platform id, written in either case; `None` also when the text is no platform id.
    #[must_use]
    pub fn by_platform_id(&self, id: &str) -> Option<Arc<Unit>> {
        let id = PlatformId::parse(id).ok()?;
        self.snapshot.load().by_platform_id(&id).map(Arc::clone)
    }

    /// The unit of that tax number.
    #[must_use]
    pub fn by_tax_no(&self, tax_no: &TaxNo) -> Option<Arc<Unit>> {
        self.snapshot.load().unit(tax_no).map(Arc::clone)
    }

    /// The key for calls of the access unit with that platform id (`jrdwptbh`).
    #[must_use]
    pub fn key_for(&self, access_platform_id: &str, environment: Environment) -> Option<Sm4Key> {
        let id = PlatformId::parse(access_platform_id).ok()?;
        let snapshot = self.snapshot.load();
        let unit = snapshot.by_platform_id(&id)?;
        snapshot.keys(&unit.tax_no)?.of(environment).cloned()
    }

    /// The keys that calls of this unit go out with: its own, or its access unit's.
    #[must_use]
    pub fn keys_of(&self, unit: &Unit) -> Option<Keys> {
        self.snapshot.load().keys(unit.access_unit()).cloned()
    }

    /// In whose name the gateway calls for this taxpayer: ids and key of its unit and access unit.
    ///
    /// # Errors
    /// When no unit has the tax number, or its access unit has no key in that world.
    pub fn caller_for(
        &self,
        tax_no: &TaxNo,
        capability: CapabilityCode,
        environment: Environment,
    ) -> Result<Caller, UnitError> {
        let snapshot = self.snapshot.load();
        let using = snapshot.unit(tax_no).ok_or_else(|| UnitError::Unknown(tax_no.clone()))?;
        let access = snapshot
            .unit(using.access_unit())
            .ok_or_else(|| UnitError::AccessUnitUnknown(using.access_unit().clone()))?;
        let key = snapshot.keys(&access.tax_no).and_then(|keys| keys.of(environment)).cloned().ok_or_else(
            || UnitError::NoKey { access_unit: access.tax_no.clone(), environment: environment.as_str() },
        )?;
        Ok(Caller {
            access_id: access.platform_id.clone(),
            using_id: using.platform_id.clone(),
            key,
            capability,
        })
    }

    /// What the two platform ids of a call say about each other.
    #[must_use]
    pub fn diagnose_ids(&self, access_id: &str, using_id: &str) -> IdCheck {
        diagnose::diagnose(&self.snapshot.load(), access_id, using_id)
    }

    /// All units, by tax number.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Unit>> {
        self.snapshot.load().list()
    }

    /// Takes over what another gateway on the database has changed, if it has.
    ///
    /// # Errors
    /// When the store fails, or a key does not open; the units stay as they were.
    pub async fn refresh(&self) -> Result<(), UnitError> {
        let _one_at_a_time = self.changing.lock().await;
        self.catch_up().await
    }

    /// Looks whether another gateway has just registered a unit with one of these platform ids, if it is not known
    /// here; at most once a second, and no longer than that. Gives whether there was something to look for.
    pub async fn look_for(&self, ids: [&str; 2]) -> bool {
        if ids.into_iter().all(|id| PlatformId::parse(id).is_err() || self.by_platform_id(id).is_some()) {
            return false;
        }
        let mut looked = self.looked.lock().await;
        if looked.is_none_or(|at| at.elapsed() >= LOOK) {
            match tokio::time::timeout(LOOK, self.refresh()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "units that other gateways changed cannot be read"),
                Err(_) => tracing::warn!("units that other gateways changed cannot be read in time"),
            }
            *looked = Some(Instant::now());
        }
        true
    }

    /// Reads everything again if it is not what the store has; under the lock for changes.
    pub(super) async fn catch_up(&self) -> Result<(), UnitError> {
        // the version first: rows that are newer than it are only read once more
        let version = self.table.version().await?;
        if version != self.snapshot.load().version {
            let rows = self.table.all().await?;
            self.snapshot.store(Arc::new(Snapshot::build(version, rows, &self.master)?));
        }
        Ok(())
    }
}
