//! Codes of services, capabilities and provinces, and the classes that decide how a call is treated.

use super::{Invalid, text_newtype};

/// Letters, digits and underscores, 1 to 64 of them: what codes of the platform are made of.
fn parse_code(text: &str, what: &'static str) -> Result<Box<str>, Invalid> {
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if fits { Ok(text.into()) } else { Err(Invalid::new(what)) }
}

/// A service code (服务编码, `fwbm`), such as `QDFPSC`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceCode(Box<str>);

text_newtype!(ServiceCode);

impl ServiceCode {
    /// Parses 1 to 64 letters, digits or underscores.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        parse_code(text, "service code must be 1 to 64 letters, digits or underscores").map(Self)
    }

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A capability code (能力编码, `nlbm`), such as `202007`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CapabilityCode(Box<str>);

text_newtype!(CapabilityCode);

impl CapabilityCode {
    /// Parses 1 to 64 letters, digits or underscores.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        parse_code(text, "capability code must be 1 to 64 letters, digits or underscores").map(Self)
    }

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A provincial tax authority's code (省级税务机关代码, `xsfsjswjgdm`): 11 digits, `leqi::Provinces` knows the names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProvinceCode(Box<str>);

text_newtype!(ProvinceCode);

impl ProvinceCode {
    /// Parses 11 digits.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() == 11 && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text.into()))
        } else {
            Err(Invalid::new(
                "province code must be the 11 digits of the provincial tax authority, such as 14400000000",
            ))
        }
    }

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How a service is treated, by what it does at the platform (protocol.md §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceClass {
    /// Uploads invoices and so uses credit.
    Issue,
    /// Asks for the results of an upload.
    IssueResult,
    /// Fetches invoice numbers.
    Precode,
    /// Asks for the credit.
    QuotaQuery,
    /// Downloads or returns credit.
    QuotaTransfer,
    /// Moves the end of the interval in which credit may be used.
    QuotaValidity,
    /// Asks; changes nothing.
    Read,
    /// Asks for confirmed totals.
    SummaryQuery,
    /// Confirms a month or cancels the confirmation.
    SummaryUpload,
    /// Changes something else at the platform.
    Write,
}

impl ServiceClass {
    /// Every class, in the order of their names.
    pub const ALL: [Self; 10] = [
        Self::Issue,
        Self::IssueResult,
        Self::Precode,
        Self::QuotaQuery,
        Self::QuotaTransfer,
        Self::QuotaValidity,
        Self::Read,
        Self::SummaryQuery,
        Self::SummaryUpload,
        Self::Write,
    ];

    /// The name in `services.csv`, in metrics and in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::IssueResult => "issue_result",
            Self::Precode => "precode",
            Self::QuotaQuery => "quota_query",
            Self::QuotaTransfer => "quota_transfer",
            Self::QuotaValidity => "quota_validity",
            Self::Read => "read",
            Self::SummaryQuery => "summary_query",
            Self::SummaryUpload => "summary_upload",
            Self::Write => "write",
        }
    }

    /// The class of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|c| c.as_str() == text).ok_or(Invalid::new("unknown service class"))
    }

    /// Whether a call changes something at the platform: its intent is committed before the first byte goes out
    /// and its answer is released only after its row is committed (design.md §3).
    #[must_use]
    pub const fn changes_platform(self) -> bool {
        match self {
            Self::Issue
            | Self::QuotaTransfer
            | Self::QuotaValidity
            | Self::SummaryUpload
            | Self::Write
            | Self::Precode => true,
            Self::IssueResult | Self::QuotaQuery | Self::Read | Self::SummaryQuery => false,
        }
    }

    /// Whether the request or the answer is read to keep the gateway's books, and so is buffered.
    #[must_use]
    pub const fn is_observed(self) -> bool {
        match self {
            Self::Issue
            | Self::IssueResult
            | Self::QuotaQuery
            | Self::QuotaTransfer
            | Self::QuotaValidity
            | Self::SummaryQuery
            | Self::SummaryUpload => true,
            Self::Precode | Self::Read | Self::Write => false,
        }
    }
}

/// Which of the platform's worlds a route leads to.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// Real invoices: the ledger and the confirmations apply.
    #[default]
    Production,
    /// Test use cases: the sandbox key, no ledger, no confirmations.
    Sandbox,
}

impl Environment {
    /// The name in config, log and API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Sandbox => "sandbox",
        }
    }
}
