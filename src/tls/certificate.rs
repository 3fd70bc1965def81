//! Reading certificates of any X.509 version. webpki and rustls know only version 3, while a platform that
//! needs pinning may well present version 1, so the little that pinning needs is found here.

use x509_parser::{
    asn1_rs::{Any, FromDer, Header, Tag},
    prelude::{GeneralName, X509Certificate},
};

use super::TlsError;

/// The parts of a SubjectPublicKeyInfo, borrowed from the certificate.
#[derive(Clone, Copy, Debug)]
pub struct PublicKeyInfo<'a> {
    /// The whole SubjectPublicKeyInfo, which pins are made of.
    pub der: &'a [u8],
    /// The content of its AlgorithmIdentifier, as `rustls::pki_types::AlgorithmIdentifier` has it.
    pub algorithm: &'a [u8],
    /// The key itself.
    pub key: &'a [u8],
}

/// Finds the public key of a certificate by walking the outer structure only (RFC 5280 §4.1), so that odd
/// extensions, names and dates do not stand in the way.
///
/// # Errors
/// [`TlsError::Certificate`] when the structure is not that of a certificate.
pub fn public_key_info(cert_der: &[u8]) -> Result<PublicKeyInfo<'_>, TlsError> {
    walk(cert_der).ok_or_else(|| TlsError::Certificate("its public key cannot be found".to_owned()))
}

fn walk(cert_der: &[u8]) -> Option<PublicKeyInfo<'_>> {
    let (_, certificate) = Any::from_der(cert_der).ok()?;
    let (_, to_be_signed) = Any::from_der(certificate.data).ok()?;
    let mut rest = to_be_signed.data;
    let (_, header) = Header::from_der(rest).ok()?;
    // version [0] is absent in version 1; then serialNumber, signature, issuer, validity, subject
    let before = if header.is_contextspecific() && header.tag() == Tag(0) { 6 } else { 5 };
    for _ in 0..before {
        (rest, _) = Any::from_der(rest).ok()?;
    }
    let (after, info) = Any::from_der(rest).ok()?;
    info.tag().assert_eq(Tag::Sequence).ok()?;
    let (key, algorithm) = Any::from_der(info.data).ok()?;
    let (_, key) = Any::from_der(key).ok()?;
    key.tag().assert_eq(Tag::BitString).ok()?;
    Some(PublicKeyInfo {
        der: rest.get(..rest.len() - after.len())?,
        algorithm: algorithm.data,
        key: key.data.strip_prefix(&[0])?,
    })
}

/// The DNS names of a certificate's subjectAltName, none when it has no such extension or cannot be read.
#[must_use]
pub fn dns_names(cert_der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(cert_der) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    names.value.general_names.iter().filter_map(dns_name).collect()
}

fn dns_name(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name { Some((*name).to_owned()) } else { None }
}
