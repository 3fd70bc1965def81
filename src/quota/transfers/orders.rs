//! What people ask for: downloads, returns, validity, balances.

use super::{Desk, TransferError, Transfers, check_amount};
use crate::{
    domain::{Money, Period, TaxNo},
    leqi::messages::QuotaValidity,
    quota::{rules::Origin, settings::Percent},
    store::ledger::{Account, AccountKey, Transfer, TransferFilter, TransferState, Way},
};

/// Who asks for a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whose credit.
    pub issuer: TaxNo,
    /// What it is the one transfer of, if asking for it again must not move more.
    pub origin: Option<Origin>,
    /// Who wants it, for the audit row.
    pub actor: String,
}

/// How much to download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// So much.
    Amount(Money),
    /// A share of what the bureau has left.
    Share(Percent),
}

/// How much to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// Whatever is unused.
    All,
    /// So much.
    Amount(Money),
}

impl Transfers {
    /// Downloads credit of this month.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub async fn download(&self, order: Order, want: Want) -> Result<Transfer, TransferError> {
        let asked = if let Want::Amount(amount) = want { Some(amount) } else { None };
        if let Some(amount) = asked {
            check_amount("amount", amount)?;
        }
        if let Some(known) = self.0.known(&order).await? {
            return the_same(known, Way::Download, asked);
        }
        let month = self.0.period();
        let account = self.0.fresh(&order.issuer).await?;
        let at_bureau = account.bureau_available.unwrap_or_default();
        let amount = match want {
            Want::Amount(amount) => amount,
            Want::Share(_) if at_bureau.is_on_demand() => {
                let reason =
                    "an on-demand taxpayer (按需开具) has no total to take a share of; give an amount";
                return Err(TransferError::field("share", reason));
            }
            Want::Share(share) => share.of(at_bureau),
        };
        if amount > at_bureau || amount == Money::ZERO {
            return Err(TransferError::field(
                "amount",
                format!("{amount} is asked for and the bureau has {at_bureau} left for this month"),
            ));
        }
        // the key's transfer may have been open until now
        the_same(self.run(order, Way::Download, amount, month).await?, Way::Download, asked)
    }

    /// Returns unused credit of this month. It cannot be used from the moment on that this is under way.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub async fn give_back(&self, order: Order, want: Return) -> Result<Transfer, TransferError> {
        let month = self.0.period();
        self.give_back_of(order, want, month).await
    }

    /// Returns credit of that month and of no other one.
    pub(super) async fn give_back_of(
        &self,
        order: Order,
        want: Return,
        month: Period,
    ) -> Result<Transfer, TransferError> {
        let asked = if let Return::Amount(amount) = want { Some(amount) } else { None };
        if let Some(amount) = asked {
            check_amount("amount", amount)?;
        }
        if let Some(known) = self.0.known(&order).await? {
            return the_same(known, Way::Return, asked);
        }
        let account = self.0.fresh(&order.issuer).await?;
        let unused = account.available().min(account.bureau_unused.unwrap_or_default());
        let amount = match want {
            Return::All => unused,
            Return::Amount(amount) => amount,
        };
        if amount > unused || amount <= Money::ZERO {
            let reason =
                format!("only {unused} is unused and not held for invoices whose outcome is still open");
            return Err(TransferError::field("amount", reason));
        }
        the_same(self.run(order, Way::Return, amount, month).await?, Way::Return, asked)
    }

    /// Extends the interval of this month's credit after last month's VAT was filed (`TZSXEDYXQ`).
    ///
    /// # Errors
    /// See [`TransferError`]. An unclear outcome may simply be tried again.
    pub async fn adjust_validity(
        &self,
        issuer: &TaxNo,
        period: Option<Period>,
        actor: &str,
    ) -> Result<Account, TransferError> {
        let current = self.0.period();
        let period = period.unwrap_or(current);
        if period != current {
            let reason = format!(
                "only credit of this month ({current}) can be extended; credit of another month cannot be moved (protocol.md §3)"
            );
            return Err(TransferError::field("period", reason));
        }
        self.0.bureau.ids(issuer)?;
        self.0.note(actor, "quota.adjust_validity", issuer, &serde_json::json!({ "period": period })).await?;
        let request = QuotaValidity { tax_no: issuer.clone(), period };
        let answer = self.0.bureau.extend(&request).await?;
        self.0.ledger.observe_validity(&request, &answer).await?;
        self.0.account(issuer).await
    }

    /// Asks for the balance (`CXSXED`); the books follow it.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub async fn sync(&self, issuer: &TaxNo, actor: &str) -> Result<Account, TransferError> {
        self.0.bureau.ids(issuer)?;
        self.0.note(actor, "quota.sync", issuer, &serde_json::json!({})).await?;
        self.0.fresh(issuer).await
    }
}

/// The transfer that a key stands for, if it is what is asked for now.
fn the_same(known: Transfer, way: Way, amount: Option<Money>) -> Result<Transfer, TransferError> {
    if known.way == way && amount.is_none_or(|amount| amount == known.amount) {
        return Ok(known);
    }
    let (way, Transfer { amount, serial, .. }) = (known.way.as_str(), known);
    let reason =
        format!("was used for the {way} of {amount} with serial {serial}; use a new key for a new request");
    Err(TransferError::field("Idempotency-Key", reason))
}

impl Desk {
    /// The order's transfer, if it was carried out before and is remembered.
    pub(super) async fn known(&self, order: &Order) -> Result<Option<Transfer>, TransferError> {
        self.bureau.ids(&order.issuer)?;
        let done = self.of_origin(order, &[TransferState::Done]).await?;
        let remembers =
            |done: &Transfer| order.origin.as_ref().is_some_and(|origin| origin.remembers(done, self.now()));
        Ok(done.filter(remembers))
    }

    /// The order's transfer, if it is in one of these states.
    pub(super) async fn of_origin(
        &self,
        order: &Order,
        states: &[TransferState],
    ) -> Result<Option<Transfer>, TransferError> {
        let Some(origin) = &order.origin else { return Ok(None) };
        let filter = TransferFilter {
            issuer: Some(order.issuer.clone()),
            state: None,
            own: true,
            origin: Some(origin.as_str().to_owned()),
            before: None,
            limit: 1,
        };
        Ok(self.ledger.transfers(&filter).await?.pop().filter(|known| states.contains(&known.state)))
    }

    /// The account of this month by the platform's word of this moment.
    pub(super) async fn fresh(&self, issuer: &TaxNo) -> Result<Account, TransferError> {
        self.ledger.sync(issuer, &*self.bureau).await?;
        self.account(issuer).await
    }

    pub(super) async fn account(&self, issuer: &TaxNo) -> Result<Account, TransferError> {
        let period = self.period();
        let account = self.ledger.balance(issuer, period).await?;
        Ok(account.unwrap_or_else(|| Account::new(AccountKey { issuer: issuer.clone(), period }, self.now())))
    }
}
