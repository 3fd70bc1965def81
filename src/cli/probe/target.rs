//! What is probed: one upstream of a configuration, even where what it says about trust cannot be used yet.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use toml_edit::DocumentMut;

use super::pins;
use crate::{
    cli::{ConfigFile, environment},
    config::{Config, ENV_PREFIX, Errors, Platform},
    telemetry::metrics::Metrics,
    tls::{ClientSettings, Verify},
    upstream::{self, Upstream, UpstreamMetrics},
};

/// One upstream and where it is configured.
#[derive(Debug)]
pub(super) struct Target {
    /// The configuration file.
    pub(super) file: PathBuf,
    /// Its place among the `[[upstream]]`.
    pub(super) index: usize,
    /// The upstream.
    pub(super) upstream: upstream::Config,
    /// Where and under which capability the gateway's own calls go.
    pub(super) platform: Platform,
    /// Why the configured trust cannot be used, when it cannot.
    pub(super) broken_trust: Option<String>,
}

impl Target {
    /// Reads the configuration and finds the upstream of that name, or the one of the gateway's own calls.
    ///
    /// # Errors
    /// Every error of the configuration, or which names there are.
    pub(super) fn find(file: &ConfigFile, name: Option<&str>) -> anyhow::Result<Self> {
        let (config, broken_trust) = load(&file.path)?;
        let name = name.unwrap_or(&config.platform.upstream);
        let index =
            config.upstreams.iter().position(|upstream| upstream.name == name).with_context(|| {
                let names: Vec<_> = config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
                format!("no [[upstream]] is named {name:?}; known: {}", names.join(", "))
            })?;
        let upstream = config.upstreams[index].clone();
        Ok(Self {
            file: file.path.clone(),
            index,
            upstream,
            platform: config.platform,
            broken_trust: broken_trust.into_iter().find(|(at, _)| *at == index).map(|(_, reason)| reason),
        })
    }

    /// Host of the base URL, an IPv6 address in brackets.
    pub(super) fn host(&self) -> &str {
        self.upstream.base_url.host_str().unwrap_or_default()
    }

    /// Port of the base URL.
    pub(super) fn port(&self) -> u16 {
        self.upstream.base_url.port_or_known_default().unwrap_or(443)
    }

    /// Whether TLS is spoken at all.
    pub(super) fn is_tls(&self) -> bool {
        self.upstream.base_url.scheme() == "https"
    }

    /// `verify` as it is written in the configuration.
    pub(super) const fn verify(&self) -> &'static str {
        match self.upstream.tls.verify {
            _ if self.broken_trust.is_some() => "?",
            Verify::Chain => "chain",
            Verify::Full => "full",
            Verify::Off => "off",
            Verify::Pinned(_) => "pinned",
        }
    }

    /// The upstream as it is reached, with any certificate taken for good.
    pub(super) fn untrusting(&self) -> anyhow::Result<Arc<Upstream>> {
        let metrics = UpstreamMetrics::register(&Metrics::new()?)?;
        let tls = ClientSettings::new(Verify::Off);
        // the probe says itself when it connects
        let upstream = upstream::Config { tls, health_interval: None, ..self.upstream.clone() };
        Ok(Upstream::new(upstream, &metrics)?)
    }

    /// Variables of the environment that overrule what the file says about trust.
    pub(super) fn overruling(&self) -> Vec<String> {
        let prefix = format!("{ENV_PREFIX}UPSTREAM__{}__", self.index);
        let names = environment().map(|(name, _)| name);
        names.filter(|name| [format!("{prefix}VERIFY"), format!("{prefix}PINS")].contains(name)).collect()
    }
}

/// The configuration; where nothing but the trust of upstreams is wrong with it, as if they trusted anybody, with the
/// reasons: whoever has no authority to verify with comes here to learn a pin.
fn load(path: &Path) -> anyhow::Result<(Config, Vec<(usize, String)>)> {
    let errors = match Config::load(path, environment()) {
        Ok(loaded) => return Ok((loaded.config, Vec::new())),
        Err(errors) => errors,
    };
    let Some(broken) = broken_trust(&errors) else { return Err(errors.into()) };
    let text = std::fs::read_to_string(path)?;
    let mut document: DocumentMut = text.parse()?;
    for (index, _) in &broken {
        pins::distrust(&mut document, *index);
    }
    // environment variables may say the same wrong thing
    let Ok(loaded) = Config::parse(path, &document.to_string(), environment()) else {
        return Err(errors.into());
    };
    Ok((loaded.config, broken))
}

/// The upstreams whose `verify` or `pins` are wrong, with the reasons, when nothing else is.
fn broken_trust(errors: &Errors) -> Option<Vec<(usize, String)>> {
    let of_upstream = |key: &str| {
        let (index, key) = key.strip_prefix("upstream[")?.split_once("].")?;
        let trust = key == "verify" || key == "pins" || key.starts_with("pins[");
        trust.then(|| index.parse().ok())?
    };
    let found =
        errors.problems.iter().map(|problem| Some((of_upstream(&problem.key)?, problem.reason.clone())));
    found.collect()
}
