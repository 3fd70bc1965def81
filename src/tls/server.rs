//! How the gateway proves itself to clients.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    pki_types::{PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};

use super::{
    TlsError, certificate,
    client::{read, read_certificates, roots_of_file},
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

/// The server side for one listener: HTTP/2 and HTTP/1.1 are offered; of several certificates the client's SNI
/// chooses, and the first is the default. With `client_ca`, clients must show a certificate of that authority.
///
/// # Errors
/// When a file cannot be read, is damaged, or key and chain do not match.
pub fn server_config(
    certificates: &[CertificateFiles],
    client_ca: Option<&Path>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Rejected { context: "cannot set up TLS".to_owned(), source })?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots_of_file(path)?), provider)
                .build()
                .map_err(|error| TlsError::Rejected {
                    context: format!("cannot verify clients with {}", path.display()),
                    source: rustls::Error::General(error.to_string()),
                })?,
        ),
    };
    let mut config = builder.with_cert_resolver(Arc::new(BySni::load(certificates)?));
    // curl offers http/1.0 alone when it is told to speak it, and nginx, which many set-ups had before, takes it
    config.alpn_protocols = [&b"h2"[..], b"http/1.1", b"http/1.0"].map(<[u8]>::to_vec).into();
    config.ticketer = Ticketer::new()
        .map_err(|source| TlsError::Rejected { context: "cannot make session tickets".to_owned(), source })?;
    Ok(Arc::new(config))
}

/// Chooses by the name the client asks for.
#[derive(Debug)]
struct BySni {
    default: Arc<CertifiedKey>,
    named: Vec<(Vec<String>, Arc<CertifiedKey>)>,
}

impl BySni {
    fn load(files: &[CertificateFiles]) -> Result<Self, TlsError> {
        let mut named = Vec::with_capacity(files.len());
        for files in files {
            let key = Arc::new(load(files)?);
            let names = key.cert.first().map(|cert| certificate::dns_names(cert)).unwrap_or_default();
            named.push((names, key));
        }
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

fn load(files: &CertificateFiles) -> Result<CertifiedKey, TlsError> {
    let chain = read_certificates(&files.chain)?;
    let pem = read(&files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::Empty {
        path: files.key.clone(),
        what: "private key",
        label: "PRIVATE KEY",
    })?;
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
