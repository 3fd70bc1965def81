//! The rows of the ledger, as plain values.

use jiff::Timestamp;

use crate::domain::{Day, ExchangeId, Invalid, InvoiceNo, Money, Period, TaxNo};

/// Names an account: the issuing party and the month of the invoices' dates (protocol.md §4).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct AccountKey {
    /// Who issues: the seller, but the buyer for purchase invoices.
    pub issuer: TaxNo,
    /// The month of `kprq`.
    pub period: Period,
}

/// Names an invoice. The same number uploaded twice is one invoice.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryKey {
    /// Who issues.
    pub issuer: TaxNo,
    /// Its number.
    pub invoice_no: InvoiceNo,
}

/// The figures that make up the credit available, in fen. Also changes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Credit that the platform has given for the month (`yxzed`).
    pub downloaded: Money,
    /// Credit of it that was used without passing here, as far as the platform's figures tell. Negative where the
    /// platform counts less than this ledger.
    pub elsewhere: Money,
    /// Credit used by invoices that are issued, less what red ones gave back.
    pub issued: Money,
    /// Credit held by invoices whose outcome is not known yet.
    pub reserved: Money,
    /// Credit that red invoices give back once they are issued; not available before. The platform may have counted
    /// it already, which the next balance must not mistake for something else.
    pub pending_return: Money,
}

impl Figures {
    /// What may still be reserved: downloaded − elsewhere − issued − reserved; negative when oversold elsewhere.
    #[must_use]
    pub const fn available(self) -> Money {
        self.downloaded
            .saturating_sub(self.elsewhere)
            .saturating_sub(self.issued)
            .saturating_sub(self.reserved)
    }

    /// What was added since `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            downloaded: self.downloaded.saturating_sub(before.downloaded),
            elsewhere: self.elsewhere.saturating_sub(before.elsewhere),
            issued: self.issued.saturating_sub(before.issued),
            reserved: self.reserved.saturating_sub(before.reserved),
            pending_return: self.pending_return.saturating_sub(before.pending_return),
        }
    }
}

/// The credit of one issuing party for one month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Whose and of which month.
    pub key: AccountKey,
    /// The figures that decide.
    pub figures: Figures,
    /// The month's total at the bureau (`bysxed`), shown, never arithmetic: on-demand taxpayers have [`Money::ON_DEMAND`].
    pub bureau_total: Option<Money>,
    /// What the bureau would still give (`kysyed`), likewise.
    pub bureau_available: Option<Money>,
    /// Whether the bureau has suspended the credit (`ztsxbz`): nothing more can be downloaded, what is downloaded counts.
    pub suspended: bool,
    /// First invoice date that the credit is good for (`syqjq`).
    pub valid_from: Option<Day>,
    /// Last invoice date that the credit is good for (`syqjz`).
    pub valid_to: Option<Day>,
    /// Folded ids of the platforms whose month is confirmed: no more uploads for them.
    pub closed_for: Vec<String>,
    /// Rises with every observed balance or transfer, so that an answer that was overtaken is recognised.
    pub epoch: i64,
    /// Something happened whose effect on the balance is not known: ask before refusing for shortage.
    pub stale: bool,
    /// When the platform's balance was last seen; never for an account that only observed invoices made.
    pub synced_at: Option<Timestamp>,
    /// When the row was last written.
    pub updated_at: Timestamp,
    /// What was downloaded by the platform's last word (`yxzed`), shown beside our own figure.
    pub bureau_downloaded: Option<Money>,
    /// What of it is unused by the platform's last word (`yxzwsyed`), likewise.
    pub bureau_unused: Option<Money>,
    /// `elsewhere` was measured while nothing was under way and has not had to move since: a difference to the
    /// platform's figures is then the work of open invoices alone.
    pub exact: bool,
    /// When what told `valid_from` and `valid_to` was asked for: the latest one of the month counts (protocol.md §3).
    pub valid_since: Option<Timestamp>,
}

impl Account {
    /// An account of which nothing is known yet.
    #[must_use]
    pub fn new(key: AccountKey, now: Timestamp) -> Self {
        Self {
            key,
            figures: Figures::default(),
            bureau_total: None,
            bureau_available: None,
            suspended: false,
            valid_from: None,
            valid_to: None,
            closed_for: Vec::new(),
            epoch: 0,
            stale: false,
            synced_at: None,
            updated_at: now,
            bureau_downloaded: None,
            bureau_unused: None,
            exact: false,
            valid_since: None,
        }
    }

