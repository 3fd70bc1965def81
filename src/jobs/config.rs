//! When which job runs.

use std::{collections::BTreeMap, time::Duration};

use jiff::civil::Time;

use super::Schedule;
use crate::store::jobs::JobName;

/// `[jobs]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether this gateway runs jobs at all; another one on the same database may.
    pub enabled: bool,
    /// The most that a run comes late, so that not everybody calls the platform in the same second.
    pub jitter: Duration,
    /// Jobs that run at the same time.
    pub concurrency: usize,
    /// Whether a confirmation that nobody sent is sent by itself once nothing of its month is open any more.
    pub confirm: bool,
    /// Each job.
    pub settings: BTreeMap<JobName, Setting>,
}

/// One job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Whether it runs by itself. It can be asked for in any case.
    pub enabled: bool,
    /// When.
    pub schedule: Schedule,
}

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Exchanges of the request log.
    pub exchanges: Duration,
    /// Revoked tokens.
    pub tokens: Duration,
}

impl Default for Retention {
    /// Five years, as long as the stubs of issued invoices must be kept (发票管理办法); a year for tokens.
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self { exchanges: Duration::from_secs(1827 * DAY), tokens: Duration::from_secs(366 * DAY) }
    }
}

impl Config {
    /// The job's schedule unless the configuration says otherwise.
    #[must_use]
    pub fn schedule(name: JobName) -> Schedule {
        let daily = |times: &[(i8, i8)]| Schedule::Daily(times.iter().map(|(h, m)| time(*h, *m)).collect());
        match name {
            JobName::Audit => daily(&[(4, 15)]),
            JobName::Confirmations => daily(&[(8, 30)]),
            // after midnight the months that are over, before midnight of the last day what is to be returned
            JobName::Expiry => daily(&[(0, 20), (23, 40)]),
            JobName::MonthStart => Schedule::Monthly(time(0, 5)),
            JobName::Reconciliation => Schedule::Every(Duration::from_secs(60)),
            JobName::Retention => daily(&[(3, 30)]),
            JobName::TopUp => Schedule::Every(Duration::from_secs(10 * 60)),
            JobName::Watch => Schedule::Every(Duration::from_secs(60 * 60)),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let setting = |name| (name, Setting { enabled: true, schedule: Self::schedule(name) });
        Self {
            enabled: true,
            jitter: Duration::from_secs(120),
            concurrency: 2,
            confirm: false,
            settings: JobName::ALL.into_iter().map(setting).collect(),
        }
    }
}

fn time(hour: i8, minute: i8) -> Time {
    Time::new(hour, minute, 0, 0).unwrap_or(Time::midnight())
}
