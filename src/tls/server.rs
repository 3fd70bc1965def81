//! How the gateway proves itself to clients.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs::Ticketer},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};

use super::{
    TlsError, certificate,
    client::{certificates_of_pem, read, roots_of_pem},
    provider,
};

/// A certificate with its key, as files in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The server's certificate, then those of its issuers.
    pub chain: PathBuf,
    /// The private key (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
}

/// The server side of one listener, with where it came from. A changed file is found by its content, so that nothing is
/// exchanged for nothing and nothing half written is taken.
pub struct ServerTls {
    certificates: Vec<CertificateFiles>,
    client_ca: Option<PathBuf>,
    config: Arc<ServerConfig>,
    not_after: Vec<Timestamp>,
    content: Content,
}

/// SHA-256 of what was read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Content {
    certificates: [u8; 32],
    client_ca: Option<[u8; 32]>,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls")
            .field("certificates", &self.certificates)
            .field("client_ca", &self.client_ca)
            .finish_non_exhaustive()
    }
}

impl PartialEq for ServerTls {
    /// The same files with the same content.
    fn eq(&self, other: &Self) -> bool {
        let of = |tls: &Self| (tls.content, tls.certificates.clone(), tls.client_ca.clone());
        of(self) == of(other)
    }
}

impl ServerTls {
    /// HTTP/2 and HTTP/1.1 are offered; of several certificates the client's SNI chooses, and the first is the default.
    /// With `client_ca`, clients must show a certificate of that authority.
    ///
    /// # Errors
    /// When a file cannot be read, is damaged, or key and chain do not match.
    pub fn load(certificates: &[CertificateFiles], client_ca: Option<&Path>) -> Result<Arc<Self>, TlsError> {
        let provider = provider();
        let mut digest = Context::new(&SHA256);
        let keys =
            certificates.iter().map(|files| load(files, &mut digest)).collect::<Result<Vec<_>, _>>()?;
        let not_after = keys.iter().map(valid_until).collect();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Rejected { context: "cannot set up TLS".to_owned(), source })?;
        let (builder, authority) = match client_ca {
            None => (builder.with_no_client_auth(), None),
            Some(path) => {
                let (verifier, digest) = client_verifier(path, provider)?;
                (builder.with_client_cert_verifier(verifier), Some(digest))
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(BySni::new(keys)?));
        // the strongest that both know, whatever the client likes best
        config.ignore_client_order = true;
        // curl offers http/1.0 alone when it is told to speak it, and nginx, which many set-ups had before, takes it
        config.alpn_protocols = [&b"h2"[..], b"http/1.1", b"http/1.0"].map(<[u8]>::to_vec).into();
        config.ticketer = Ticketer::new().map_err(|source| TlsError::Rejected {
            context: "cannot make session tickets".to_owned(),
            source,
        })?;
        Ok(Arc::new(Self {
            certificates: certificates.to_vec(),
            client_ca: client_ca.map(Path::to_owned),
            config: Arc::new(config),
            not_after,
            content: Content { certificates: sha256(digest), client_ca: authority },
        }))
    }

    /// Reads the same files again; `None` when they hold what they held.
    ///
    /// # Errors
    /// As [`Self::load`]; what is there now cannot be used, for example because it is half written.
    pub fn renewed(&self) -> Result<Option<Arc<Self>>, TlsError> {
        let now = Self::load(&self.certificates, self.client_ca.as_deref())?;
        Ok((now.content != self.content).then(|| now.after(self)))
    }

    /// The same, as the successor of another: sessions of clients go on where the same authority verified them.
    #[must_use]
    pub fn after(self: Arc<Self>, before: &Self) -> Arc<Self> {
        if self.content.client_ca != before.content.client_ca {
            return self;
        }
        let mut config = ServerConfig::clone(&self.config);
        config.ticketer = Arc::clone(&before.config.ticketer);
        config.session_storage = Arc::clone(&before.config.session_storage);
        Arc::new(Self {
            certificates: self.certificates.clone(),
            client_ca: self.client_ca.clone(),
            config: Arc::new(config),
            not_after: self.not_after.clone(),
            content: self.content,
        })
    }

    /// What rustls works with.
    #[must_use]
    pub const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// The file of the authority of clients, where they must show a certificate.
    #[must_use]
    pub fn client_ca(&self) -> Option<&Path> {
        self.client_ca.as_deref()
    }

