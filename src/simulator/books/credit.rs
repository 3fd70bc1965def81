//! Credit (授信额度) per taxpayer and month: what the bureau grants, what was downloaded, what invoices use.

use jiff::Timestamp;

use super::Book;
use crate::domain::{Day, Money, Period, TaxNo, beijing_day};
use crate::simulator::refusal::{self, Refusal};

/// One taxpayer's credit of one month, all amounts without VAT.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Account {
    /// The month's total (`bysxed`); [`Money::ON_DEMAND`] for on-demand taxpayers.
    pub month_total: Money,
    /// What the bureau still has for the month (`kysyed`).
    pub at_bureau: Money,
    /// What was downloaded and not returned (`yxzed`).
    pub downloaded: Money,
    /// What issued invoices use.
    pub used: Money,
    /// What accepted invoices that are not decided yet use (预扣).
    pub held: Money,
    /// The first and last invoice date that the credit is good for.
    pub valid: Option<(Day, Day)>,
    /// Whether the bureau has suspended the credit (`ztsxbz`): no downloads, but downloaded credit lasts.
    pub suspended: bool,
}

impl Account {
    fn granted(credit: Money) -> Self {
        Self {
            month_total: credit,
            at_bureau: credit,
            downloaded: Money::ZERO,
            used: Money::ZERO,
            held: Money::ZERO,
            valid: None,
            suspended: false,
        }
    }

    /// Downloaded credit that no uploaded invoice uses (`yxzwsyed`).
    #[must_use]
    pub const fn unused(&self) -> Money {
        self.downloaded.saturating_sub(self.used).saturating_sub(self.held)
    }

    /// Takes credit for accepted invoices.
    pub(super) const fn hold(&mut self, amount: Money) {
        self.held = self.held.saturating_add(amount);
    }

    /// Gives back what was held for an invoice that failed.
    pub(super) const fn release(&mut self, amount: Money) {
        self.held = self.held.saturating_sub(amount);
    }

    /// Books an invoice: what was held for it is used, or, for a red one, comes back.
    pub(super) const fn book(&mut self, held: Money, used: Money) {
        self.held = self.held.saturating_sub(held);
        self.used = self.used.saturating_add(used);
    }
}

/// Which way credit goes (`sqlx`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the bureau to the company.
    Download,
    /// Back.
    Return,
}

/// One download or return that was carried out.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Transfer {
    /// Whose credit.
    pub tax_no: TaxNo,
    /// Of which month.
    pub period: Period,
    /// Which way.
    pub direction: Direction,
    /// How much.
    pub amount: Money,
    /// When.
    pub at: Timestamp,
    /// The interval it was answered with.
    pub valid: (Day, Day),
}

impl Book {
    /// The account of the month, opened with the taxpayer's grant when it is first looked at.
    pub fn account(&mut self, tax_no: &TaxNo, period: Period) -> &mut Account {
        let credit = self.world.by_tax_no(tax_no).map_or(Money::ZERO, |unit| unit.credit);
        self.accounts.entry((tax_no.clone(), period)).or_insert_with(|| Account::granted(credit))
    }

    /// Downloads or returns credit of this month. The same serial with the same type and amount gives the original
    /// result (protocol.md §3).
    ///
    /// # Errors
    /// The serial was used for something else, the amount is not there, or the credit is suspended.
    pub fn transfer(
        &mut self,
        tax_no: &TaxNo,
        direction: Direction,
        amount: Money,
        serial: &str,
        now: Timestamp,
    ) -> Result<Transfer, Refusal> {
        if let Some(earlier) = self.transfers.get(serial) {
            let same = (&earlier.tax_no, earlier.direction, earlier.amount) == (tax_no, direction, amount);
            return if same {
                Ok(earlier.clone())
            } else {
                Err(Refusal::field("业务流水号已存在，且申请类型或申请额度与原请求不一致"))
            };
        }
        if amount <= Money::ZERO {
            return Err(Refusal::field("申请额度必须大于0"));
        }
        let period = Period::at(now);
        let valid = self.validity(tax_no, period, now);
        let account = self.account(tax_no, period);
        match direction {
            Direction::Download => account.download(amount, valid)?,
            Direction::Return => account.give_back(amount)?,
        }
        let valid = account.valid.unwrap_or(valid);
        let transfer = Transfer { tax_no: tax_no.clone(), period, direction, amount, at: now, valid };
        self.transfers.insert(serial.to_owned(), transfer.clone());
        Ok(transfer)
    }

