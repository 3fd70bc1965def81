//! The data plane with everything in it that a new configuration replaces.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{AppError, jobs::watched_files, platform::OwnCalls, upstreams::Upstreams};
use crate::{
    config::Config,
    jobs::WatchedFile,
    listener::Settings,
    proxy::{self, Admission, Plan, Proxy, Route},
    quota::Ledger,
    telemetry::logging,
    tls::ServerTls,
};

/// A listener of the data plane, as a reload sees it.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) settings: Settings,
    pub(super) admission: Arc<ArcSwap<Admission>>,
}

/// Whatever follows the configuration while the gateway runs.
pub(super) struct Plane {
    pub(super) gates: Vec<Gate>,
    pub(super) admin: Settings,
    pub(super) ops: Settings,
    pub(super) proxy: Arc<Proxy>,
    pub(super) own: Arc<OwnCalls>,
    pub(super) ledger: Ledger,
    /// The files of certificates whose end is watched.
    pub(super) watched: watch::Sender<Vec<WatchedFile>>,
    pub(super) log_filter: Option<logging::Filter>,
}

/// A configuration that was built and cannot fail any more.
pub(super) struct Built {
    config: Config,
    pub(super) upstreams: Upstreams,
    plan: Plan,
}

impl Built {
    /// Builds everything that can fail.
    ///
    /// # Errors
    /// What is wrong; nothing has changed then.
    pub(super) fn new(config: Config, before: &Upstreams) -> Result<Self, AppError> {
        let upstreams = before.renewed(&config.upstreams)?;
        let plan = plan(&config, &upstreams)?;
        upstreams.named(&config.platform.upstream)?;
        Ok(Self { config, upstreams, plan })
    }
}

impl Plane {
    /// Puts a configuration in force, for everything that begins from now on; gives it with its certificates.
    ///
    /// # Errors
    /// [`AppError::NoUpstream`] never in practice: [`Built::new`] has looked.
    pub(super) fn follow(&self, built: Built) -> Result<(Config, Upstreams), AppError> {
        let Built { mut config, upstreams, plan } = built;
        let platform = &config.platform;
        let own = upstreams.named(&platform.upstream)?;
        self.own.reroute(own, platform.path.clone(), platform.capability.clone());
        self.proxy.follow(plan);
        self.ledger.configure(config.quota.clone());
        self.watched.send_replace(watched_files(&config));
        for (gate, listen) in self.gates.iter().zip(&mut config.listen) {
            gate.admission.store(Arc::new(Admission::new(listen.allow.clone())));
            succeed(&gate.settings, &mut listen.listener.tls);
            gate.settings.replace(listen.listener.clone());
        }
        for (settings, listener) in [(&self.admin, &mut config.admin), (&self.ops, &mut config.ops)] {
            succeed(settings, &mut listener.tls);
            settings.replace(listener.clone());
        }
        if let Some(filter) = &self.log_filter
            && let Err(error) = filter.set(&config.log.filter)
        {
            tracing::error!(%error, "the filter of the log stays as it was");
        }
        Ok((config, upstreams))
    }
}

/// Sessions of clients go on with new certificates.
fn succeed(settings: &Settings, tls: &mut Option<Arc<ServerTls>>) {
    if let (Some(new), Some(before)) = (tls.as_mut(), settings.config().tls) {
        *new = Arc::clone(new).after(&before);
    }
}

/// Routes and limits of the data plane.
///
/// # Errors
/// When a route names an upstream that is not there.
pub(super) fn plan(config: &Config, upstreams: &Upstreams) -> Result<Plan, AppError> {
    let limits = proxy::Config {
        buffer_limit: config.limits.request_body,
        answer_limit: config.limits.answer_body,
        unregistered: config.unregistered,
        log_scope: config.request_log.record,
    };
    let routes = config.routes.iter().map(|route| {
        Ok(Route {
            prefix: route.prefix.clone(),
            replace: route.replace.clone(),
            upstream: upstreams.named(&route.upstream)?,
            environment: route.environment,
            sandbox_flag: route.sandbox_flag,
        })
    });
    Ok(Plan::new(limits, routes.collect::<Result<_, AppError>>()?))
}
