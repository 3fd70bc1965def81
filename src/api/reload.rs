//! `/reload`: the configuration is read again and taken over, or the old one stays and the answer says why.

use axum::extract::State;
use futures_util::future::BoxFuture;
use serde::Serialize;

use super::{
    ApiState,
    auth::Admin,
    problem::{Kind, Problem, Reasons},
    reply::{Outcome, Reply},
};

/// Who can take over a new configuration.
pub trait Reload: Send + Sync {
    /// Reads the configuration again and puts it in force as a whole; `actor` is who asked, for the audit.
    ///
    /// # Errors
    /// Why the old one stays in force.
    fn reload<'a>(&'a self, actor: &'a str) -> BoxFuture<'a, Result<Reloaded, NotReloaded>>;
}

/// A configuration that was taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// The sections that differ from before.
    pub changed: Vec<String>,
    /// What works but is not safe.
    pub warnings: Vec<String>,
    /// SHA-256 of the configuration in hex, as the metric `config_info` shows it.
    pub sha256: String,
}

/// A configuration that was not taken over; the old one stays in force as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReloaded {
    /// Each error, with file, line, key and reason.
    Invalid(Vec<String>),
    /// These keys differ, and are only read at the start.
    RestartNeeded(Vec<String>),
}

impl NotReloaded {
    /// One line for each reason.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        match self {
            Self::Invalid(errors) => errors.clone(),
            Self::RestartNeeded(keys) => {
                keys.iter().map(|key| format!("{key}: the new value needs a restart")).collect()
            }
        }
    }
}

impl From<NotReloaded> for Problem {
    fn from(refused: NotReloaded) -> Self {
        let (kind, detail) = match &refused {
            NotReloaded::Invalid(_) => (Kind::InvalidConfiguration, "the old configuration stays in force"),
            NotReloaded::RestartNeeded(_) => (
                Kind::RestartNeeded,
                "the old configuration stays in force; restart the gateway, or take these changes back",
            ),
        };
        Self { reasons: Some(Box::new(Reasons(refused.reasons()))), ..Self::new(kind, detail) }
    }
}

/// POST `/reload`
pub(super) async fn reload(State(state): State<ApiState>, Admin(actor): Admin) -> Outcome {
    Reply::ok(&state.reload.reload(&actor.0).await?)
}
