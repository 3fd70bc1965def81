//! What is said of the authorities that a gateway trusts, and of the certificates that it shows to the platform.

use std::path::Path;

use tokio::sync::watch;

use super::*;
use crate::tls::authority::Authority;

/// An authority made at this time (Beijing), valid for ten years.
fn authority(at: &str) -> String {
    Authority::generate("测试", beijing(at)).unwrap().certificate_pem().to_owned()
}

/// Until when the metric says that the first authority is valid.
fn shown(bench: &Bench, of: &str) -> Option<i64> {
    let text = String::from_utf8(bench.registry.render()).unwrap();
    let line = match of.strip_prefix("upstream ") {
        Some(name) => {
            format!("leqi_gateway_client_certificate_not_after_timestamp_seconds{{upstream=\"{name}\"}} ")
        }
        None => format!("leqi_gateway_authority_not_after_timestamp_seconds{{of=\"{of}\"}} "),
    };
    text.lines().find_map(|row| row.strip_prefix(&line)?.parse().ok())
}

/// When an authority made at this time expires: at a midnight in Greenwich.
fn expires(at: &str) -> i64 {
    const DAY: i64 = 24 * 60 * 60;
    (beijing(at).as_second().div_euclid(DAY) + crate::tls::authority::AUTHORITY_DAYS) * DAY
}

async fn becomes(bench: &Bench, of: &str, expected: impl Into<Option<i64>>) {
    let expected = expected.into();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while shown(bench, of) != expected {
        assert!(std::time::Instant::now() < deadline, "{of}: {:?}, not {expected:?}", shown(bench, of));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_first_authority_to_expire_counts_and_a_successor_is_seen_within_the_hour() {
    let (old, new) = ("2017-01-05 00:00:00", "2026-11-01 00:00:00");
    let bench = Bench::at("2026-12-01 10:00:00").await;
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let file = |of, name: &str| WatchedFile { of, path: Path::new(dir.path()).join(name) };
    write("clients.pem", &(authority(new) + &authority(old)));
    write("other.pem", &authority(new));
    write("platform.pem", &authority(new));
    let (list, files) = watch::channel(vec![
        file(WatchedFor::Clients, "clients.pem"),
        file(WatchedFor::Clients, "other.pem"),
        file(WatchedFor::Platform, "platform.pem"),
        file(WatchedFor::Platform, "missing.pem"),
    ]);
    let certificates = CertificateWatch { files, clock: bench.clock.clone(), metrics: bench.metrics.clone() };
    let (trigger, shutdown) = shutdown::channel();
    let watching = tokio::spawn(certificates.watch(shutdown));
    becomes(&bench, "clients", expires(old)).await;
    becomes(&bench, "platform", expires(new)).await;

    write("clients.pem", &authority("2026-12-01 00:00:00"));
    // what cannot be read changes nothing
    write("platform.pem", "no certificate");
    bench.clock.set(beijing("2026-12-01 10:59:00"));
    assert_eq!(shown(&bench, "clients"), Some(expires(old)), "it is looked at once an hour");
    bench.clock.set(beijing("2026-12-01 11:00:01"));
    becomes(&bench, "clients", expires(new)).await;
    assert_eq!(shown(&bench, "platform"), Some(expires(new)));

    // another list counts at once
    list.send_replace(vec![
        file(WatchedFor::Clients, "clients.pem"),
        file(WatchedFor::Upstream("leqi".to_owned()), "other.pem"),
    ]);
    becomes(&bench, "upstream leqi", expires(new)).await;
    becomes(&bench, "platform", None).await;
    assert_eq!(shown(&bench, "clients"), Some(expires("2026-12-01 00:00:00")));
    trigger.escalate();
    tokio::time::timeout(Duration::from_secs(20), watching).await.expect("it stops").unwrap();
}
