//! The upstreams by name. A reload builds only what changed: whatever stays as it was keeps its connections.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};

use super::AppError;
use crate::upstream::{self, Upstream, UpstreamMetrics};

/// All upstreams, each with what it was built from.
#[derive(Clone)]
pub(super) struct Upstreams {
    built: Vec<Built>,
    metrics: UpstreamMetrics,
}

#[derive(Clone)]
struct Built {
    config: upstream::Config,
    files: [u8; 32],
    upstream: Arc<Upstream>,
}

impl Upstreams {
    /// None yet.
    pub(super) const fn new(metrics: UpstreamMetrics) -> Self {
        Self { built: Vec::new(), metrics }
    }

    /// The upstreams of a new configuration.
    ///
    /// # Errors
    /// When one cannot be set up; these stay as they are.
    pub(super) fn renewed(&self, configs: &[upstream::Config]) -> Result<Self, AppError> {
        let built = configs.iter().map(|config| {
            // before the files are read: what changes in between is found the next time
            let files = digest(config);
            let kept = self.built.iter().find(|built| built.config == *config && built.files == files);
            kept.map_or_else(
                || {
                    let upstream = Upstream::new(config.clone(), &self.metrics)?;
                    Ok(Built { config: config.clone(), files, upstream })
                },
                |kept| Ok(kept.clone()),
            )
        });
        Ok(Self { built: built.collect::<Result<_, AppError>>()?, metrics: self.metrics.clone() })
    }

    /// Lets the figures of those of these that are not there disappear: of upstreams that were removed, or built in vain.
    pub(super) fn forget_absent<'n>(&self, names: impl IntoIterator<Item = &'n str>) {
        for name in names {
            if self.named(name).is_err() {
                self.metrics.forget(name);
            }
        }
    }

    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.built.iter().map(|built| built.upstream.name())
    }

    /// The upstream of that name.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn named(&self, name: &str) -> Result<Arc<Upstream>, AppError> {
        let found = self.built.iter().find(|built| built.upstream.name() == name);
        found.map(|built| Arc::clone(&built.upstream)).ok_or_else(|| AppError::NoUpstream(name.to_owned()))
    }
}

/// What the files of an upstream hold; one that cannot be read is an error of building, not of comparing.
fn digest(config: &upstream::Config) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for file in config.files() {
        let content = std::fs::read(file).unwrap_or_default();
        context.update(&(content.len() as u64).to_le_bytes());
        context.update(&content);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}
