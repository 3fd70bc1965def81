//! The OpenSSL backend against `openssl s_server` and `gnutls-serv`, which speak what rustls refuses.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;
mod server;
mod site;
#[expect(dead_code, reason = "shared with the tests of the wire, each uses its part")]
#[path = "../wire/tools.rs"]
mod tools;

use std::process::Command;

use serde_json::Value;

use server::{Certificate, Server};
use site::{ANSWER, ANSWER_OF_SERVER, Site};

const OPENSSL: &str = "backend = \"openssl\"";

/// What `s_server` says when the other side ends the handshake.
const ALERT: &str = "SSL alert number";

/// What a server speaks that rustls refuses, as OpenSSL names it, and the suite that comes of it.
const OLD: [(&str, &str); 3] = [
    ("kRSA", "AES256-GCM-SHA384"),
    ("AES128-SHA", "AES128-SHA"),
    ("ECDHE-RSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA384"),
];

#[test]
fn servers_that_speak_only_what_rustls_refuses_are_called_byte_for_byte() {
    for (ciphers, suite) in OLD {
        let certificate = Certificate::named();
        let server = Server::start(&certificate, &["-tls1_2", "-cipher", ciphers]);
        let ca = certificate.ca_file();
        let site = Site::start(&server, &[("rustls", &ca), ("openssl", &format!("{ca}\n{OPENSSL}"))]);

        let refused = site.call("rustls");
        let (error, text) = refused.error();
        assert_eq!(error, (502, "502".to_owned(), "GW-UP-TLS".to_owned()), "{ciphers}");
        assert!(text.contains("没有发出"), "{text}");
        assert!(site.gateway.log().contains("backend = \\\"openssl\\\""), "{}", site.gateway.log());

        let (got, arrived) = site.answered("openssl", &server);
        assert_eq!((got.status(), &*got.body), (200, ANSWER), "{ciphers}: {}", got.said);
        assert!(arrived.ends_with(&site.body()), "{arrived}");
        assert!(server.said().contains(&format!("CIPHER is {suite}\n")), "{}", server.said());
    }
}

#[test]
fn the_certificate_must_prove_the_same_as_with_rustls() {
    let (nameless, other) = (Certificate::nameless(), Certificate::named());
    let server = Server::start(&nameless, &["-tls1_2", "-cipher", "kRSA"]);
    let wrong = format!("sha256/{}=", "A".repeat(43));
    let ca = nameless.ca_file();
    let ways = [
        ("full", format!("verify = \"full\"\n{ca}"), Err("GW-UP-TLS")),
        ("chain", format!("verify = \"chain\"\n{ca}"), Ok(())),
        ("strangers-chain", format!("verify = \"chain\"\n{}", other.ca_file()), Err("GW-UP-TLS")),
        ("wrong-pin", format!("verify = \"pinned\"\npins = [\"{wrong}\"]"), Err("GW-UP-PIN")),
        ("pinned", format!("verify = \"pinned\"\npins = [\"{wrong}\", \"{}\"]", nameless.pin), Ok(())),
        ("off", "verify = \"off\"".to_owned(), Ok(())),
    ];
    let settings: Vec<_> =
        ways.iter().map(|(name, settings, _)| (*name, format!("{settings}\n{OPENSSL}"))).collect();
    let settings: Vec<_> = settings.iter().map(|(name, settings)| (*name, &**settings)).collect();
    let site = Site::start(&server, &settings);
    for (name, _, outcome) in &ways {
        let (before, alerts) = (server.requests(), server.count(ALERT));
        match outcome {
            Ok(()) => {
                let (got, _) = site.answered(name, &server);
                assert_eq!((got.status(), &*got.body), (200, ANSWER), "{name}: {}", got.said);
            }
            Err(code) => {
                let (error, text) = site.call(name).error();
                assert_eq!(error, (502, "502".to_owned(), (*code).to_owned()), "{name}");
                assert!(text.contains("没有发出"), "{text}");
                // the handshake ended with an alert, and nothing came after it
                server.wait_for(ALERT, alerts + 1);
                assert_eq!(server.requests(), before, "{}", server.said());
            }
        }
    }
    let log = site.gateway.log();
    for part in ["not valid for any names", "ca_file"] {
        assert!(log.contains(part), "{part} in {log}");
    }
    let alarm = log.lines().find(|line| line.contains("ALARM")).unwrap_or_else(|| panic!("{log}"));
    for part in ["ERROR", "wrong-pin", &*nameless.pin, &*wrong] {
        assert!(alarm.contains(part), "{part} in {alarm}");
    }
    let metrics = site.gateway.metrics();
    assert!(metrics.contains("upstream_pin_mismatches_total{upstream=\"wrong-pin\"} 1"), "{metrics}");
}

