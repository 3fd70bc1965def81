//! The side that clients reach: handshakes, limits, refusals to start, drain.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use leqi_gateway::{
    listener::{Bound, Config, ListenerMetrics, Peer},
    shutdown::{self, Trigger},
    telemetry::metrics::Metrics,
    tls::{CertificateFiles, ServerTls, TlsError, Verify, client_config},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    certificates::{authority, now},
    eventually,
    platform::read_message,
};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A listener whose handler answers when it is let.
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    metrics: Metrics,
    trigger: Trigger,
    serving: JoinHandle<()>,
    pub(crate) begun: Arc<AtomicUsize>,
    pub(crate) let_go: Arc<Notify>,
}

impl Line {
    pub(crate) async fn start(tls: Option<Arc<ServerTls>>, set: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new("127.0.0.1:0".parse().unwrap(), tls);
        set(&mut config);
        let metrics = Metrics::new().unwrap();
        let bound = Bound::bind("data", config, &ListenerMetrics::register(&metrics).unwrap()).await.unwrap();
        let (trigger, stop) = shutdown::channel();
        let (begun, let_go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (counted, waited) = (Arc::clone(&begun), Arc::clone(&let_go));
        let handler = move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            let waited = Arc::clone(&waited);
            async move {
                waited.notified().await;
                Response::new(Full::new(Bytes::from("ok")))
            }
        };
        let address = bound.local_addr();
        let serving = tokio::spawn(bound.serve(handler, stop));
        Self { address, metrics, trigger, serving, begun, let_go }
    }

    pub(crate) fn drain(&self) {
        self.trigger.escalate();
    }

    pub(crate) async fn begun(&self, calls: usize) {
        eventually("the call is being handled", || async { self.begun.load(Ordering::SeqCst) == calls })
            .await;
    }

    pub(crate) fn has_metric(&self, line: &str) -> bool {
        String::from_utf8(self.metrics.render()).unwrap().lines().any(|found| found.ends_with(line))
    }
}

/// Makes certificates for `names`, each in files of its own, and a listener's TLS with them.
pub(crate) fn tls(dir: &Path, names: &[&str]) -> Arc<ServerTls> {
    let authority = authority();
    std::fs::write(dir.join("ca.pem"), authority.certificate_pem()).unwrap();
    let files: Vec<_> = names
        .iter()
        .map(|name| {
            let issued = authority.issue(&[*name], now()).unwrap();
            let (chain, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
            std::fs::write(&chain, issued.chain_pem).unwrap();
            std::fs::write(&key, issued.key_pem).unwrap();
            CertificateFiles { chain, key }
        })
        .collect();
    ServerTls::load(&files, None).unwrap()
}

pub(crate) async fn connect(
    address: SocketAddr,
    dir: &Path,
    name: &str,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = client_config(&Verify::Full, Some(&dir.join("ca.pem"))).unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let socket = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await
}

pub(crate) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Option<String> {
    stream.write_all(REQUEST.as_bytes()).await.unwrap();
    read_message(stream).await
}

/// Whether the other side ends the connection, with or without a word.
pub(crate) async fn ends<S: AsyncRead + Unpin>(stream: &mut S) -> bool {
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test]
async fn each_client_gets_the_certificate_of_the_name_it_asks_for_and_others_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let line = Line::start(Some(tls(dir.path(), &["127.0.0.1", "b.example"])), |_| {}).await;
    line.let_go.notify_one();
    let mut by_address = connect(line.address, dir.path(), "127.0.0.1", &[]).await.unwrap();
    assert!(ask(&mut by_address).await.unwrap().ends_with("ok"));
    connect(line.address, dir.path(), "b.example", &[]).await.unwrap();
    connect(line.address, dir.path(), "c.example", &[]).await.unwrap_err();
}

