//! One transfer from its note to its outcome. Its serial is on disk before it is sent; after a lost answer, a crash or
//! a restart the same serial, type and amount are sent again, and never another one while that is open.

use super::{Calls, Desk, Order, TransferError, Transfers};
use crate::{
    domain::{Money, Period, PlatformId, TaxNo},
    leqi::{
        client::CallEnded,
        messages::{Direction, QuotaTransfer, new_serial},
    },
    quota::{
        job::run,
        rules::{self, Begun, Observed},
    },
    store::{
        StoreError,
        ledger::{AccountKey, LedgerKeys, OwnTransfers, Transfer, TransferFilter, TransferState, Way},
    },
};

/// What became of the open transfers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resumed {
    /// Now known to be carried out.
    pub done: usize,
    /// Given up, because their month is over.
    pub expired: usize,
    /// Still open.
    pub open: usize,
    /// Now known not to be carried out.
    pub refused: usize,
}

/// Open transfers that are looked at in one go.
const PAGE: u32 = 1000;

impl Transfers {
    /// Carries out a transfer of the month that its amount was worked out for, to its end also when nobody waits for it
    /// any more.
    pub(super) async fn run(
        &self,
        order: Order,
        way: Way,
        amount: Money,
        month: Period,
    ) -> Result<Transfer, TransferError> {
        let this = self.clone();
        let task = tokio::spawn(async move { this.0.run(&order, way, amount, month).await });
        task.await.unwrap_or(Err(TransferError::Store(StoreError::Panicked)))
    }

    /// Sends open transfers of the gateway again: those whose answer was lost, and those that a stop interrupted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn resume(&self, calls: &mut Calls) -> Result<Resumed, StoreError> {
        let state = Some(TransferState::Open);
        let filter = TransferFilter { state, own: true, limit: PAGE, ..TransferFilter::default() };
        let mut resumed = Resumed::default();
        for open in self.list(&filter).await? {
            if !calls.take() {
                resumed.open += 1;
                continue;
            }
            let _seat = self.0.seats.take(&open.key.issuer).await;
            match self.0.again(&open.key.issuer).await {
                Ok(Some(transfer)) => match transfer.state {
                    TransferState::Done => resumed.done += 1,
                    TransferState::Refused => resumed.refused += 1,
                    TransferState::Expired | TransferState::Open => resumed.open += 1,
                },
                Ok(None) => resumed.expired += 1,
                Err(TransferError::Store(error)) => return Err(error),
                Err(error) => {
                    tracing::warn!(issuer = %open.key.issuer, serial = open.serial, %error, "a transfer is still open");
                    resumed.open += 1;
                }
            }
        }
        Ok(resumed)
    }
}

impl Desk {
    async fn run(
        &self,
        order: &Order,
        way: Way,
        amount: Money,
        month: Period,
    ) -> Result<Transfer, TransferError> {
        let _seat = self.seats.take(&order.issuer).await;
        // at most one earlier transfer is open, and after it our own turn comes
        for _ in 0..2 {
            match self.begin(order, way, amount, month).await? {
                Begun::Fresh(transfer) => return self.send(transfer).await,
                Begun::Known(transfer) => return Ok(transfer),
                Begun::Short { available } => {
                    let reason = format!("only {available} is left");
                    return Err(TransferError::field("amount", reason));
                }
                Begun::Open(earlier) => {
                    let ended = self.again(&order.issuer).await?;
                    // the same was asked for again because its outcome was not known
                    let same = (earlier.way, earlier.amount) == (way, amount);
                    match ended {
                        Some(ended) if ended.state == TransferState::Done && same => return Ok(ended),
                        Some(ended) if ended.state == TransferState::Open => {
                            return Err(TransferError::Open(Box::new(ended)));
                        }
                        Some(_) | None => {}
                    }
                }
            }
        }
        Err(TransferError::Platform(CallEnded::NotSent(
            "another transfer of this taxpayer is under way".to_owned(),
        )))
    }