#[test]
fn a_client_certificate_is_shown_to_the_server_that_is_trusted_and_to_no_other() {
    let (certificate, other, client) = (Certificate::named(), Certificate::named(), Certificate::named());
    let clients = client.dir.path().join("ca.pem");
    let clients = clients.to_str().unwrap();
    let asking = ["-Verify", "1", "-verify_return_error", "-CAfile", clients];
    let shown = client.as_client();
    for version in ["-tls1_2", "-tls1_3"] {
        let server = Server::start(&certificate, &[&[version][..], &asking].concat());
        let (ca, strangers) = (certificate.ca_file(), other.ca_file());
        let site = Site::start(
            &server,
            &[
                ("strangers", &format!("{strangers}\n{shown}\n{OPENSSL}")),
                ("without", &format!("{ca}\n{OPENSSL}")),
                ("with", &format!("{ca}\n{shown}\n{OPENSSL}")),
            ],
        );
        assert_eq!(site.call("strangers").error().0.2, "GW-UP-TLS");
        server.wait_for(ALERT, 1);
        assert!(!server.said().contains("depth="), "{}", server.said());
        assert_eq!(site.call("without").status(), 502);
        assert_eq!(server.requests(), 0, "{}", server.said());
        let (got, _) = site.answered("with", &server);
        assert_eq!((got.status(), &*got.body), (200, ANSWER), "{}", got.said);
        assert!(server.said().contains("CN = platform.example"), "{}", server.said());
    }
}

#[test]
fn a_server_may_renegotiate_only_where_that_is_allowed() {
    let (certificate, client) = (Certificate::named(), Certificate::named());
    let clients = client.dir.path().join("ca.pem");
    let args = ["-msg", "-tls1_2", "-no_resumption_on_reneg", "-CAfile", clients.to_str().unwrap()];
    let server = Server::start(&certificate, &args);
    let with_rustls = format!("{}\n{}", certificate.ca_file(), client.as_client());
    let settings = format!("{with_rustls}\n{OPENSSL}");
    let allowed = format!("{settings}\nlegacy_renegotiation = true");
    let site =
        Site::start(&server, &[("allowed", &allowed), ("refused", &settings), ("rustls", &with_rustls)]);
    for (number, name) in ["allowed", "refused", "rustls"].into_iter().enumerate() {
        let call = site.call_in_the_background(name);
        server.arrived(&site.body());
        // as old servers do it: they ask for the certificate once they know what is called
        server.write(b"R\n");
        if name == "allowed" {
            server.wait_for("CertificateVerify", 1);
            server.write(ANSWER_OF_SERVER);
            let got = call.join().unwrap();
            assert_eq!((got.status(), &*got.body), (200, ANSWER), "{}", got.said);
        } else {
            // the server does not go on without it
            assert_eq!(call.join().unwrap().status(), 502, "{name}");
            server.wait_for("no renegotiation", number);
        }
    }
    assert_eq!(server.count("CertificateVerify"), 1, "{}", server.said());
}

#[test]
fn a_server_that_does_not_know_rfc_5746_is_accepted_only_where_that_is_allowed() {
    let certificate = Certificate::named();
    let server = Server::gnutls(&certificate, "NORMAL:-VERS-ALL:+VERS-TLS1.2:%DISABLE_SAFE_RENEGOTIATION");
    let settings = format!("{}\n{OPENSSL}", certificate.ca_file());
    let allowed = format!("{settings}\nlegacy_renegotiation = true");
    let site = Site::start(&server, &[("refused", &settings), ("allowed", &allowed)]);
    let (error, _) = site.call("refused").error();
    assert_eq!(error, (502, "502".to_owned(), "GW-UP-TLS".to_owned()));
    let log = site.gateway.log();
    assert!(log.contains("legacy_renegotiation = true"), "{log}");
    let page = site.get("allowed");
    assert_eq!(page.status(), 200, "{}", page.said);
    assert!(String::from_utf8_lossy(&page.body).contains("GnuTLS"), "{}", page.said);
}

#[test]
fn a_key_too_weak_for_rustls_is_too_weak_here() {
    let weak = Certificate::weak();
    let server = Server::start(&weak, &["-tls1_2", "-cipher", "kRSA:@SECLEVEL=0"]);
    let pinned = format!("verify = \"pinned\"\npins = [\"{}\"]\n{OPENSSL}", weak.pin);
    let site = Site::start(&server, &[("pinned", &pinned)]);
    assert_eq!(site.call("pinned").error().0.2, "GW-UP-TLS");
    assert!(site.gateway.log().contains("too weak"), "{}", site.gateway.log());
    assert_eq!(server.requests(), 0);
}

#[test]
fn probe_speaks_as_the_configuration_says_and_shows_what_it_came_to() {
    let certificate = Certificate::named();
    let server = Server::start(&certificate, &["-tls1_2", "-cipher", "AES128-SHA"]);
    let site = Site::start(&server, &[("leqi", &format!("{}\n{OPENSSL}", certificate.ca_file()))]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_leqi-gateway"));
    command.current_dir(&site.gateway.dir).args(["probe", "--config", "gateway.toml", "--output", "json"]);
    let probe = std::thread::spawn(move || command.output().unwrap());
    server.wait_for("POST /", 1);
    server.write(ANSWER_OF_SERVER);
    let said = probe.join().unwrap();
    let report: Value = serde_json::from_slice(&said.stdout).unwrap();
    let step = |name: &str| {
        let steps = report["steps"].as_array().unwrap();
        steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("{report}")).clone()
    };
    assert_eq!(step("tls")["outcome"], "ok", "{report}");
    assert!(step("tls").to_string().contains("TLSv1.2  TLS_RSA_WITH_AES_128_CBC_SHA"), "{report}");
    assert_eq!(step("trust")["outcome"], "ok", "{report}");
    assert_eq!(report["certificates"][0]["pin"], *certificate.pin, "{report}");
}
