//! What is done by itself: the first download of a month, top-ups, the return at its end. Each may be called again.

use super::{Order, Return, TransferError, Transfers};
use crate::{
    domain::{Money, TaxNo},
    quota::Settings,
    store::ledger::{Account, Transfer, Way},
};

impl Transfers {
    /// Downloads the month's first credit, once per unit and month, when the month has none (protocol.md §4). None when
    /// there is nothing to do: it has credit, the share is 0, the credit is suspended, or an on-demand taxpayer has
    /// no amount set.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub async fn month_start(&self, issuer: &TaxNo, actor: &str) -> Result<Option<Transfer>, TransferError> {
        let settings = self.settings(issuer);
        let order = self.round(issuer, "month_start", actor);
        let nothing = settings.month_start_amount.is_none() && settings.month_start_share.get() == 0;
        if nothing || self.0.known(&order).await?.is_some() {
            return Ok(None);
        }
        let account = self.0.fresh(issuer).await?;
        if account.figures.downloaded > Money::ZERO || account.suspended {
            return Ok(None);
        }
        let amount = settings.month_start_amount.or_else(|| share(&settings, &account)).unwrap_or_default();
        self.take(order, &account, amount).await
    }

    /// Downloads credit when less than the low-water mark is left.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub async fn top_up(&self, issuer: &TaxNo, actor: &str) -> Result<Option<Transfer>, TransferError> {
        let settings = self.settings(issuer);
        let Some(low_water) = settings.low_water else { return Ok(None) };
        self.0.bureau.ids(issuer)?;
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
        self.take(order, &account, amount).await
    }

    /// Returns what is unused, once per unit and month, if the unit wants that. To be called on the last day of the
    /// month: afterwards it cannot be returned.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub async fn month_end(&self, issuer: &TaxNo, actor: &str) -> Result<Option<Transfer>, TransferError> {
        let order = self.round(issuer, "month_end", actor);
        if !self.settings(issuer).return_unused || self.0.known(&order).await?.is_some() {
            return Ok(None);
        }
        match self.give_back(order, Return::All).await {
            Ok(transfer) => Ok(Some(transfer)),
            Err(TransferError::Field { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn round(&self, issuer: &TaxNo, name: &str, actor: &str) -> Order {
        let origin = Some(format!("{name}:{}", self.0.period()));
        Order { issuer: issuer.clone(), origin, actor: actor.to_owned() }
    }

    /// Downloads what the bureau has of the amount.
    async fn take(
        &self,
        order: Order,
        account: &Account,
        amount: Money,
    ) -> Result<Option<Transfer>, TransferError> {
        let amount = amount.min(account.bureau_available.unwrap_or_default());
        if amount <= Money::ZERO {
            return Ok(None);
        }
        self.run(order, Way::Download, amount).await.map(Some)
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