    /// What may still be reserved.
    #[must_use]
    pub const fn available(&self) -> Money {
        self.figures.available()
    }
}

/// What is known about an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryState {
    /// The platform has issued it: its credit is used.
    Issued,
    /// It is proven that the platform has not taken it, or its month takes no more uploads: it uses nothing.
    Released,
    /// It may be at the platform: its credit is held.
    Reserved,
}

impl EntryState {
    /// The name in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Released => "released",
            Self::Reserved => "reserved",
        }
    }

    /// The state of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        [Self::Issued, Self::Released, Self::Reserved]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(Invalid::new("state must be issued, released or reserved"))
    }
}

/// An upload of an invoice whose outcome is not proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// The exchange it was sent in.
    pub exchange: ExchangeId,
    /// The platform's acceptance number (`sllsh`), once it has accepted it.
    pub acceptance_no: Option<String>,
}

/// One invoice that was ever to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose and which.
    pub key: EntryKey,
    /// The month that it uses credit of.
    pub period: Period,
    /// Folded id of the platform it belongs to (`ptbh`); empty when the message named none.
    pub platform_id: String,
    /// Whether it reverses another one.
    pub red: bool,
    /// Net amount (`hjje`), negative on red invoices.
    pub net: Money,
    /// Tax (`hjse`), likewise.
    pub tax: Money,
    /// The credit it uses; zero or negative for a red one, which holds nothing and gives back on issue.
    pub credit: Money,
    /// The blue invoice that it reverses.
    pub reversed_no: Option<InvoiceNo>,
    /// What is known about it.
    pub state: EntryState,
    /// Uploads whose outcome is not proven, the oldest first.
    pub sends: Vec<Send>,
    /// The latest acceptance (`sllsh`).
    pub acceptance_no: Option<String>,
    /// The status or refusal code seen last.
    pub result_code: Option<String>,
    /// Its text.
    pub result_text: Option<String>,
    /// The invoice's own time (`kprq`).
    pub dated_at: Timestamp,
    /// When it was first to be sent.
    pub created_at: Timestamp,
    /// When the row was last written.
    pub updated_at: Timestamp,
    /// The latest upload of it.
    pub exchange: Option<ExchangeId>,
}

impl Entry {
    /// The credit that it holds while it is reserved.
    #[must_use]
    pub fn held(&self) -> Money {
        self.credit.max(Money::ZERO)
    }

    /// The credit that it gives back when it is issued.
    #[must_use]
    pub fn gives_back(&self) -> Money {
        Money::ZERO.saturating_sub(self.credit.min(Money::ZERO))
    }

    /// The account it counts in.
    #[must_use]
    pub fn account_key(&self) -> AccountKey {
        AccountKey { issuer: self.key.issuer.clone(), period: self.period }
    }
}

/// Why the figures of an account changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A balance of the platform was seen.
    Balance,
    /// An invoice's credit was given up because its month takes no more uploads.
    Expired,
    /// An invoice is issued.
    Issued,
    /// An invoice is issued that the ledger had released or never held enough for.
    IssuedLate,
    /// An invoice's date moved to another month.
    Moved,
    /// An invoice's credit was given free.
    Released,
    /// An invoice holds credit, or more of it.
    Reserved,
    /// Credit was downloaded or returned.
    Transfer,
}

impl EventKind {
    const ALL: [Self; 8] = [
        Self::Balance,
        Self::Expired,
        Self::Issued,
        Self::IssuedLate,
        Self::Moved,
        Self::Released,
        Self::Reserved,
        Self::Transfer,
    ];

    /// The name in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Balance => "balance",
            Self::Expired => "expired",
            Self::Issued => "issued",
            Self::IssuedLate => "issued_late",
            Self::Moved => "moved",
            Self::Released => "released",
            Self::Reserved => "reserved",
            Self::Transfer => "transfer",
        }
    }

    /// The kind of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|k| k.as_str() == text).ok_or(Invalid::new("unknown kind of ledger event"))
    }
}

/// One change of an account's figures; never changed or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Rises with time; 0 until it is stored.
    pub id: i64,
    /// Whose and of which month.
    pub key: AccountKey,
    /// The invoice that changed them, if one did.
    pub invoice_no: Option<InvoiceNo>,
    /// Why.
    pub kind: EventKind,
    /// What was added to each figure.
    pub delta: Figures,
    /// The exchange that changed them, if it is known.
    pub exchange: Option<ExchangeId>,
    /// When.
    pub at: Timestamp,
}
