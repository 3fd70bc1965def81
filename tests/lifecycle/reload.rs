//! New configurations under load: taken over as a whole, or refused with every reason.

use std::time::Instant;

use jiff::SignedDuration;
use leqi_gateway::tls::Authority;

use crate::{
    ALONE,
    common::eventually,
    load::{Load, certificate_of},
    stand::{Stand, now},
    times,
};

/// One change of what a person would change, and whether it is to be taken.
async fn change(stand: &Stand, n: usize) {
    let config = stand.config();
    match n % 7 {
        0 => {
            let certificate = stand.renew_certificate();
            let (status, answer) = stand.reload();
            assert_eq!((status, &answer["changed"][0]), (200, &"listen[0]".into()), "{answer}");
            let (_, shown) = certificate_of(stand.gateway.data, &stand.ca()).await;
            assert_eq!(shown, certificate, "new connections get the new certificate");
        }
        1 => {
            let route = format!(
                "\n[[route]]\nprefix = \"/extra-{n}/\"\nreplace = \"/access/\"\nupstream = \"leqi\"\n"
            );
            stand.configure(&(config.to_owned() + &route));
            let (status, answer) = stand.reload();
            assert_eq!(status, 200, "{answer}");
            assert!(answer["changed"].as_array().unwrap().contains(&"route".into()), "{answer}");
        }
        2 => {
            let limits = format!(
                "plaintext = true\nmax_connections = {}\nheader_timeout = \"{}s\"",
                5000 + n,
                20 + n % 9
            );
            stand.configure(&config.replace("plaintext = true", &limits));
            let (status, answer) = stand.reload();
            assert_eq!(status, 200, "{answer}");
        }
        3 => {
            let applied = r#"leqi_gateway_reloads_total{result="applied"}"#;
            let before = stand.metric(applied).unwrap();
            let idle = format!("verify = \"full\"\nidle_timeout = \"{}s\"", 10 + n % 11);
            stand.configure(&config.replace("verify = \"full\"", &idle));
            stand.hang_up();
            eventually("SIGHUP is followed", || stand.metric(applied).filter(|now| *now > before));
        }
        4 => {
            stand.configure(&config.replace("plaintext = true", "plaintext = true\nmax_conections = 7"));
            let (status, problem) = stand.reload();
            assert_eq!(
                (status, &problem["type"]),
                (422, &"urn:leqi-gateway:problem:invalid-configuration".into())
            );
            let reason = problem["reasons"][0].as_str().unwrap();
            assert!(reason.contains("gateway.toml:") && reason.contains("max_conections"), "{problem}");
        }
        5 => {
            stand.configure(&config.replace("data/gateway.db", "data/other.db"));
            let (status, problem) = stand.reload();
            assert_eq!((status, &problem["type"]), (409, &"urn:leqi-gateway:problem:restart-needed".into()));
            assert!(problem["reasons"][0].as_str().unwrap().starts_with("store"), "{problem}");
        }
        _ => {
            let refused = r#"leqi_gateway_reloads_total{result="invalid"}"#;
            let before = stand.metric(refused).unwrap();
            stand.configure("this is no TOML [");
            stand.hang_up();
            eventually("SIGHUP is refused", || stand.metric(refused).filter(|now| *now > before));
            stand.configure(config);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_change_under_load_and_no_call_fails() {
    let _alone = ALONE.lock().await;
    let stand = Stand::start("");
    let load = Load::start(&stand).await;
    let (times, began) = (times("LIFECYCLE_RELOADS", 21), Instant::now());
    for n in 0..times {
        let calls = load.calls();
        eventually("the load goes on", || (load.calls() >= calls + 20).then_some(()));
        change(&stand, n).await;
    }
    let outcome = load.stop().await;
    eprintln!(
        "{times} reloads in {:.1?}: {} calls, {} failed, {} connections, {:?}; slowest call {:.1?}",
        began.elapsed(),
        outcome.answered.len(),
        outcome.failed.len(),
        outcome.connections,
        outcome.by_kind,
        outcome.slowest,
    );
    outcome.assert_every_call_counts_once(&stand);
    let done: f64 = ["applied", "invalid", "restart_needed"]
        .iter()
        .filter_map(|result| stand.metric(&format!(r#"leqi_gateway_reloads_total{{result="{result}"}}"#)))
        .sum();
    assert_eq!(done as usize, times);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_call_and_where_calls_go_follows_the_configuration() {
    let stand = Stand::start("");
    let config = stand.config();
    let status = || {
        let url = format!("http://{}/leqi-api/access/v2/invoke/202007/CXNSRJBXX", stand.gateway.plain);
        let out = std::process::Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-d", "", &url])
            .output()
            .unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    let before = status();
    stand.configure(&config.replace("plaintext = true", "plaintext = true\nallow = [\"10.0.0.0/8\"]"));
    assert_eq!(stand.reload().0, 200);
    assert_eq!(status(), "403", "this client is not on the list any more; before: {before}");
    stand.configure(&config.replace("prefix = \"/leqi-api/\"", "prefix = \"/elsewhere/\""));
    assert_eq!(stand.reload().0, 200);
    assert_eq!(status(), "404", "the route is gone");
    stand.configure(config);
    assert_eq!(stand.reload().0, 200);
    assert_eq!(status(), before);
    let (_, audit) = stand.gateway.api("GET", "/audit?subject=config", None);
    let rows = audit["items"].as_array().unwrap();
    assert_eq!(rows.len(), 3, "{audit}");
    assert!(rows.iter().all(|row| row["action"] == "config.reload" && row["actor"] == "tests"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_follow_the_configuration() {
    let stand = Stand::start("");
    let config = stand.config();
    // an authority that ends a thousand days before the simulator's
    let early = Authority::generate("early", now() - SignedDuration::from_hours(24 * 1000)).unwrap();
    std::fs::write(stand.path().join("early.pem"), early.certificate_pem()).unwrap();
    let of_platform = r#"leqi_gateway_authority_not_after_timestamp_seconds{of="platform"}"#;
    let of_client = r#"leqi_gateway_client_certificate_not_after_timestamp_seconds{upstream="second"}"#;
    let room = || stand.metric(r#"leqi_gateway_connections_max{listener="data"}"#).unwrap();
    let gauges = || {
        let metrics = stand.gateway.metrics();
        let of_second = |line: &&str| line.contains("upstream=\"second\"") && !line.contains("_total{");
        metrics.lines().filter(of_second).map(str::to_owned).collect::<Vec<_>>()
    };
    let (at_first, before) = (eventually("authorities are looked at", || stand.metric(of_platform)), room());
    assert_eq!(gauges(), Vec::<String>::new());

    let second = "[[upstream]]\nname = \"second\"\nbase_url = \"https://127.0.0.1:9\"\nca_file = \"early.pem\"\n\
                  client_certificate = { chain = \"certs/server.pem\", key = \"certs/server.key\" }\n";
    let fewer = config.replace("plaintext = true", "plaintext = true\nmax_connections = 77");
    stand.configure(&format!("{fewer}\n{second}"));
    assert_eq!(stand.reload().0, 200);
    assert_eq!(room(), before / 2.0 + 77.0, "of two listeners one takes fewer, though nobody has connected");
    eventually("the new authority is looked at", || stand.metric(of_platform).filter(|end| *end < at_first));
    eventually("the client's certificate is looked at", || stand.metric(of_client));
    for name in ["connections_open", "connections_idle", "breaker_state", "calls_waiting", "verify_off"] {
        assert_eq!(stand.metric(&format!("leqi_gateway_upstream_{name}{{upstream=\"second\"}}")), Some(0.0));
    }

    stand.configure(config);
    assert_eq!(stand.reload().0, 200);
    assert_eq!(room(), before);
    eventually("the authority is forgotten", || stand.metric(of_platform).filter(|end| *end == at_first));
    let left = gauges();
    assert!(left.iter().all(|line| line.contains("upstream_connect_seconds")), "{left:?}");
    // an upstream that was built for a configuration that is not taken is not shown either
    let broken = "[platform]\nupstream = \"nobody\"\n";
    stand.configure(&format!("{config}\n{second}{broken}"));
    assert_eq!(stand.reload().0, 422);
    assert!(gauges().iter().all(|line| line.contains("upstream_connect_seconds")), "{:?}", gauges());
}
