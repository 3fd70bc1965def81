//! The four ways to verify the platform, against certificates of every kind, with every backend of this build.

use std::{path::PathBuf, sync::Arc};

use leqi_gateway::{
    telemetry::metrics::Metrics,
    tls::{Backend, CertificateFiles, Pin, Verify, fingerprint},
    upstream::{Config, Phase, SendError, Upstream, UpstreamMetrics},
};
use rcgen::{CertificateParams, KeyPair};
use rustls::version::{TLS12, TLS13};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    calls::{backends, get, new_upstream},
    certificates::{Server, authority, other_authority},
    platform::Platform,
};

/// An authority in a file, and servers of all kinds.
struct Scene {
    dir: TempDir,
    authority: leqi_gateway::tls::Authority,
}

impl Scene {
    fn new() -> Self {
        let (dir, authority) = (tempfile::tempdir().unwrap(), authority());
        std::fs::write(dir.path().join("ca.pem"), authority.certificate_pem()).unwrap();
        Self { dir, authority }
    }

    fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Calls a server of this kind; the error's text and phase if it is not trusted.
    async fn call(&self, server: &Server, verify: Verify) -> Result<(), SendError> {
        self.call_with(server.config(), verify).await
    }

    /// The same by every backend, which must agree.
    async fn call_with(&self, tls: Arc<rustls::ServerConfig>, verify: Verify) -> Result<(), SendError> {
        let platform = Platform::friendly(Some(tls)).await;
        let mut outcomes = Vec::new();
        for backend in backends() {
            outcomes.push(self.call_by(backend, &platform, verify.clone()).await);
        }
        let first = outcomes.swap_remove(0);
        for other in outcomes {
            assert_eq!(verdict(&first), verdict(&other));
        }
        first
    }

    async fn call_by(&self, backend: Backend, platform: &Platform, verify: Verify) -> Result<(), SendError> {
        let before = platform.requests();
        let upstream = new_upstream(&format!("https://{}", platform.address), |config| {
            config.tls.ca_file = Some(self.ca_file());
            (config.tls.verify, config.tls.backend) = (verify, backend);
        });
        let outcome = get(&upstream).await.map(|answer| assert_eq!(answer, "ok"));
        if let Err(error) = &outcome {
            let phase = if error.to_string().contains("pinned is") { Phase::Pin } else { Phase::Tls };
            assert_eq!((error.phase, error.sent, platform.requests()), (phase, false, before), "{error}");
        }
        outcome
    }
}

/// What a call came to, in words without numbers (the time of verification is among them). A signature that is not of
/// the shown key is found by each library itself.
fn verdict(outcome: &Result<(), SendError>) -> Result<(), String> {
    let Err(error) = outcome else { return Ok(()) };
    let words = error.to_string().to_lowercase();
    if words.contains("badsignature") || words.contains("bad signature") {
        return Err("bad signature".to_owned());
    }
    Err(words.chars().filter(|c| !c.is_ascii_digit()).collect())
}

fn pin_of(server: &Server) -> Pin {
    fingerprint(&server.chain[0]).unwrap()
}