    /// Until when each certificate is valid, in the order of the configuration: the earliest end in its chain.
    #[must_use]
    pub fn not_after(&self) -> &[Timestamp] {
        &self.not_after
    }
}

fn client_verifier(
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<(Arc<dyn ClientCertVerifier>, [u8; 32]), TlsError> {
    let pem = read(path)?;
    let roots = Arc::new(roots_of_pem(path, &pem)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build().map_err(|error| {
        TlsError::Rejected {
            context: format!("cannot verify clients with {}", path.display()),
            source: rustls::Error::General(error.to_string()),
        }
    })?;
    let mut digest = Context::new(&SHA256);
    digest.update(&pem);
    Ok((verifier, sha256(digest)))
}

fn sha256(context: Context) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// The earliest end of validity in the chain; what cannot be read does not limit it.
fn valid_until(key: &CertifiedKey) -> Timestamp {
    let ends = key.cert.iter().filter_map(|der| certificate::describe(der).ok());
    ends.map(|summary| summary.not_after).min().unwrap_or(Timestamp::MAX)
}

/// Chooses by the name the client asks for.
#[derive(Debug)]
struct BySni {
    default: Arc<CertifiedKey>,
    named: Vec<(Vec<String>, Arc<CertifiedKey>)>,
}

impl BySni {
    fn new(keys: Vec<CertifiedKey>) -> Result<Self, TlsError> {
        let names = |key: &CertifiedKey| {
            key.cert.first().map(|cert| certificate::dns_names(cert)).unwrap_or_default()
        };
        let named: Vec<_> = keys.into_iter().map(|key| (names(&key), Arc::new(key))).collect();
        let default = named.first().map(|(_, key)| Arc::clone(key)).ok_or(TlsError::NoCertificates)?;
        Ok(Self { default, named })
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = hello.server_name().and_then(|asked| {
            self.named.iter().find(|(names, _)| names.iter().any(|name| covers(name, asked)))
        });
        Some(Arc::clone(chosen.map_or(&self.default, |(_, key)| key)))
    }
}

/// Whether a certificate's name, perhaps with a wildcard as its first label, covers the one asked for.
fn covers(name: &str, asked: &str) -> bool {
    if let Some(suffix) = name.strip_prefix("*.") {
        return asked.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(suffix));
    }
    name.eq_ignore_ascii_case(asked)
}

/// A certificate chain and its key.
pub(super) type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Reads a certificate chain and its key, which must be a pair.
pub(super) fn load_pair(files: &CertificateFiles) -> Result<CertifiedKey, TlsError> {
    load(files, &mut Context::new(&SHA256))
}

/// The same as bytes, for another library.
#[cfg(feature = "openssl")]
pub(super) fn load_der(files: &CertificateFiles) -> Result<Pair, TlsError> {
    let (chain, key) = read_pair(files, &mut Context::new(&SHA256))?;
    certified(files, (chain.clone(), key.clone_key()))?;
    Ok((chain, key))
}

fn load(files: &CertificateFiles, digest: &mut Context) -> Result<CertifiedKey, TlsError> {
    certified(files, read_pair(files, digest)?)
}

/// Reads a pair, each file once, so that what was checked and what is used are the same bytes.
fn read_pair(files: &CertificateFiles, digest: &mut Context) -> Result<Pair, TlsError> {
    let pem = read(&files.chain)?;
    digest.update(&pem);
    let chain = certificates_of_pem(&files.chain, &pem)?;
    let pem = read(&files.key)?;
    digest.update(&pem);
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::Empty {
        path: files.key.clone(),
        what: "private key",
        label: "PRIVATE KEY",
    })?;
    Ok((chain, key))
}

fn certified(files: &CertificateFiles, (chain, key): Pair) -> Result<CertifiedKey, TlsError> {
    CertifiedKey::from_der(chain, key, &provider()).map_err(|source| {
        if matches!(source, rustls::Error::InconsistentKeys(_)) {
            return TlsError::KeyMismatch { chain: files.chain.clone(), key: files.key.clone() };
        }
        let context = format!("cannot use {} with {}", files.chain.display(), files.key.display());
        TlsError::Rejected { context, source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_one_label() {
        assert!(covers("*.corp.example", "gw.corp.example"));
        assert!(!covers("*.corp.example", "corp.example"));
        assert!(!covers("*.corp.example", "a.b.corp.example"));
        assert!(covers("GW.corp.example", "gw.corp.example"));
    }
}
