//! `[[upstream]]` and `[[route]]`: where calls go.

use super::{Route, SandboxFlag, kinds, section::Section};
use crate::{
    domain::Environment,
    tls::{self, Pin, Verify},
    upstream::Config,
};

/// One `[[upstream]]`.
pub(super) fn upstream(mut section: Section<'_>) -> Option<Config> {
    let name = section.required("name", "\"leqi\"", kinds::text);
    let base_url = section.required("base_url", "\"https://lqpt.chinatax.gov.cn:8443\"", kinds::base_url);
    let verify = verify(&mut section);
    let ca_file = section.value("ca_file", kinds::readable_file);
    let addresses = section.list("addresses", kinds::address).unwrap_or_default();
    let fallback = url::Url::parse("https://lqpt.chinatax.gov.cn:8443").ok()?;
    let default = Config::new(String::new(), fallback);
    let connect_timeout = section.value_or("connect_timeout", default.connect_timeout, kinds::duration);
    let tls_timeout = section.value_or("tls_timeout", default.tls_timeout, kinds::duration);
    let response_timeout = section.value_or("response_timeout", default.response_timeout, kinds::duration);
    let body_timeout = section.value_or("body_timeout", default.body_timeout, kinds::duration);
    let idle_timeout = section.value_or("idle_timeout", default.idle_timeout, kinds::duration);
    let max_idle = section.value_or("max_idle", default.max_idle, kinds::count);
    let total_timeout = section.value("total_timeout", kinds::duration);
    let max_age = section.value_or("max_age", default.max_age, kinds::duration);
    let max_connections = section.value_or("max_connections", default.max_connections, kinds::count);
    let pool_timeout = section.value_or("pool_timeout", default.pool_timeout, kinds::duration);
    let breaker_failures = section.value_or("breaker_failures", default.breaker_failures, kinds::count_or_0);
    let breaker_pause = section.value_or("breaker_pause", default.breaker_pause, kinds::duration);
    let (name, base_url, verify) = (name?, base_url?, verify?);
    if base_url.scheme() == "http" {
        section.warn(
            "base_url",
            "calls go on over plain HTTP, readable and changeable on the way; use https://",
        );
    } else if let Err(error) = tls::client_config(&verify, ca_file.as_deref()) {
        section.error(if ca_file.is_some() { "ca_file" } else { "verify" }, error.to_string());
    }
    Some(Config {
        name,
        base_url,
        verify,
        ca_file,
        addresses,
        connect_timeout,
        tls_timeout,
        response_timeout,
        body_timeout,
        idle_timeout,
        max_idle,
        total_timeout,
        max_age,
        max_connections,
        pool_timeout,
        breaker_failures,
        breaker_pause,
    })
}

fn verify(section: &mut Section<'_>) -> Option<Verify> {
    #[derive(Clone, Copy)]
    enum Word {
        Chain,
        Full,
        Off,
        Pinned,
    }
    let word = section.value("verify", |spot| {
        let words =
            [("full", Word::Full), ("chain", Word::Chain), ("pinned", Word::Pinned), ("off", Word::Off)];
        kinds::one_of(spot, &words)
    });
    let wrong = section.has("verify") && word.is_none();
    let pins =
        section.list("pins", |spot| kinds::text(spot)?.parse::<Pin>().map_err(|error| error.to_string()));
    let given = section.has("pins");
    match word.unwrap_or(Word::Full) {
        _ if wrong => None,
        Word::Pinned if !given || pins.as_ref().is_some_and(Vec::is_empty) => {
            section.error(
                "pins",
                "verify = \"pinned\" needs pins = [\"sha256/…\"] with the SHA-256 of the platform's public key \
                 (README, trust of the platform)",
            );
            None
        }
        Word::Pinned => pins.map(Verify::Pinned),
        Word::Chain | Word::Full | Word::Off if given => {
            section.error("pins", "are only looked at with verify = \"pinned\"; set it, or delete pins");
            None
        }
        Word::Chain => Some(Verify::Chain),
        Word::Full => Some(Verify::Full),
        Word::Off => {
            section.warn(
                "verify",
                "the platform is NOT verified: whoever stands in between can read and change every call; use \
                 \"pinned\"",
            );
            Some(Verify::Off)
        }
    }
}

/// One `[[route]]`; `upstreams` are the names that were given.
pub(super) fn route(mut section: Section<'_>, upstreams: &[String]) -> Option<Route> {
    let prefix = section.required("prefix", "\"/access/\"", kinds::route_prefix);
    let replace = section.value("replace", kinds::url_path);
    let upstream = section.required("upstream", "\"leqi\"", kinds::text);
    let environment = section.value("environment", |spot| {
        kinds::one_of(spot, &[("production", Environment::Production), ("sandbox", Environment::Sandbox)])
    });
    let sandbox_flag = section.value("sxcsbz", |spot| {
        let words =
            [("refuse", SandboxFlag::Refuse), ("strip", SandboxFlag::Strip), ("pass", SandboxFlag::Pass)];
        kinds::one_of(spot, &words)
    });
    let upstream = upstream?;
    if !upstreams.contains(&upstream) {
        let known = upstreams.join(", ");
        section.error("upstream", format!("no [[upstream]] is named {upstream:?}; known: {known}"));
    }
    if environment == Some(Environment::Sandbox) && sandbox_flag.is_some() {
        section.error("sxcsbz", "is looked at on production routes only; delete it");
    }
    Some(Route {
        prefix: prefix?,
        replace,
        upstream,
        environment: environment.unwrap_or_default(),
        sandbox_flag: sandbox_flag.unwrap_or_default(),
    })
}
