//! Invoices: accepted now, decided later.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Book, later, summaries};
use crate::domain::{Day, InvoiceNo, Money, Period, PlatformId, TaxNo, beijing_day};
use crate::simulator::refusal::{self, Refusal};

/// What an invoice is in the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Refused after acceptance; its number may be used again.
    Failed,
    /// In the books for good.
    Issued,
    /// Accepted, not decided.
    Processing,
}

/// An invoice as it was uploaded, checked for form.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its number (`fphm`).
    pub number: InvoiceNo,
    /// Whether it is red (`lzfpbz` 1).
    pub red: bool,
    /// Whose credit it uses: the seller, for purchase invoices the buyer.
    pub issuer: TaxNo,
    /// The seller as written; natural persons have other numbers.
    pub seller: String,
    /// The buyer as written.
    pub buyer: Option<String>,
    /// Its date (`kprq`).
    pub dated: Timestamp,
    /// Net amount (`hjje`).
    pub net: Money,
    /// VAT (`hjse`).
    pub tax: Money,
    /// The net amount of its lines that count against credit; negative if red.
    pub countable: Money,
    /// The blue number that it reverses (`dylzfphm`).
    pub reverses: Option<InvoiceNo>,
    /// The red-letter confirmation that it names (`hzqrduuid` or `hzqrxxdbh`).
    pub red_letter: Option<String>,
    /// The access unit's id (`ptbh`).
    pub platform_id: PlatformId,
}

impl Draft {
    /// The month of its date.
    #[must_use]
    pub fn period(&self) -> Period {
        Period::at(self.dated)
    }

    /// The day of its date.
    #[must_use]
    pub fn day(&self) -> Day {
        beijing_day(self.dated)
    }

    /// What accepting it takes from the credit: nothing if red.
    fn holds(&self) -> Money {
        if self.red { Money::ZERO } else { self.countable.max(Money::ZERO) }
    }
}

/// An invoice in the books: the latest upload of its number.
#[derive(Clone, Debug)]
pub struct Invoice {
    /// What was uploaded.
    pub draft: Draft,
    /// What became of it.
    pub state: State,
    /// The acceptance serial of the upload that decides it.
    pub serial: String,
    /// How many times the number was accepted.
    pub uploads: u32,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
    /// Credit that it holds while it is processed.
    pub held: Money,
    /// Credit that it uses since it was issued; negative if it gave some back.
    pub used: Money,
    /// The month whose summary counts it.
    pub counted_in: Option<Period>,
    /// How much of it red invoices have reversed, positive.
    pub reversed: Money,
    /// Why it failed.
    pub message: Option<String>,
}

/// What an upload says about one of its invoices (`status`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The invoice.
    pub number: InvoiceNo,
    /// `00`, `01`, `02` or `03`.
    pub status: &'static str,
    /// Its text.
    pub message: String,
}

/// One accepted upload.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The using unit.
    pub using_id: PlatformId,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// One per invoice, in the order of the upload.
    pub decisions: Vec<Decision>,
    drafts: Vec<Draft>,
    /// A scripted failure for all of it.
    fail: Option<String>,
}

impl Book {
    /// Accepts the invoices, all or none, and takes their credit. `fail` scripts a failure; `stuck` leaves the upload
    /// undecided until its serial expires.
    ///
    /// # Errors
    /// What the platform refuses an upload for before accepting it.
    pub fn accept(
        &mut self,
        drafts: Vec<Draft>,
        using_id: &PlatformId,
        fail: Option<String>,
        stuck: bool,
        now: Timestamp,
    ) -> Result<String, Refusal> {
        for draft in &drafts {
            self.check(draft, now)?;
        }
        self.check_new(&drafts)?;
        self.take_credit(&drafts)?;
        let serial = self.next_serial("sllsh");
        for draft in &drafts {
            self.enter(draft, &serial, now);
        }
        let decisions = drafts.iter().map(|draft| processing(&draft.number)).collect();
        let delay = if stuck { self.rules.result_lifetime } else { self.rules.decision_delay };
        let due = (later(now, delay), self.next_sequence());
        self.due.insert(due, serial.clone());
        let fail = if stuck { Some(refusal::NO_RESULT.to_owned()) } else { fail };
        let upload = Upload { using_id: using_id.clone(), accepted_at: now, decisions, drafts, fail };
        self.uploads.insert(serial.clone(), upload);
        Ok(serial)
    }

