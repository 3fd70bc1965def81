//! What a person is told about a configuration.

use std::{path::Path, time::Duration};

use secrecy::ExposeSecret;

use super::{Config, Loaded};
use crate::{listener::ClientLimits, store::jobs::JobName, tls::Verify};

const MINIMAL: &str = r#"
[[listen]]
address = "127.0.0.1:8864"
plaintext = true

[[upstream]]
name = "leqi"
base_url = "https://127.0.0.1:18443"
verify = "off"

[[route]]
prefix = "/access/"
upstream = "leqi"
"#;

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, String> {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(Path::new("g.toml"), text, environment).map_err(|errors| errors.to_string())
}

fn errors(text: &str) -> String {
    load(text, &[]).map(|_| ()).unwrap_err()
}

#[test]
fn a_minimal_file_has_defaults_and_warns_of_what_is_unsafe() {
    let loaded = load(MINIMAL, &[]).unwrap();
    let config = loaded.config;
    assert_eq!(config.admin.address.to_string(), "127.0.0.1:9080");
    assert_eq!(config.store.url, "sqlite://data/gateway.db");
    assert_eq!(config.platform.upstream, "leqi");
    assert_eq!(config.upstreams[0].tls.verify, Verify::Off);
    assert!(config.listen[0].allow.iter().any(|block| block.to_string() == "10.0.0.0/8"));
    assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].starts_with("g.toml:4: listen[0].plaintext: "), "{}", loaded.warnings[0]);
    assert!(loaded.warnings[1].contains("NOT verified"));
}

#[test]
fn every_error_is_reported_at_once_with_line_key_reason_and_remedy() {
    let found = errors(
        r#"
[[listen]]
adress = "0.0.0.0:8443"
certificates = [{ chain = "nowhere/server.pem", key = "nowhere/server.key" }]
allow = ["10.0.0.0/33", "10.1.0.0/8"]

[admin]
address = "0.0.0.0:9080"

[[upstream]]
name = "leqi"
base_url = "lqpt.chinatax.gov.cn"
verify = "pinned"
connect_timeout = 10

[[route]]
prefix = "access"
upstream = "leki"

[store]
url = "mysql://user:geheim@host/db"

[nonsense]
"#,
    );
    for expected in [
        "g.toml:2: listen[0].address: is missing; write for example",
        "g.toml:3: listen[0].adress: unknown key; did you mean address?",
        "g.toml:4: listen[0].certificates[0].chain: file nowhere/server.pem does not exist",
        "g.toml:5: listen[0].allow[0]: \"10.0.0.0/33\" is no CIDR",
        "g.toml:5: listen[0].allow[1]: \"10.1.0.0/8\" has bits set behind its prefix; write \"10.0.0.0/8\"",
        "g.toml:8: admin.address: 0.0.0.0:9080 is not loopback",
        "g.toml:12: upstream[0].base_url: \"lqpt.chinatax.gov.cn\" is no URL",
        "g.toml:10: upstream[0].pins: verify = \"pinned\" needs pins",
        "g.toml:14: upstream[0].connect_timeout: is a number, expected a length of time",
        "g.toml:17: route[0].prefix: \"access\" is no path",
        "g.toml:18: route[0].upstream: no [[upstream]] is named \"leki\"; known: leqi",
        "g.toml:21: store.url: mysql is no database",
        "g.toml:23: nonsense: unknown key; known here: listen, admin",
    ] {
        assert!(found.lines().any(|line| line.starts_with(expected)), "{expected}\nnot in\n{found}");
    }
    assert!(!found.contains("geheim"));
}

#[test]
fn an_allow_list_open_to_the_world_needs_a_word() {
    let open = MINIMAL.replace("plaintext = true", "plaintext = true\nallow = [\"0.0.0.0/0\"]");
    assert!(errors(&open).contains("allow_world = true"), "{}", errors(&open));
    let said = open.replace("allow =", "allow_world = true\nallow =");
    let loaded = load(&said, &[]).unwrap();
    assert!(loaded.warnings.iter().any(|warning| warning.contains("open to the world")));
}

