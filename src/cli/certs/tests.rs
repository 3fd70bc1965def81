//! `certs` as it is typed.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use clap::Parser;

use super::{CertsArgs, run_to};
use crate::{
    clock::Clock,
    tls::{CertificateFiles, ServerTls, fingerprint},
};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    certs: CertsArgs,
}

fn certs(line: &[&str], dir: &Path) -> Result<String, String> {
    let line = ["certs"].iter().chain(line).copied().chain(["--dir", dir.to_str().unwrap()]);
    let parsed = Line::try_parse_from(line).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    run_to(parsed.certs, &Clock::system(), &mut out).map_err(|error| format!("{error:#}"))?;
    Ok(String::from_utf8(out).unwrap())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn init_makes_a_certificate_that_a_listener_can_use_and_keys_that_only_the_owner_reads() {
    let dir = tempfile::tempdir().unwrap();
    let told = certs(&["init", "--ip", "10.1.2.3", "--name", "gw.corp.example"], dir.path()).unwrap();
    for part in ["keytool -importcert", "https://10.1.2.3:8443/access/v2/invoke/", "ca.pem"] {
        assert!(told.contains(part), "{told}");
    }
    let file = |name: &str| dir.path().join(name);
    for (name, expected) in
        [("ca.key", 0o600), ("server.key", 0o600), ("ca.pem", 0o644), ("server.pem", 0o644)]
    {
        assert_eq!(mode(&file(name)), expected, "{name}");
    }
    ServerTls::load(&[CertificateFiles { chain: file("server.pem"), key: file("server.key") }], None)
        .unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
}

#[test]
fn init_writes_nothing_over_an_existing_certificate_unless_forced_and_keeps_the_authority() {
    let dir = tempfile::tempdir().unwrap();
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    certs(&["init", "--ip", "10.1.2.3"], dir.path()).unwrap();
    let (authority, server) = (read("ca.pem"), read("server.pem"));
    let refused = certs(&["init", "--ip", "10.1.2.3"], dir.path()).unwrap_err();
    assert!(refused.contains("--force"), "{refused}");
    assert_eq!(read("server.pem"), server);
    certs(&["init", "--ip", "10.1.2.3", "--force"], dir.path()).unwrap();
    assert_eq!(read("ca.pem"), authority);
    assert_ne!(read("server.pem"), server);
    certs(&["init", "--ip", "10.1.2.3", "--force", "--new-authority"], dir.path()).unwrap();
    assert_ne!(read("ca.pem"), authority);
}

#[test]
fn init_does_not_replace_an_authority_whose_key_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    certs(&["init", "--ip", "10.1.2.3"], dir.path()).unwrap();
    fs::remove_file(dir.path().join("ca.key")).unwrap();
    let refused = certs(&["init", "--ip", "10.1.2.3", "--force"], dir.path()).unwrap_err();
    assert!(refused.contains("ca.pem exists without"), "{refused}");
}

#[test]
fn init_wants_a_name_or_an_address_and_each_under_its_own_option() {
    let dir = tempfile::tempdir().unwrap();
    for wrong in [&["init"][..], &["init", "--name", "10.0.0.1"], &["init", "--name", "a b"]] {
        certs(wrong, dir.path()).unwrap_err();
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn show_tells_names_expiry_and_the_pin_of_every_certificate() {
    let dir = tempfile::tempdir().unwrap();
    certs(&["init", "--ip", "10.1.2.3", "--name", "gw.corp.example"], dir.path()).unwrap();
    let told = certs(&["show"], dir.path()).unwrap();
    let chain = crate::tls::client::read_certificates(&dir.path().join("server.pem")).unwrap();
    for part in ["10.1.2.3, gw.corp.example", "days left", &fingerprint(&chain[0]).unwrap().to_string()] {
        assert!(told.contains(part), "{told}\nlacks {part}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&certs(&["show", "--output", "json"], dir.path()).unwrap()).unwrap();
    assert_eq!(json[0]["authority"], true);
    assert_eq!(json[1]["names"], serde_json::json!(["10.1.2.3", "gw.corp.example"]));
}

#[test]
fn show_says_what_is_wrong_with_a_file() {
    let dir = tempfile::tempdir().unwrap();
    assert!(certs(&["show"], dir.path()).unwrap_err().contains("certs init"));
    fs::write(dir.path().join("odd.pem"), "nothing").unwrap();
    assert!(certs(&["show"], dir.path()).unwrap_err().contains("odd.pem holds no certificate"));
}
