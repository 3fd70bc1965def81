//! How the gateway trusts a server: four modes, because the platform's certificate may carry no usable name
//! at all (protocol.md §2).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{CertificateDer, pem::PemObject},
    sign::SingleCertAndKey,
};

use super::{
    Backend, CertificateFiles, Pin, TlsError, provider,
    server::load_pair,
    verify::{Trust, Verifier},
};

/// What a server's certificate must prove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// It chains to a trusted authority; its names are not looked at.
    Chain,
    /// It chains to a trusted authority and carries the name that was dialled.
    #[default]
    Full,
    /// Nothing. Whoever stands in between can read and change everything.
    Off,
    /// Its public key is one of these; authority, names, dates and X.509 version are not looked at.
    Pinned(Vec<Pin>),
}

/// How a client trusts a server, and how it proves itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// What the server's certificate must prove.
    pub verify: Verify,
    /// Authorities to trust instead of the system's: a PEM file, which may hold many.
    pub ca_file: Option<PathBuf>,
    /// Further certificates between the server's and an authority, for servers that forget to send them.
    pub intermediates_file: Option<PathBuf>,
    /// What the client shows to a server that asks for a certificate.
    pub certificate: Option<CertificateFiles>,
    /// Which library makes the handshakes.
    pub backend: Backend,
}

impl ClientSettings {
    /// The system's authorities and no certificate.
    #[must_use]
    pub const fn new(verify: Verify) -> Self {
        Self { verify, ca_file: None, intermediates_file: None, certificate: None, backend: Backend::Rustls }
    }

    /// Every file that is read for them.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let pair = self.certificate.iter().flat_map(|files| [&files.chain, &files.key]);
        self.ca_file.iter().chain(&self.intermediates_file).chain(pair).map(PathBuf::as_path)
    }

    /// The client side of TLS for these settings, as rustls makes it.
    ///
    /// # Errors
    /// When a file cannot be read or holds nothing of its kind, key and chain are not of one pair, the system has no
    /// authorities, or the list of pins is empty.
    pub fn client_config(&self) -> Result<ClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Rejected { context: "cannot set up TLS".to_owned(), source })?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier()?);
        let Some(files) = &self.certificate else { return Ok(builder.with_no_client_auth()) };
        let key = SingleCertAndKey::from(load_pair(files)?);
        Ok(builder.with_client_cert_resolver(Arc::new(key)))
    }

    /// The one that decides about the server's certificate, with either backend.
    pub(super) fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms;
        let intermediates = match &self.intermediates_file {
            Some(path) => read_certificates(path)?,
            None => Vec::new(),
        };
        let trust = match &self.verify {
            Verify::Chain => Trust::Chain(roots(self.ca_file.as_deref())?),
            Verify::Full => {
                let roots = Arc::new(roots(self.ca_file.as_deref())?);
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
                Trust::Full(verifier.map_err(|error| TlsError::Rejected {
                    context: "cannot verify servers".to_owned(),
                    source: rustls::Error::General(error.to_string()),
                })?)
            }
            Verify::Off => Trust::Anything,
            Verify::Pinned(pins) if pins.is_empty() => return Err(TlsError::NoPins),
            Verify::Pinned(pins) => Trust::Keys(pins.clone()),
        };
        Ok(Arc::new(Verifier { trust, intermediates, algorithms }))
    }
}

/// The client side for a server of which only the trust matters. `ca_file` replaces the system's roots and may hold
/// many certificates.
///
/// # Errors
/// When `ca_file` cannot be read or holds no certificate, the system has no roots, or the list of pins is empty.
pub fn client_config(verify: &Verify, ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let ca_file = ca_file.map(Path::to_owned);
    ClientSettings { ca_file, ..ClientSettings::new(verify.clone()) }.client_config()
}

/// Every certificate of a PEM file, in order.
///
/// # Errors
/// When the file cannot be read or holds none.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates_of_pem(path, &read(path)?)
}

/// The same for a file that was read already.
pub(super) fn certificates_of_pem(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Certificate(format!("{} is damaged PEM: {error}", path.display())))?;
    if certificates.is_empty() {
        return Err(TlsError::Empty { path: path.to_owned(), what: "certificate", label: "CERTIFICATE" });
    }
    Ok(certificates)
}

/// A file's bytes, with an error that names it.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: PathBuf::from(path), source })
}

/// The authorities of a file that was read already.
pub(super) fn roots_of_pem(path: &Path, pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates_of_pem(path, pem)? {
        store.add(certificate).map_err(|source| TlsError::Rejected {
            context: format!("{} holds a certificate that cannot be trusted as an authority", path.display()),
            source,
        })?;
    }
    Ok(store)
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    if let Some(path) = ca_file {
        return roots_of_pem(path, &read(path)?);
    }
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some of the system's certificate authorities could not be read");
    }
    let mut store = RootCertStore::empty();
    let (added, ignored) = store.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(TlsError::NoRoots { place: "in the system's store".to_owned() });
    }
    tracing::debug!(added, ignored, "certificate authorities of the system");
    Ok(store)
}
