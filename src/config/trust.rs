//! How an `[[upstream]]` is trusted, and how the gateway proves itself to it.

use super::{kinds, section::Section};
use crate::tls::{Backend, CertificateFiles, ClientSettings, OpenSslSettings, Pin, TlsError, Verify};

/// The keys of an `[[upstream]]` that are about TLS.
pub(super) fn settings(section: &mut Section<'_>) -> Option<ClientSettings> {
    let verify = verify(section);
    let ca_file = section.value("ca_file", kinds::readable_file);
    let intermediates_file = section.value("intermediates_file", kinds::readable_file);
    let certificate = section.section_if_given("client_certificate").and_then(|mut pair| {
        let chain = pair.required("chain", "\"certs/client.pem\"", kinds::readable_file);
        let key = pair.required("key", "\"certs/client.key\"", kinds::readable_file);
        Some(CertificateFiles { chain: chain?, key: key? })
    });
    let backend = backend(section);
    let verify = verify?;
    if intermediates_file.is_some() && !matches!(verify, Verify::Full | Verify::Chain) {
        let reason = "is only looked at with verify = \"full\" or \"chain\"; delete it";
        section.error("intermediates_file", reason);
    }
    Some(ClientSettings { verify, ca_file, intermediates_file, certificate, backend: backend? })
}

/// Reads all files, as the upstream will.
pub(super) fn check(section: &Section<'_>, settings: &ClientSettings) {
    let Err(error) = settings.connector() else { return };
    let path = match &error {
        TlsError::Ciphers { .. } => return section.error("ciphers", error.to_string()),
        TlsError::NoOpenSsl | TlsError::OpenSsl { .. } => return section.error("backend", error.to_string()),
        TlsError::Empty { path, .. } | TlsError::Read { path, .. } => Some(path),
        TlsError::KeyMismatch { key, .. } => Some(key),
        TlsError::Certificate(_)
        | TlsError::Issue(_)
        | TlsError::NoCertificates
        | TlsError::NoPins
        | TlsError::NoRoots { .. }
        | TlsError::Pin(_)
        | TlsError::Rejected { .. } => None,
    };
    let of_the_client =
        |files: &CertificateFiles| path.is_some_and(|path| [&files.chain, &files.key].contains(&path));
    let key = if settings.certificate.as_ref().is_some_and(of_the_client) {
        "client_certificate"
    } else if path.is_some() && path == settings.intermediates_file.as_ref() {
        "intermediates_file"
    } else if settings.ca_file.is_some() {
        "ca_file"
    } else {
        "verify"
    };
    section.error(key, error.to_string());
}

/// `backend`, and what belongs to OpenSSL alone.
fn backend(section: &mut Section<'_>) -> Option<Backend> {
    let openssl =
        section.value("backend", |spot| kinds::one_of(spot, &[("rustls", false), ("openssl", true)]));
    let wrong = section.has("backend") && openssl.is_none();
    let ciphers = section.value("ciphers", kinds::text);
    let legacy_renegotiation = section.value("legacy_renegotiation", kinds::truth);
    if wrong {
        return None;
    }
    if openssl != Some(true) {
        for key in ["ciphers", "legacy_renegotiation"] {
            if section.has(key) {
                section.error(key, "is only looked at with backend = \"openssl\"; set it, or delete this");
            }
        }
        return Some(Backend::Rustls);
    }
    if legacy_renegotiation == Some(true) {
        section.warn(
            "legacy_renegotiation",
            "somebody in between may put words of his own before the gateway's (CVE-2009-3555); ask for a server that \
             knows RFC 5746",
        );
    }
    let legacy_renegotiation = legacy_renegotiation.unwrap_or_default();
    let backend = Backend::OpenSsl(OpenSslSettings { ciphers, legacy_renegotiation });
    if !backend.is_built_in() {
        section.error("backend", TlsError::NoOpenSsl.to_string());
        return None;
    }
    Some(backend)
}

fn verify(section: &mut Section<'_>) -> Option<Verify> {
    #[derive(Clone, Copy)]
    enum Word {
        Chain,
        Full,
        Off,
        Pinned,
    }
    let word = section.value("verify", |spot| {
        let words =
            [("full", Word::Full), ("chain", Word::Chain), ("pinned", Word::Pinned), ("off", Word::Off)];
        kinds::one_of(spot, &words)
    });
    let wrong = section.has("verify") && word.is_none();
    let pins =
        section.list("pins", |spot| kinds::text(spot)?.parse::<Pin>().map_err(|error| error.to_string()));
    let given = section.has("pins");
    match word.unwrap_or(Word::Full) {
        _ if wrong => None,
        Word::Pinned if !given || pins.as_ref().is_some_and(Vec::is_empty) => {
            section.error(
                "pins",
                "verify = \"pinned\" needs pins = [\"sha256/…\"] with the SHA-256 of the platform's public key \
                 (README, trust of the platform)",
            );
            None
        }
        Word::Pinned => pins.map(Verify::Pinned),
        Word::Chain | Word::Full | Word::Off if given => {
            section.error("pins", "are only looked at with verify = \"pinned\"; set it, or delete pins");
            None
        }
        Word::Chain => Some(Verify::Chain),
        Word::Full => Some(Verify::Full),
        Word::Off => {
            section.warn(
                "verify",
                "the platform is NOT verified: whoever stands in between can read and change every call; use \
                 \"pinned\"",
            );
            Some(Verify::Off)
        }
    }
}
