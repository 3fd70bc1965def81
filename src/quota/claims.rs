//! What an upload asks of the ledger. Pure.

use std::{cmp::Ordering, collections::HashSet};

use jiff::Timestamp;

use super::Refusal;
use crate::{
    domain::{Day, InvoiceNo, Money, Period, ServiceCode, TaxNo, beijing_day},
    leqi::messages::{Invoice, InvoiceLine},
};

/// Invoices that one upload may hold (protocol.md §3).
pub const MAX_INVOICES: usize = 100;

/// What one invoice asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which invoice (`fphm`).
    pub invoice_no: InvoiceNo,
    /// Its own time (`kprq`).
    pub dated_at: Timestamp,
    /// Folded platform id (`ptbh`); empty when the message names none.
    pub platform_id: String,
    /// Whether it reverses another one.
    pub red: bool,
    /// Net amount (`hjje`).
    pub net: Money,
    /// Tax (`hjse`).
    pub tax: Money,
    /// The credit it uses, by the rules of protocol.md §4; of a red one, negative, what it would give back.
    pub credit: Money,
    /// The blue invoice that it reverses.
    pub reversed_no: Option<InvoiceNo>,
    /// Whether it is red for a sales allowance (销售折让, `chyydm` 04).
    pub allowance: bool,
}

impl Claim {
    /// The day it is dated, in Beijing.
    #[must_use]
    pub fn day(&self) -> Day {
        beijing_day(self.dated_at)
    }

    /// The month whose credit it uses.
    #[must_use]
    pub fn period(&self) -> Period {
        Period::at(self.dated_at)
    }
}

/// Reads the issuing party and the claims of an upload.
///
/// # Errors
/// What the platform would refuse whatever the credit is: no invoice or too many, a number twice or of another year,
/// more than one issuing party, amounts that cannot be booked.
pub fn claims(invoices: &[Invoice], service: &ServiceCode) -> Result<(TaxNo, Vec<Claim>), Refusal> {
    let first = invoices.first().ok_or(Refusal::Empty)?;
    if invoices.len() > MAX_INVOICES {
        return Err(Refusal::TooMany { count: invoices.len() });
    }
    let (issuer, _) = issuer(first, service)?;
    let mut numbers = HashSet::with_capacity(invoices.len());
    let mut claims = Vec::with_capacity(invoices.len());
    for invoice in invoices {
        if !numbers.insert(&invoice.invoice_no) {
            return Err(Refusal::Duplicate { invoice_no: invoice.invoice_no.clone() });
        }
        same_issuer(invoice, service, &issuer)?;
        claims.push(claim(invoice)?);
    }
    Ok((issuer, claims))
}

fn same_issuer(invoice: &Invoice, service: &ServiceCode, first: &TaxNo) -> Result<(), Refusal> {
    let (issuer, field) = issuer(invoice, service)?;
    if issuer == *first {
        return Ok(());
    }
    Err(Refusal::Issuers { invoice_no: invoice.invoice_no.clone(), issuer, first: first.clone(), field })
}

/// `chyydm` of a sales allowance.
const ALLOWANCE: &str = "04";

/// Services that upload purchase invoices, whatever their `sgfplxDm` says.
const PURCHASE_SERVICES: [&str; 3] = ["NCPSGFPSC", "GFSGFPSC", "FXKPTYFPSC"];

/// The seller, but the buyer for purchase invoices (收购), and the field that names it.
fn issuer(invoice: &Invoice, service: &ServiceCode) -> Result<(TaxNo, &'static str), Refusal> {
    let purchase = PURCHASE_SERVICES.contains(&service.as_str())
        || invoice.purchase_type.as_deref().is_some_and(|kind| !kind.is_empty());
    let (field, text) = if purchase { ("gmfnsrsbh", &invoice.buyer) } else { ("xsfnsrsbh", &invoice.seller) };
    let failed =
        |reason: String| Refusal::Field { invoice_no: invoice.invoice_no.to_string(), field, reason };
    let text = text.as_deref().ok_or_else(|| failed("missing".to_owned()))?;
    TaxNo::parse(text).map(|issuer| (issuer, field)).map_err(|error| failed(error.to_string()))
}

fn claim(invoice: &Invoice) -> Result<Claim, Refusal> {
    let invoice_no = invoice.invoice_no.clone();
    let wrong_sign = match (invoice.red, invoice.net.cmp(&Money::ZERO)) {
        (false, Ordering::Less) => Some("negative on a blue invoice"),
        (true, Ordering::Greater) => Some("positive on a red invoice"),
        _ => None,
    };
    if let Some(reason) = wrong_sign {
        let (invoice_no, reason) = (invoice_no.to_string(), reason.to_owned());
        return Err(Refusal::Field { invoice_no, field: "hjje", reason });
    }
    let credit = credit(invoice).ok_or_else(|| Refusal::Amount { invoice_no: invoice_no.clone() })?;
    // a paper invoice's number is no number of ours and no fault: nothing is given back for it
    let reversed = invoice.reversed_invoice_no.as_deref().filter(|_| invoice.red);
    let reversed_no = reversed.and_then(|number| InvoiceNo::parse(number).ok());
    let claim = Claim {
        invoice_no,
        dated_at: invoice.issued_at,
        platform_id: invoice.platform_id.as_ref().map(|id| id.folded()).unwrap_or_default(),
        red: invoice.red,
        net: invoice.net,
        tax: invoice.tax,
        credit,
        reversed_no,
        allowance: invoice.red && invoice.red_reason.as_deref() == Some(ALLOWANCE),
    };
    let date = claim.day();
    if i16::from(claim.invoice_no.year()) != date.year() % 100 {
        return Err(Refusal::NumberYear { invoice_no: claim.invoice_no, date });
    }
    Ok(claim)
}

/// Net amount less the lines that use none; positive on blue invoices, negative on red ones. None when it cannot be
/// booked.
fn credit(invoice: &Invoice) -> Option<Money> {
    let mut free = invoice.lines.iter().filter(|line| !uses_credit(line));
    let free = free.try_fold(Money::ZERO, |sum, line| sum.checked_add(line.net))?;
    let used = Money::from_fen(invoice.net.fen().checked_sub(free.fen())?);
    let limit = Money::ON_DEMAND.fen();
    if invoice.net.fen().abs() >= limit || invoice.tax.fen().abs() >= limit || used.fen().abs() >= limit {
        return None;
    }
    Some(if invoice.red { used.min(Money::ZERO) } else { used.max(Money::ZERO) })
}

/// A line that is not taxable (`yhzcbs` 04) uses no credit, unless it is of the sixteen kinds of goods that are sold
/// without tax being due at all (codes 601 to 616 followed by zeros).
fn uses_credit(line: &InvoiceLine) -> bool {
    line.tax_exempt_mark.as_deref() != Some("04") || line.goods_code.as_deref().is_some_and(is_prepaid_kind)
}

/// 6010000000000000000, 6020000000000000000 … 6160000000000000000: sixteen codes, steps of 10^16.
fn is_prepaid_kind(code: &str) -> bool {
    let kind = code.strip_suffix("0000000000000000").filter(|kind| kind.len() == 3);
    kind.and_then(|kind| kind.parse::<u16>().ok()).is_some_and(|kind| (601..=616).contains(&kind))
}
