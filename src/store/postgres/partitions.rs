//! The monthly partitions of the request log.
//!
//! They are made before the first row of their month is written, and the following month's with them, so that the turn
//! of a month finds its partitions there. Which month a row belongs to is read off its id, never off a clock.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use sqlx::{AssertSqlSafe, PgConnection};

use crate::{
    domain::{ExchangeId, Period},
    store::StoreError,
};

/// Every table that is partitioned, in the order in which records are written, so that nobody waits crosswise.
pub(super) const TABLES: [&str; 4] = ["exchange", "exchange_key", "exchange_request", "exchange_response"];

/// One gateway makes partitions at a time.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7905, 1)";

/// The months whose partitions are known to be there. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Months(Arc<Mutex<BTreeSet<Period>>>);

impl Months {
    /// The months of the ids that are not known to have partitions, and the months after them.
    pub(super) fn missing(&self, ids: impl Iterator<Item = ExchangeId>) -> BTreeSet<Period> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let needed = ids.map(month_of).collect::<BTreeSet<_>>().into_iter();
        needed.flat_map(|month| [month, month.next()]).filter(|month| !known.contains(month)).collect()
    }

    /// Notes that these have partitions.
    pub(super) fn made(&self, months: BTreeSet<Period>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(months);
    }

    /// Forgets what is known: something else has dropped partitions.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Makes the partitions of these months where they are not there.
pub(super) async fn make(months: &BTreeSet<Period>, connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query(LOCK).execute(&mut *connection).await?;
    for table in TABLES {
        for month in months {
            let (from, to) = (first_id(*month), first_id(month.next()));
            // names and bounds are numbers of our own; this kind of statement takes no parameters
            let sql = format!(
                "CREATE TABLE IF NOT EXISTS {table}_{} PARTITION OF {table} FOR VALUES FROM ({from}) TO ({to})",
                month.compact()
            );
            sqlx::query(AssertSqlSafe(sql)).persistent(false).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// Every month from one exchange to another.
pub(super) fn months_between(first: ExchangeId, last: ExchangeId) -> BTreeSet<Period> {
    let last = month_of(last);
    std::iter::successors(Some(month_of(first)), |month| Some(month.next()))
        .take_while(|month| *month <= last)
        .collect()
}

/// The Beijing month that the id was made in.
fn month_of(id: ExchangeId) -> Period {
    Period::at(id.opened_at())
}

/// The smallest id of the month.
pub(super) fn first_id(month: Period) -> i64 {
    ExchangeId::first_at(month.first_instant()).number()
}
