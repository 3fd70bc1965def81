//! The verifiers that rustls does not have, and its own with further intermediates. All of them check that the server holds the private key of
//! the certificate it shows; they differ in what the certificate itself must prove.

use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, PeerMisbehaved, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime},
    server::ParsedCertificate,
};

use super::{Pin, certificate::public_key_info, pin::fingerprint};

/// The server showed another public key than any that is pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinMismatch {
    /// What the server showed.
    pub presented: Pin,
    /// What is configured.
    pub expected: Vec<Pin>,
}

impl fmt::Display for PinMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server's public key is {}, pinned is ", self.presented)?;
        for (index, pin) in self.expected.iter().enumerate() {
            write!(f, "{}{pin}", if index == 0 { "" } else { " or " })?;
        }
        Ok(())
    }
}

impl std::error::Error for PinMismatch {}

/// A verifier that asks of the certificate what `trust` says.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) trust: Trust,
    /// Taken together with those that the server sends.
    pub(super) intermediates: Vec<CertificateDer<'static>>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// What the certificate itself must prove.
#[derive(Debug)]
pub(super) enum Trust {
    /// Nothing: `verify = "off"`.
    Anything,
    /// That it chains to one of these, whatever its names: `verify = "chain"`.
    Chain(RootCertStore),
    /// The same, and that its name is the one that was dialled: `verify = "full"`.
    Full(Arc<WebPkiServerVerifier>),
    /// That its key is one of these: `verify = "pinned"`.
    Keys(Vec<Pin>),
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let all;
        let intermediates = if self.intermediates.is_empty() {
            intermediates
        } else {
            all = [intermediates, &self.intermediates].concat();
            &all
        };
        match &self.trust {
            Trust::Anything => {}
            Trust::Full(verifier) => {
                return verifier.verify_server_cert(
                    end_entity,
                    intermediates,
                    server_name,
                    ocsp_response,
                    now,
                );
            }
            Trust::Chain(roots) => {
                let parsed = ParsedCertificate::try_from(end_entity)?;
                let algorithms = self.algorithms.all;
                verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)?;
            }
            Trust::Keys(pins) => {
                let presented = fingerprint(end_entity).map_err(other)?;
                if !pins.contains(&presented) {
                    return Err(other(PinMismatch { presented, expected: pins.clone() }));
                }
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // in TLS 1.2 a scheme names no curve (RFC 8446 §4.2.3), so each algorithm of the scheme may be meant
        check_signature(candidates(&self.algorithms, dss.scheme)?, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // PKCS#1 v1.5 signatures are for certificates only in TLS 1.3 (RFC 8446 §4.2.3)
        if matches!(
            dss.scheme,
            SignatureScheme::RSA_PKCS1_SHA256
                | SignatureScheme::RSA_PKCS1_SHA384
                | SignatureScheme::RSA_PKCS1_SHA512
        ) {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        let candidates = candidates(&self.algorithms, dss.scheme)?;
        check_signature(candidates.get(..1).unwrap_or_default(), message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

type Algorithm = &'static dyn SignatureVerificationAlgorithm;

fn candidates(
    algorithms: &WebPkiSupportedAlgorithms,
    scheme: SignatureScheme,
) -> Result<&'static [Algorithm], Error> {
    algorithms
        .mapping
        .iter()
        .find_map(|(known, candidates)| (*known == scheme).then_some(*candidates))
        .ok_or_else(|| PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
}

/// Checks the handshake's signature with the key of a certificate of any version: rustls' own helpers accept
/// version 3 only.
fn check_signature(
    candidates: &[Algorithm],
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let info = public_key_info(certificate).map_err(other)?;
    candidates
        .iter()
        .find(|algorithm| algorithm.public_key_alg_id().as_ref() == info.algorithm)
        .ok_or(Error::InvalidCertificate(CertificateError::BadSignature))?
        .verify_signature(info.key, message, signed.signature())
        .map(|()| HandshakeSignatureValid::assertion())
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadSignature))
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}
