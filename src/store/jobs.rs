//! Rows of the jobs: when each is due, who runs it, how it ended.
//!
//! A lease ([`super::leases`]) says which of many gateways may run a job, the row's fence makes sure of it: every run
//! raises the fence, and a gateway that lost its lease on the way cannot write down an end any more.

use std::fmt;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{StoreError, audit::AuditRow};
use crate::domain::Invalid;

/// Which job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobName {
    /// Proves that the ledger's balances are what its entries and events add up to.
    Audit,
    /// Creates the past month's confirmations and reminds of those that are open.
    Confirmations,
    /// Closes credit whose month is over and returns what is left before the month's end.
    Expiry,
    /// Downloads the month's credit.
    MonthStart,
    /// Resolves invoices whose outcome is unknown.
    Reconciliation,
    /// Deletes what is kept long enough.
    Retention,
    /// Downloads more where credit has become low.
    TopUp,
    /// Looks at certificates, keys and credit.
    Watch,
}

impl JobName {
    /// Every job.
    pub const ALL: [Self; 8] = [
        Self::Audit,
        Self::Confirmations,
        Self::Expiry,
        Self::MonthStart,
        Self::Reconciliation,
        Self::Retention,
        Self::TopUp,
        Self::Watch,
    ];

    /// The name in the store, in the configuration, in metrics and in the management API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Confirmations => "confirmations",
            Self::Expiry => "expiry",
            Self::MonthStart => "month_start",
            Self::Reconciliation => "reconciliation",
            Self::Retention => "retention",
            Self::TopUp => "top_up",
            Self::Watch => "watch",
        }
    }

    /// The job of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|job| job.as_str() == text).ok_or(Invalid::new(
            "no such job; there are audit, confirmations, expiry, month_start, reconciliation, retention, top_up, watch",
        ))
    }

    /// What it does, for people: Chinese, English.
    #[must_use]
    pub const fn titles(self) -> (&'static str, &'static str) {
        match self {
            Self::Audit => ("额度账目核对", "check of the credit ledger"),
            Self::Confirmations => ("汇总确认提醒", "monthly confirmations: creation and reminder"),
            Self::Expiry => ("额度到期与退回", "end of credit, return of the unused rest"),
            Self::MonthStart => ("月初额度下载", "download of credit at the month's start"),
            Self::Reconciliation => ("未决发票核对", "outcome of unresolved invoices"),
            Self::Retention => ("过期数据清理", "deletion of what is kept long enough"),
            Self::TopUp => ("额度自动补充", "top-up of credit that is low"),
            Self::Watch => ("证书、密钥与额度巡检", "watch over certificates, keys and credit"),
        }
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobResult {
    /// The gateway stopped, or lost its lease, between two steps; the run is made up for.
    Cancelled,
    /// It could not do its work.
    Failed,
    /// All is done.
    Ok,
    /// Some of it is done.
    Partial,
}

impl JobResult {
    /// Every result.
    pub const ALL: [Self; 4] = [Self::Cancelled, Self::Failed, Self::Ok, Self::Partial];

    /// The name in the store, in metrics and in the management API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Ok => "ok",
            Self::Partial => "partial",
        }
    }

    /// The result of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|r| r.as_str() == text).ok_or(Invalid::new("unknown result of a job"))
    }
}

/// The last run that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRun {
    /// Its number: the fence it ran under.
    pub run: i64,
    /// Where it ran.
    pub runner: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How.
    pub result: JobResult,
    /// What was done, as a JSON object.
    pub summary: String,
    /// What went wrong, in a sentence.
    pub error: Option<String>,
}

/// A run that is going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Where it runs.
    pub runner: String,
    /// Since when.
    pub since: Timestamp,
}

/// Somebody asked for a run out of turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// One job as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// Which.
    pub name: JobName,
    /// When it runs, in words: what `due_at` was computed from.
    pub schedule: String,
    /// When it is due next; `None` when it is switched off and only runs when asked for.
    pub due_at: Option<Timestamp>,
    /// Rises with every run that begins.
    pub fence: i64,
    /// A run out of turn that is still to be made.
    pub requested: Option<Request>,
    /// The run that is going on. One that its gateway's end cut short stands here until the next begins.
    pub running: Option<Running>,
    /// The last run that ended.
    pub last: Option<LastRun>,
    /// Runs in a row that were not [`JobResult::Ok`].
    pub failures: u32,
    /// When a run last was [`JobResult::Ok`].
    pub succeeded_at: Option<Timestamp>,
}

/// What the configuration says of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobPlan {
    /// Which.
    pub name: JobName,
    /// When it runs, in words.
    pub schedule: String,
    /// When it is due next; `None` when it is switched off.
    pub due_at: Option<Timestamp>,
    /// The schedule and the due time that the plan was made from; `None` when the job was not there.
    pub seen: Option<(String, Option<Timestamp>)>,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEnd {
    /// What is kept of it; its `run` is the fence that the run began under.
    pub last: LastRun,
    /// When the job is due next.
    pub due_at: Option<Timestamp>,
}

/// The table of jobs.
pub trait JobTable: Send + Sync {
    /// All jobs, by name.
    fn all(&self) -> BoxFuture<'_, Result<Vec<JobRow>, StoreError>>;

    /// Adds the job or changes its schedule and due time, and nothing else of it. What is not as it was seen is left
    /// as it is: another gateway planned it or ran it since, and a turn that it wrote down must not be put off.
    fn plan(&self, plan: JobPlan) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Notes that a run is asked for; `false` when there is no such job. Whoever waits in [`JobTable::requested`] of
    /// this process is told.
    fn request(
        &self,
        name: JobName,
        request: Request,
        audit: AuditRow,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Waits until a run is asked for through this process. Requests made at other gateways are found by looking.
    fn requested(&self) -> BoxFuture<'_, ()>;

    /// Begins a run if the fence still is the given one, and gives the new fence; `None` when another gateway began
    /// one meanwhile.
    fn begin(
        &self,
        name: JobName,
        fence: i64,
        running: Running,
    ) -> BoxFuture<'_, Result<Option<i64>, StoreError>>;

    /// Ends the run that began under the fence `last.run`; forgets requests made before it began. `false` when
    /// another run began since, after which nothing is written.
    fn finish(&self, name: JobName, end: JobEnd) -> BoxFuture<'_, Result<bool, StoreError>>;
}
