//! Moving credit between the bureau and the company, and keeping the books true: what people, jobs and uploads that
//! lack credit ask for.
//!
//! | file | what |
//! |---|---|
//! | `orders` | downloads, returns, validity, balances: what people ask for |
//! | `rounds` | month start, top-up, month end: what is done by itself |
//! | `send` | one transfer from its note to its outcome, and again after a lost answer |
//! | `demand` | uploads that wait for one download |
//! | `reconcile` | invoices of unknown outcome |

mod demand;
mod orders;
mod reconcile;
mod rounds;
mod send;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;

pub use self::{
    orders::{Order, Return, Want},
    reconcile::{Expired, Reconciled},
    rounds::month_ending,
    send::Resumed,
};
pub use super::rules::Origin;
use super::{Bureau, Ledger, NoCaller, Settings, SyncError, settings::Book};
use crate::{
    domain::{Money, Period, TaxNo},
    leqi::client::CallEnded,
    store::{
        StoreError,
        audit::{AuditRow, AuditTable},
        ledger::{Mismatch, Transfer, TransferFilter},
        quota_settings::QuotaSettingTable,
    },
};

/// Calls to the platform that may still be made; whoever makes one takes it off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// So many.
    pub left: u32,
}

impl Calls {
    /// So many calls.
    #[must_use]
    pub const fn new(left: u32) -> Self {
        Self { left }
    }

    fn take(&mut self) -> bool {
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

/// Why credit was not moved.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The gateway cannot call in the taxpayer's name.
    #[error(transparent)]
    Caller(#[from] NoCaller),
    /// What was asked for makes no sense; names the field.
    #[error("{field}: {reason}")]
    Field {
        /// As the management API calls it.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The outcome of a transfer is not known. It is sent again, the same, until it is.
    #[error(
        "the outcome of the {} of {} (serial {}) is not known; the gateway sends the same serial again until it is", .0.way.as_str(), .0.amount, .0.serial
    )]
    Open(Box<Transfer>),
    /// The platform refused, or was not reached.
    #[error(transparent)]
    Platform(#[from] CallEnded),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TransferError {
    fn field(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Field { field, reason: reason.into() }
    }
}

impl From<SyncError> for TransferError {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::Source(reason) => {
                Self::Platform(CallEnded::NotSent(format!("the balance could not be asked for: {reason}")))
            }
            SyncError::Store(error) => Self::Store(error),
        }
    }
}

/// An amount that can be moved or kept as a mark.
///
/// # Errors
/// When it is not more than nothing, or more than the platform can express.
pub(super) fn check_amount(field: &'static str, amount: Money) -> Result<(), TransferError> {
    if amount <= Money::ZERO {
        Err(TransferError::field(field, "must be more than 0"))
    } else if amount >= Money::ON_DEMAND {
        Err(TransferError::field(field, "is more than the platform can express"))
    } else {
        Ok(())
    }
}

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct Transfers(Arc<Desk>);

struct Desk {
    ledger: Ledger,
    bureau: Arc<dyn Bureau>,
    audit: Arc<dyn AuditTable>,
    settings: Book,
    /// One transfer at a time per issuer.
    seats: Seats,
    demand: demand::Waiting,
    memory: Mutex<reconcile::Memory>,
}

impl std::fmt::Debug for Transfers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transfers").finish_non_exhaustive()
    }
}

impl Transfers {
    /// Opens the service: reads the settings of all units.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open(
        ledger: Ledger,
        bureau: Arc<dyn Bureau>,
        settings: Arc<dyn QuotaSettingTable>,
        audit: Arc<dyn AuditTable>,
    ) -> Result<Self, StoreError> {
        let settings = Book::open(settings, ledger.0.clock.clone()).await?;
        Ok(Self(Arc::new(Desk {
            ledger,
            bureau,
            audit,
            settings,
            seats: Seats::default(),
            demand: demand::Waiting::default(),
            memory: Mutex::default(),
        })))
    }

    /// The ledger behind it.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// Taxpayers whose credit the gateway keeps.
    #[must_use]
    pub fn taxpayers(&self) -> Vec<TaxNo> {
        self.0.bureau.taxpayers()
    }

    /// How the taxpayer's credit is managed.
    #[must_use]
    pub fn settings(&self, issuer: &TaxNo) -> Settings {
        self.0.settings.of(issuer)
    }

    /// Reads the settings again: another gateway may have changed them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn refresh_settings(&self) -> Result<(), StoreError> {
        self.0.settings.reread().await
    }

    /// Changes settings, with an audit row.
    ///
    /// # Errors
    /// When an amount makes no sense, no unit has the tax number, or the database fails.
    pub async fn change_settings(
        &self,
        issuer: &TaxNo,
        change: impl Fn(&mut Settings) + Send,
        actor: &str,
    ) -> Result<Settings, TransferError> {
        self.0.settings.put(issuer, change, actor).await
    }

    /// Downloads and returns, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list(&self, filter: &TransferFilter) -> Result<Vec<Transfer>, StoreError> {
        self.0.ledger.transfers(filter).await
    }

    /// Accounts of the month whose figures are not what their entries and events add up to.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn verify(&self, period: Period) -> Result<Vec<Mismatch>, StoreError> {
        self.0.ledger.verify(period).await
    }
}

impl Desk {
    fn now(&self) -> Timestamp {
        self.ledger.0.clock.now()
    }

    fn period(&self) -> Period {
        self.ledger.0.clock.period()
    }

    async fn note(
        &self,
        actor: &str,
        action: &str,
        issuer: &TaxNo,
        detail: &serde_json::Value,
    ) -> Result<(), StoreError> {
        let row = AuditRow {
            at: self.now(),
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: issuer.to_string(),
            detail: detail.to_string(),
        };
        self.audit.append(row).await
    }
}

/// One lock per issuer.
#[derive(Default)]
struct Seats(Mutex<HashMap<TaxNo, Arc<tokio::sync::Mutex<()>>>>);

impl Seats {
    async fn take(&self, issuer: &TaxNo) -> tokio::sync::OwnedMutexGuard<()> {
        let seat = {
            let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(seats.entry(issuer.clone()).or_default())
        };
        seat.lock_owned().await
    }
}
