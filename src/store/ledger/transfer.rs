//! Downloads and returns of credit, as plain values.

use jiff::Timestamp;

use super::AccountKey;
use crate::domain::{Invalid, Money, TaxNo};

/// Which way credit goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// From the bureau to the company.
    Download,
    /// Back to the bureau.
    Return,
}

impl Way {
    /// The name in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Return => "return",
        }
    }

    /// The way of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        [Self::Download, Self::Return]
            .into_iter()
            .find(|way| way.as_str() == text)
            .ok_or(Invalid::new("direction must be download or return"))
    }
}

/// What is known about a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransferState {
    /// The platform has carried it out.
    Done,
    /// Its month ended before its outcome was known; it is not sent again.
    Expired,
    /// It may be sent or not, carried out or not.
    Open,
    /// It is proven that the platform has not carried it out.
    Refused,
}

impl TransferState {
    /// The name in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Expired => "expired",
            Self::Open => "open",
            Self::Refused => "refused",
        }
    }

    /// The state of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        [Self::Done, Self::Expired, Self::Open, Self::Refused]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(Invalid::new("state must be done, expired, open or refused"))
    }
}

/// A download or return of credit that was to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Its serial (`ywlsh`): the same one repeated is the same transfer.
    pub serial: String,
    /// Whose and for which month.
    pub key: AccountKey,
    /// Which way.
    pub way: Way,
    /// How much.
    pub amount: Money,
    /// The access unit's platform id that it was sent with (`ptbh`), as written.
    pub platform_id: String,
    /// What is known about it.
    pub state: TransferState,
    /// What it has changed so far: negative when returned.
    pub booked: Money,
    /// What the account said was downloaded when it was begun, without it.
    pub before: Money,
    /// The account's epoch when it was first sent: while that stands, no balance can have counted it.
    pub epoch: i64,
    /// The gateway's own: sent again until its outcome is known. Others belong to the invoicing system that sent them.
    pub own: bool,
    /// What it is the one transfer of, such as a request's key or a month's first download; own ones only.
    pub origin: Option<String>,
    /// Who wanted it; own ones only.
    pub actor: String,
    /// The platform's refusal code, or why the outcome is unknown.
    pub code: Option<String>,
    /// The words that came with it.
    pub text: Option<String>,
    /// When it was first to be sent.
    pub begun_at: Timestamp,
    /// When the row was last written.
    pub at: Timestamp,
}

/// The own transfers of an issuer that may stand in the way of another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnTransfers {
    /// Whose.
    pub issuer: TaxNo,
    /// Besides the open one, the one of this origin.
    pub origin: Option<String>,
}

/// Which transfers to list, the newest first.
#[derive(Clone, Debug, Default)]
pub struct TransferFilter {
    /// Whose; all when `None`.
    pub issuer: Option<TaxNo>,
    /// In which state; all when `None`.
    pub state: Option<TransferState>,
    /// Only the gateway's own.
    pub own: bool,
    /// Only the one of this origin.
    pub origin: Option<String>,
    /// Only those begun before this one, by time and serial.
    pub before: Option<(Timestamp, String)>,
    /// At most so many.
    pub limit: u32,
}
