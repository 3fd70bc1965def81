//! What is done by itself: the first download of a month, top-ups, the return at its end. Each may be called again.

use jiff::civil::Time;

use super::{Desk, Order, Origin, Return, TransferError, Transfers};
use crate::{
    clock::Clock,
    domain::{BEIJING, Money, Period, TaxNo},
    quota::{Settings, rules},
    store::ledger::{Account, Transfer, TransferFilter, TransferState, Way},
};

/// The round that downloads a month's first credit.
const MONTH_START: &str = "month_start";
/// The round that gives back what is unused.
const MONTH_END: &str = "month_end";
/// From when on the last day counts as the month's end: earlier in the day the credit is left to be used.
const EVENING: Time = Time::constant(20, 0, 0, 0);

/// The month whose last evening it is.
#[must_use]
pub fn month_ending(clock: &Clock) -> Option<Period> {
    let now = BEIJING.to_datetime(clock.now());
    let month = Period::of(now.date());
    (now.date() == month.last_day() && now.time() >= EVENING).then_some(month)
}

impl Transfers {
    /// Downloads the month's first credit, once per unit and month, when the month has none (protocol.md §4). None when
    /// there is nothing to do: it has credit, the share is 0, the credit is suspended, or an on-demand taxpayer has
    /// no amount set.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub async fn month_start(&self, issuer: &TaxNo, actor: &str) -> Result<Option<Transfer>, TransferError> {
        let settings = self.settings(issuer);
        let month = self.0.period();
        let order = round(issuer, MONTH_START, month, actor);
        if !wants_a_start(&settings) || self.0.known(&order).await?.is_some() {
            return Ok(None);
        }
        let account = self.0.fresh(issuer).await?;
        self.start(order, &settings, &account, month).await
    }

    /// Makes up for the month's first download where the bureau had no credit at the month's start, had suspended it, or
    /// refused: asks again, but not more often than balances are asked for in the background. None while there is still
    /// nothing to download, for units whose month was not started in vain, and once their unused credit goes back.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub async fn late_start(&self, issuer: &TaxNo, actor: &str) -> Result<Option<Transfer>, TransferError> {
        let settings = self.settings(issuer);
        let month = self.0.period();
        let order = round(issuer, MONTH_START, month, actor);
        let over = settings.return_unused && month_ending(&self.0.ledger.0.clock).is_some();
        if over || !wants_a_start(&settings) || !self.0.was_started_in_vain(&order, month).await? {
            return Ok(None);
        }
        self.0.bureau.ids(issuer)?;
        let interval = self.0.ledger.0.config.load().balance_interval;
        // who has asked meanwhile does not matter: the account knows what the bureau has
        self.0.ledger.0.ask(issuer, interval, &*self.0.bureau).await?;
        let account = self.0.account(issuer).await?;
        self.start(order, &settings, &account, month).await
    }

    /// Downloads the month's first credit, if it has none yet.
    async fn start(
        &self,
        order: Order,
        settings: &Settings,
        account: &Account,
        month: Period,
    ) -> Result<Option<Transfer>, TransferError> {
        if account.figures.downloaded > Money::ZERO {
            return Ok(None);
        }
        if gives_nothing(account) {
            self.0.nothing_to_begin(&order, month).await?;
            return Ok(None);
        }
        let amount = settings.month_start_amount.or_else(|| share(settings, account)).unwrap_or_default();
        self.take(order, account, amount, month).await
    }

    /// Downloads credit when less than the low-water mark is left, unless the month's unused credit was given back: that
    /// would undo it.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub async fn top_up(&self, issuer: &TaxNo, actor: &str) -> Result<Option<Transfer>, TransferError> {
        let settings = self.settings(issuer);
        let Some(low_water) = settings.low_water else { return Ok(None) };
        self.0.bureau.ids(issuer)?;
        let month = self.0.period();
        if self.0.gave_back(issuer, month).await? {
            return Ok(None);
        }
        if self.0.account(issuer).await?.available() >= low_water {
            return Ok(None);
        }
        let interval = self.0.ledger.0.config.load().balance_interval;
        self.0.ledger.0.ask(issuer, interval, &*self.0.bureau).await?;
        let account = self.0.account(issuer).await?;
        let short = low_water.saturating_sub(account.available());
        if short <= Money::ZERO || account.suspended {
            return Ok(None);
        }
        let amount = chunk(&settings, &account, short);
        let order = Order { issuer: issuer.clone(), origin: None, actor: actor.to_owned() };
        self.take(order, &account, amount, month).await
    }

    /// Returns what is unused of the month, once per unit and month, if the unit wants that. To be called on the month's
    /// last day: afterwards it cannot be returned, and nothing is done, for the credit is that of another month.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub async fn month_end(
        &self,
        issuer: &TaxNo,
        month: Period,
        actor: &str,
    ) -> Result<Option<Transfer>, TransferError> {
        if self.0.period() != month {
            return Ok(None);
        }
        let order = round(issuer, MONTH_END, month, actor);
        if !self.settings(issuer).return_unused || self.0.known(&order).await?.is_some() {
            return Ok(None);
        }
        match self.give_back_of(order, Return::All, month).await {
            Ok(transfer) => Ok(Some(transfer)),
            Err(TransferError::Field { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Downloads what the bureau has of the amount.
    async fn take(
        &self,
        order: Order,
        account: &Account,
        amount: Money,
        month: Period,
    ) -> Result<Option<Transfer>, TransferError> {
        let amount = amount.min(account.bureau_available.unwrap_or_default());
        if amount <= Money::ZERO {
            return Ok(None);
        }
        self.run(order, Way::Download, amount, month).await.map(Some)
    }
}

impl Desk {
    /// Whether the unused credit of the month was given back, or is about to be.
    async fn gave_back(&self, issuer: &TaxNo, month: Period) -> Result<bool, TransferError> {
        let ended = round(issuer, MONTH_END, month, "");
        Ok(self.of_origin(&ended, &[TransferState::Done, TransferState::Open]).await?.is_some())
    }

    /// Whether the month has no credit because the bureau gave none when it was asked, and it is time to ask again.
    async fn was_started_in_vain(&self, order: &Order, month: Period) -> Result<bool, TransferError> {
        let Some(account) = self.ledger.balance(&order.issuer, month).await? else { return Ok(false) };
        if account.synced_at.is_none() || account.figures.downloaded > Money::ZERO {
            return Ok(false);
        }
        let begun = self.of_origin(order, &[TransferState::Open]).await?.is_some();
        if begun
            || self.has_moved(&order.issuer, month).await?
            || self.gave_back(&order.issuer, month).await?
        {
            return Ok(false);
        }
        match self.of_origin(order, &[TransferState::Refused]).await? {
            Some(refused) => Ok(self.may_try_again(&refused)),
            None if gives_nothing(&account) => {
                // an upload may ask the bureau next, and leave no trace of this
                self.nothing_to_begin(order, month).await?;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Whether credit was moved in the month: without any left, it was given back.
    async fn has_moved(&self, issuer: &TaxNo, month: Period) -> Result<bool, TransferError> {
        let filter = TransferFilter {
            issuer: Some(issuer.clone()),
            state: Some(TransferState::Done),
            limit: 1,
            ..TransferFilter::default()
        };
        Ok(self.ledger.transfers(&filter).await?.iter().any(|done| done.key.period >= month))
    }

    /// Whether the transfer, which the bureau refused, may be asked for again; what was never sent may at any time.
    fn may_try_again(&self, refused: &Transfer) -> bool {
        let interval = self.ledger.0.config.load().balance_interval;
        refused.code.as_deref() == Some(rules::NOTHING)
            || self.now().duration_since(refused.at).unsigned_abs() >= interval
    }
}

/// Whether the bureau, when it was asked last, had nothing to download.
fn gives_nothing(account: &Account) -> bool {
    account.suspended || account.bureau_available.is_some_and(|amount| amount <= Money::ZERO)
}

/// Whether a month is to begin with a download at all.
const fn wants_a_start(settings: &Settings) -> bool {
    settings.month_start_amount.is_some() || settings.month_start_share.get() > 0
}

/// What is done once per unit and month, as an order.
fn round(issuer: &TaxNo, name: &str, month: Period, actor: &str) -> Order {
    Order {
        issuer: issuer.clone(),
        origin: Some(Origin::Round(format!("{name}:{month}"))),
        actor: actor.to_owned(),
    }
}

/// The unit's share of what the bureau has left; nothing of a total that there is not.
fn share(settings: &Settings, account: &Account) -> Option<Money> {
    let at_bureau = account.bureau_available.filter(|amount| !amount.is_on_demand())?;
    Some(settings.month_start_share.of(at_bureau))
}

/// What a top-up downloads: at least what is short.
pub(super) fn chunk(settings: &Settings, account: &Account, short: Money) -> Money {
    let usual = settings.top_up_amount.or_else(|| share(settings, account)).unwrap_or_default();
    usual.max(short)
}
