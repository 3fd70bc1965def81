//! A small private authority: it makes the gateway's own server certificate (`certs init`) and those of the
//! simulator and the tests.

use std::{net::IpAddr, path::Path};

use jiff::{Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

use super::{TlsError, client::read};

/// Days that an authority is valid: ten years.
pub const AUTHORITY_DAYS: i64 = 3652;
/// Days from now that a server certificate is valid; with the day before they are 825, the most that common clients
/// accept from a private authority.
pub const SERVER_DAYS: i64 = 824;

/// A private authority that can issue.
#[derive(Debug)]
pub struct Authority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct IssuedCertificate {
    /// The certificate, then the authority's, in PEM form.
    pub chain_pem: String,
    /// The private key in PKCS#8 PEM form.
    pub key_pem: String,
}

impl std::fmt::Debug for IssuedCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedCertificate").field("chain_pem", &self.chain_pem).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority with an ECDSA P-256 key, valid from the day before `now`. `now` must be the machine's
    /// time, not a simulated one: the other side checks against its own clock.
    ///
    /// # Errors
    /// When the name cannot stand in a certificate.
    pub fn generate(name: &str, now: Timestamp) -> Result<Self, TlsError> {
        let mut params = params(name, now, AUTHORITY_DAYS);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self { certificate_pem, issuer: Issuer::new(params, key) })
    }

    /// Reads an authority from its two files in PEM form.
    ///
    /// # Errors
    /// When a file cannot be read or is not what it should be.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let text = |path| {
            String::from_utf8(read(path)?)
                .map_err(|_| TlsError::Certificate(format!("{} is not text in PEM form", path.display())))
        };
        Self::from_pem(text(certificate)?, &text(key)?)
    }

    /// Reads an authority from PEM texts.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn from_pem(certificate_pem: String, key_pem: &str) -> Result<Self, TlsError> {
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, KeyPair::from_pem(key_pem)?)?;
        Ok(Self { certificate_pem, issuer })
    }

    /// The authority's own certificate, which clients must trust, in PEM form.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's private key in PKCS#8 PEM form.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A server certificate for these DNS names and IP addresses; the first is also the common name.
    ///
    /// # Errors
    /// When there is no name or one cannot stand in a certificate.
    pub fn issue<S: AsRef<str>>(&self, names: &[S], now: Timestamp) -> Result<IssuedCertificate, TlsError> {
        let first = names.first().map(AsRef::as_ref).ok_or_else(|| {
            TlsError::Certificate("a server certificate needs at least one name or address".to_owned())
        })?;
        let mut params = params(first, now, SERVER_DAYS);
        for name in names.iter().map(AsRef::as_ref) {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => rcgen::SanType::IpAddress(address),
                Err(_) => rcgen::SanType::DnsName(name.try_into()?),
            });
        }
        self.sign(params)
    }

    /// A server certificate like the platform's: a common name, and no name that a client could check.
    ///
    /// # Errors
    /// When the common name cannot stand in a certificate.
    pub fn issue_without_names(
        &self,
        common_name: &str,
        now: Timestamp,
    ) -> Result<IssuedCertificate, TlsError> {
        self.sign(params(common_name, now, SERVER_DAYS))
    }

    fn sign(&self, mut params: CertificateParams) -> Result<IssuedCertificate, TlsError> {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(IssuedCertificate {
            chain_pem: format!("{}{}", certificate.pem(), self.certificate_pem),
            key_pem: key.serialize_pem(),
        })
    }
}

fn params(common_name: &str, now: Timestamp, days: i64) -> CertificateParams {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    // whole days, from yesterday on, hide how far two clocks differ
    let midnight = |days| {
        let day = now.to_zoned(TimeZone::UTC).date().saturating_add(jiff::Span::new().days(days));
        date_time_ymd(i32::from(day.year()), day.month().unsigned_abs(), day.day().unsigned_abs())
    };
    params.not_before = midnight(-1);
    params.not_after = midnight(days);
    params
}
