//! Uploads that lack credit which the bureau still has: one download for all that wait, which then go on or are refused.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{Desk, Order, TransferError, Transfers, rounds::chunk};
use crate::{
    domain::{Money, Period, TaxNo},
    quota::{Refusal, Reservation, ReserveError, Settings, Upload},
    store::ledger::{Transfer, Way},
};

/// Who orders downloads for waiting uploads, in the audit log.
const ACTOR: &str = "gateway:on_demand";
/// How long a download waits for others that lack credit too, besides the time that the balance takes.
const GATHER: Duration = Duration::from_millis(20);
/// Who orders downloads when the low-water mark is passed.
const LOW_WATER: &str = "gateway:low_water";

/// The downloads that uploads wait for.
#[derive(Default)]
pub(super) struct Waiting {
    rounds: Mutex<HashMap<TaxNo, Round>>,
    /// When the low-water mark was last acted on.
    low: Mutex<HashMap<TaxNo, Instant>>,
}

/// One download that is under way for any number of uploads.
struct Round {
    /// What they need together.
    needed: Money,
    ended: watch::Receiver<Option<Result<(), String>>>,
}

impl Transfers {
    /// Holds the credit of all invoices of the upload or of none, committed when this returns. Where the unit wants
    /// that, a shortage that the bureau could cover starts one download for all uploads that wait.
    ///
    /// # Errors
    /// The gate's refusal, or that the database failed.
    pub async fn reserve(&self, mut upload: Upload) -> Result<Reservation, ReserveError> {
        let settings = self.settings(&upload.issuer);
        upload.allowance_returns = settings.allowance_returns;
        let deadline = Instant::now() + self.0.ledger.0.config.load().top_up_wait;
        loop {
            let refusal = match self.0.ledger.reserve(&upload, &*self.0.bureau).await {
                Ok(reservation) => {
                    self.watch_low_water(&reservation, &settings);
                    return Ok(reservation);
                }
                Err(ReserveError::Refused(refusal)) => refusal,
                Err(error) => return Err(error),
            };
            let Some(needed) = self.coverable(&refusal, &settings) else { return Err(refusal.into()) };
            let failed = match timeout_at(deadline, self.demand(&upload.issuer, needed)).await {
                Ok(Ok(())) if Instant::now() < deadline => continue,
                Ok(Err(reason)) => reason,
                Ok(Ok(())) | Err(_) => "等待下载超时".to_owned(),
            };
            return Err(refusal.after_top_up(failed).into());
        }
    }

    /// What the upload needs, when a download could help it.
    fn coverable(&self, refusal: &Refusal, settings: &Settings) -> Option<Money> {
        let Refusal::Short { period, available, needed, at_bureau, .. } = refusal else { return None };
        let short = needed.saturating_sub(*available);
        let enough = at_bureau.is_none_or(|at_bureau| at_bureau >= short);
        (settings.top_up_on_demand && enough && *period == self.0.period()).then_some(*needed)
    }

    /// Waits for the download that is under way, or starts one.
    async fn demand(&self, issuer: &TaxNo, needed: Money) -> Result<(), String> {
        let mut ended = {
            let mut rounds = self.0.demand.rounds();
            if let Some(round) = rounds.get_mut(issuer) {
                round.needed = round.needed.saturating_add(needed);
                round.ended.clone()
            } else {
                let (tell, ended) = watch::channel(None);
                rounds.insert(issuer.clone(), Round { needed, ended: ended.clone() });
                let (this, issuer) = (self.clone(), issuer.clone());
                tokio::spawn(async move {
                    let outcome = this.cover(&issuer).await.map_err(|error| chinese(&error));
                    this.0.demand.rounds().remove(&issuer);
                    tell.send_replace(Some(outcome));
                });
                ended
            }
        };
        let outcome = ended.wait_for(Option::is_some).await;
        outcome.ok().and_then(|outcome| outcome.clone()).unwrap_or_else(|| Err("下载中断".to_owned()))
    }

    /// Downloads what the uploads that wait lack.
    async fn cover(&self, issuer: &TaxNo) -> Result<(), TransferError> {
        let month = self.0.period();
        let account = self.0.fresh(issuer).await?;
        // those that come at the same time shall not need a download of their own
        tokio::time::sleep(GATHER).await;
        let needed = self.0.demand.rounds().get(issuer).map_or(Money::ZERO, |round| round.needed);
        let short = needed.saturating_sub(account.available());
        if short <= Money::ZERO {
            return Ok(());
        }
        let at_bureau = account.bureau_available.unwrap_or_default();
        let amount = chunk(&self.settings(issuer), &account, short).min(at_bureau);
        if amount <= Money::ZERO {
            return Err(TransferError::field("amount", "局端已无可下载额度"));
        }
        match self.download_for(issuer, amount, month).await {
            // the answer was lost: the same serial once more, while the uploads still wait
            Err(TransferError::Open(_)) => self.download_for(issuer, amount, month).await.map(drop),
            ended => ended.map(drop),
        }
    }

    async fn download_for(
        &self,
        issuer: &TaxNo,
        amount: Money,
        month: Period,
    ) -> Result<Transfer, TransferError> {
        let order = Order { issuer: issuer.clone(), origin: None, actor: ACTOR.to_owned() };
        self.run(order, Way::Download, amount, month).await
    }

    /// Tops up in the background when the reservation leaves less than the mark.
    fn watch_low_water(&self, reservation: &Reservation, settings: &Settings) {
        let (Some(left), Some(low_water)) = (reservation.left(), settings.low_water) else { return };
        if left >= low_water || !self.0.may_top_up(reservation.issuer()) {
            return;
        }
        let (this, issuer) = (self.clone(), reservation.issuer().clone());
        tokio::spawn(async move {
            if let Err(error) = this.top_up(&issuer, LOW_WATER).await {
                tracing::warn!(%issuer, %error, "credit is below the low-water mark and could not be topped up");
            }
        });
    }
}

impl Desk {
    /// Not more often than balances are asked for because of a shortage.
    fn may_top_up(&self, issuer: &TaxNo) -> bool {
        let mut low = self.demand.low.lock().unwrap_or_else(PoisonError::into_inner);
        let cooldown = self.ledger.0.config.load().cooldown;
        if low.get(issuer).is_some_and(|last| last.elapsed() < cooldown) {
            return false;
        }
        low.insert(issuer.clone(), Instant::now());
        true
    }
}

impl Waiting {
    fn rounds(&self) -> MutexGuard<'_, HashMap<TaxNo, Round>> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a clerk may read about a download that failed.
fn chinese(error: &TransferError) -> String {
    match error {
        TransferError::Caller(_) => "该单位未登记或缺少密钥".to_owned(),
        TransferError::Field { reason, .. } => reason.clone(),
        TransferError::Open(_) => "平台应答不明，网关将以同一流水号重试".to_owned(),
        TransferError::Platform(ended) => ended.chinese(),
        TransferError::Store(_) => "数据库不可用".to_owned(),
    }
}
