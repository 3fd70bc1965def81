//! What must hold after each step.

use super::{
    super::{Month, platform::RED},
    Checked, World, ensure,
    names::{entry_key, key},
};
use crate::{
    domain::Money,
    quota::tests::{issuer, yuan},
    store::ledger::{Books, EntryState, Figures},
};

impl World {
    pub(super) fn check(&self) -> Checked {
        for month in 0..=self.month {
            self.check_month(month)?;
        }
        for n in (0..6).chain(RED..RED + 6) {
            let state = self.state(n);
            let expected = match (self.reference.held.contains(&n), self.reference.issued.contains(&n)) {
                (true, _) => Some(EntryState::Reserved),
                (_, true) => Some(EntryState::Issued),
                _ => state.filter(|state| *state == EntryState::Released),
            };
            ensure!(state == expected, "invoice {n} is {state:?}, not {expected:?}");
        }
        Ok(())
    }

    pub(super) fn check_month(&self, month: Month) -> Checked {
        let account = self.books.account(&key(month)).ok_or("no account")?;
        let figures = account.figures;
        ensure!(
            figures == self.rebuilt(month),
            "the events add up to {:?}, not {figures:?}",
            self.rebuilt(month)
        );
        let naive =
            (self.reference.issued(month), self.reference.reserved(month), self.reference.returning(month));
        let ours = (figures.issued, figures.reserved, figures.pending_return);
        ensure!(
            ours == (yuan(naive.0), yuan(naive.1), yuan(naive.2)),
            "month {month}: {ours:?}, not {naive:?}"
        );
        let parts = [figures.elsewhere, figures.issued, figures.reserved, account.available()];
        let sum = parts.into_iter().fold(Money::ZERO, Money::saturating_add);
        ensure!(sum == figures.downloaded, "month {month}: the parts are not the whole");
        let truth = self.platform.downloaded(month);
        ensure!(
            figures.downloaded <= yuan(truth),
            "month {month}: {} downloaded, not {truth}",
            figures.downloaded
        );
        let given_up = month == 0 && self.expired;
        let exposure = self.platform.exposure(month);
        ensure!(given_up || exposure <= truth, "month {month}: oversold, {exposure} of {truth}");
        let open = self.books.open_transfer(&issuer()).is_some();
        if month == self.month && self.reference.held.is_empty() && !open {
            self.check_quiet(month)?;
        }
        Ok(())
    }

    /// With nothing under way a balance makes the books exact.
    pub(super) fn check_quiet(&self, month: Month) -> Checked {
        let mut books = Books::of(self.books.account(&key(month)).cloned(), [], []);
        let (mark, seen, now) = (self.mark(), self.seen(), self.now());
        (self.rules.balance)(&mut books, &issuer(), &seen, &mark, now);
        let available = books.account(&key(month)).ok_or("no account")?.available();
        let lost =
            self.platform.pending.iter().any(|pending| pending.papers.iter().any(|p| p.month == month));
        ensure!(
            lost || available == seen.unused,
            "month {month}: {available} available, not {}",
            seen.unused
        );
        Ok(())
    }

    pub(super) fn rebuilt(&self, month: Month) -> Figures {
        let key = key(month);
        let mut sum = Figures::default();
        for event in self.books.events().iter().filter(|event| event.key == key) {
            sum.downloaded = sum.downloaded.saturating_add(event.delta.downloaded);
            sum.elsewhere = sum.elsewhere.saturating_add(event.delta.elsewhere);
            sum.issued = sum.issued.saturating_add(event.delta.issued);
            sum.reserved = sum.reserved.saturating_add(event.delta.reserved);
            sum.pending_return = sum.pending_return.saturating_add(event.delta.pending_return);
        }
        sum
    }

    pub(super) fn state(&self, n: u64) -> Option<EntryState> {
        self.books.entry(&entry_key(n)).map(|entry| entry.state)
    }
}
