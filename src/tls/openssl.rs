//! Handshakes by OpenSSL, for servers that speak only what rustls refuses: RSA key exchange, CBC without forward
//! secrecy, renegotiation.
//!
//! OpenSSL makes the handshake and with it checks that the server holds the key of the certificate that it shows. What
//! the certificate must prove is asked of the verifier that rustls asks too. OpenSSL's own verification is off.
//!
//! The verifier is asked in the callback for the stapled OCSP answer. It is the one callback of the safe interface that
//! knows the certificates exactly as they were sent and runs before the client says anything in return (RFC 5246
//! §7.4.5, RFC 8446 §4.4.2): a server that is not trusted gets an alert and never sees the client's certificate.
//! After the handshake nothing is handed out without the verifier's yes, whatever callbacks have run.

use std::{io, pin::Pin, sync::LazyLock};

use openssl::{
    error::ErrorStack,
    ex_data::Index,
    pkey::PKey,
    ssl::{
        self, Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslRef,
        SslSessionCacheMode, SslVerifyMode, SslVersion, StatusType,
    },
    x509::X509,
};
use rustls::{
    Error,
    client::danger::ServerCertVerifier,
    pki_types::{CertificateDer, ServerName},
    time_provider::{DefaultTimeProvider, TimeProvider},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_openssl::SslStream;

use super::{
    CertificateFiles, ClientSettings, HandshakeError, OpenSslSettings, Session, TlsError, server::load_der,
};

/// OpenSSL's level of security: at least 112 bits, hence no RSA below 2048 bits, no RC4, no export suites. It
/// permits RSA key exchange and CBC. What `ciphers` says of `@SECLEVEL` comes after it.
const SECURITY_LEVEL: u32 = 2;

/// The same for the key of the server's certificate, in bits; RSA with 2048 has them (NIST SP 800-57 part 1, table 2).
const KEY_BITS: u32 = 112;

/// Where a connection keeps whom it asks for and what was found.
static ASKED: LazyLock<Result<Index<Ssl, Asked>, ErrorStack>> = LazyLock::new(Ssl::new_ex_index);

/// Whom a connection asks for, and what the verifier said; nothing yet when `None`.
struct Asked {
    name: ServerName<'static>,
    verdict: Option<Result<(), Error>>,
}

/// Makes handshakes with OpenSSL.
pub(super) struct OpenSsl {
    context: SslContext,
    asked: Index<Ssl, Asked>,
}

impl OpenSsl {
    /// Sets up OpenSSL.
    ///
    /// # Errors
    /// When a file cannot be used, or OpenSSL does not take what it is given.
    pub(super) fn new(settings: &ClientSettings, options: &OpenSslSettings) -> Result<Self, TlsError> {
        let asked = ASKED.as_ref().map_err(|stack| failed_to("set up connections")(stack.clone()))?;
        let mut builder = secure_builder(options.legacy_renegotiation).map_err(failed_to("set up TLS"))?;
        let ciphers = options.ciphers.as_deref().unwrap_or("DEFAULT");
        builder
            .set_cipher_list(&format!("{ciphers}:!aNULL:!eNULL"))
            .map_err(|stack| TlsError::Ciphers { ciphers: ciphers.to_owned(), reason: reasons(&stack) })?;
        if let Some(files) = &settings.certificate {
            show(&mut builder, files)?;
        }
        let verifier = settings.verifier()?;
        let asked = *asked;
        builder
            .set_status_callback(move |ssl| Ok(is_trusted(ssl, asked, &*verifier)))
            .map_err(failed_to("verify servers"))?;
        Ok(Self { context: builder.build(), asked })
    }

    /// Makes a handshake with the server of this name.
    ///
    /// # Errors
    /// Why there was none; that of the verifier comes first.
    pub(super) async fn connect<S>(
        &self,
        name: ServerName<'static>,
        stream: S,
    ) -> Result<SslStream<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stream = SslStream::new(self.prepared(name)?, stream).map_err(io::Error::from)?;
        let made = Pin::new(&mut stream).connect().await;
        let verdict = stream.ssl().ex_data(self.asked).and_then(|asked| asked.verdict.clone());
        match (verdict, made) {
            (Some(Err(error)), _) => Err(refused(error)),
            (_, Err(error)) => Err(HandshakeError::from(failure(error))),
            (None, Ok(())) => Err(refused(Error::NoCertificatesPresented)),
            (Some(Ok(())), Ok(())) => Ok(stream),
        }
    }

    fn prepared(&self, name: ServerName<'static>) -> io::Result<Ssl> {
        let mut ssl = Ssl::new(&self.context)?;
        if let ServerName::DnsName(name) = &name {
            // SNI has no dot at the end (RFC 6066 §3)
            ssl.set_hostname(name.as_ref().trim_end_matches('.'))?;
        }
        // without the question its callback would not run
        ssl.set_status_type(StatusType::OCSP)?;
        ssl.set_ex_data(self.asked, Asked { name, verdict: None });
        Ok(ssl)
    }
}