#[test]
fn limits_of_clients_are_off_unless_asked_for_and_must_make_sense() {
    let with = |lines: &str| MINIMAL.replace("plaintext = true", &format!("plaintext = true\n{lines}"));
    let silent = load(MINIMAL, &[]).unwrap().config.listen.remove(0).listener;
    assert_eq!(silent.clients, ClientLimits::default());
    let asked = with(
        "client_connections = 20\nclient_in_flight = 10\nclient_rate = 5\nidle_timeout = \"5s\"\nmin_rate = \"1KiB\"\n\
         max_head = \"8KiB\"\nmax_headers = 50\nproxy_protocol_from = [\"10.0.0.7\", \"10.1.0.0/16\"]",
    );
    let asked = load(&asked, &[]).unwrap().config.listen.remove(0).listener;
    let rate = asked.clients.rate.unwrap();
    assert_eq!((asked.clients.connections, asked.clients.in_flight), (Some(20), Some(10)));
    assert_eq!((rate.per_second.get(), rate.burst.get()), (5, 5));
    assert_eq!((asked.max_head, asked.max_headers, asked.min_rate), (8192, 50, 1024));
    assert_eq!((asked.idle_timeout.as_secs(), asked.proxy_protocol_from.len()), (5, 2));
    for (wrong, expected) in [
        ("client_burst = 3", "client_burst: means nothing without client_rate"),
        ("client_rate = 0", "give at least 1"),
        ("client_connections = 20000", "client_connections: is never reached: max_connections is 10000"),
        ("proxy_protocol_from = [\"0.0.0.0/0\"]", "may claim any address"),
        ("max_head = \"2MiB\"", "give 1KiB to 1MiB"),
        ("max_headers = 5", "give 10 to 1000"),
    ] {
        let found = errors(&with(wrong));
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn a_listener_without_certificates_must_ask_for_plain_http() {
    let silent = MINIMAL.replace("plaintext = true\n", "");
    assert!(errors(&silent).starts_with("g.toml:2: listen[0]: has no certificates"), "{}", errors(&silent));
}

#[test]
fn pins_without_pinned_and_doubled_names_are_errors() {
    let pins = MINIMAL.replace("verify = \"off\"", "verify = \"full\"\npins = [\"sha256/AAAA\"]");
    let found = errors(&pins);
    assert!(found.contains("upstream[0].pins[0]: "), "{found}");
    assert!(found.contains("only looked at with verify"), "{found}");
    let twice = format!("{MINIMAL}\n[[route]]\nprefix = \"/access/\"\nupstream = \"leqi\"\n");
    assert!(errors(&twice).contains("\"/access/\" is given more than once"));
}

#[test]
fn a_file_that_is_not_toml_is_reported_with_its_line() {
    let found = errors("[[listen]]\naddress = \n");
    assert!(found.starts_with("g.toml:2: is not TOML: "), "{found}");
    assert_eq!(found.lines().count(), 1, "{found}");
}

#[test]
fn an_empty_file_says_what_is_needed() {
    let found = errors("");
    for key in ["listen", "upstream", "route"] {
        assert!(found.contains(&format!("{key}: is missing; write at least one [[{key}]]")), "{found}");
    }
}

#[test]
fn the_environment_overrides_adds_and_is_named_in_errors() {
    let config = load(
        MINIMAL,
        &[
            ("LEQI_GATEWAY__STORE__URL", "sqlite://elsewhere.db"),
            ("LEQI_GATEWAY__UPSTREAM__0__BASE_URL", "https://127.0.0.1:1"),
            ("LEQI_GATEWAY__UPSTREAM__0__ADDRESSES", "127.0.0.1:2,127.0.0.1:3"),
            ("LEQI_GATEWAY__LISTEN__0__ALLOW", "[\"10.0.0.0/8\"]"),
            ("LEQI_GATEWAY__LISTEN__0__MAX_CONNECTIONS", "7"),
            ("LEQI_GATEWAY__ROUTE__1__PREFIX", "/leqi-api/"),
            ("LEQI_GATEWAY__ROUTE__1__UPSTREAM", "leqi"),
            ("UNRELATED", "x"),
        ],
    )
    .unwrap()
    .config;
    assert_eq!(config.store.url, "sqlite://elsewhere.db");
    assert_eq!(config.upstreams[0].base_url.as_str(), "https://127.0.0.1:1/");
    assert_eq!(config.upstreams[0].addresses.len(), 2);
    assert_eq!(config.listen[0].allow.len(), 1);
    assert_eq!(config.listen[0].listener.max_connections, 7);
    assert_eq!(config.routes[1].prefix, "/leqi-api/");

    for (name, value, expected) in [
        ("LEQI_GATEWAY__STORE__URI", "x", "environment LEQI_GATEWAY__STORE__URI: store.uri: unknown key"),
        ("LEQI_GATEWAY__LISTEN__0__PLAINTEXT", "yes", "expected true or false"),
        ("LEQI_GATEWAY__LISTEN__5__PLAINTEXT", "true", "the list has 1 elements; the next new one is 1"),
    ] {
        let found = load(MINIMAL, &[(name, value)]).map(|_| ()).unwrap_err();
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn units_of_time_and_size_are_read() {
    let text = format!(
        "{MINIMAL}\n[limits]\nrequest_body = \"2MiB\"\n[request_log]\nbody_limit = \"64KiB\"\n\
         [quota]\nunregistered = \"observe\"\ncooldown = \"500ms\"\n"
    );
    let config = load(&text, &[]).unwrap().config;
    assert_eq!((config.limits.request_body, config.request_log.body_limit), (2 << 20, 64 << 10));
    assert_eq!(config.quota.cooldown.as_millis(), 500);
    for (wrong, expected) in [
        ("[quota]\ncooldown = \"10 parsecs\"", "is no length of time"),
        ("[quota]\ncooldown = \"0s\"", "more than 0"),
        ("[quota]\nbalance_interval = \"hourly\"", "is no length of time"),
        ("[quota]\ntop_up_wait = 10", "a length of time"),
        ("[quota]\nresult_after = \"0ms\"", "more than 0"),
        ("[request_log]\nrecord = \"none\"", "\"changes\""),
        ("[runtime]\nworkers = 0", "at least 1"),
        ("[limits]\nrequest_body = \"1MB\"", "is no size"),
        ("[platform]\npath = \"/access\"", "must end with /"),
        ("[log]\nfilter = \"a=b=c\"", "is no filter"),
        ("[request_log]\nretention = \"10h\"", "less than a day"),
        ("[jobs]\nmonth_start = { at = \"24:00\" }", "jobs.month_start.at: \"24:00\" is no time of the day"),
        ("[jobs]\nexpiry = { at = [] }", "jobs.expiry.at: is empty"),
        ("[jobs]\nwatch = { at = \"00:05\" }", "jobs.watch.at: unknown key"),
        ("[jobs.topup]", "jobs.topup: unknown key; did you mean top_up?"),
        ("[[route]]\nprefix = \"/a//b/\"\nupstream = \"leqi\"", "can be read in several ways"),
        ("[[route]]\nprefix = \"/a/../\"\nupstream = \"leqi\"", "can be read in several ways"),
        (
            "[[upstream]]\nbreaker_failures = -1",
            "upstream[1].breaker_failures: -1 is out of range; give 0 or more",
        ),
        (
            "[[upstream]]\nmax_connections = 0",
            "upstream[1].max_connections: 0 is out of range; give at least 1",
        ),
        (
            "[[upstream]]\ntotal_timeout = 5",
            "upstream[1].total_timeout: is a number, expected a length of time",
        ),
    ] {
        let found = errors(&format!("{MINIMAL}\n{wrong}\n"));
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn limits_of_an_upstream_are_read() {
    let text = MINIMAL.replace(
        "verify = \"off\"",
        "verify = \"off\"\ntotal_timeout = \"2m\"\nmax_connections = 7\npool_timeout = \"1s\"\nmax_age = \"1h\"\n\
         breaker_failures = 0\nbreaker_pause = \"3s\"",
    );
    let upstream = load(&text, &[]).unwrap().config.upstreams.remove(0);
    assert_eq!(upstream.total_timeout, Some(Duration::from_secs(120)));
    assert_eq!((upstream.max_connections, upstream.breaker_failures), (7, 0));
    let times = [upstream.pool_timeout, upstream.max_age, upstream.breaker_pause];
    assert_eq!(times.map(|time| time.as_secs()), [1, 3600, 3]);
}

#[test]
fn jobs_have_their_times_and_can_be_switched_off() {
    let text = format!(
        "{MINIMAL}\n[request_log]\nretention = \"30d\"\n[jobs]\njitter = \"1s\"\nconfirm = true\n\
         expiry = {{ at = [\"23:30\", \"01:00\"] }}\n[jobs.top_up]\nenabled = false\nevery = \"5m\"\n"
    );
    let config = load(&text, &[("LEQI_GATEWAY__JOBS__AUDIT__AT", "05:00,06:30")]).unwrap().config;
    assert_eq!(config.request_log.retention.as_secs(), 30 * 86_400);
    assert!(config.jobs.enabled && config.jobs.confirm);
    let setting = |name| config.jobs.settings[&name].clone();
    assert_eq!(setting(JobName::Expiry).schedule.to_string(), "daily at 01:00, 23:30");
    assert_eq!(setting(JobName::Audit).schedule.to_string(), "daily at 05:00, 06:30");
    let top_up = setting(JobName::TopUp);
    assert_eq!((top_up.enabled, top_up.schedule.to_string().as_str()), (false, "every 5 min"));
    assert_eq!(setting(JobName::MonthStart).schedule.to_string(), "on the 1st at 00:05");
}

#[test]
fn the_example_file_is_valid_once_its_certificate_exists() {
    let dir = tempfile::tempdir().unwrap();
    let authority = crate::tls::Authority::generate("test", crate::clock::Clock::system().now()).unwrap();
    let issued = authority.issue(&["127.0.0.1"], crate::clock::Clock::system().now()).unwrap();
    let (chain, key, ca) =
        (dir.path().join("server.pem"), dir.path().join("server.key"), dir.path().join("ca.pem"));
    std::fs::write(&chain, &issued.chain_pem).unwrap();
    std::fs::write(&key, &issued.key_pem).unwrap();
    std::fs::write(&ca, authority.certificate_pem()).unwrap();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config/gateway.toml");
    let text = std::fs::read_to_string(example)
        .unwrap()
        .replace("certs/server.pem", chain.to_str().unwrap())
        .replace("certs/server.key", key.to_str().unwrap())
        // a build machine may have no system roots
        .replace("# ca_file = \"certs/upstream-ca.pem\"", &format!("ca_file = {ca:?}"));
    let loaded = load(&text, &[]).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.config.routes.len(), 4);
    assert!(loaded.config.listen[0].listener.tls.is_some());
}

#[test]
fn the_way_to_the_platform_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "geheim\n").unwrap();
    let with = |lines: &str| MINIMAL.replace("verify = \"off\"", &format!("verify = \"off\"\n{lines}"));
    let text = with(&format!(
        "proxy = {{ url = \"socks5://proxy.corp:1080\", username = \"leqi\", password_file = {password:?} }}\n\
         name_servers = [\"10.0.0.53\", \"[::1]:5353\"]\nstale_names = \"2h\"\nhealth_interval = \"30s\""
    ));
    let upstream = load(&text, &[]).unwrap().config.upstreams.remove(0);
    assert_eq!(
        upstream.names.servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.53:53", "[::1]:5353"]
    );
    assert_eq!(
        (upstream.names.stale.as_secs(), upstream.health_interval),
        (7200, Some(Duration::from_secs(30)))
    );
    let proxy = upstream.proxy.unwrap();
    assert_eq!(proxy.url.host_str(), Some("proxy.corp"));
    assert_eq!(proxy.credentials.as_ref().unwrap().password.expose_secret(), "geheim");
    assert!(!format!("{proxy:?}").contains("geheim"));
    for (lines, expected) in [
        (
            "proxy = { url = \"ftp://proxy.corp\" }",
            "proxy.url: \"ftp://proxy.corp\" is no proxy that can be used",
        ),
        ("proxy = { url = \"http://a:geheim@proxy.corp\" }", "must hold no name and password"),
        ("proxy = { username = \"leqi\" }", "proxy.url: is missing"),
        ("proxy = { url = \"http://p:3128\", username = \"leqi\" }", "proxy.username: needs password_file"),
        ("client_certificate = { chain = \"nowhere.pem\" }", "client_certificate.key: is missing"),
        ("intermediates_file = \"Cargo.toml\"", "intermediates_file: is only looked at with verify"),
        ("name_servers = [\"dns.corp\"]", "\"dns.corp\" is no name server"),
        ("backend = \"boringssl\"", "upstream[0].backend: "),
        ("ciphers = \"kRSA\"", "upstream[0].ciphers: is only looked at with backend"),
        ("legacy_renegotiation = true", "upstream[0].legacy_renegotiation: is only looked at with backend"),
    ] {
        let found = errors(&with(lines));
        assert!(found.contains(expected), "{expected}\nnot in\n{found}");
        assert!(!found.contains("geheim"), "{found}");
    }
}

#[test]
#[cfg(not(feature = "openssl"))]
fn openssl_is_refused_by_a_program_without_it() {
    for scheme in ["https", "http"] {
        let text = MINIMAL.replace("verify = \"off\"", "backend = \"openssl\"").replace("https", scheme);
        let found = errors(&text);
        assert!(
            found.contains("g.toml:9: upstream[0].backend: this program was built without OpenSSL"),
            "{found}"
        );
        assert!(found.contains("--features openssl") && found.contains("未包含 OpenSSL"), "{found}");
    }
}

#[test]
#[cfg(feature = "openssl")]
fn what_openssl_may_do_is_read() {
    use crate::tls::{Backend, OpenSslSettings};

    let with = |lines: &str| {
        MINIMAL.replace("verify = \"off\"", &format!("verify = \"off\"\nbackend = \"openssl\"\n{lines}"))
    };
    let read = |lines: &str| {
        let loaded = load(&with(lines), &[]).unwrap();
        (loaded.config.upstreams[0].tls.backend.clone(), loaded.warnings.join("\n"))
    };
    let (backend, warnings) = read("");
    assert_eq!(backend, Backend::OpenSsl(OpenSslSettings::default()));
    assert!(!warnings.contains("legacy_renegotiation"), "{warnings}");
    let (backend, warnings) = read("ciphers = \"kRSA+AES\"\nlegacy_renegotiation = true");
    let ciphers = Some("kRSA+AES".to_owned());
    assert_eq!(backend, Backend::OpenSsl(OpenSslSettings { ciphers, legacy_renegotiation: true }));
    assert!(warnings.contains("legacy_renegotiation: ") && warnings.contains("CVE-2009-3555"), "{warnings}");
    // nothing that OpenSSL does not know, nothing that encrypts nothing, nobody without a certificate
    for ciphers in ["nonsense", "NULL-SHA256", "aNULL", ""] {
        let found = errors(&with(&format!("ciphers = \"{ciphers}\"")));
        assert!(found.contains("upstream[0].ciphers: "), "{ciphers}: {found}");
    }
}
