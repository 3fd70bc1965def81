//! Jobs: what is done regularly and by nobody in particular.
//!
//! | file | what |
//! |---|---|
//! | `schedule` | when a job is due, in Beijing time (pure) |
//! | `job` | what a job is: steps between which it can be stopped |
//! | `scheduler` | looks at the table of jobs, starts what is due, stops with the gateway |
//! | `run` | one run: lease, fence, panics contained, the end written down |
//! | `authorities` | at every gateway: when the authorities that it trusts expire |
//! | the others | one file per job |
//!
//! The table says when a job is due, so a stop does not forget it: what was missed is made up once, however often it
//! was missed. Of many gateways on one database the one that gets the lease runs it. A run that was not wholly done is
//! tried again after 5 minutes, then later and later.

mod audit;
mod certificates;
mod config;
mod confirmations;
mod credit;
mod expiry;
mod job;
mod metrics;
mod month_start;
mod reconciliation;
mod retention;
mod run;
mod schedule;
mod scheduler;
#[cfg(test)]
mod tests;
mod top_up;
mod watch;

pub use self::{
    audit::Audit,
    certificates::{CertificateWatch, WatchedFile, WatchedFor},
    config::{Config, Retention, Setting},
    confirmations::ConfirmationsJob,
    expiry::Expiry,
    job::{Context, Job, JobError, Outcome, Step},
    metrics::{Figure, Metrics},
    month_start::MonthStart,
    reconciliation::Reconciliation,
    retention::RetentionJob,
    schedule::Schedule,
    scheduler::{Parts, Scheduler},
    top_up::TopUp,
    watch::Watch,
};
