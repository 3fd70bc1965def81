//! Summary confirmation (汇总确认): the company's totals of a month against the platform's.

use jiff::Timestamp;

use super::{Book, credit::day_of, invoices::Draft};
use crate::domain::{BEIJING, Money, Period, PlatformId, TaxNo, beijing_day};
use crate::simulator::refusal::{self, Refusal};

/// Taxpayer, platform id in lower case, month.
pub(super) type Key = (TaxNo, String, Period);

/// The key of a taxpayer's month on a platform.
#[must_use]
pub(super) fn key(tax_no: &TaxNo, platform_id: &PlatformId, period: Period) -> Key {
    (tax_no.clone(), platform_id.folded(), period)
}

/// The six figures; red amounts are negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// `lzfpsl`
    pub blue_count: i64,
    /// `lzfpje`
    pub blue_net: Money,
    /// `lzfpse`
    pub blue_tax: Money,
    /// `hzfpsl`
    pub red_count: i64,
    /// `hzfpje`
    pub red_net: Money,
    /// `hzfpse`
    pub red_tax: Money,
}

impl Totals {
    /// Counts one issued invoice.
    pub(super) const fn add(&mut self, invoice: &Draft) {
        let (count, net, tax) = if invoice.red {
            (&mut self.red_count, &mut self.red_net, &mut self.red_tax)
        } else {
            (&mut self.blue_count, &mut self.blue_net, &mut self.blue_tax)
        };
        *count += 1;
        *net = net.saturating_add(invoice.net);
        *tax = tax.saturating_add(invoice.tax);
    }

    /// The first figure that differs from the company's, named as the platform names it.
    fn first_difference(&self, sent: &Self) -> Option<Refusal> {
        let counts =
            [("蓝字数量", self.blue_count, sent.blue_count), ("红字数量", self.red_count, sent.red_count)]
                .map(|(what, ours, theirs)| (what, ours.to_string(), theirs.to_string()));
        let amounts = [
            ("蓝字金额", self.blue_net, sent.blue_net),
            ("蓝字税额", self.blue_tax, sent.blue_tax),
            ("红字金额", self.red_net, sent.red_net),
            ("红字税额", self.red_tax, sent.red_tax),
        ]
        .map(|(what, ours, theirs)| (what, ours.to_string(), theirs.to_string()));
        let mut figures = counts.into_iter().chain(amounts);
        let (what, ours, theirs) = figures.find(|(_, ours, theirs)| ours != theirs)?;
        Some(Refusal::data(refusal::totals_differ(what, &ours, &theirs)))
    }
}

/// Where a month stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfirmationState {
    /// By the platform, on the 13th.
    Automatic,
    /// Confirmed, then cancelled.
    Cancelled,
    /// By the company.
    Confirmed,
}

/// One month's confirmation.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Confirmation {
    /// Where it stands.
    pub state: ConfirmationState,
    /// The figures that were confirmed last.
    pub totals: Totals,
    /// When it came to stand there.
    pub at: Timestamp,
}

impl Book {
    /// The platform's totals of a month.
    #[must_use]
    pub fn totals(&self, tax_no: &TaxNo, platform_id: &PlatformId, period: Period) -> Totals {
        self.totals.get(&key(tax_no, platform_id, period)).copied().unwrap_or_default()
    }

    /// Confirms last month if the totals equal the platform's. Doing it twice does no harm.
    ///
    /// # Errors
    /// Another month, too late, or a figure differs.
    pub fn confirm(
        &mut self,
        tax_no: &TaxNo,
        platform_id: &PlatformId,
        period: Period,
        sent: &Totals,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.check_changeable(period, now)?;
        let totals = self.totals(tax_no, platform_id, period);
        if let Some(difference) = totals.first_difference(sent) {
            return Err(difference);
        }
        let confirmation = Confirmation { state: ConfirmationState::Confirmed, totals, at: now };
        self.confirmations.insert(key(tax_no, platform_id, period), confirmation);
        Ok(())
    }

    /// Cancels last month's confirmation.
    ///
    /// # Errors
    /// Another month, too late, or it is not confirmed.
    pub fn cancel(
        &mut self,
        tax_no: &TaxNo,
        platform_id: &PlatformId,
        period: Period,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.check_changeable(period, now)?;
        let confirmed = self
            .confirmations
            .get_mut(&key(tax_no, platform_id, period))
            .filter(|confirmation| confirmation.state == ConfirmationState::Confirmed)
            .ok_or_else(|| Refusal::data(refusal::NOT_CONFIRMED))?;
        confirmed.state = ConfirmationState::Cancelled;
        confirmed.at = now;
        Ok(())
    }

    /// Last month may be confirmed and cancelled until the 13th, 0:00.
    fn check_changeable(&self, period: Period, now: Timestamp) -> Result<(), Refusal> {
        let last = Period::at(now).previous();
        if period > last {
            return Err(Refusal::field("所属月份尚未结束，不允许上传汇总确认信息"));
        }
        if period < last || self.is_past_closing(now) {
            return Err(Refusal::field("已超过汇总确认截止时间，该月份已由系统自动确认"));
        }
        Ok(())
    }

    /// Whether the month takes no more uploads: confirmed, or over since the 13th.
    pub(super) fn is_closed(
        &self,
        tax_no: &TaxNo,
        platform_id: &PlatformId,
        period: Period,
        now: Timestamp,
    ) -> bool {
        let last = Period::at(now).previous();
        period < last
            || (period == last && self.is_past_closing(now))
            || self.is_confirmed(&key(tax_no, platform_id, period))
    }

    /// Whether last month is confirmed, or there was no need.
    pub(super) fn is_confirmed_everywhere(&self, tax_no: &TaxNo, period: Period) -> bool {
        if period <= self.closed_until {
            return true;
        }
        let platform_id = self.world.by_tax_no(tax_no).map(|unit| &unit.access_platform_id);
        let own = platform_id.is_some_and(|id| self.is_confirmed(&key(tax_no, id, period)));
        let mut others = self.totals.keys().filter(|(owner, _, month)| owner == tax_no && *month == period);
        own && others.all(|key| self.is_confirmed(key))
    }

    fn is_confirmed(&self, key: &Key) -> bool {
        self.confirmations
            .get(key)
            .is_some_and(|confirmation| confirmation.state != ConfirmationState::Cancelled)
    }

    fn is_past_closing(&self, now: Timestamp) -> bool {
        beijing_day(now) >= day_of(Period::at(now), self.rules.closing_day)
    }

    /// Confirms what the platform has of every month whose 13th has come.
    pub(super) fn close_months(&mut self, now: Timestamp) {
        loop {
            let month = self.closed_until.next();
            let closing = day_of(month.next(), self.rules.closing_day);
            if beijing_day(now) < closing {
                return;
            }
            let at = BEIJING.to_timestamp(closing.at(0, 0, 0, 0)).unwrap_or(now);
            self.close(month, at);
            self.closed_until = month;
        }
    }

    fn close(&mut self, month: Period, at: Timestamp) {
        let units = self.world.units.iter().map(|unit| key(&unit.tax_no, &unit.access_platform_id, month));
        let issued = self.totals.keys().filter(|(_, _, period)| *period == month).cloned();
        let keys: Vec<Key> = units.chain(issued).collect();
        for key in keys {
            if !self.is_confirmed(&key) {
                let totals = self.totals.get(&key).copied().unwrap_or_default();
                let confirmation = Confirmation { state: ConfirmationState::Automatic, totals, at };
                self.confirmations.insert(key, confirmation);
            }
        }
    }
}