    /// Extends this month's credit to the end of the month, which is possible once last month's VAT is filed.
    ///
    /// # Errors
    /// Last month is not confirmed (BD1004) or not filed, the month is another one, or it has no credit.
    pub fn extend_validity(
        &mut self,
        tax_no: &TaxNo,
        period: Period,
        now: Timestamp,
    ) -> Result<(Day, Day), Refusal> {
        let current = Period::at(now);
        if period != current {
            return Err(Refusal::data(refusal::PERIOD_FIXED));
        }
        if !self.is_confirmed_everywhere(tax_no, current.previous()) {
            return Err(Refusal::error(refusal::LAST_MONTH_OPEN.0, refusal::LAST_MONTH_OPEN.1));
        }
        if !self.is_filed(tax_no, current.previous(), now) {
            return Err(Refusal::data(refusal::PERIOD_FIXED));
        }
        let account = self.account(tax_no, period);
        let Some((from, _)) = account.valid else {
            return Err(Refusal::data(refusal::CREDIT_NOT_VALID));
        };
        let valid = (from, period.last_day());
        account.valid = Some(valid);
        Ok(valid)
    }

    /// Files the month's VAT.
    ///
    /// # Errors
    /// When the month is not confirmed.
    pub fn file(&mut self, tax_no: &TaxNo, period: Period) -> Result<(), Refusal> {
        if !self.is_confirmed_everywhere(tax_no, period) {
            return Err(Refusal::data(refusal::NOT_CONFIRMED));
        }
        self.filed.insert((tax_no.clone(), period));
        Ok(())
    }

    /// Whether the month's VAT is filed: said so, or its deadline is past.
    fn is_filed(&self, tax_no: &TaxNo, period: Period, now: Timestamp) -> bool {
        self.filed.contains(&(tax_no.clone(), period))
            || beijing_day(now) > day_of(period.next(), self.rules.filing_day)
    }

    /// The interval of a download: this month until the filing deadline, until its end once last month is filed.
    fn validity(&self, tax_no: &TaxNo, period: Period, now: Timestamp) -> (Day, Day) {
        let end = if self.is_filed(tax_no, period.previous(), now) {
            period.last_day()
        } else {
            day_of(period, self.rules.filing_day)
        };
        (period.first_day(), end)
    }

    /// Checks that the blue amount fits into the credit of the month.
    ///
    /// # Errors
    /// The credit is short, or not good for this day.
    pub(super) fn check_credit(
        &mut self,
        issuer: &TaxNo,
        period: Period,
        needed: Money,
        days: &[Day],
    ) -> Result<(), Refusal> {
        if needed <= Money::ZERO {
            return Ok(());
        }
        let account = self.account(issuer, period);
        if needed > account.unused() {
            return Err(Refusal::data(refusal::CREDIT_SHORT));
        }
        match account.valid {
            Some((from, until)) if days.iter().all(|day| (from..=until).contains(day)) => Ok(()),
            _ => Err(Refusal::data(refusal::CREDIT_NOT_VALID)),
        }
    }
}

impl Account {
    fn download(&mut self, amount: Money, valid: (Day, Day)) -> Result<(), Refusal> {
        if self.suspended {
            return Err(Refusal::error(refusal::NOT_QUALIFIED.0, refusal::NOT_QUALIFIED.1));
        }
        if !self.at_bureau.is_on_demand() {
            if amount > self.at_bureau {
                return Err(Refusal::field("申请下载额度大于可用剩余额度"));
            }
            self.at_bureau = self.at_bureau.saturating_sub(amount);
        }
        self.downloaded = self.downloaded.saturating_add(amount);
        // replaces the interval of earlier downloads of the month (protocol.md §3)
        self.valid = Some(valid);
        Ok(())
    }

    fn give_back(&mut self, amount: Money) -> Result<(), Refusal> {
        if amount > self.unused() {
            return Err(Refusal::field("申请退回额度大于已下载未使用额度"));
        }
        self.downloaded = self.downloaded.saturating_sub(amount);
        if !self.at_bureau.is_on_demand() {
            self.at_bureau = self.at_bureau.saturating_add(amount);
        }
        Ok(())
    }
}

/// That day of the month, its last one if it has fewer.
pub(super) fn day_of(period: Period, day: i8) -> Day {
    let first = period.first_day();
    Day::new(first.year(), first.month(), day.clamp(1, period.last_day().day())).unwrap_or(first)
}
