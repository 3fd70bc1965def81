//! Ids that the platform gives to access and using units.

use super::{Invalid, text_newtype};

/// A platform id (平台编号, `jrdwptbh`/`sydwptbh`/`ptbh`): 20 hex digits, kept as written, compared without case.
#[derive(Clone, Debug)]
pub struct PlatformId(Box<str>);

text_newtype!(PlatformId);

impl PlatformId {
    /// Parses 20 hex digits.
    ///
    /// # Errors
    /// The length or the character that is wrong.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if let Some(bad) = text.chars().find(|c| !c.is_ascii_hexdigit()) {
            return Err(Invalid::with(format!("platform id holds {bad:?}; it is 20 hex digits")));
        }
        if text.len() != 20 {
            return Err(Invalid::with(format!(
                "platform id has {} characters; it is 20 hex digits",
                text.len()
            )));
        }
        Ok(Self(text.into()))
    }

    /// The id as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form that ids are compared, hashed and stored for look-up in: lower case.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl PartialEq for PlatformId {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for PlatformId {}

impl std::hash::Hash for PlatformId {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        for byte in self.0.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}
