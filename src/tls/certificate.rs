//! Reading certificates of any X.509 version. webpki and rustls know only version 3, while a platform that
//! needs pinning may well present version 1, so the little that pinning needs is found here.

use std::net::IpAddr;

use jiff::Timestamp;
use x509_parser::{
    asn1_rs::{Any, FromDer, Header, Tag},
    prelude::{ASN1Time, GeneralName, X509Certificate},
};

use super::{Pin, TlsError};

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

/// What a person wants to know of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Whom it is for, for example `CN=gateway`.
    pub subject: String,
    /// Who vouches for that.
    pub issuer: String,
    /// DNS names and IP addresses that clients may check; often none on the platform's certificate.
    pub names: Vec<String>,
    /// First instant of validity.
    #[serde(serialize_with = "as_text")]
    pub not_before: Timestamp,
    /// Last instant of validity.
    #[serde(serialize_with = "as_text")]
    pub not_after: Timestamp,
    /// Whether it may issue others.
    pub authority: bool,
    /// The pin of its public key, for `pins`.
    pub pin: Pin,
    /// SHA-256 of the whole certificate in hex with colons, as browsers and keytool show it.
    pub sha256: String,
}

fn as_text<S: serde::Serializer>(instant: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(instant)
}

/// Reads what [`Summary`] holds from a DER-encoded certificate of any version.
///
/// # Errors
/// [`TlsError::Certificate`] when it cannot be read.
pub fn describe(cert_der: &[u8]) -> Result<Summary, TlsError> {
    let pin = Pin::of_public_key(public_key_info(cert_der)?.der);
    let (_, parsed) =
        X509Certificate::from_der(cert_der).map_err(|error| TlsError::Certificate(error.to_string()))?;
    let instant = |time: ASN1Time| {
        Timestamp::from_second(time.timestamp()).map_err(|error| TlsError::Certificate(error.to_string()))
    };
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, cert_der);
    Ok(Summary {
        subject: parsed.subject().to_string(),
        issuer: parsed.issuer().to_string(),
        names: alternative_names(&parsed).iter().filter_map(name).collect(),
        not_before: instant(parsed.validity().not_before)?,
        not_after: instant(parsed.validity().not_after)?,
        authority: parsed.is_ca(),
        pin,
        sha256: digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":"),
    })
}

/// The DNS names of a certificate's subjectAltName, none when it has no such extension or cannot be read.
#[must_use]
pub fn dns_names(cert_der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(cert_der) else { return Vec::new() };
    alternative_names(&certificate).iter().filter_map(dns_name).collect()
}

fn alternative_names<'a>(certificate: &'a X509Certificate<'a>) -> &'a [GeneralName<'a>] {
    match certificate.subject_alternative_name() {
        Ok(Some(names)) => &names.value.general_names,
        Ok(None) | Err(_) => &[],
    }
}

fn dns_name(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name { Some((*name).to_owned()) } else { None }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::IPAddress(bytes) = name {
        return <[u8; 4]>::try_from(*bytes)
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
            .ok()
            .map(|address| address.to_string());
    }
    dns_name(name)
}

/// The subject of a certificate, for example `CN=erp-1`; `None` when it cannot be read.
#[must_use]
pub fn subject(cert_der: &[u8]) -> Option<String> {
    X509Certificate::from_der(cert_der).ok().map(|(_, certificate)| certificate.subject().to_string())
}
