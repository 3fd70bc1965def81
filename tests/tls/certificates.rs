//! Certificates of all kinds, among them those that a platform should not have but may.

use std::sync::Arc;

use jiff::Timestamp;
use leqi_gateway::{clock::Clock, tls::Authority};
use rcgen::{CertificateParams, KeyPair, SigningKey};
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};

/// A server's chain and key.
pub(crate) struct Server {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

pub(crate) fn now() -> Timestamp {
    Clock::system().now()
}

pub(crate) fn authority() -> Authority {
    Authority::generate("Test CA", now()).unwrap()
}

pub(crate) fn other_authority() -> Authority {
    Authority::generate("Other CA", now()).unwrap()
}

impl Server {
    pub(crate) fn named(authority: &Authority) -> Self {
        Self::of(&authority.issue(&["127.0.0.1", "platform.example"], now()).unwrap())
    }

    pub(crate) fn nameless(authority: &Authority) -> Self {
        Self::of(&authority.issue_without_names("lqpt", now()).unwrap())
    }

    pub(crate) fn expired(authority: &Authority) -> Self {
        let long_ago = now() - jiff::SignedDuration::from_hours(24 * 900);
        Self::of(&authority.issue(&["127.0.0.1"], long_ago).unwrap())
    }

    /// X.509 version 1: a certificate without version and extensions, signed by its own key.
    pub(crate) fn version_1(key: &KeyPair) -> Self {
        let modern = CertificateParams::default().self_signed(key).unwrap();
        let [to_be_signed, algorithm, _] = &parts(content(modern.der()))[..] else {
            panic!("no certificate")
        };
        let fields = parts(content(to_be_signed));
        assert_eq!(fields[0][0], 0xa0, "the version comes first");
        let to_be_signed = wrap(0x30, &fields[1..7].concat());
        let mut signature = vec![0];
        signature.extend(key.sign(&to_be_signed).unwrap());
        let whole = [&to_be_signed[..], algorithm, &wrap(0x03, &signature)].concat();
        Self {
            chain: vec![wrap(0x30, &whole).into()],
            key: PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        }
    }

    fn of(issued: &leqi_gateway::tls::IssuedCertificate) -> Self {
        Self::from_pem(&issued.chain_pem, &issued.key_pem)
    }

    pub(crate) fn from_pem(chain: &str, key: &str) -> Self {
        Self {
            chain: CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect(),
            key: PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        }
    }

    /// One that asks clients for a certificate of this authority.
    pub(crate) fn config_asking(
        &self,
        clients: &Authority,
        version: &'static SupportedProtocolVersion,
    ) -> Arc<ServerConfig> {
        let provider = leqi_gateway::tls::provider();
        let mut roots = rustls::RootCertStore::empty();
        let pem = clients.certificate_pem();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        let roots = Arc::new(roots);
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .unwrap();
        Arc::new(config)
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config_for(rustls::ALL_VERSIONS)
    }

    /// Without the checks that a well-behaved server would make on its own certificate.
    pub(crate) fn config_for(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
        let provider = leqi_gateway::tls::provider();
        let key = provider.key_provider.load_private_key(self.key.clone_key()).unwrap();
        let certified = CertifiedKey::new(self.chain.clone(), key);
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        Arc::new(config)
    }
}

/// The encoded elements of a DER sequence's content.
fn parts(mut der: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while !der.is_empty() {
        let (head, length) = header(der);
        let (part, rest) = der.split_at(head + length);
        parts.push(part);
        der = rest;
    }
    parts
}

fn content(der: &[u8]) -> &[u8] {
    &der[header(der).0..]
}

/// Lengths of tag and length, and of the content.
fn header(der: &[u8]) -> (usize, usize) {
    let first = usize::from(der[1]);
    if first < 0x80 {
        return (2, first);
    }
    let more = first & 0x7f;
    (2 + more, der[2..2 + more].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
}

fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], &length[..], content].concat()
}
