//! Why bytes of the wire could not be decoded.

/// Bytes that are not what the protocol says (protocol.md §1–2). Never holds a payload or a key.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Neither base64 nor JSON: a byte that base64 does not have, or a length that it cannot have.
    #[error("not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// The decrypted bytes do not end in PKCS#7 padding. Nearly always the wrong key.
    #[error(
        "the decrypted text has no valid padding; most likely the SM4 key is wrong (production and sandbox keys differ)"
    )]
    BadPadding,
    /// SM4 works on blocks of 16 bytes; this is not a positive multiple of it.
    #[error("ciphertext has {0} bytes, not a positive multiple of 16; it was cut or is not SM4")]
    CiphertextLength(usize),
    /// Nothing to read.
    #[error("empty")]
    Empty,
    /// The gzip stream is damaged or cut.
    #[error("gzip: {0}")]
    Gzip(#[source] std::io::Error),
    /// The JSON text breaks off or is none.
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The body is encrypted and no key is known for it.
    #[error("encrypted, and no SM4 key is known for its access unit")]
    KeyMissing,
    /// JSON, but not the platform's envelope.
    #[error("JSON, but not the platform's envelope")]
    NotAnEnvelope,
    /// Brackets nested deeper than any message of the platform.
    #[error("JSON is nested deeper than {0} levels")]
    TooDeep(usize),
    /// More bytes than the reader was allowed to produce.
    #[error("larger than {0} bytes")]
    TooLarge(usize),
    /// The text is not UTF-8.
    #[error("not UTF-8: {0}")]
    Utf8(#[from] std::str::Utf8Error),
}
