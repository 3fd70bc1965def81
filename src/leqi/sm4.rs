//! SM4-ECB with PKCS#7 padding (protocol.md §1; GB/T 32907-2016), on RustCrypto's `sm4`.

use std::sync::Arc;

use cipher::{BlockDecryptMut, BlockEncryptMut, KeyInit, block_padding::Pkcs7};
use secrecy::{ExposeSecret, SecretBox};
use sm4::Sm4;

use super::CodecError;
use crate::domain::Invalid;

/// Bytes in one block of SM4.
pub(super) const BLOCK: usize = 16;

/// An access unit's SM4 key: 16 bytes, written as 32 hex digits. Wiped from memory when the last copy goes; never shown.
#[derive(Clone)]
pub struct Sm4Key(Arc<SecretBox<[u8; 16]>>);

impl Sm4Key {
    /// Parses 32 hex digits.
    ///
    /// # Errors
    /// The length or the place of the wrong character; never the key itself.
    pub fn from_hex(text: &str) -> Result<Self, Invalid> {
        let digits = text.chars().count();
        if let Some(at) = text.chars().position(|c| !c.is_ascii_hexdigit()) {
            return Err(Invalid::with(format!("SM4 key: character {} is not a hex digit", at + 1)));
        }
        if digits != 32 {
            return Err(Invalid::with(format!("SM4 key has {digits} characters; it is 32 hex digits")));
        }
        let mut key = [0; 16];
        for (byte, pair) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = nibble(pair[0]) << 4 | nibble(pair[1]);
        }
        Ok(Self::from_bytes(key))
    }

    /// The key of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Arc::new(SecretBox::new(Box::new(bytes))))
    }

    /// A random key.
    #[must_use]
    pub fn generate() -> Self {
        let mut key = [0; 16];
        // aws-lc stops the process rather than report a failing source; a refusal would be a passing one
        while aws_lc_rs::rand::fill(&mut key).is_err() {
            std::thread::yield_now();
        }
        Self::from_bytes(key)
    }

    /// The bytes, for a cipher or for sealing; nothing else may hold them.
    #[must_use]
    pub fn expose(&self) -> &[u8; 16] {
        self.0.expose_secret()
    }

    /// The key as 32 lower-case hex digits, for the one place that a person gets it from.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.expose().iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl std::str::FromStr for Sm4Key {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::from_hex(text)
    }
}

impl std::fmt::Debug for Sm4Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sm4Key(…)")
    }
}

/// The value of a character that is known to be a hex digit.
fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

/// Encrypts; the answer is a positive multiple of 16 bytes.
#[must_use]
pub fn encrypt(key: &Sm4Key, plain: &[u8]) -> Vec<u8> {
    let length = (plain.len() / BLOCK + 1) * BLOCK;
    let mut buffer = Vec::with_capacity(length);
    buffer.extend_from_slice(plain);
    buffer.resize(length, 0);
    let cipher = ecb::Encryptor::<Sm4>::new(key.expose().into());
    // the buffer has room for the padding, so this cannot fail
    let written = cipher.encrypt_padded_mut::<Pkcs7>(&mut buffer, plain.len()).map(<[u8]>::len);
    debug_assert_eq!(written.ok(), Some(length));
    buffer
}

/// Decrypts and takes the padding off.
///
/// # Errors
/// When the length is no positive multiple of 16, or the padding is not exactly PKCS#7's.
pub fn decrypt(key: &Sm4Key, cipher: &[u8]) -> Result<Vec<u8>, CodecError> {
    decrypt_owned(key, cipher.to_vec())
}

/// [`decrypt`] in place.
pub(super) fn decrypt_owned(key: &Sm4Key, mut buffer: Vec<u8>) -> Result<Vec<u8>, CodecError> {
    if buffer.is_empty() || !buffer.len().is_multiple_of(BLOCK) {
        return Err(CodecError::CiphertextLength(buffer.len()));
    }
    let cipher = ecb::Decryptor::<Sm4>::new(key.expose().into());
    let length = cipher.decrypt_padded_mut::<Pkcs7>(&mut buffer).map_err(|_| CodecError::BadPadding)?.len();
    buffer.truncate(length);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leqi::vectors;
    use proptest::prelude::*;

    #[test]
    fn the_block_of_the_standard_comes_out() {
        let vectors = vectors::load();
        let key = Sm4Key::from_hex(vectors["block"]["key"].as_str().unwrap()).unwrap();
        let plain = Sm4Key::from_hex(vectors["block"]["plaintext"].as_str().unwrap()).unwrap();
        let cipher = Sm4Key::from_hex(vectors["block"]["ciphertext"].as_str().unwrap()).unwrap();
        assert_eq!(&encrypt(&key, plain.expose())[..16], cipher.expose());
    }

    #[test]
    fn keys_are_read_strictly_and_never_shown() {
        let key = Sm4Key::from_hex("0123456789ABCDEFfedcba9876543210").unwrap();
        assert_eq!(key.to_hex(), "0123456789abcdeffedcba9876543210");
        assert_eq!(format!("{key:?}"), "Sm4Key(…)");
        for bad in
            ["", "0123", "0123456789abcdeffedcba987654321g", "密钥", "0123456789abcdeffedcba98765432100"]
        {
            let error = Sm4Key::from_hex(bad).unwrap_err().to_string();
            assert!(bad.len() < 4 || !error.contains(bad), "{error}");
        }
        assert_ne!(Sm4Key::generate().expose(), Sm4Key::generate().expose());
    }

    #[test]
    fn cut_ciphertext_and_broken_padding_are_errors() {
        let key = Sm4Key::from_bytes([7; 16]);
        let good = encrypt(&key, b"0123456789abcdef");
        for cut in 0..good.len() {
            assert!(decrypt(&key, &good[..cut]).is_err(), "{cut}");
        }
        for padding in [0_u8, 17, 255] {
            let mut block = [padding; 16];
            block[15] = padding;
            let mut raw = encrypt(&key, &block);
            raw.truncate(16);
            assert!(matches!(decrypt(&key, &raw), Err(CodecError::BadPadding)), "{padding}");
        }
        assert!(decrypt(&Sm4Key::from_bytes([8; 16]), &good).is_err());
    }

    proptest! {
        #[test]
        fn decrypting_what_was_encrypted_gives_it_back(plain: Vec<u8>, key: [u8; 16]) {
            let key = Sm4Key::from_bytes(key);
            let cipher = encrypt(&key, &plain);
            prop_assert_eq!(cipher.len() % 16, 0);
            prop_assert_eq!(decrypt(&key, &cipher).unwrap(), plain);
        }

        #[test]
        fn any_bytes_decrypt_or_are_refused(cipher: Vec<u8>) {
            let _ = decrypt(&Sm4Key::from_bytes([1; 16]), &cipher);
        }
    }
}