#[tokio::test]
async fn every_version_of_http_is_offered() {
    let dir = tempfile::tempdir().unwrap();
    let line = Line::start(Some(tls(dir.path(), &["127.0.0.1"])), |_| {}).await;
    for protocol in ["h2", "http/1.1", "http/1.0"] {
        let stream = connect(line.address, dir.path(), "127.0.0.1", &[protocol]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
    }
}

#[tokio::test]
async fn with_an_authority_for_clients_only_its_certificates_get_in_and_are_known_by_their_subject() {
    let dir = tempfile::tempdir().unwrap();
    tls(dir.path(), &["127.0.0.1", "erp-1"]);
    let file = |name: &str| dir.path().join(name);
    let server = CertificateFiles { chain: file("127.0.0.1.pem"), key: file("127.0.0.1.key") };
    let tls = ServerTls::load(&[server], Some(&file("ca.pem"))).unwrap();
    let metrics = ListenerMetrics::register(&Metrics::new().unwrap()).unwrap();
    let config = Config::new("127.0.0.1:0".parse().unwrap(), Some(tls));
    let bound = Bound::bind("data", config, &metrics).await.unwrap();
    let address = bound.local_addr();
    let (_trigger, stop) = shutdown::channel();
    let handler = |peer: Peer, _| async move {
        Response::new(Full::new(Bytes::from(peer.identity.map_or_else(String::new, |name| name.to_string()))))
    };
    tokio::spawn(bound.serve(handler, stop));

    let roots = CertificateDer::pem_file_iter(file("ca.pem")).unwrap().map(Result::unwrap);
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots);
    let chain = CertificateDer::pem_file_iter(file("erp-1.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(file("erp-1.key")).unwrap();
    let builder = || {
        ClientConfig::builder_with_provider(leqi_gateway::tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(store.clone())
    };
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let known = TlsConnector::from(Arc::new(builder().with_client_auth_cert(chain, key).unwrap()));
    let socket = TcpStream::connect(address).await.unwrap();
    let mut known = known.connect(name.clone(), socket).await.unwrap();
    assert!(ask(&mut known).await.unwrap().ends_with("CN=erp-1"));
    let unknown = TlsConnector::from(Arc::new(builder().with_no_client_auth()));
    let socket = TcpStream::connect(address).await.unwrap();
    // in TLS 1.3 the client hears of the refusal only after its own side of the handshake is done
    if let Ok(mut unknown) = unknown.connect(name, socket).await {
        let _ = unknown.write_all(REQUEST.as_bytes()).await;
        assert_eq!(read_message(&mut unknown).await, None);
    }
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_handshake_is_dropped_while_others_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let tls = tls(dir.path(), &["127.0.0.1"]);
    let line = Line::start(Some(tls), |config| config.handshake_timeout = Duration::from_millis(500)).await;
    let mut idler = TcpStream::connect(line.address).await.unwrap();
    line.let_go.notify_one();
    let mut other = connect(line.address, dir.path(), "127.0.0.1", &[]).await.unwrap();
    assert!(ask(&mut other).await.unwrap().ends_with("ok"));
    assert!(ends(&mut idler).await);
    eventually("it is counted", || async { line.has_metric("{listener=\"data\",reason=\"timeout\"} 1") })
        .await;
}

#[tokio::test]
async fn a_client_without_tls_on_a_tls_port_is_dropped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let line = Line::start(Some(tls(dir.path(), &["127.0.0.1"])), |_| {}).await;
    let mut client = TcpStream::connect(line.address).await.unwrap();
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    assert!(ends(&mut client).await);
    eventually("it is counted", || async { line.has_metric("{listener=\"data\",reason=\"not_tls\"} 1") })
        .await;
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_head_is_dropped() {
    let line = Line::start(None, |config| config.header_timeout = Duration::from_secs(1)).await;
    let mut client = TcpStream::connect(line.address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    // the handler is told, so that it may say why
    line.let_go.notify_one();
    assert!(ends(&mut client).await);
    let refused = "requests_refused_total{listener=\"data\",reason=\"head_too_slow\"} 1";
    eventually("it is counted", || async { line.has_metric(refused) }).await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let line = Line::start(None, |config| config.max_connections = 1).await;
    let mut first = TcpStream::connect(line.address).await.unwrap();
    first.write_all(REQUEST.as_bytes()).await.unwrap();
    line.begun(1).await;
    let mut second = TcpStream::connect(line.address).await.unwrap();
    second.write_all(REQUEST.as_bytes()).await.unwrap();
    line.let_go.notify_one();
    assert!(read_message(&mut first).await.unwrap().ends_with("ok"));
    assert_eq!(line.begun.load(Ordering::SeqCst), 1);
    drop(first);
    line.begun(2).await;
    line.let_go.notify_one();
    assert!(read_message(&mut second).await.unwrap().ends_with("ok"));
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_call() {
    let line = Line::start(None, |_| {}).await;
    let mut client = TcpStream::connect(line.address).await.unwrap();
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    line.begun(1).await;
    drop(client);
    eventually("the connection is gone", || async { line.has_metric("connections{listener=\"data\"} 0") })
        .await;
}

#[tokio::test]
async fn a_drain_finishes_the_call_in_flight_and_ends_idle_connections() {
    let dir = tempfile::tempdir().unwrap();
    let line = Line::start(Some(tls(dir.path(), &["127.0.0.1"])), |_| {}).await;
    let mut idle = connect(line.address, dir.path(), "127.0.0.1", &[]).await.unwrap();
    let mut busy = connect(line.address, dir.path(), "127.0.0.1", &[]).await.unwrap();
    busy.write_all(REQUEST.as_bytes()).await.unwrap();
    line.begun(1).await;
    line.trigger.escalate();
    assert!(ends(&mut idle).await);
    eventually("nobody can connect any more", || async { TcpStream::connect(line.address).await.is_err() })
        .await;
    assert!(!line.serving.is_finished());
    line.let_go.notify_one();
    let answer = read_message(&mut busy).await.unwrap();
    assert!(answer.to_ascii_lowercase().contains("connection: close") && answer.ends_with("ok"), "{answer}");
    line.serving.await.unwrap();
}

#[tokio::test]
async fn a_drain_ends_by_its_deadline_whatever_is_in_flight() {
    let line = Line::start(None, |config| config.drain_timeout = Duration::from_millis(100)).await;
    let mut client = TcpStream::connect(line.address).await.unwrap();
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    line.begun(1).await;
    line.trigger.escalate();
    line.serving.await.unwrap();
    assert!(ends(&mut client).await);
}

#[tokio::test]
async fn a_second_signal_ends_the_drain_at_once() {
    let line = Line::start(None, |config| config.drain_timeout = Duration::from_secs(3600)).await;
    let mut client = TcpStream::connect(line.address).await.unwrap();
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    line.begun(1).await;
    line.trigger.escalate();
    line.trigger.escalate();
    line.serving.await.unwrap();
    assert!(ends(&mut client).await);
}

#[tokio::test]
async fn a_port_in_use_and_a_foreign_address_are_refused_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let holder = std::net::TcpListener::bind(taken).unwrap();
    let metrics = ListenerMetrics::register(&Metrics::new().unwrap()).unwrap();
    let refused = |address: SocketAddr| {
        let metrics = metrics.clone();
        async move { Bound::bind("data", Config::new(address, None), &metrics).await.unwrap_err().to_string() }
    };
    let in_use = refused(holder.local_addr().unwrap()).await;
    assert!(in_use.contains("in use") && in_use.contains("ss -ltnp"), "{in_use}");
    let foreign = refused("192.0.2.1:0".parse().unwrap()).await;
    assert!(foreign.contains("192.0.2.1") && foreign.contains("ip addr"), "{foreign}");
}

#[test]
fn a_key_of_another_certificate_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    tls(dir.path(), &["a.example", "b.example"]);
    let files =
        CertificateFiles { chain: dir.path().join("a.example.pem"), key: dir.path().join("b.example.key") };
    assert!(matches!(ServerTls::load(std::slice::from_ref(&files), None), Err(TlsError::KeyMismatch { .. })));
    let swapped = CertificateFiles { chain: files.key, key: files.chain };
    let error = ServerTls::load(&[swapped], None).unwrap_err().to_string();
    assert!(error.contains("b.example.key holds no certificate"), "{error}");
    assert!(matches!(ServerTls::load(&[], None), Err(TlsError::NoCertificates)));
}
