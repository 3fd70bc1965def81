//! What the platform says about balances, validity and months.

use jiff::Timestamp;

use super::{Mark, Observed, account_or_new, change};
use crate::{
    domain::{Day, Money, PlatformId, TaxNo},
    leqi::messages::QuotaBalance,
    store::ledger::{Account, AccountKey, Books, Cause, EventKind, Transfer, Way},
};

/// What the books say now, to be kept until the answer of a query or transfer that is about to be sent.
#[must_use]
pub fn mark(key: AccountKey, account: Option<&Account>) -> Mark {
    Mark {
        key,
        epoch: account.map_or(0, |account| account.epoch),
        issued: account.map_or(Money::ZERO, |account| account.figures.issued),
        updated_at: account.map(|account| account.updated_at),
    }
}

/// Follows an answer of `CXSXED`.
///
/// The platform's used credit is `yxzed − yxzwsyed`. What of it is this ledger's is known only between two bounds
/// while uploads are under way: at least what was issued when the query was sent, less what red invoices may have
/// given back since; at most what is issued and reserved now. The credit used elsewhere keeps its old figure where
/// that lies between what the bounds leave, and else goes to the nearer end. Without uploads under way it is exact.
///
/// An own return that is open stays taken off when the platform has not worked on it yet: its credit must not be sold
/// again. Whether it has, the downloaded credit tells; where something else was downloaded meanwhile too little is
/// counted until the balance after the return's answer.
pub fn balance(
    books: &mut Books,
    issuer: &TaxNo,
    seen: &QuotaBalance,
    mark: &Mark,
    now: Timestamp,
) -> Observed {
    let under_way = |open: &&Transfer| {
        open.way == Way::Return && open.key.period == seen.period && seen.downloaded >= open.before
    };
    let Some(open) = books.open_transfer(issuer).filter(under_way).cloned() else {
        return follow(books, issuer, seen, mark, now);
    };
    let less = QuotaBalance {
        downloaded: seen.downloaded.saturating_sub(open.amount),
        unused: seen.unused.saturating_sub(open.amount),
        ..seen.clone()
    };
    let observed = follow(books, issuer, &less, mark, now);
    let Some(mut account) = books.account(&open.key).cloned() else { return observed };
    (account.bureau_downloaded, account.bureau_unused) = (Some(seen.downloaded), Some(seen.unused));
    if observed == Observed::Applied {
        account.stale = true;
        let booked = Money::ZERO.saturating_sub(open.amount);
        books.put_transfer(Transfer { booked, epoch: account.epoch, ..open });
    }
    books.put_account(account, Cause { kind: EventKind::Balance, invoice_no: None, exchange: None, at: now });
    observed
}

/// Takes the figures over as they are.
pub(super) fn follow(
    books: &mut Books,
    issuer: &TaxNo,
    seen: &QuotaBalance,
    mark: &Mark,
    now: Timestamp,
) -> Observed {
    let key = AccountKey { issuer: issuer.clone(), period: seen.period };
    let known = books.account(&key).is_some_and(|account| account.synced_at.is_some());
    let changed = account_or_new(books, &key, now).epoch != mark.epoch;
    // asked in the month before, it is as good as any for an account that was never seen
    let overtaken = if mark.key == key { changed } else { known };
    let cause = Cause { kind: EventKind::Balance, invoice_no: None, exchange: None, at: now };
    change(books, &key, cause, |account| {
        account.bureau_total = Some(seen.month_total);
        account.bureau_available = Some(seen.available);
        account.suspended = seen.suspended;
        account.bureau_downloaded = Some(seen.downloaded);
        account.bureau_unused = Some(seen.unused);
        if !overtaken {
            let elsewhere = elsewhere(account, seen, mark, known);
            account.exact =
                is_quiet(account, mark) || account.exact && elsewhere == account.figures.elsewhere;
            account.figures.elsewhere = elsewhere;
            account.figures.downloaded = seen.downloaded;
            account.epoch += 1;
            account.stale = false;
            account.synced_at = Some(now);
        }
    });
    if overtaken { Observed::Overtaken } else { Observed::Applied }
}

/// Nothing was under way from the question to the answer.
fn is_quiet(account: &Account, mark: &Mark) -> bool {
    let figures = account.figures;
    let issued_then = if mark.key == account.key { mark.issued } else { Money::ZERO };
    figures.reserved == Money::ZERO && figures.pending_return == Money::ZERO && figures.issued == issued_then
}

fn elsewhere(account: &Account, seen: &QuotaBalance, mark: &Mark, known: bool) -> Money {
    let figures = account.figures;
    let used = seen.downloaded.saturating_sub(seen.unused);
    let issued_then = if mark.key == account.key { mark.issued } else { Money::ZERO };
    let least_ours = issued_then.min(figures.issued).saturating_sub(figures.pending_return);
    let most_ours = issued_then.max(figures.issued).saturating_add(figures.reserved);
    let (least, most) = (used.saturating_sub(most_ours), used.saturating_sub(least_ours));
    // of an account that was never seen, the safe end
    if known { figures.elsewhere.clamp(least, most) } else { most }
}

/// Follows an answer of `TZSXEDYXQ` that was seen at `seen_at`, unless what is known is younger.
pub fn validity(
    books: &mut Books,
    key: &AccountKey,
    from: Option<Day>,
    to: Option<Day>,
    seen_at: Timestamp,
    now: Timestamp,
) {
    if account_or_new(books, key, now).valid_since.is_some_and(|since| since > seen_at) {
        return;
    }
    let cause = Cause { kind: EventKind::Balance, invoice_no: None, exchange: None, at: now };
    change(books, key, cause, |account| {
        account.valid_from = from.or(account.valid_from);
        account.valid_to = to.or(account.valid_to);
        account.valid_since = Some(seen_at);
    });
}

/// Notes that the month is confirmed for the platform, or open again.
pub fn month_closed(
    books: &mut Books,
    key: &AccountKey,
    platform_id: &PlatformId,
    closed: bool,
    now: Timestamp,
) {
    let id = platform_id.folded();
    let cause = Cause { kind: EventKind::Balance, invoice_no: None, exchange: None, at: now };
    change(books, key, cause, |account| {
        account.closed_for.retain(|other| *other != id);
        if closed {
            account.closed_for.push(id);
        }
    });
}