#[tokio::test]
async fn full_trusts_only_a_current_certificate_of_the_authority_with_the_right_name() {
    let scene = Scene::new();
    scene.call(&Server::named(&scene.authority), Verify::Full).await.unwrap();
    let refused = [
        (Server::nameless(&scene.authority), "not valid for any names"),
        (Server::expired(&scene.authority), "expired"),
        (Server::named(&other_authority()), "ca_file"),
        (Server::version_1(&KeyPair::generate().unwrap()), "invalid peer certificate"),
    ];
    for (server, reason) in refused {
        let error = scene.call(&server, Verify::Full).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let error = scene.call(&Server::nameless(&scene.authority), Verify::Full).await.unwrap_err().to_string();
    assert!(error.contains("verify = \"chain\"") && error.contains("\"pinned\""), "{error}");
}

#[tokio::test]
async fn chain_asks_for_the_authority_and_the_dates_but_for_no_name() {
    let scene = Scene::new();
    scene.call(&Server::named(&scene.authority), Verify::Chain).await.unwrap();
    scene.call(&Server::nameless(&scene.authority), Verify::Chain).await.unwrap();
    scene.call(&Server::expired(&scene.authority), Verify::Chain).await.unwrap_err();
    scene.call(&Server::named(&other_authority()), Verify::Chain).await.unwrap_err();
    scene.call(&Server::version_1(&KeyPair::generate().unwrap()), Verify::Chain).await.unwrap_err();
}

#[tokio::test]
async fn pinned_trusts_the_key_whatever_the_certificate_is_like() {
    let scene = Scene::new();
    let servers = [
        Server::named(&scene.authority),
        Server::nameless(&scene.authority),
        Server::expired(&scene.authority),
        Server::named(&other_authority()),
        Server::version_1(&KeyPair::generate().unwrap()),
    ];
    let other = pin_of(&Server::named(&scene.authority));
    for server in servers {
        scene.call(&server, Verify::Pinned(vec![other, pin_of(&server)])).await.unwrap();
        scene.call(&server, Verify::Pinned(vec![other])).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_changed_key_is_refused_with_both_fingerprints() {
    let scene = Scene::new();
    let (old, new) = (Server::nameless(&scene.authority), Server::nameless(&scene.authority));
    let error = scene.call(&new, Verify::Pinned(vec![pin_of(&old)])).await.unwrap_err().to_string();
    for part in [pin_of(&old).to_string(), pin_of(&new).to_string(), "pins".to_owned()] {
        assert!(error.contains(&part), "{error}");
    }
}

#[tokio::test]
async fn off_trusts_anything_that_holds_its_key() {
    let scene = Scene::new();
    for server in [
        Server::nameless(&scene.authority),
        Server::expired(&scene.authority),
        Server::named(&other_authority()),
        Server::version_1(&KeyPair::generate().unwrap()),
    ] {
        scene.call(&server, Verify::Off).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_shows_a_certificate_without_its_key_is_refused_in_every_mode() {
    let scene = Scene::new();
    let (shown, held) = (Server::named(&scene.authority), Server::named(&scene.authority));
    let pinned = Verify::Pinned(vec![pin_of(&shown)]);
    let thief = Server { chain: shown.chain, key: held.key };
    for verify in [Verify::Full, Verify::Chain, pinned, Verify::Off] {
        for version in [&TLS12, &TLS13] {
            scene.call_with(thief.config_for(&[version]), verify.clone()).await.unwrap_err();
        }
    }
}

#[tokio::test]
async fn version_1_certificates_work_with_every_kind_of_key_in_both_versions_of_tls() {
    let scene = Scene::new();
    let algorithms = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
    ];
    for algorithm in algorithms {
        let server = Server::version_1(&KeyPair::generate_for(algorithm).unwrap());
        for version in [&TLS12, &TLS13] {
            let pinned = Verify::Pinned(vec![pin_of(&server)]);
            scene.call_with(server.config_for(&[version]), pinned).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_host_of_the_base_url_is_asked_for_in_tls_unless_it_is_an_address() {
    let scene = Scene::new();
    for backend in backends() {
        let platform = Platform::friendly(Some(Server::named(&scene.authority).config())).await;
        let by_name = new_upstream("https://platform.example:8443", |config| {
            (config.tls.ca_file, config.tls.backend) = (Some(scene.ca_file()), backend.clone());
            config.addresses = vec![platform.address];
        });
        get(&by_name).await.unwrap();
        let by_address = new_upstream(&format!("https://{}", platform.address), |config| {
            (config.tls.ca_file, config.tls.backend) = (Some(scene.ca_file()), backend);
        });
        get(&by_address).await.unwrap();
        assert_eq!(platform.seen.lock().unwrap().names, [Some("platform.example".to_owned()), None]);
        assert!(platform.seen.lock().unwrap().requests[0].contains("host: platform.example:8443\r\n"));
    }
}

#[tokio::test]
async fn a_file_may_hold_several_authorities() {
    let scene = Scene::new();
    let second = other_authority();
    let both = format!("{}\nsome text\n{}", scene.authority.certificate_pem(), second.certificate_pem());
    std::fs::write(scene.ca_file(), both).unwrap();
    scene.call(&Server::named(&scene.authority), Verify::Full).await.unwrap();
    scene.call(&Server::named(&second), Verify::Full).await.unwrap();
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_is_named_as_such() {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = socket.accept().await.unwrap();
            client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            client.read_to_end(&mut Vec::new()).await.unwrap();
        }
    });
    for backend in backends() {
        let upstream = new_upstream(&format!("https://{address}"), |config| {
            (config.tls.verify, config.tls.backend) = (Verify::Off, backend);
        });
        let error = get(&upstream).await.unwrap_err();
        assert_eq!((error.phase, error.sent), (Phase::Tls, false));
        assert!(error.to_string().contains("does not speak TLS"), "{error}");
    }
}

#[test]
fn files_and_pins_that_cannot_be_used_are_named_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let metrics = UpstreamMetrics::register(&Metrics::new().unwrap()).unwrap();
    let start = |verify: Verify, ca_file: Option<PathBuf>| {
        let mut config = Config::new("leqi".into(), "https://127.0.0.1:1".parse().unwrap());
        (config.tls.verify, config.tls.ca_file) = (verify, ca_file);
        Upstream::new(config, &metrics).unwrap_err().to_string()
    };
    assert!(start(Verify::Pinned(vec![]), None).contains("at least one pin"));
    assert!(start(Verify::Full, Some(empty)).contains("empty.pem holds no certificate"));
    assert!(start(Verify::Chain, Some(dir.path().join("absent.pem"))).contains("cannot read"));
}

/// An authority that is allowed to have one between it and the server, that one, and a server of its.
struct Ladder {
    root_pem: String,
    intermediate_pem: String,
    server: Server,
}

impl Ladder {
    fn new() -> Self {
        let ca = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params
        };
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root_params = ca("Root");
        let root = root_params.self_signed(&root_key).unwrap();
        let root_issuer = rcgen::Issuer::new(root_params, root_key);
        let params = ca("Between");
        let intermediate = params.signed_by(&key, &root_issuer).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        let server_key = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "platform.example".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&server_key, &issuer).unwrap();
        let server = Server::from_pem(&certificate.pem(), &server_key.serialize_pem());
        Self { root_pem: root.pem(), intermediate_pem: intermediate.pem(), server }
    }
}

#[tokio::test]
async fn a_server_that_forgets_its_intermediate_is_trusted_when_it_is_given() {
    let ladder = Ladder::new();
    let dir = tempfile::tempdir().unwrap();
    let (ca, between) = (dir.path().join("ca.pem"), dir.path().join("between.pem"));
    std::fs::write(&ca, &ladder.root_pem).unwrap();
    std::fs::write(&between, &ladder.intermediate_pem).unwrap();
    let platform = Platform::friendly(Some(ladder.server.config())).await;
    for (verify, backend) in [Verify::Full, Verify::Chain]
        .into_iter()
        .flat_map(|verify| backends().into_iter().map(move |backend| (verify.clone(), backend)))
    {
        let upstream = |intermediates: Option<PathBuf>| {
            new_upstream(&format!("https://{}", platform.address), |config| {
                (config.tls.verify, config.tls.backend) = (verify.clone(), backend.clone());
                config.tls.ca_file = Some(ca.clone());
                config.tls.intermediates_file = intermediates;
            })
        };
        let error = get(&upstream(None)).await.unwrap_err();
        assert_eq!((error.phase, error.sent), (Phase::Tls, false), "{error}");
        assert_eq!(get(&upstream(Some(between.clone()))).await.unwrap(), "ok");
    }
    // one that belongs to nobody here helps nobody
    std::fs::write(&between, Ladder::new().intermediate_pem).unwrap();
    let upstream = new_upstream(&format!("https://{}", platform.address), |config| {
        (config.tls.ca_file, config.tls.intermediates_file) = (Some(ca), Some(between));
    });
    assert_eq!(get(&upstream).await.unwrap_err().phase, Phase::Tls);
}

#[tokio::test]
async fn a_platform_that_asks_for_a_certificate_gets_the_configured_one() {
    let scene = Scene::new();
    let authority = other_authority();
    let client = authority.issue(&["gateway.corp"], crate::certificates::now()).unwrap();
    let files = CertificateFiles {
        chain: scene.dir.path().join("client.pem"),
        key: scene.dir.path().join("client.key"),
    };
    std::fs::write(&files.chain, &client.chain_pem).unwrap();
    std::fs::write(&files.key, &client.key_pem).unwrap();
    for (version, backend) in [&TLS12, &TLS13]
        .into_iter()
        .flat_map(|version| backends().into_iter().map(move |backend| (version, backend)))
    {
        let tls = Server::named(&scene.authority).config_asking(&authority, version);
        let platform = Platform::friendly(Some(tls)).await;
        let upstream = |certificate: Option<CertificateFiles>| {
            new_upstream(&format!("https://{}", platform.address), |config| {
                config.tls.ca_file = Some(scene.ca_file());
                (config.tls.certificate, config.tls.backend) = (certificate, backend.clone());
            })
        };
        assert_eq!(get(&upstream(Some(files.clone()))).await.unwrap(), "ok");
        // in TLS 1.3 the refusal comes after the handshake
        get(&upstream(None)).await.unwrap_err();
        assert_eq!(platform.requests(), 1);
    }
    let foreign = CertificateFiles { key: files.chain.clone(), ..files };
    let mut config = Config::new("leqi".into(), "https://127.0.0.1".parse().unwrap());
    (config.tls.ca_file, config.tls.certificate) = (Some(scene.ca_file()), Some(foreign));
    let metrics = UpstreamMetrics::register(&Metrics::new().unwrap()).unwrap();
    let error = Upstream::new(config, &metrics).unwrap_err().to_string();
    assert!(error.contains("client.pem holds no private key"), "{error}");
}
