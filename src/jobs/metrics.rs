//! What the jobs show of themselves. Every gateway shows the same figures, wherever a job ran: they come from its row.

use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use serde_json::Value;

use crate::{
    store::jobs::{JobName, JobRow},
    telemetry::metrics::{self, MetricError},
};

/// Something that a job finds out, shown as a gauge of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Figure {
    /// Of `audit`.
    MismatchedAccounts,
    /// Of `confirmations`.
    OpenConfirmations,
    /// Of `watch`.
    SuspendedUnits,
    /// Of `watch`.
    UnitsLowOnCredit,
    /// Of `watch`.
    UnitsWithoutKey,
}

impl Figure {
    const ALL: [Self; 5] = [
        Self::MismatchedAccounts,
        Self::OpenConfirmations,
        Self::SuspendedUnits,
        Self::UnitsLowOnCredit,
        Self::UnitsWithoutKey,
    ];

    /// The name in metrics and in the summary of a run.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MismatchedAccounts => "ledger_mismatched_accounts",
            Self::OpenConfirmations => "open_confirmations",
            Self::SuspendedUnits => "units_credit_suspended",
            Self::UnitsLowOnCredit => "units_low_on_credit",
            Self::UnitsWithoutKey => "units_without_key",
        }
    }

    const fn help(self) -> &'static str {
        match self {
            Self::MismatchedAccounts => {
                "Accounts of this and the past month whose balances are not what their entries add up to: never but 0"
            }
            Self::OpenConfirmations => "Confirmations of the past month that the platform has not confirmed",
            Self::SuspendedUnits => "Units whose credit the tax bureau has suspended",
            Self::UnitsLowOnCredit => {
                "Units whose downloaded credit lasts less than a day at this month's rate"
            }
            Self::UnitsWithoutKey => {
                "Units that cannot be called for: their access unit has no production key"
            }
        }
    }

    const fn of(self) -> JobName {
        match self {
            Self::MismatchedAccounts => JobName::Audit,
            Self::OpenConfirmations => JobName::Confirmations,
            Self::SuspendedUnits | Self::UnitsLowOnCredit | Self::UnitsWithoutKey => JobName::Watch,
        }
    }
}

/// Counters of the scheduler, and the jobs' figures.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) runs: IntCounterVec,
    pub(super) seconds: HistogramVec,
    pub(super) deleted: IntCounter,
    pub(super) authorities: IntGaugeVec,
    pub(super) client_certificates: IntGaugeVec,
    running: IntGaugeVec,
    succeeded: IntGaugeVec,
    next: IntGaugeVec,
    figures: Vec<(Figure, IntGauge)>,
}

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(to: &metrics::Metrics) -> Result<Self, MetricError> {
        let figures = Figure::ALL
            .into_iter()
            .map(|figure| Ok((figure, to.gauge(figure.as_str(), figure.help())?)))
            .collect::<Result<_, MetricError>>()?;
        Ok(Self {
            runs: to.counters(
                "job_runs_total",
                "Runs of jobs that ended at this gateway",
                &["job", "result"],
            )?,
            seconds: to.seconds_by("job_seconds", "Duration of the runs of jobs", &["job"])?,
            deleted: to.counter(
                "request_log_deleted_total",
                "Exchanges that were deleted because they were kept long enough",
            )?,
            authorities: to.gauges(
                "authority_not_after_timestamp_seconds",
                "Until when the first authority that this gateway trusts for these is valid, in seconds since 1970",
                &["of"],
            )?,
            client_certificates: to.gauges(
                "client_certificate_not_after_timestamp_seconds",
                "Until when the certificate that this gateway shows to the upstream is valid, in seconds since 1970: the earliest end in its chain",
                &["upstream"],
            )?,
            running: to.gauges("job_running", "Whether the job runs at any gateway", &["job"])?,
            succeeded: to.gauges(
                "job_last_success_timestamp_seconds",
                "When a run of the job last did all it had to do, at any gateway, in seconds since 1970",
                &["job"],
            )?,
            next: to.gauges(
                "job_next_run_timestamp_seconds",
                "When the job is due next, in seconds since 1970; 0: switched off",
                &["job"],
            )?,
            figures,
        })
    }

    /// Shows what a job's row says.
    pub(super) fn show(&self, row: &JobRow) {
        let job = [row.name.as_str()];
        self.running.with_label_values(&job).set(i64::from(row.running.is_some()));
        self.next.with_label_values(&job).set(row.due_at.map_or(0, jiff::Timestamp::as_second));
        if let Some(at) = row.succeeded_at {
            self.succeeded.with_label_values(&job).set(at.as_second());
        }
        let Some(summary) = row.last.as_ref().map(|last| &last.summary) else { return };
        let Ok(summary) = serde_json::from_str::<Value>(summary) else { return };
        for (figure, gauge) in self.figures.iter().filter(|(figure, _)| figure.of() == row.name) {
            if let Some(value) = summary["figures"][figure.as_str()].as_i64() {
                gauge.set(value);
            }
        }
    }
}
