//! What a job is: a name, and something to do in steps between which it can be stopped.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{StreamExt, future::BoxFuture, stream};
use serde::Serialize;

use crate::{
    shutdown::{Phase, Shutdown},
    store::{StoreError, jobs::JobName, leases::Lease},
};

/// Steps of one run that may be under way at the same time.
const SIDE_BY_SIDE: usize = 4;
/// Remarks that one run keeps.
const NOTES: usize = 20;

/// Something that is done regularly. One file per job.
pub trait Job: Send + Sync {
    /// Which.
    fn name(&self) -> JobName;

    /// Does it once. It must be safe to do again: a run that a stop or a crash cut short is made up for.
    fn run<'a>(
        &'a self,
        context: &'a Context,
        outcome: &'a mut Outcome,
    ) -> BoxFuture<'a, Result<(), JobError>>;
}

/// Why a run ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The gateway stops, or another one has the lease.
    #[error("stopped between two steps; it is made up for")]
    Cancelled,
    /// Something that every step needs does not work.
    #[error("{0}")]
    Failed(String),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a run knows of its surroundings.
#[derive(Clone)]
pub struct Context {
    /// Who acts, as audit rows show it: `job:month_start`.
    pub actor: String,
    shutdown: Shutdown,
    lease: Arc<dyn Lease>,
}

impl Context {
    /// The surroundings of a run under this lease.
    pub(super) fn new(name: JobName, shutdown: Shutdown, lease: Arc<dyn Lease>) -> Self {
        Self { actor: format!("job:{name}"), shutdown, lease }
    }

    /// To be asked between two steps.
    ///
    /// # Errors
    /// [`JobError::Cancelled`] when the run must end here.
    pub fn go_on(&self) -> Result<(), JobError> {
        if self.shutdown.phase() > Phase::Running || !self.lease.is_held() {
            return Err(JobError::Cancelled);
        }
        Ok(())
    }

    /// Takes a step for each item, a few at the same time, and adds up what became of them.
    ///
    /// # Errors
    /// [`JobError::Cancelled`] when there were more items than the run was allowed to begin.
    pub async fn each<T, F>(
        &self,
        items: Vec<T>,
        outcome: &mut Outcome,
        step: impl Fn(T) -> F,
    ) -> Result<(), JobError>
    where
        F: Future<Output = Step>,
    {
        let step = &step;
        let steps = stream::iter(items).map(|item| async move {
            match self.go_on() {
                Ok(()) => Some(step(item).await),
                Err(_) => None,
            }
        });
        let mut steps = std::pin::pin!(steps.buffer_unordered(SIDE_BY_SIDE));
        let mut whole = true;
        while let Some(step) = steps.next().await {
            match step {
                Some(step) => outcome.add(step),
                None => whole = false,
            }
        }
        if whole { Ok(()) } else { Err(JobError::Cancelled) }
    }
}

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something was done.
    Done,
    /// It did not work; why, in a sentence.
    Failed(String),
    /// There was nothing to do.
    Nothing,
}

/// What a run did. Kept with the run and shown to people: no payload, no key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Steps that did something.
    pub done: u64,
    /// Steps that did not work.
    pub failed: u64,
    /// Steps that had nothing to do.
    pub nothing: u64,
    /// What it found, by names of [`super::Figure`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<&'static str, i64>,
    /// Remarks, the first ones only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Outcome {
    /// Counts a step.
    pub fn add(&mut self, step: Step) {
        match step {
            Step::Done => self.done += 1,
            Step::Failed(why) => {
                self.failed += 1;
                self.note(why);
            }
            Step::Nothing => self.nothing += 1,
        }
    }

    /// Adds a remark.
    pub fn note(&mut self, remark: impl Into<String>) {
        if self.notes.len() < NOTES {
            self.notes.push(remark.into());
        }
    }
}