    /// The decisions of an upload of this using unit.
    ///
    /// # Errors
    /// When the serial is unknown, another unit's or expired.
    pub fn results(
        &self,
        serial: &str,
        using_id: &PlatformId,
        now: Timestamp,
    ) -> Result<&[Decision], Refusal> {
        self.uploads
            .get(serial)
            .filter(|upload| upload.using_id == *using_id)
            .filter(|upload| now < later(upload.accepted_at, self.rules.result_lifetime))
            .map(|upload| upload.decisions.as_slice())
            .ok_or_else(|| Refusal::data(refusal::NO_RESULT))
    }

    /// Number, time limits and month of one invoice.
    fn check(&self, draft: &Draft, now: Timestamp) -> Result<(), Refusal> {
        let year = draft.day().year() % 100;
        if i16::from(draft.number.year()) != year || !self.owns_number(&draft.issuer, &draft.number) {
            return Err(Refusal::data(refusal::FOREIGN_NUMBER));
        }
        if draft.dated > now {
            return Err(Refusal::field("开票日期不能晚于当前时间"));
        }
        if self.is_closed(&draft.issuer, &draft.platform_id, draft.period(), now) {
            return Err(Refusal::data(refusal::MONTH_CONFIRMED));
        }
        if later(draft.dated, self.rules.upload_window) < now {
            return Err(Refusal::field("开票日期超过48小时，不允许上传"));
        }
        Ok(())
    }

    /// An upload of nothing but numbers that are issued already is refused at once; among others they are answered
    /// with status 03 later.
    fn check_new(&self, drafts: &[Draft]) -> Result<(), Refusal> {
        let issued = |draft: &&Draft| {
            self.invoices.get(&draft.number).is_some_and(|invoice| invoice.state == State::Issued)
        };
        if !drafts.iter().all(|draft| issued(&draft)) {
            return Ok(());
        }
        let numbers: Vec<&str> = drafts.iter().map(|draft| draft.number.as_str()).collect();
        Err(Refusal::data(refusal::already_exists(&numbers.join(","))))
    }

    /// Takes the credit of everything that is not in the books already.
    fn take_credit(&mut self, drafts: &[Draft]) -> Result<(), Refusal> {
        let mut needed: BTreeMap<(TaxNo, Period), (Money, Vec<Day>)> = BTreeMap::new();
        for draft in drafts.iter().filter(|draft| !self.is_taken(&draft.number)) {
            let (sum, days) = needed.entry((draft.issuer.clone(), draft.period())).or_default();
            if draft.holds() > Money::ZERO {
                *sum = sum.saturating_add(draft.holds());
                days.push(draft.day());
            }
        }
        for ((issuer, period), (amount, days)) in &needed {
            self.check_credit(issuer, *period, *amount, days)?;
        }
        for ((issuer, period), (amount, _)) in &needed {
            self.account(issuer, *period).hold(*amount);
        }
        Ok(())
    }

    /// Whether the number is issued or being processed, so that it costs nothing again.
    fn is_taken(&self, number: &InvoiceNo) -> bool {
        self.invoices.get(number).is_some_and(|invoice| invoice.state != State::Failed)
    }

    /// Enters an accepted invoice; one that is in the books already stays as it is.
    fn enter(&mut self, draft: &Draft, serial: &str, now: Timestamp) {
        let taken = self.is_taken(&draft.number);
        let uploads = self.invoices.get(&draft.number).map_or(0, |invoice| invoice.uploads) + 1;
        if let Some(invoice) = self.invoices.get_mut(&draft.number).filter(|_| taken) {
            invoice.uploads = uploads;
            return;
        }
        let invoice = Invoice {
            draft: draft.clone(),
            state: State::Processing,
            serial: serial.to_owned(),
            uploads,
            accepted_at: now,
            decided_at: None,
            held: draft.holds(),
            used: Money::ZERO,
            counted_in: None,
            reversed: Money::ZERO,
            message: None,
        };
        self.invoices.insert(draft.number.clone(), invoice);
    }

    /// Decides an upload whose time has come.
    pub(super) fn decide(&mut self, serial: &str, now: Timestamp) {
        let Some(mut upload) = self.uploads.remove(serial) else { return };
        let drafts = std::mem::take(&mut upload.drafts);
        upload.decisions =
            drafts.iter().map(|draft| self.decide_one(draft, serial, upload.fail.as_deref(), now)).collect();
        self.uploads.insert(serial.to_owned(), upload);
    }

