//! Request bodies: `base64(SM4(JSON))` and the variants of it that clients are seen to send (protocol.md §1).

use base64::{
    Engine,
    alphabet::STANDARD as ALPHABET,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD},
    },
};

use super::{CodecError, json, sm4, sm4::Sm4Key};

/// How a body was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyForm {
    /// `base64(base64(SM4(JSON)))`.
    Base64Twice,
    /// `base64(SM4(JSON))`, also when broken into lines.
    Encrypted,
    /// JSON as it is.
    Plain,
}

/// A body that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedBody {
    /// How it was written.
    pub form: BodyForm,
    /// One JSON text: valid UTF-8, nested no deeper than [`json::MAX_DEPTH`].
    pub json: Vec<u8>,
}

/// Base64 with or without its `=`.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads a body in any of its variants; without a key only plain JSON.
///
/// # Errors
/// Why it cannot be read. [`CodecError::KeyMissing`] when it is base64 and no key was given.
pub fn read_body(body: &[u8], key: Option<&Sm4Key>) -> Result<DecodedBody, CodecError> {
    let trimmed = stripped(body);
    match trimmed.first() {
        None => Err(CodecError::Empty),
        Some(b'{' | b'[') => {
            json::check(trimmed)?;
            Ok(DecodedBody { form: BodyForm::Plain, json: trimmed.to_vec() })
        }
        Some(_) => read_encrypted(decode_base64(trimmed)?, key),
    }
}

/// Writes a body: `base64(SM4(json))`, in one line.
#[must_use]
pub fn write_body(key: &Sm4Key, json: &[u8]) -> Vec<u8> {
    write_base64(key, json).into_bytes()
}

/// [`write_body`] as text.
pub(super) fn write_base64(key: &Sm4Key, json: &[u8]) -> String {
    STANDARD.encode(sm4::encrypt(key, json))
}

/// A body without a byte order mark, blanks around it, and the quotes of one sent as a JSON string.
fn stripped(body: &[u8]) -> &[u8] {
    match body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii() {
        [b'"', inside @ .., b'"'] => inside,
        body => body,
    }
}

fn read_encrypted(cipher: Vec<u8>, key: Option<&Sm4Key>) -> Result<DecodedBody, CodecError> {
    let key = key.ok_or(CodecError::KeyMissing)?;
    // sixteen or more ciphertext bytes that are all base64 characters are one in 10^9, but not impossible: so both
    // readings are tried, the likely one first
    if cipher.iter().all(|b| is_base64(*b))
        && let Ok(inner) = decode_base64(&cipher)
        && let Ok(json) = decrypt_json(key, inner)
    {
        return Ok(DecodedBody { form: BodyForm::Base64Twice, json });
    }
    decrypt_json(key, cipher).map(|json| DecodedBody { form: BodyForm::Encrypted, json })
}

fn decrypt_json(key: &Sm4Key, cipher: Vec<u8>) -> Result<Vec<u8>, CodecError> {
    let json = sm4::decrypt_owned(key, cipher)?;
    json::check(&json)?;
    Ok(json)
}

/// Whether a body is JSON as it is, so that no key is needed to read it.
#[must_use]
pub fn is_plain(body: &[u8]) -> bool {
    matches!(stripped(body).first(), Some(b'{' | b'['))
}

/// Decodes base64, also when it is broken into lines.
fn decode_base64(text: &[u8]) -> Result<Vec<u8>, CodecError> {
    // most bodies are one line, and looking for breaks first costs more than decoding
    let one_line = LENIENT.decode(text);
    if one_line.is_ok() || !text.iter().any(u8::is_ascii_whitespace) {
        return Ok(one_line?);
    }
    let joined: Vec<u8> = text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    Ok(LENIENT.decode(joined)?)
}

const fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leqi::vectors;
    use proptest::prelude::*;

    #[test]
    fn the_messages_of_the_vectors_are_written_and_read_exactly() {
        for message in vectors::load()["messages"].as_array().unwrap() {
            let key = Sm4Key::from_hex(message["key"].as_str().unwrap()).unwrap();
            let plain = message["plaintext"].as_str().unwrap();
            let body = message["body"].as_str().unwrap();
            assert_eq!(write_body(&key, plain.as_bytes()), body.as_bytes(), "{}", message["name"]);
            if plain.starts_with('{') {
                let read = read_body(body.as_bytes(), Some(&key)).unwrap();
                assert_eq!(read, DecodedBody { form: BodyForm::Encrypted, json: plain.into() });
            }
        }
    }

    #[test]
    fn the_variants_of_the_vectors_are_all_read() {
        let vectors = vectors::load();
        let key = Sm4Key::from_hex(vectors["request_body_variants_key"].as_str().unwrap()).unwrap();
        let plain = vectors["request_body_variants_plaintext"].as_str().unwrap();
        let forms = [BodyForm::Encrypted, BodyForm::Encrypted, BodyForm::Base64Twice, BodyForm::Plain];
        let variants = vectors["request_body_variants"].as_array().unwrap();
        assert_eq!(variants.len(), forms.len());
        for (variant, form) in variants.iter().zip(forms) {
            let read = read_body(variant["body"].as_str().unwrap().as_bytes(), Some(&key)).unwrap();
            assert_eq!(read, DecodedBody { form, json: plain.into() }, "{}", variant["name"]);
        }
    }

    #[test]
    fn malformed_bodies_are_errors_that_say_what_is_wrong() {
        let key = Sm4Key::from_bytes([3; 16]);
        let good = write_body(&key, br#"{"nsrsbh":"x"}"#);
        assert!(matches!(read_body(b" \r\n", Some(&key)), Err(CodecError::Empty)));
        assert!(matches!(read_body(b"%2B%3D", Some(&key)), Err(CodecError::Base64(_))));
        assert!(matches!(read_body(&good, None), Err(CodecError::KeyMissing)));
        assert!(matches!(
            read_body(&good[..good.len() - 8], Some(&key)),
            Err(CodecError::CiphertextLength(_))
        ));
        assert!(read_body(&good, Some(&Sm4Key::from_bytes([4; 16]))).is_err());
        assert!(matches!(read_body(&write_body(&key, b"no json"), Some(&key)), Err(CodecError::Json(_))));
        assert!(matches!(
            read_body(&write_body(&key, b"\"\xff\xfe\""), Some(&key)),
            Err(CodecError::Utf8(_))
        ));
        let deep = "[".repeat(1_000_000);
        assert!(matches!(
            read_body(&write_body(&key, deep.as_bytes()), Some(&key)),
            Err(CodecError::TooDeep(_))
        ));
        assert!(matches!(read_body(deep.as_bytes(), None), Err(CodecError::TooDeep(_))));
        assert!(matches!(read_body(b"{\"a\":", None), Err(CodecError::Json(_))));
    }

    #[test]
    fn a_missing_equals_sign_a_byte_order_mark_and_quotes_are_forgiven() {
        let key = Sm4Key::from_bytes([3; 16]);
        let good = String::from_utf8(write_body(&key, b"{}")).unwrap();
        for body in
            [good.trim_end_matches('=').to_owned(), format!("\"{good}\"\n"), format!("\u{feff}{good}")]
        {
            assert_eq!(read_body(body.as_bytes(), Some(&key)).unwrap().json, b"{}", "{body}");
        }
    }

    proptest! {
        #[test]
        fn reading_what_was_written_gives_it_back(text in "\\PC*", key: [u8; 16]) {
            let key = Sm4Key::from_bytes(key);
            let json = serde_json::to_vec(&[text]).unwrap();
            let read = read_body(&write_body(&key, &json), Some(&key)).unwrap();
            prop_assert_eq!(read, DecodedBody { form: BodyForm::Encrypted, json });
        }

        #[test]
        fn any_bytes_are_a_body_or_an_error(body: Vec<u8>, tail in "[A-Za-z0-9+/=\\n{}\\[\"]*") {
            let key = Sm4Key::from_bytes([9; 16]);
            let _ = read_body(&body, Some(&key));
            let _ = read_body(tail.as_bytes(), Some(&key));
        }
    }
}
