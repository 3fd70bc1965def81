//! What is said of the authorities that a gateway trusts.

use std::path::Path;

use super::*;
use crate::tls::authority::Authority;

/// An authority made at this time (Beijing), valid for ten years.
fn authority(at: &str) -> String {
    Authority::generate("测试", beijing(at)).unwrap().certificate_pem().to_owned()
}

/// Until when the metric says that the first authority is valid.
fn shown(bench: &Bench, of: &str) -> Option<i64> {
    let text = String::from_utf8(bench.registry.render()).unwrap();
    let line = format!("leqi_gateway_authority_not_after_timestamp_seconds{{of=\"{of}\"}} ");
    text.lines().find_map(|row| row.strip_prefix(&line)?.parse().ok())
}

/// When an authority made at this time expires: at a midnight in Greenwich.
fn expires(at: &str) -> i64 {
    const DAY: i64 = 24 * 60 * 60;
    (beijing(at).as_second().div_euclid(DAY) + crate::tls::authority::AUTHORITY_DAYS) * DAY
}

async fn becomes(bench: &Bench, of: &str, expected: i64) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while shown(bench, of) != Some(expected) {
        assert!(std::time::Instant::now() < deadline, "{of}: {:?}, not {expected}", shown(bench, of));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_first_authority_to_expire_counts_and_a_successor_is_seen_within_the_hour() {
    let (old, new) = ("2017-01-05 00:00:00", "2026-11-01 00:00:00");
    let bench = Bench::at("2026-12-01 10:00:00").await;
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let file = |of, name: &str| AuthorityFile { of, path: Path::new(dir.path()).join(name) };
    write("clients.pem", &(authority(new) + &authority(old)));
    write("other.pem", &authority(new));
    write("platform.pem", &authority(new));
    let authorities = Authorities {
        files: vec![
            file(AuthorityOf::Clients, "clients.pem"),
            file(AuthorityOf::Clients, "other.pem"),
            file(AuthorityOf::Platform, "platform.pem"),
            file(AuthorityOf::Platform, "missing.pem"),
        ],
        clock: bench.clock.clone(),
        metrics: bench.metrics.clone(),
    };
    let (trigger, shutdown) = shutdown::channel();
    let watching = tokio::spawn(authorities.watch(shutdown));
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
    trigger.escalate();
    tokio::time::timeout(Duration::from_secs(20), watching).await.expect("it stops").unwrap();
}
