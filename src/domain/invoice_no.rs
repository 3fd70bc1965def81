//! Numbers of fully digital invoices.

use super::{Invalid, text_newtype};

/// A fully digital invoice's number (数电票号码, `fphm`): 20 digits, the first two the year (protocol.md §3).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InvoiceNo(Box<str>);

text_newtype!(InvoiceNo);

impl InvoiceNo {
    /// Parses 20 digits.
    ///
    /// # Errors
    /// The length or the character that is wrong.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() == 20 && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text.into()))
        } else {
            Err(Invalid::new("invoice number must be 20 digits"))
        }
    }

    /// The number as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last two digits of the year that the number was given out for.
    #[must_use]
    pub fn year(&self) -> u8 {
        let digits = self.0.as_bytes();
        (digits[0] - b'0') * 10 + (digits[1] - b'0')
    }
}
