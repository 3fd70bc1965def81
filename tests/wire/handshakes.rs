//! TLS as clients of every kind begin it, seen with `openssl s_client`.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;

use crate::{
    common::eventually,
    site::Site,
    tools::{encrypt, run},
};

const READ: &str = "/access/v2/invoke/202007/CXNSRJBXX";

/// One request over `openssl s_client` with these arguments, until the gateway closes: what it said.
fn s_client(site: &Site, args: &[&str], request: &str) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &site.gateway.data.to_string(), "-ign_eof", "-CAfile"])
        .arg(site.gateway.dir.join("certs/ca.pem"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // a handshake that failed ends it before it reads
    let _ = child.stdin.take().unwrap().write_all(request.as_bytes());
    let out = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
}

/// A call that the platform answers with few words.
fn request() -> String {
    format!("GET {READ} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
}

#[test]
fn clients_that_ask_for_no_name_or_an_odd_one_get_the_default_certificate() {
    let site = Site::start();
    for name in [
        ["-noservername", "-verify_return_error"].as_slice(),
        &["-servername", "127.0.0.1", "-verify_return_error"],
        &["-servername", "localhost", "-verify_return_error"],
        &["-servername", "localhost.", "-verify_return_error"],
        &["-servername", "gate_way.corp.example", "-verify_return_error"],
        &["-servername", "unknown.example", "-verify_return_error"],
    ] {
        for version in ["-tls1_2", "-tls1_3"] {
            let said = s_client(&site, &[name, &[version]].concat(), &request());
            assert!(said.contains("Verify return code: 0 (ok)"), "{name:?}: {said}");
            assert!(said.contains("ResourceNotFound"), "{name:?} {version}: {said}");
        }
    }
}

#[test]
fn a_name_that_is_none_is_found_in_log_and_metric() {
    let site = Site::start();
    let said = s_client(&site, &["-servername", "127.0.0.1:8443"], &request());
    assert!(said.contains("illegal parameter"), "{said}");
    eventually("it is counted", || {
        let metric = "connections_failed_total{listener=\"data\",reason=\"server_name\"} 1";
        site.gateway.metrics().contains(metric).then_some(())
    });
    let log = site.gateway.log();
    let line = log.lines().find(|line| line.contains("\"server_name\"")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("\"client\":\"127.0.0.1:") && line.contains("SNI"), "{line}");
}

#[test]
fn old_versions_are_refused_and_the_reason_is_found() {
    let site = Site::start();
    // some builds of openssl cannot even offer these
    let said = s_client(&site, &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], &request());
    assert!(!said.contains("HTTP/1.1"), "{said}");
    eventually("it is counted", || {
        let metrics = site.gateway.metrics();
        let failed = |reason| {
            metrics.contains(&format!("connections_failed_total{{listener=\"data\",reason=\"{reason}\"}} 1"))
        };
        (failed("incompatible") || failed("closed")).then_some(())
    });
}

#[test]
fn sessions_are_resumed_in_both_versions() {
    let site = Site::start();
    let kept = tempfile::tempdir().unwrap();
    for (option, version) in [("-tls1_2", "1.2"), ("-tls1_3", "1.3")] {
        let session = kept.path().join(version);
        let session = session.to_str().unwrap();
        let first = s_client(&site, &[option, "-sess_out", session], &request());
        assert!(first.contains("ResourceNotFound") && first.contains("New, TLS"), "{first}");
        assert!(Path::new(session).exists(), "no session was given: {first}");
        let again = s_client(&site, &[option, "-sess_in", session], &request());
        assert!(again.contains("ResourceNotFound") && again.contains("Reused, TLS"), "{again}");
        for (resumed, count) in [("false", 1), ("true", 1)] {
            let metric = format!(
                "leqi_gateway_tls_handshakes_total{{listener=\"data\",resumed=\"{resumed}\",version=\"{version}\"}} {count}"
            );
            assert!(site.gateway.metrics().contains(&metric), "{metric}\n{}", site.gateway.metrics());
        }
    }
}

/// A key and a certificate of `ca.pem` and `ca.key` in `dir` for this subject.
fn client_certificate(dir: &Path, subject: &str) {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", &path("erp.key")]
        .map(str::to_owned);
    let asked = ["-subj", subject, "-out", &path("erp.csr")].map(str::to_owned);
    run("openssl", ["req".to_owned()].into_iter().chain(key).chain(asked), b"");
    let signed = ["x509", "-req", "-in", &path("erp.csr"), "-CA", &path("ca.pem"), "-CAkey", &path("ca.key")]
        .map(str::to_owned);
    // without extensions openssl makes a certificate of version 1, which proves nothing
    std::fs::write(path("erp.ext"), "extendedKeyUsage=clientAuth\n").unwrap();
    let out = ["-extfile", &path("erp.ext"), "-CAcreateserial", "-days", "1", "-out", &path("erp.pem")]
        .map(str::to_owned);
    run("openssl", signed.into_iter().chain(out), b"");
}

#[test]
fn the_subject_of_a_clients_certificate_is_in_the_log_and_without_one_nobody_gets_in() {
    let site = Site::start_with(&[], |_| {
        "[[listen]]\naddress = \"127.0.0.1:0\"\nclient_ca = \"certs/ca.pem\"\n\
         certificates = [{ chain = \"certs/server.pem\", key = \"certs/server.key\" }]\n"
            .to_owned()
    });
    let certs = site.gateway.dir.join("certs");
    client_certificate(&certs, "/O=Corp/CN=erp-1");
    let body = encrypt(&site.key(), &json!({ "nsrsbh": site.unit().tax_no }).to_string());
    let url = format!("https://localhost:{}{READ}", site.gateway.listeners[2].port());
    let file = |name: &str| certs.join(name).to_str().unwrap().to_owned();
    let known = site
        .post(&url, body.clone())
        .args(&["--cert", file("erp.pem").as_str(), "--key", file("erp.key").as_str()])
        .send();
    assert_eq!(known.got.data(&site.key())["returncode"], "00");
    let identity = known.record()["client_identity"].clone();
    assert!(identity.as_str().is_some_and(|subject| subject.contains("CN=erp-1")), "{identity}");
    let unknown = site.post(&url, body).try_send();
    assert_ne!(unknown.got.exit, 0);
    eventually("it is counted", || {
        let metric = "connections_failed_total{listener=\"data\",reason=\"client_certificate\"} 1";
        site.gateway.metrics().contains(metric).then_some(())
    });
}
