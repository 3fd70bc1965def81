//! What a balance proves about invoices whose outcome nobody told (protocol.md §3: `yxzwsyed` is downloaded less
//! uploaded), and what becomes of them when their month takes no more uploads.

use jiff::{Timestamp, ToSpan};

use super::{
    Mark, Observed, Settled, cause, change, let_go, observe,
    settle::{issue, note, release_if_settled},
};
use crate::{
    domain::{Money, TaxNo},
    leqi::messages::QuotaBalance,
    store::ledger::{AccountKey, Books, Entry, EntryKey, EntryState, EventKind},
};

/// How long `CXQDFPSCJG` knows an acceptance (protocol.md §3): as long, its answer decides and not a balance.
pub const ACCEPTANCE_HOURS: i64 = 12;

/// What a comparison came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Something changed the account between question and answer.
    Overtaken,
    /// The difference is not explained by all or none of the open invoices.
    Undecided,
    /// It is: these were settled.
    Proven(Settled),
}

/// Compares the platform's balance with the books, which follow it in any case.
///
/// It proves something only where all of this holds: the credit used elsewhere is known exactly, nothing changed the
/// account between question and answer, and the difference between the platform's used credit and ours is what *all*
/// open invoices use (and no open red one has given back), or what *none* of them uses (and all red ones have given
/// back). Both ends are reached in one way only, everything between in several. Settled are only invoices that nothing
/// happened to since `quiet_since` and whose acceptance, if there is one, can no longer be asked about.
pub fn compare(
    books: &mut Books,
    issuer: &TaxNo,
    seen: &QuotaBalance,
    mark: &Mark,
    quiet_since: Timestamp,
    now: Timestamp,
) -> Comparison {
    let key = AccountKey { issuer: issuer.clone(), period: seen.period };
    let Some(before) = books.account(&key).cloned() else { return Comparison::Overtaken };
    let open: Vec<Entry> = books.open_of(&key).into_iter().cloned().collect();
    let untouched = mark.key == key && mark.updated_at == Some(before.updated_at);
    if observe::balance(books, issuer, seen, mark, now) == Observed::Overtaken || !untouched {
        return Comparison::Overtaken;
    }
    let figures = before.figures;
    let used = seen.downloaded.saturating_sub(seen.unused);
    let open_used = used.saturating_sub(figures.issued).saturating_sub(figures.elsewhere);
    let (most, least) = (figures.reserved, Money::ZERO.saturating_sub(figures.pending_return));
    let all = open_used == most;
    if !before.exact || most == least || !(all || open_used == least) {
        return Comparison::Undecided;
    }
    let mut settled = Settled::default();
    for mut entry in open {
        if entry.credit == Money::ZERO || !is_decidable(&entry, quiet_since, now) {
            continue;
        }
        // with all of the blue ones none of the red ones is taken, and the other way round
        if (entry.credit > Money::ZERO) == all {
            note(&mut entry, "GW-COMPARED", "经与平台额度比对，确认已开具");
            issue(books, entry, None, now, &mut settled);
        } else {
            note(&mut entry, "GW-COMPARED", "经与平台额度比对，确认未开具");
            entry.sends.clear();
            release_if_settled(books, entry, None, now, &mut settled);
        }
    }
    Comparison::Proven(settled)
}

fn is_decidable(entry: &Entry, quiet_since: Timestamp, now: Timestamp) -> bool {
    let accepted = entry.sends.iter().any(|send| send.acceptance_no.is_some());
    let good_until = entry.updated_at.saturating_add(ACCEPTANCE_HOURS.hours());
    entry.updated_at <= quiet_since && !(accepted && good_until.is_ok_and(|until| until > now))
}

/// Gives up what is still reserved of invoices whose month takes no more uploads. Gives how many.
pub fn expire(books: &mut Books, keys: &[EntryKey], now: Timestamp) -> usize {
    let mut expired = 0;
    for key in keys {
        let Some(mut entry) = books.entry(key).filter(|entry| entry.state == EntryState::Reserved).cloned()
        else {
            continue;
        };
        let why = cause(EventKind::Expired, &entry, None, now);
        change(books, &entry.account_key(), why, |account| let_go(account, &entry));
        note(&mut entry, "GW-EXPIRED", "该月已不能上传发票，结果始终不明，占用已到期");
        entry.state = EntryState::Released;
        entry.sends.clear();
        entry.updated_at = now;
        books.put_entry(entry);
        expired += 1;
    }
    expired
}
