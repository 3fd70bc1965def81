//! The gateway's own transfers: one at a time per issuer, each with a serial of its own that is on disk before it is
//! sent, and sent again, the same, until its outcome is known.

use jiff::{SignedDuration, Timestamp};

use super::{
    Mark, account_or_new, observe,
    transfer::{UNCLEAR, open, signed, take_off_again, unknown},
};
use crate::{
    domain::{Money, TaxNo},
    leqi::messages::{Direction, QuotaBalance, QuotaTransfer},
    store::ledger::{Account, AccountKey, Books, Transfer, TransferState, Way},
};

/// How long a request's key stands for its transfer: as long as the answers to requests are remembered.
pub const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

/// The code of an order that was not sent because there was nothing to move.
pub const NOTHING: &str = "GW-NOTHING";

/// What an order is the one transfer of: asked for again, it is the same transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A request with this key, which stands for another request once it is forgotten.
    Request(String),
    /// What is done once per unit and month.
    Round(String),
}

impl Origin {
    /// The name that the transfer is kept with.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Request(name) | Self::Round(name) => name,
        }
    }

    /// Whether the transfer, which was carried out, still stands for the order. It counts from its outcome on: whoever
    /// repeats a request because that was not known must find it.
    #[must_use]
    pub fn remembers(&self, done: &Transfer, now: Timestamp) -> bool {
        match self {
            Self::Request(_) => now.duration_since(done.at) < REMEMBERED,
            Self::Round(_) => true,
        }
    }
}

/// What is to be done for an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The transfer is noted and may be sent.
    Fresh(Transfer),
    /// The order was carried out before; this is its transfer.
    Known(Transfer),
    /// An earlier transfer's outcome must be known first.
    Open(Transfer),
    /// The return asks for more than is unused.
    Short {
        /// What may be returned.
        available: Money,
    },
}

/// Notes an own transfer that is about to be sent. `key` is the account of the current month.
pub fn begin_own(
    books: &mut Books,
    request: &QuotaTransfer,
    key: &AccountKey,
    origin: Option<&Origin>,
    actor: &str,
    now: Timestamp,
) -> Begun {
    if let Some(origin) = origin
        && let Some(known) = books.transfer_of(&key.issuer, origin.as_str()).cloned()
    {
        match known.state {
            TransferState::Done if origin.remembers(&known, now) => return Begun::Known(known),
            TransferState::Open => {}
            TransferState::Done | TransferState::Expired | TransferState::Refused => {
                books.put_transfer(Transfer { origin: None, ..known });
            }
        }
    }
    if let Some(earlier) = open_of(books, &key.issuer) {
        if earlier.key.period >= key.period {
            return Begun::Open(earlier);
        }
        // its month is over: sent now, it might move credit of this month
        books.put_transfer(Transfer { state: TransferState::Expired, at: now, ..earlier });
    }
    let available = books.account(key).map_or(Money::ZERO, Account::available);
    if request.direction == Direction::Return && available < request.amount {
        return Begun::Short { available };
    }
    open(books, request, key, now);
    let Some(noted) = books.transfer(&request.serial).cloned() else { return Begun::Short { available } };
    let (origin, actor) = (origin.map(|origin| origin.as_str().to_owned()), actor.to_owned());
    let own = Transfer { own: true, origin, actor, ..noted };
    books.put_transfer(own.clone());
    Begun::Fresh(own)
}

/// Notes that nothing was sent for the order because the bureau had nothing to download: a refusal by the gateway
/// itself, of no amount. Whatever is known of the order stays.
pub fn nothing_to_begin(
    books: &mut Books,
    request: &QuotaTransfer,
    key: &AccountKey,
    origin: &Origin,
    actor: &str,
    now: Timestamp,
) {
    if books.transfer_of(&key.issuer, origin.as_str()).is_some() {
        return;
    }
    let text = "局端没有可下载的额度，未发送 (the bureau has nothing to download, nothing was sent)";
    books.put_transfer(Transfer {
        state: TransferState::Refused,
        own: true,
        origin: Some(origin.as_str().to_owned()),
        actor: actor.to_owned(),
        code: Some(NOTHING.to_owned()),
        text: Some(text.to_owned()),
        ..unknown(request, key.clone(), now)
    });
}

/// Notes that the open own transfer is sent again, or gives it up when its month is over. Gives the one to send.
pub fn resume_own(books: &mut Books, issuer: &TaxNo, key: &AccountKey, now: Timestamp) -> Option<Transfer> {
    let open = open_of(books, issuer)?;
    if open.key.period < key.period {
        books.put_transfer(Transfer { state: TransferState::Expired, at: now, ..open });
        return None;
    }
    if open.way == Way::Return && !take_off_again(books, &open, now) {
        // a balance gave its credit back and invoices hold that now: it must not be returned any more
        let text = Some("the credit was used meanwhile".to_owned());
        books.put_transfer(Transfer { state: TransferState::Expired, text, at: now, ..open });
        return None;
    }
    let open = books.transfer(&open.serial).cloned().unwrap_or(open);
    let again = Transfer { code: Some(UNCLEAR.to_owned()), at: now, ..open };
    books.put_transfer(again.clone());
    Some(again)
}

/// What a balance proves about an open transfer that the platform refused to repeat: downloaded credit that is what
/// it was before the transfer, or that with it. Anything else proves nothing. The books follow the balance.
///
/// A download counts as refused then: its serial is never sent again, and had it been carried out, the balance would
/// hold it. A return stays open, because its credit would be sold while it may still be taken.
pub fn compare_transfer(
    books: &mut Books,
    serial: &str,
    seen: &QuotaBalance,
    mark: &Mark,
    now: Timestamp,
) -> Option<TransferState> {
    let open = |transfer: &&Transfer| transfer.state == TransferState::Open;
    let begun = books.transfer(serial).filter(open)?.clone();
    let issuer = begun.key.issuer.clone();
    let with = begun.before.saturating_add(signed(begun.way, begun.amount));
    let proven = if seen.period != begun.key.period {
        None
    } else if seen.downloaded == with {
        Some((TransferState::Done, signed(begun.way, begun.amount)))
    } else if seen.downloaded == begun.before || begun.way == Way::Download {
        Some((TransferState::Refused, Money::ZERO))
    } else {
        None
    };
    let Some((state, booked)) = proven else {
        observe::balance(books, &issuer, seen, mark, now);
        return None;
    };
    if observe::follow(books, &issuer, seen, mark, now) == super::Observed::Overtaken {
        return None;
    }
    let epoch = account_or_new(books, &begun.key, now).epoch;
    books.put_transfer(Transfer { state, booked, epoch, at: now, ..begun });
    Some(state)
}

fn open_of(books: &Books, issuer: &TaxNo) -> Option<Transfer> {
    books.open_transfer(issuer).cloned()
}
