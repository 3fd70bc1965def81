//! Red-letter confirmations (红字确认单): the agreement of seller and buyer that precedes a red invoice.

use jiff::Timestamp;

use super::{Book, Draft, State};
use crate::domain::{InvoiceNo, Money};
use crate::simulator::refusal::{self, Refusal};

/// Where a red-letter confirmation stands (`hzqrxxztDm`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RedLetterState {
    /// Both sides agree, or only one is needed: a red invoice may follow.
    Agreed,
    /// The buyer has not answered.
    Awaited,
    /// The buyer has refused.
    Refused,
    /// Its red invoice is issued.
    Used,
}

impl RedLetterState {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Agreed => "01",
            Self::Awaited => "02",
            Self::Refused => "05",
            Self::Used => "09",
        }
    }
}

/// One red-letter confirmation.
#[derive(Clone, Debug, serde::Serialize)]
pub struct RedLetter {
    /// Its uuid (`hzqrduuid`).
    pub uuid: String,
    /// Its number (`hzqrxxdbh`).
    pub number: String,
    /// The blue invoice.
    pub blue: InvoiceNo,
    /// The seller.
    pub seller: String,
    /// The buyer.
    pub buyer: Option<String>,
    /// Net amount to reverse, negative.
    pub net: Money,
    /// VAT to reverse, negative.
    pub tax: Money,
    /// Where it stands.
    pub state: RedLetterState,
    /// When it was applied for.
    pub at: Timestamp,
}

impl Book {
    /// Applies for the reversal of a blue invoice by its seller.
    ///
    /// # Errors
    /// When the books have no such blue invoice with so much left to reverse.
    pub fn apply_red_letter(
        &mut self,
        blue: &InvoiceNo,
        seller: &str,
        net: Money,
        tax: Money,
        now: Timestamp,
    ) -> Result<RedLetter, Refusal> {
        let invoice = self
            .invoices
            .get(blue)
            .filter(|invoice| invoice.state == State::Issued && !invoice.draft.red)
            .filter(|invoice| invoice.draft.seller == seller)
            .filter(|invoice| invoice.reversed.saturating_sub(net) <= invoice.draft.net)
            .ok_or_else(|| Refusal::data(refusal::NO_BLUE_INVOICE))?;
        let buyer = invoice.draft.buyer.clone();
        let state = if buyer.is_some() { RedLetterState::Awaited } else { RedLetterState::Agreed };
        let uuid = self.next_serial("hzqrduuid");
        let number = format!("{}{:08}", blue.as_str().get(..12).unwrap_or_default(), self.next_sequence());
        let seller = seller.to_owned();
        let letter = RedLetter { uuid, number, blue: blue.clone(), seller, buyer, net, tax, state, at: now };
        self.red_letters.insert(letter.uuid.clone(), letter.clone());
        Ok(letter)
    }

    /// The buyer's answer.
    ///
    /// # Errors
    /// When there is none that awaits an answer.
    pub fn answer_red_letter(&mut self, id: &str, agreed: bool) -> Result<RedLetter, Refusal> {
        let letter = self
            .red_letters
            .values_mut()
            .find(|letter| letter.uuid == id || letter.number == id)
            .filter(|letter| letter.state == RedLetterState::Awaited)
            .ok_or_else(|| Refusal::field("红字确认单不存在或无需确认"))?;
        letter.state = if agreed { RedLetterState::Agreed } else { RedLetterState::Refused };
        Ok(letter.clone())
    }

    /// Checks the red-letter confirmation that a red invoice names, and that it names one if it must.
    pub(super) fn check_red_letter(&self, draft: &Draft) -> Result<(), String> {
        let Some(id) = &draft.red_letter else {
            let required = self.rules.red_letter_required;
            return if required {
                Err("参数错误，红字确认单编号不能为空".to_owned())
            } else {
                Ok(())
            };
        };
        self.red_letters
            .values()
            .find(|letter| letter.uuid == *id || letter.number == *id)
            .filter(|letter| letter.state == RedLetterState::Agreed)
            .filter(|letter| Some(&letter.blue) == draft.reverses.as_ref())
            .filter(|letter| letter.net == draft.net && letter.tax == draft.tax)
            .map(|_| ())
            .ok_or_else(|| "参数错误，红字发票与红字确认单不一致".to_owned())
    }

    /// Marks the red-letter confirmation of an issued red invoice as used.
    pub(super) fn use_red_letter(&mut self, draft: &Draft) {
        let Some(id) = &draft.red_letter else { return };
        let mut letters = self.red_letters.values_mut();
        if let Some(letter) = letters.find(|letter| letter.uuid == *id || letter.number == *id) {
            letter.state = RedLetterState::Used;
        }
    }
}