/// Everything that does not depend on files. What the machine's `openssl.cnf` says of these does not count.
fn secure_builder(legacy_renegotiation: bool) -> Result<SslContextBuilder, ErrorStack> {
    let mut builder = SslContext::builder(SslMethod::tls_client())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_max_proto_version(None)?;
    builder.set_security_level(SECURITY_LEVEL);
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_mode(
        SslMode::AUTO_RETRY
            | SslMode::ACCEPT_MOVING_WRITE_BUFFER
            | SslMode::ENABLE_PARTIAL_WRITE
            | SslMode::RELEASE_BUFFERS,
    );
    builder.set_options(SslOptions::NO_COMPRESSION);
    if legacy_renegotiation {
        builder.clear_options(SslOptions::NO_RENEGOTIATION);
        builder.set_options(SslOptions::ALLOW_UNSAFE_LEGACY_RENEGOTIATION);
    } else {
        builder.clear_options(SslOptions::ALLOW_UNSAFE_LEGACY_RENEGOTIATION);
        builder.set_options(SslOptions::NO_RENEGOTIATION);
    }
    // the verifier decides, see above
    builder.set_verify(SslVerifyMode::NONE);
    Ok(builder)
}

/// The certificate for servers that ask for one.
fn show(builder: &mut SslContextBuilder, files: &CertificateFiles) -> Result<(), TlsError> {
    let (chain, key) = load_der(files)?;
    let mut set = || {
        let mut chain = chain.iter().map(|der| X509::from_der(der));
        if let Some(own) = chain.next() {
            builder.set_certificate(&*own?)?;
        }
        chain.try_for_each(|other| builder.add_extra_chain_cert(other?))?;
        builder.set_private_key(&*PKey::private_key_from_der(key.secret_der())?)?;
        builder.check_private_key()
    };
    set().map_err(|stack: ErrorStack| TlsError::OpenSsl {
        context: format!("cannot use {} with {}", files.chain.display(), files.key.display()),
        reason: reasons(&stack),
    })
}

/// Asks the verifier and notes what it says. It runs in every handshake, those of a renegotiation too.
fn is_trusted(ssl: &mut SslRef, asked: Index<Ssl, Asked>, verifier: &dyn ServerCertVerifier) -> bool {
    let verdict = ssl.ex_data(asked).map(|asked| verified(ssl, &asked.name, verifier));
    let Some((verdict, asked)) = verdict.zip(ssl.ex_data_mut(asked)) else { return false };
    let good = verdict.is_ok();
    let before = asked.verdict.replace(verdict.clone());
    if let (Some(Ok(())), Err(error)) = (before, verdict) {
        // nobody waits for this handshake; the call that it interrupts learns only that its connection broke off
        let error = refused(error);
        tracing::error!(%error, "ALARM: the platform shows another certificate in the middle of a connection");
    }
    good
}

fn verified(ssl: &SslRef, name: &ServerName<'_>, verifier: &dyn ServerCertVerifier) -> Result<(), Error> {
    let chain = shown(ssl);
    let (own, others) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
    let now = DefaultTimeProvider.current_time().ok_or(Error::FailedToGetCurrentTime)?;
    let ocsp = ssl.ocsp_status().unwrap_or_default();
    verifier.verify_server_cert(own, others, name, ocsp, now)?;
    let key = ssl.peer_certificate().and_then(|own| own.public_key().ok());
    if key.is_none_or(|key| key.security_bits() < KEY_BITS) {
        let reason =
            "the key of the server's certificate is too weak (RSA needs 2048 bits) or of an unknown kind";
        return Err(Error::General(reason.to_owned()));
    }
    Ok(())
}

/// The certificates as they were sent; none if one of them cannot be written down again.
fn shown(ssl: &SslRef) -> Vec<CertificateDer<'static>> {
    let chain = ssl.peer_cert_chain().into_iter().flatten();
    chain.map(|one| one.to_der().map(CertificateDer::from)).collect::<Result<_, _>>().unwrap_or_default()
}

/// What a handshake came to.
pub(super) fn session(ssl: &SslRef) -> Session {
    let cipher = ssl.current_cipher();
    let cipher = cipher.map(|cipher| cipher.standard_name().unwrap_or_else(|| cipher.name()));
    Session {
        version: ssl.version_str().to_owned(),
        cipher: cipher.unwrap_or("?").to_owned(),
        chain: shown(ssl),
    }
}

/// The verifier's no, in the form that a handshake of rustls has it.
fn refused(error: Error) -> HandshakeError {
    io::Error::new(io::ErrorKind::InvalidData, error).into()
}

/// Why OpenSSL gave up, with what to do where that is known.
fn failure(error: ssl::Error) -> io::Error {
    let error = match error.into_io_error() {
        Ok(error) => return error,
        Err(error) => error,
    };
    let Some(stack) = error.ssl_error() else { return io::ErrorKind::UnexpectedEof.into() };
    let reason = reasons(stack);
    if reason.contains("unexpected eof") {
        return io::ErrorKind::UnexpectedEof.into();
    }
    let hint = match () {
        () if reason.contains("legacy renegotiation disabled") => {
            "; the server does not know RFC 5746, `legacy_renegotiation = true` accepts it"
        }
        () if reason.contains("wrong version number") => " (this port does not speak TLS)",
        () => "",
    };
    io::Error::other(format!("OpenSSL: {reason}{hint}"))
}

fn failed_to(what: &'static str) -> impl Fn(ErrorStack) -> TlsError {
    move |stack| TlsError::OpenSsl { context: format!("cannot {what}"), reason: reasons(&stack) }
}

/// The reasons in words, without OpenSSL's numbers and places in its source.
fn reasons(stack: &ErrorStack) -> String {
    let reasons: Vec<_> = stack.errors().iter().filter_map(|error| error.reason()).collect();
    if reasons.is_empty() { "no reason given".to_owned() } else { reasons.join(", ") }
}
