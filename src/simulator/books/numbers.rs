//! Ranges of invoice numbers: given to one taxpayer, for one year.

use jiff::Timestamp;

use super::Book;
use crate::domain::{InvoiceNo, TaxNo, beijing_day};
use crate::simulator::refusal::Refusal;

/// A range that was given out.
#[derive(Clone, Debug, serde::Serialize)]
pub struct NumberRange {
    /// Whose.
    pub tax_no: TaxNo,
    /// Its first number.
    pub first: InvoiceNo,
    /// Its last number.
    pub last: InvoiceNo,
    /// How many numbers.
    pub count: u16,
    /// When it was given out.
    pub at: Timestamp,
}

/// The largest number of numbers that one call gets (protocol.md §3).
pub(super) const MOST_NUMBERS: i64 = 5000;

impl Book {
    /// Gives out so many numbers of this year; the same serial with the same count gives the same range.
    ///
    /// # Errors
    /// The count is out of range, or the serial was used for something else.
    pub fn give_numbers(
        &mut self,
        tax_no: &TaxNo,
        count: i64,
        serial: &str,
        now: Timestamp,
    ) -> Result<NumberRange, Refusal> {
        let count = u16::try_from(count)
            .ok()
            .filter(|count| (1..=MOST_NUMBERS).contains(&i64::from(*count)))
            .ok_or_else(|| Refusal::field("lysl应为1至5000"))?;
        if let Some(earlier) = self.range_requests.get(serial).and_then(|first| self.ranges.get(first)) {
            return if earlier.tax_no == *tax_no && earlier.count == count {
                Ok(earlier.clone())
            } else {
                Err(Refusal::field("业务流水号已存在，且领用数量与原请求不一致"))
            };
        }
        let range = self.new_range(tax_no, count, now)?;
        self.range_requests.insert(serial.to_owned(), range.first.clone());
        self.ranges.insert(range.first.clone(), range.clone());
        Ok(range)
    }

    /// Two digits of the year, two of the province, 7 for 乐企, then fifteen that count up.
    fn new_range(&mut self, tax_no: &TaxNo, count: u16, now: Timestamp) -> Result<NumberRange, Refusal> {
        let year = beijing_day(now).year() % 100;
        let province = self.world.by_tax_no(tax_no).map_or("000", |unit| unit.province_code.as_str());
        let prefix = format!("{year:02}{}7", province.get(1..3).unwrap_or("00"));
        let next = self.next_numbers.entry(prefix.clone()).or_insert(1);
        let from = *next;
        *next += u64::from(count);
        let number = |n: u64| {
            InvoiceNo::parse(&format!("{prefix}{n:015}")).map_err(|_| Refusal::field("可用号码已用完"))
        };
        let [first, last] = [number(from)?, number(from + u64::from(count) - 1)?];
        Ok(NumberRange { tax_no: tax_no.clone(), first, last, count, at: now })
    }

    /// Whether the number was given to this taxpayer.
    pub(super) fn owns_number(&self, tax_no: &TaxNo, number: &InvoiceNo) -> bool {
        self.ranges
            .range(..=number.clone())
            .next_back()
            .is_some_and(|(_, range)| range.last >= *number && range.tax_no == *tax_no)
    }
}
