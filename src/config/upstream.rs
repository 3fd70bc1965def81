//! `[[upstream]]` and `[[route]]`: where calls go.

use super::{Route, SandboxFlag, kinds, section::Section, trust};
use crate::{
    domain::Environment,
    upstream::{Config, Credentials, Names, Proxy},
};

/// One `[[upstream]]`.
pub(super) fn upstream(mut section: Section<'_>) -> Option<Config> {
    let name = section.required("name", "\"leqi\"", kinds::text);
    let base_url = section.required("base_url", "\"https://lqpt.chinatax.gov.cn:8443\"", kinds::base_url);
    let tls = trust::settings(&mut section);
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
    let address_pause = section.value_or("address_pause", default.address_pause, kinds::duration);
    let names = Names {
        servers: section.list("name_servers", kinds::name_server).unwrap_or_default(),
        stale: section.value_or("stale_names", default.names.stale, kinds::duration),
        ..default.names
    };
    let proxy = proxy(&mut section);
    let health_interval = section.value("health_interval", kinds::duration);
    let (name, base_url, tls) = (name?, base_url?, tls?);
    if base_url.scheme() == "http" {
        section.warn(
            "base_url",
            "calls go on over plain HTTP, readable and changeable on the way; use https://",
        );
    } else {
        trust::check(&section, &tls);
    }
    Some(Config {
        name,
        base_url,
        tls,
        addresses,
        address_pause,
        names,
        proxy,
        health_interval,
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

/// `proxy = { url, username, password_file }`.
fn proxy(upstream: &mut Section<'_>) -> Option<Proxy> {
    let mut section = upstream.section_if_given("proxy")?;
    let url = section.required("url", "\"http://proxy.corp:3128\"", kinds::proxy_url);
    let username = section.value("username", kinds::text);
    let password = section.value("password_file", kinds::secret_file);
    let credentials = match (username, password) {
        (Some(username), Some(password)) => Some(Credentials { username, password }),
        (Some(_), None) if !section.has("password_file") => {
            section.error("username", "needs password_file, a file that holds the password alone");
            None
        }
        (None, Some(_)) if !section.has("username") => {
            section.error("password_file", "needs username");
            None
        }
        (Some(_) | None, Some(_) | None) => None,
    };
    Some(Proxy { url: url?, credentials })
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
