//! The services, put together.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{
    AppError, Parts,
    plane::plan,
    platform::{OwnCalls, Way},
    upstreams::Upstreams,
};
use crate::{
    clock::Clock,
    config::Config,
    confirmation::Confirmations,
    domain::ExchangeIds,
    leqi::client::Client,
    proxy::{Proxy, Services},
    quota::{self, Ledger, Transfers},
    request_log::{self, RequestLog},
    store::{Predecessor, Store, StoreError},
    telemetry::metrics::Metrics,
    unit::{MasterKey, Registry, token::Tokens},
    upstream::UpstreamMetrics,
};

/// What is wired together from the services.
pub(super) struct Wired {
    pub(super) parts: Parts,
    pub(super) proxy: Arc<Proxy>,
    pub(super) own: Arc<OwnCalls>,
    pub(super) upstreams: Upstreams,
}

/// Wires the services over an open database.
///
/// # Errors
/// What is in the way, and what to do.
pub(super) async fn wire(
    config: &Config,
    store: &Store,
    predecessor: Predecessor,
    clock: &Clock,
    metrics: &Metrics,
) -> Result<Wired, AppError> {
    let master = MasterKey::load_or_create(&config.secrets.master_key_file)?;
    let registry = Registry::open(Arc::clone(&store.units), master, clock.clone()).await?;
    let log_config = request_log::Config {
        body_limit: config.request_log.body_limit,
        queue_bytes: config.request_log.queue,
        ..request_log::Config::default()
    };
    let log =
        RequestLog::open(Arc::clone(&store.exchanges), &log_config, request_log::Metrics::register(metrics)?)
            .await?;
    let ids = Arc::new(ExchangeIds::of(store.node(), store.exchanges.last_id().await?));
    let upstreams = Upstreams::new(UpstreamMetrics::register(metrics)?).renewed(&config.upstreams)?;
    let way = Way {
        client: Client::new(
            upstreams.named(&config.platform.upstream)?,
            config.platform.path.clone(),
            Arc::clone(&ids),
            clock.clone(),
            Arc::clone(&log) as _,
        ),
        capability: config.platform.capability.clone(),
    };
    let own = Arc::new(OwnCalls::new(way, Arc::clone(&registry)));
    let ledger = Ledger::new(
        Arc::clone(&store.ledger),
        clock.clone(),
        config.quota.clone(),
        &quota::Metrics::register(metrics)?,
    );
    let kept = ledger.clone();
    let replay = move |evidence: Vec<u8>| -> BoxFuture<'static, Result<(), StoreError>> {
        let ledger = kept.clone();
        Box::pin(async move { ledger.apply_kept(&evidence).await })
    };
    store.hand_over(config.store.spool.clone(), predecessor, Box::new(replay))?;
    let confirmations = Confirmations::open(
        Arc::clone(&store.confirmations),
        ledger.clone(),
        Arc::clone(&own) as _,
        clock.clone(),
    )
    .await?;
    let transfers = Transfers::open(
        ledger.clone(),
        Arc::clone(&own) as _,
        Arc::clone(&store.quota_settings),
        Arc::clone(&store.audit),
    )
    .await?;
    let services = Services {
        registry: Arc::clone(&registry),
        ledger: ledger.clone(),
        transfers: transfers.clone(),
        log: Arc::clone(&log),
        confirmations: confirmations.clone(),
        ids,
        clock: clock.clone(),
    };
    let proxy = Proxy::new(plan(config, &upstreams)?, services, metrics)?;
    let tokens = Arc::new(Tokens::new(Arc::clone(&store.tokens), clock.clone()));
    Ok(Wired {
        parts: Parts { registry, tokens, ledger, transfers, log, confirmations },
        proxy,
        own,
        upstreams,
    })
}
