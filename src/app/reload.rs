//! Taking over a new configuration while calls go on: whole or not at all.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};
use tokio::sync::Mutex;

use super::{
    FLUSH,
    certificates::CertificateMetrics,
    plane::{Built, Plane},
    service,
    upstreams::Upstreams,
};
use crate::{
    api::reload::{NotReloaded, Reload, Reloaded},
    clock::Clock,
    config::{Config, Loaded, Source},
    store::{
        Store,
        audit::{AuditRow, AuditTable},
    },
    telemetry::metrics::{MetricError, Metrics},
};

/// What the configuration in force was made of.
pub(super) struct InForce {
    pub(super) config: Config,
    pub(super) upstreams: Upstreams,
}

/// Reads the configuration again and puts it in force.
pub(super) struct Reloader {
    source: Option<Source>,
    /// Locked while a reload or an exchange of certificates is under way, so that they do not mix.
    pub(super) in_force: Mutex<InForce>,
    pub(super) plane: Plane,
    metrics: ReloadMetrics,
    pub(super) certificates: CertificateMetrics,
    audit: Arc<dyn AuditTable>,
    pub(super) clock: Clock,
}

impl Reloader {
    pub(super) fn new(
        source: Option<Source>,
        in_force: InForce,
        plane: Plane,
        metrics: ReloadMetrics,
        certificates: CertificateMetrics,
        store: &Store,
        clock: Clock,
    ) -> Self {
        let audit = Arc::clone(&store.audit);
        Self { source, in_force: Mutex::new(in_force), plane, metrics, certificates, audit, clock }
    }

    /// How long a drain may take with the configuration in force.
    pub(super) async fn drain_limit(&self) -> Duration {
        let in_force = self.in_force.lock().await;
        let data = in_force.config.listen.iter().map(|listen| &listen.listener);
        let limits = data.chain([&in_force.config.admin]).map(|listener| listener.drain_timeout);
        limits.max().unwrap_or_default() + FLUSH
    }

    /// Reads, checks, builds and takes over; `actor` is who asked, for the audit.
    ///
    /// # Errors
    /// Why the old configuration stays in force.
    pub(super) async fn reload(&self, actor: &str) -> Result<Reloaded, NotReloaded> {
        let mut in_force = self.in_force.lock().await;
        service::reloading();
        let taken = self.take_over(&mut in_force).await;
        service::ready(if taken.is_ok() {
            "serving"
        } else {
            "serving; the last reload was refused, see the log"
        });
        let result = match &taken {
            Ok(_) => "applied",
            Err(NotReloaded::Invalid(_)) => "invalid",
            Err(NotReloaded::RestartNeeded(_)) => "restart_needed",
        };
        self.metrics.reloads.with_label_values(&[result]).inc();
        self.metrics.last_successful.set(taken.is_ok().into());
        match &taken {
            Ok(done) => {
                self.metrics.in_force(&done.sha256, &self.clock);
                tracing::info!(actor, changed = ?done.changed, sha256 = done.sha256, "the new configuration is in force");
                for warning in &done.warnings {
                    tracing::warn!("{warning}");
                }
                self.note(actor, done).await;
            }
            Err(refused) => {
                for reason in refused.reasons() {
                    tracing::error!(
                        actor,
                        reason,
                        "the new configuration is not taken; the old one stays in force"
                    );
                }
            }
        }
        taken
    }

    async fn take_over(&self, in_force: &mut InForce) -> Result<Reloaded, NotReloaded> {
        let Loaded { config, warnings, sha256 } = self.load().await?;
        let restart = in_force.config.restart_needed(&config);
        if !restart.is_empty() {
            return Err(NotReloaded::RestartNeeded(restart));
        }
        let changed = in_force.config.changes(&config);
        let invalid = |error: super::AppError| NotReloaded::Invalid(vec![error.to_string()]);
        let wanted: Vec<_> = config.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
        let built = Built::new(config, &in_force.upstreams).map_err(|error| {
            in_force.upstreams.forget_absent(wanted.iter().map(String::as_str));
            invalid(error)
        })?;
        let (config, upstreams) = self.plane.follow(built).map_err(invalid)?;
        let before = std::mem::replace(in_force, InForce { config, upstreams });
        in_force.upstreams.forget_absent(before.upstreams.names());
        Ok(Reloaded { changed, warnings, sha256 })
    }

    async fn load(&self) -> Result<Loaded, NotReloaded> {
        let Some(source) = self.source.clone() else {
            return Err(NotReloaded::Invalid(vec![
                "this gateway was started without a configuration file; there is nothing to read again"
                    .to_owned(),
            ]));
        };
        match tokio::task::spawn_blocking(move || source.load()).await {
            Ok(loaded) => loaded.map_err(|errors| {
                NotReloaded::Invalid(errors.to_string().lines().map(str::to_owned).collect())
            }),
            Err(error) => {
                Err(NotReloaded::Invalid(vec![format!("reading the configuration was interrupted: {error}")]))
            }
        }
    }

    async fn note(&self, actor: &str, done: &Reloaded) {
        let row = AuditRow {
            at: self.clock.now(),
            actor: actor.to_owned(),
            action: "config.reload".to_owned(),
            subject: "config".to_owned(),
            detail: serde_json::json!({ "sha256": done.sha256, "changed": done.changed }).to_string(),
        };
        if let Err(error) = self.audit.append(row).await {
            tracing::error!(%error, "the reload is missing in the audit");
        }
    }
}

impl Reload for Reloader {
    fn reload<'a>(&'a self, actor: &'a str) -> BoxFuture<'a, Result<Reloaded, NotReloaded>> {
        Box::pin(Self::reload(self, actor))
    }
}

/// Figures of reloads.
pub(super) struct ReloadMetrics {
    reloads: IntCounterVec,
    last_successful: IntGauge,
    last_success: IntGauge,
    config: IntGaugeVec,
}

impl ReloadMetrics {
    /// Registers them; `sha256` is of the configuration that the gateway starts with.
    pub(super) fn register(metrics: &Metrics, sha256: &str, clock: &Clock) -> Result<Self, MetricError> {
        let own = Self {
            reloads: metrics.counters(
                "reloads_total",
                "Reloads of the configuration by result (applied, invalid, restart_needed).",
                &["result"],
            )?,
            last_successful: metrics.gauge(
                "last_reload_successful",
                "1 when the last reload was taken over, 0 when the old configuration stayed in force.",
            )?,
            last_success: metrics.gauge(
                "last_reload_success_timestamp_seconds",
                "When the configuration in force was taken over, in seconds since 1970.",
            )?,
            config: metrics.gauges(
                "config_info",
                "1, with the SHA-256 of the configuration in force as a label.",
                &["sha256"],
            )?,
        };
        for result in ["applied", "invalid", "restart_needed"] {
            own.reloads.with_label_values(&[result]);
        }
        own.last_successful.set(1);
        own.in_force(sha256, clock);
        Ok(own)
    }

    fn in_force(&self, sha256: &str, clock: &Clock) {
        self.last_success.set(clock.now().as_second());
        self.config.reset();
        self.config.with_label_values(&[sha256]).set(1);
    }
}