    fn decide_one(&mut self, draft: &Draft, serial: &str, fail: Option<&str>, now: Timestamp) -> Decision {
        let issued_before =
            self.invoices.get(&draft.number).is_some_and(|invoice| invoice.state == State::Issued);
        if issued_before {
            let message = refusal::already_exists(draft.number.as_str());
            return Decision { number: draft.number.clone(), status: "03", message };
        }
        let mine = self.invoices.get(&draft.number).is_some_and(|invoice| invoice.serial == serial);
        let verdict = match fail {
            Some(text) => Err(text.to_owned()),
            // an earlier upload of the number failed after this one was accepted: it takes its place
            None if !mine => self.replace_failed(draft, serial, now).and_then(|()| self.judge(draft, now)),
            None => self.judge(draft, now),
        };
        match verdict {
            Ok(gives_back) => self.issue(draft, gives_back, now),
            Err(message) => self.fail(draft, serial, message, now),
        }
    }

    fn replace_failed(&mut self, draft: &Draft, serial: &str, now: Timestamp) -> Result<(), String> {
        self.take_credit(std::slice::from_ref(draft)).map_err(|refusal| refusal.text.into_owned())?;
        self.enter(draft, serial, now);
        Ok(())
    }

    /// What is only found out while the invoice is processed; for a red one, whether it gives credit back.
    fn judge(&self, draft: &Draft, now: Timestamp) -> Result<bool, String> {
        if self.is_closed(&draft.issuer, &draft.platform_id, draft.period(), now) {
            return Err(refusal::MONTH_CONFIRMED.to_owned());
        }
        if !draft.red {
            return Ok(false);
        }
        let blue = draft
            .reverses
            .as_ref()
            .and_then(|number| self.invoices.get(number))
            .filter(|blue| blue.state == State::Issued && !blue.draft.red)
            .filter(|blue| blue.draft.seller == draft.seller && blue.draft.buyer == draft.buyer)
            .filter(|blue| blue.reversed.saturating_sub(draft.net) <= blue.draft.net)
            .ok_or_else(|| refusal::NO_BLUE_INVOICE.to_owned())?;
        self.check_red_letter(draft)?;
        // protocol.md §4: credit comes back only within the blue invoice's month
        Ok(blue.draft.period() == draft.period())
    }

    fn issue(&mut self, draft: &Draft, gives_back: bool, now: Timestamp) -> Decision {
        let Some(invoice) = self.invoices.get_mut(&draft.number) else { return processing(&draft.number) };
        let used = if draft.red && !gives_back { Money::ZERO } else { invoice.draft.countable };
        let held = std::mem::take(&mut invoice.held);
        invoice.state = State::Issued;
        invoice.used = used;
        invoice.decided_at = Some(now);
        invoice.counted_in = Some(counted_in(draft.period(), invoice.accepted_at, now));
        let entered = invoice.clone();
        self.account(&draft.issuer, draft.period()).book(held, used);
        if let Some(blue) = draft.reverses.as_ref().and_then(|number| self.invoices.get_mut(number)) {
            blue.reversed = blue.reversed.saturating_sub(draft.net);
        }
        self.use_red_letter(draft);
        self.count(&entered);
        Decision { number: draft.number.clone(), status: "00", message: "开票成功".to_owned() }
    }

    fn fail(&mut self, draft: &Draft, serial: &str, message: String, now: Timestamp) -> Decision {
        let held = match self.invoices.get_mut(&draft.number) {
            Some(invoice) if invoice.serial == serial && invoice.state == State::Processing => {
                invoice.state = State::Failed;
                invoice.decided_at = Some(now);
                invoice.message = Some(message.clone());
                std::mem::take(&mut invoice.held)
            }
            _ => Money::ZERO,
        };
        self.account(&draft.issuer, draft.period()).release(held);
        Decision { number: draft.number.clone(), status: "02", message }
    }

    fn count(&mut self, invoice: &Invoice) {
        let Some(period) = invoice.counted_in else { return };
        let key = summaries::key(&invoice.draft.issuer, &invoice.draft.platform_id, period);
        self.totals.entry(key).or_default().add(&invoice.draft);
    }
}

fn processing(number: &InvoiceNo) -> Decision {
    Decision { number: number.clone(), status: "01", message: "处理中".to_owned() }
}

/// The month that counts the invoice. The platform books at the time at which it really issues: one uploaded before
/// the midnight that ends its month and issued after it counts for the next month (protocol.md §4).
fn counted_in(month: Period, accepted_at: Timestamp, issued_at: Timestamp) -> Period {
    if Period::at(accepted_at) == month && Period::at(issued_at) > month { month.next() } else { month }
}
