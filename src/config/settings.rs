//! The whole file: every section once, then what holds between sections.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Config, Limits, Listen, Log, LogScope, Platform, Reload, RequestLog, Route, Secrets, Unregistered, jobs,
    kinds, listen,
    section::Section,
    upstream::{route, upstream},
};
use crate::{
    domain::{CapabilityCode, Environment},
    jobs::Retention,
    quota, store,
    telemetry::logging::Format,
};

/// Where the platform takes calls, before capability and service (protocol.md §1).
const INVOKE_PATH: &str = "/access/v2/invoke/";

/// The capability 数电票（基础版）自用, which every company that invoices for itself has (capabilities.csv).
const BASIC_EDITION: &str = "202007";

/// Reads everything; what is wrong is noted, and nothing comes back when something that is needed is missing.
pub(super) fn read(mut root: Section<'_>) -> Option<Config> {
    let listen: Vec<Listen> = root.sections("listen").into_iter().filter_map(listen::data_plane).collect();
    let admin = listen::admin(root.section("admin"));
    let ops = listen::ops(root.section("ops"));
    let mut names = Vec::new();
    let mut upstreams = Vec::new();
    for section in root.sections("upstream") {
        names.extend(section.peek_text("name"));
        upstreams.extend(upstream(section));
    }
    let routes: Vec<Route> =
        root.sections("route").into_iter().filter_map(|section| route(section, &names)).collect();
    let store = store(root.section("store"));
    let secrets = secrets(root.section("secrets"));
    let (quota, unregistered) = quota(root.section("quota"));
    let limits = limits(root.section("limits"));
    let request_log = request_log(root.section("request_log"));
    let jobs = jobs::jobs(root.section("jobs"));
    let log = log(root.section("log"));
    let platform = platform(root.section("platform"), &names, &routes);
    let workers = root.section("runtime").value("workers", kinds::count);
    let reload = reload(root.section("reload"));

    for (key, example) in [
        ("listen", "[[listen]] with address and certificates"),
        ("upstream", "[[upstream]] with name and base_url"),
        ("route", "[[route]] with prefix and upstream"),
    ] {
        if !root.has(key) {
            root.error(key, format!("is missing; write at least one {example}"));
        }
    }
    distinct(&root, "upstream", "name", names.iter().cloned());
    distinct(&root, "route", "prefix", routes.iter().map(|route| route.prefix.clone()));
    let listeners = listen.iter().map(|listen| &listen.listener).chain([&admin, &ops]);
    let fixed = listeners.filter(|listener| listener.address.port() != 0);
    distinct(&root, "listen", "address", fixed.map(|listener| listener.address.to_string()));

    Some(Config {
        listen,
        admin,
        ops,
        upstreams,
        routes,
        store,
        secrets,
        quota,
        unregistered,
        limits,
        jobs,
        request_log,
        log,
        platform: platform?,
        workers,
        reload,
    })
}

fn store(mut section: Section<'_>) -> store::Config {
    let default = store::Config::default();
    let url = section.value_or("url", default.url.clone(), |spot| {
        let url = kinds::text(spot)?;
        let after = |schemes: &[&str]| {
            schemes.iter().find_map(|scheme| url.strip_prefix(scheme)).is_some_and(|rest| !rest.is_empty())
        };
        if after(&["sqlite://"]) || after(&["postgres://", "postgresql://"]) {
            return Ok(url);
        }
        // the value may hold a password, so it is not repeated
        let scheme = url.split_once("://").map_or("no scheme", |(scheme, _)| scheme);
        Err(format!(
            "{scheme} is no database that this version knows; write \"sqlite://data/gateway.db\" or \"postgres://USER@HOST/DATABASE\""
        ))
    });
    let password_file = section.value("password_file", kinds::path);
    if password_file.is_some() && url.starts_with("sqlite:") {
        section.warn("password_file", "is of no use to a SQLite database; delete it");
    }
    let spool = store::SpoolConfig {
        directory: section.value_or("spool", default.spool.directory.clone(), kinds::path),
        limit: section
            .value("spool_limit", kinds::size)
            .and_then(|limit| u64::try_from(limit).ok())
            .unwrap_or(default.spool.limit),
    };
    store::Config { url, password_file, spool, ..default }
}