    async fn begin(
        &self,
        order: &Order,
        way: Way,
        amount: Money,
        month: Period,
    ) -> Result<Begun, TransferError> {
        if month != self.period() {
            // sent now, it would move credit of another month
            let reason = format!("{month} has ended before the transfer could be sent");
            return Err(TransferError::Platform(CallEnded::NotSent(reason)));
        }
        let request = self.new_request(&order.issuer, way, amount)?;
        let key = AccountKey { issuer: order.issuer.clone(), period: month };
        let keys = self.own_keys(&key, order.origin.as_ref().map(|origin| origin.as_str().to_owned()));
        let (now, origin, actor) = (self.now(), order.origin.clone(), order.actor.clone());
        let decide =
            move |books: &mut _| rules::begin_own(books, &request, &key, origin.as_ref(), &actor, now);
        let begun = run(&*self.ledger.0.table, keys, decide, |begun| begun).await?;
        if let Begun::Fresh(transfer) = &begun {
            let detail = serde_json::json!({
                "serial": transfer.serial, "amount": transfer.amount, "period": transfer.key.period,
                "origin": transfer.origin,
            });
            self.note(&order.actor, &format!("quota.{}", way.as_str()), &order.issuer, &detail).await?;
        }
        Ok(begun)
    }

    /// Notes that the bureau has nothing to download for the order: also after a restart, and on every gateway.
    pub(super) async fn nothing_to_begin(&self, order: &Order, month: Period) -> Result<(), TransferError> {
        let Some(origin) = order.origin.clone() else { return Ok(()) };
        let request = self.new_request(&order.issuer, Way::Download, Money::ZERO)?;
        let key = AccountKey { issuer: order.issuer.clone(), period: month };
        let keys = self.own_keys(&key, Some(origin.as_str().to_owned()));
        let (now, actor) = (self.now(), order.actor.clone());
        let decide =
            move |books: &mut _| rules::nothing_to_begin(books, &request, &key, &origin, &actor, now);
        Ok(run(&*self.ledger.0.table, keys, decide, |()| ()).await?)
    }

    fn new_request(&self, issuer: &TaxNo, way: Way, amount: Money) -> Result<QuotaTransfer, TransferError> {
        let ids = self.bureau.ids(issuer)?;
        Ok(QuotaTransfer {
            tax_no: issuer.clone(),
            serial: new_serial(&ids.using, &ids.access),
            platform_id: ids.access,
            direction: direction(way),
            amount,
        })
    }

    /// Sends the issuer's open transfer again and gives it as it is then; None when its month is over.
    async fn again(&self, issuer: &TaxNo) -> Result<Option<Transfer>, TransferError> {
        self.bureau.ids(issuer)?;
        let key = AccountKey { issuer: issuer.clone(), period: self.period() };
        let (keys, now, issuer) = (self.own_keys(&key, None), self.now(), issuer.clone());
        let decide = move |books: &mut _| rules::resume_own(books, &issuer, &key, now);
        let Some(open) = run(&*self.ledger.0.table, keys, decide, |open| open).await? else {
            tracing::error!(
                "a transfer's month has ended before its outcome was known; it is not sent again"
            );
            return Ok(None);
        };
        match self.send(open.clone()).await {
            Ok(transfer) => Ok(Some(transfer)),
            Err(TransferError::Platform(CallEnded::Refused { .. })) => self.compare(&open).await.map(Some),
            Err(error) => Err(error),
        }
    }

