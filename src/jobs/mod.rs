//! Jobs: what is done regularly and by nobody in particular.
//!
//! | file | what |
//! |---|---|
//! | `schedule` | when a job is due, in Beijing time (pure) |
//! | `job` | what a job is: steps between which it can be stopped |
//! | `scheduler` | looks at the table of jobs, starts what is due, stops with the gateway |
//! | `run` | one run: lease, fence, panics contained, the end written down |
//! | `certificates` | at every gateway: when its certificates expire |
//! | the others | one file per job |
//!
//! The table says when a job is due, so a stop does not forget it: what was missed is made up once, however often it
//! was missed. Of many gateways on one database the one that gets the lease runs it. A run that was not wholly done is
//! tried again after 5 minutes, then later and later.

mod audit;
mod certificates;
mod config;
mod confirmations;
mod job;
mod metrics;
mod retention;
mod run;
mod schedule;
mod scheduler;
#[cfg(test)]
mod tests;
mod watch;

pub use self::{
    audit::Audit,
    certificates::{CertificateFile, CertificateUse, Certificates},
    config::{Config, Retention, Setting},
    confirmations::ConfirmationsJob,
    job::{Context, Job, JobError, Outcome, Step},
    metrics::{Figure, Metrics},
    retention::RetentionJob,
    schedule::Schedule,
    scheduler::{Parts, Scheduler},
    watch::Watch,
};