fn secrets(mut section: Section<'_>) -> Secrets {
    let default = "certs/master.key".into();
    Secrets { master_key_file: section.value_or("master_key_file", default, kinds::path) }
}

fn quota(mut section: Section<'_>) -> (quota::Config, Unregistered) {
    let default = quota::Config::default();
    let unregistered = section.value_or("unregistered", Unregistered::default(), |spot| {
        kinds::one_of(spot, &[("refuse", Unregistered::Refuse), ("observe", Unregistered::Observe)])
    });
    if unregistered == Unregistered::Observe {
        section.warn(
            "unregistered",
            "invoices of units that are not registered go out without a check of credit",
        );
    }
    let cooldown = section.value_or("cooldown", default.cooldown, kinds::duration);
    let config = quota::Config {
        cooldown,
        balance_interval: section.value_or("balance_interval", default.balance_interval, kinds::duration),
        top_up_wait: section.value_or("top_up_wait", default.top_up_wait, kinds::duration),
        result_after: section.value_or("result_after", default.result_after, kinds::duration),
    };
    (config, unregistered)
}

fn limits(mut section: Section<'_>) -> Limits {
    Limits {
        request_body: section.value_or("request_body", 32 << 20, kinds::size),
        answer_body: section.value_or("answer_body", 32 << 20, kinds::size),
    }
}

fn request_log(mut section: Section<'_>) -> RequestLog {
    RequestLog {
        body_limit: section.value_or("body_limit", 1 << 20, kinds::size),
        queue: section.value_or("queue", 4 << 20, kinds::size),
        record: section.value_or("record", LogScope::default(), |spot| {
            kinds::one_of(spot, &[("all", LogScope::All), ("changes", LogScope::Changes)])
        }),
        retention: section.value_or("retention", Retention::default().exchanges, |spot| {
            let kept = kinds::duration(spot)?;
            let day = Duration::from_secs(24 * 60 * 60);
            if kept < day {
                Err("is less than a day; write for example \"1827d\"".to_owned())
            } else {
                Ok(kept)
            }
        }),
    }
}

fn log(mut section: Section<'_>) -> Log {
    let format = section.value_or("format", Format::default(), |spot| {
        kinds::one_of(spot, &[("json", Format::Json), ("text", Format::Text)])
    });
    let filter = section.value_or("filter", "info".to_owned(), |spot| {
        let filter = kinds::text(spot)?;
        match filter.parse::<tracing_subscriber::filter::EnvFilter>() {
            Ok(_) => Ok(filter),
            Err(error) => Err(format!("{filter:?} is no filter ({error}); write for example \"info\"")),
        }
    });
    Log { format, filter }
}

fn reload(mut section: Section<'_>) -> Reload {
    Reload {
        watch_certificates: section.value_or("watch_certificates", Duration::from_secs(5), kinds::duration),
        hand_over: section.value_or("hand_over", Duration::from_secs(120), kinds::duration),
    }
}

fn platform(mut section: Section<'_>, names: &[String], routes: &[Route]) -> Option<Platform> {
    let upstream = section.value("upstream", kinds::text);
    let path = section.value_or("path", INVOKE_PATH.to_owned(), kinds::url_path);
    let capability = section.value_or("capability", CapabilityCode::parse(BASIC_EDITION).ok()?, |spot| {
        CapabilityCode::parse(&kinds::text(spot)?).map_err(|error| error.to_string())
    });
    if !path.ends_with('/') {
        section.error("path", format!("must end with /; write \"{path}/\""));
    }
    if let Some(name) = &upstream
        && !names.contains(name)
    {
        section.error("upstream", format!("no [[upstream]] is named {name:?}; known: {}", names.join(", ")));
    }
    let production = || routes.iter().find(|route| route.environment == Environment::Production);
    let upstream = upstream
        .or_else(|| production().map(|route| route.upstream.clone()))
        .or_else(|| names.first().cloned())?;
    Some(Platform { upstream, path, capability })
}

fn distinct(root: &Section<'_>, section: &'static str, key: &str, values: impl Iterator<Item = String>) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    values.for_each(|value| *seen.entry(value).or_default() += 1);
    for (value, _) in seen.into_iter().filter(|(_, times)| *times > 1) {
        root.error(section, format!("{key} {value:?} is given more than once; change or delete one"));
    }
}
