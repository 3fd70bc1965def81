//! The words of the field as types, each parsed once at the edge.
//!
//! Nothing here knows the wire, SQL or HTTP. A value of these types is valid by construction; what cannot be
//! parsed is an [`Invalid`] that names the field's rule, so that every receiver can say what to do about it.

mod code;
mod exchange_id;
mod invoice_no;
mod money;
mod period;
mod platform_id;
mod tax_no;
mod totals;

pub use code::{CapabilityCode, Environment, ProvinceCode, ServiceClass, ServiceCode};
pub use exchange_id::{ExchangeId, ExchangeIds, Node};
pub use invoice_no::InvoiceNo;
pub use money::Money;
pub use period::{BEIJING, Day, Period, beijing_day, parse_beijing};
pub use platform_id::PlatformId;
pub use tax_no::TaxNo;
pub use totals::Totals;

/// Why a text is not a value of the type: one sentence in English that names the rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub std::borrow::Cow<'static, str>);

impl Invalid {
    /// A reason that is known at compile time.
    pub(crate) const fn new(reason: &'static str) -> Self {
        Self(std::borrow::Cow::Borrowed(reason))
    }

    /// A reason that quotes something of the input; never a key.
    pub(crate) fn with(reason: String) -> Self {
        Self(std::borrow::Cow::Owned(reason))
    }
}

/// `Display`, `FromStr`, serde as a string, for a newtype over text that has `parse` and `as_str`.
macro_rules! text_newtype {
    ($name:ident) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
        impl std::str::FromStr for $name {
            type Err = $crate::domain::Invalid;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.serialize_str(self.as_str())
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use text_newtype;