    async fn send(&self, transfer: Transfer) -> Result<Transfer, TransferError> {
        let request = request_of(&transfer)?;
        let mark = self.ledger.mark(&request.tax_no).await?;
        let ended = self.bureau.transfer(&request).await;
        let labels = [transfer.way.as_str(), label(&ended)];
        self.ledger.0.metrics.transfers.with_label_values(&labels).inc();
        match ended {
            Ok(answer) => {
                let observed = self.ledger.observe_transfer(&request, &answer, &mark).await?;
                if observed == Observed::Overtaken
                    && let Err(error) = self.ledger.sync(&request.tax_no, &*self.bureau).await
                {
                    tracing::warn!(%error, issuer = %request.tax_no, "a transfer is done; its effect is known with the next balance");
                }
                self.reread(transfer).await
            }
            Err(CallEnded::Refused { code, text }) => {
                self.ledger.observe_transfer_refused(&request, &code, &text).await?;
                Err(CallEnded::Refused { code, text }.into())
            }
            Err(CallEnded::NotSent(reason)) => {
                self.ledger.observe_transfer_refused(&request, "GW-NOT-SENT", &reason).await?;
                Err(CallEnded::NotSent(reason).into())
            }
            Err(CallEnded::Unclear(reason)) => {
                self.ledger.observe_transfer_unclear(&request, &mark, &reason).await?;
                Err(TransferError::Open(Box::new(self.reread(transfer).await?)))
            }
        }
    }

    /// The platform refused to repeat the transfer: its balance may tell what became of the first sending.
    async fn compare(&self, open: &Transfer) -> Result<Transfer, TransferError> {
        let issuer = open.key.issuer.clone();
        let mark = self.ledger.mark(&issuer).await?;
        let seen = self.bureau.balance(&issuer).await;
        let seen = seen.map_err(|reason| TransferError::from(crate::quota::SyncError::Source(reason)))?;
        let mut keys = self.own_keys(&open.key, None);
        keys.accounts.push(AccountKey { issuer, period: seen.period });
        let (serial, now) = (open.serial.clone(), self.now());
        let decide = move |books: &mut _| rules::compare_transfer(books, &serial, &seen, &mark, now);
        let proven = run(&*self.ledger.0.table, keys, decide, |proven| proven).await?;
        if proven.is_none() {
            tracing::error!(issuer = %open.key.issuer, serial = open.serial, "the platform refuses to repeat a transfer, and its balance does not tell yet what became of it; it is sent again later");
        }
        self.reread(open.clone()).await
    }

    async fn reread(&self, transfer: Transfer) -> Result<Transfer, TransferError> {
        let keys = LedgerKeys { transfers: vec![transfer.serial.clone()], ..LedgerKeys::default() };
        let decide = move |books: &mut crate::store::ledger::Books| {
            books.transfer(&transfer.serial).cloned().unwrap_or_else(|| transfer.clone())
        };
        Ok(run(&*self.ledger.0.table, keys, decide, |transfer| transfer).await?)
    }

    fn own_keys(&self, key: &AccountKey, origin: Option<String>) -> LedgerKeys {
        LedgerKeys {
            accounts: vec![key.clone()],
            own_transfers: vec![OwnTransfers { issuer: key.issuer.clone(), origin }],
            ..LedgerKeys::default()
        }
    }
}

const fn direction(way: Way) -> Direction {
    match way {
        Way::Download => Direction::Download,
        Way::Return => Direction::Return,
    }
}

const fn label<T>(ended: &Result<T, CallEnded>) -> &'static str {
    match ended {
        Ok(_) => "done",
        Err(CallEnded::NotSent(_)) => "not_sent",
        Err(CallEnded::Refused { .. }) => "refused",
        Err(CallEnded::Unclear(_)) => "unclear",
    }
}

fn request_of(transfer: &Transfer) -> Result<QuotaTransfer, StoreError> {
    let platform_id = PlatformId::parse(&transfer.platform_id);
    Ok(QuotaTransfer {
        tax_no: transfer.key.issuer.clone(),
        platform_id: platform_id.map_err(|error| StoreError::value("platform_id", error))?,
        direction: direction(transfer.way),
        amount: transfer.amount,
        serial: transfer.serial.clone(),
    })
}
