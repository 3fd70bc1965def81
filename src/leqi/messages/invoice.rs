//! Uploads of invoices: every service of the class `issue`.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{MessageError, loose, utf8};
use crate::domain::{BEIJING, Invalid, InvoiceNo, Money, PlatformId, parse_beijing};

/// What the gateway reads of an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invoice {
    /// `fphm`: its number.
    #[serde(rename = "fphm")]
    pub invoice_no: InvoiceNo,
    /// `lzfpbz`: red (1) or blue (0). Where absent, a negative net amount says red.
    #[serde(rename = "lzfpbz", serialize_with = "write_colour")]
    pub red: bool,
    /// `fppz`: its kind, `01` special or `02` ordinary; empty when absent.
    #[serde(rename = "fppz")]
    pub kind: String,
    /// `xsfnsrsbh`: the seller's tax number, as written.
    #[serde(rename = "xsfnsrsbh", skip_serializing_if = "Option::is_none")]
    pub seller: Option<String>,
    /// `gmfnsrsbh`: the buyer's tax number, as written.
    #[serde(rename = "gmfnsrsbh", skip_serializing_if = "Option::is_none")]
    pub buyer: Option<String>,
    /// `hjje`: the net amount.
    #[serde(rename = "hjje")]
    pub net: Money,
    /// `hjse`: the tax; zero when absent.
    #[serde(rename = "hjse")]
    pub tax: Money,
    /// `jshj`: the gross amount.
    #[serde(rename = "jshj", skip_serializing_if = "Option::is_none")]
    pub gross: Option<Money>,
    /// `kprq`: when it was issued, Beijing time on the wire.
    #[serde(rename = "kprq", serialize_with = "write_time")]
    pub issued_at: Timestamp,
    /// `ptbh`: the access unit's platform id.
    #[serde(rename = "ptbh", skip_serializing_if = "Option::is_none")]
    pub platform_id: Option<PlatformId>,
    /// `qyDm`: the province code, as written.
    #[serde(rename = "qyDm", skip_serializing_if = "Option::is_none")]
    pub province: Option<String>,
    /// `sgfplxDm`: the purchase type; only purchase invoices, whose issuing party is the buyer, have one.
    #[serde(rename = "sgfplxDm", skip_serializing_if = "Option::is_none")]
    pub purchase_type: Option<String>,
    /// `dylzfphm`: the blue invoice that a red one reverses, as written.
    #[serde(rename = "dylzfphm", skip_serializing_if = "Option::is_none")]
    pub reversed_invoice_no: Option<String>,
    /// `hzqrxxdbh`: the number of the red-letter confirmation.
    #[serde(rename = "hzqrxxdbh", skip_serializing_if = "Option::is_none")]
    pub red_letter_no: Option<String>,
    /// `hzqrduuid`: its UUID.
    #[serde(rename = "hzqrduuid", skip_serializing_if = "Option::is_none")]
    pub red_letter_uuid: Option<String>,
    /// `chyydm`: why it is red, `04` for a sales allowance (销售折让). The name is our reading: the sandbox guide has it
    /// in the red-letter confirmation.
    #[serde(rename = "chyydm", skip_serializing_if = "Option::is_none")]
    pub red_reason: Option<String>,
    /// `fpmxList`: its lines; empty when absent.
    #[serde(rename = "fpmxList")]
    pub lines: Vec<InvoiceLine>,
}

/// What the gateway reads of an invoice's line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InvoiceLine {
    /// `je`: the net amount.
    #[serde(rename = "je")]
    pub net: Money,
    /// `se`: the tax.
    #[serde(rename = "se", skip_serializing_if = "Option::is_none")]
    pub tax: Option<Money>,
    /// `yhzcbs`: the mark of tax privileges; `04` is not taxable.
    #[serde(rename = "yhzcbs", skip_serializing_if = "Option::is_none")]
    pub tax_exempt_mark: Option<String>,
    /// `sphfwssflhbbm`: the code of the goods or services, 19 digits.
    #[serde(rename = "sphfwssflhbbm", skip_serializing_if = "Option::is_none")]
    pub goods_code: Option<String>,
}

/// A field of an invoice that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invoice {} ({}): {field}: {reason}", index + 1, invoice_no.as_deref().unwrap_or("number unknown"))]
pub struct InvoiceError {
    /// Which invoice of the upload, from 0.
    pub index: usize,
    /// Its number as written, if it has one.
    pub invoice_no: Option<String>,
    /// The field's name on the wire.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads the invoices of an upload: an array, one invoice as an object, or an object that holds the array.
///
/// # Errors
/// When there is no invoice, or the first field that cannot be read.
pub fn read_invoices(json: &[u8]) -> Result<Vec<Invoice>, MessageError> {
    let wire = find(utf8(json)?, SEARCH_LEVELS)?.ok_or(MessageError::NoInvoices)?;
    if wire.is_empty() {
        return Err(MessageError::NoInvoices);
    }
    wire.iter().enumerate().map(|(index, wire)| Ok(wire.read(index)?)).collect()
}

/// Whether a body looks like an upload of invoices, whatever its service is called: something in it has `fphm`,
/// `xsfnsrsbh`, `hjje` and `lzfpbz`.
#[must_use]
pub fn looks_like_invoices(json: &[u8]) -> bool {
    let Ok(text) = utf8(json) else { return false };
    let found = find(text, SEARCH_LEVELS).ok().flatten().unwrap_or_default();
    found.iter().any(|wire| {
        wire.fphm.is_some() && wire.xsfnsrsbh.is_some() && wire.hjje.is_some() && wire.lzfpbz.is_some()
    })
}

/// Writes an upload: an array.
#[must_use]
pub fn write_invoices(invoices: &[Invoice]) -> Vec<u8> {
    super::write(&invoices)
}

/// How many objects around the array are looked into.
const SEARCH_LEVELS: usize = 3;

/// An invoice's fields, unread: nothing is copied until the field is asked for, and unknown ones are passed over.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default)]
    fphm: Option<&'a RawValue>,
    #[serde(borrow, default)]
    lzfpbz: Option<&'a RawValue>,
    #[serde(borrow, default)]
    fppz: Option<&'a RawValue>,
    #[serde(borrow, default)]
    xsfnsrsbh: Option<&'a RawValue>,
    #[serde(borrow, default)]
    gmfnsrsbh: Option<&'a RawValue>,
    #[serde(borrow, default)]
    hjje: Option<&'a RawValue>,
    #[serde(borrow, default)]
    hjse: Option<&'a RawValue>,
    #[serde(borrow, default)]
    jshj: Option<&'a RawValue>,
    #[serde(borrow, default)]
    kprq: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ptbh: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "qyDm")]
    qydm: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "sgfplxDm")]
    sgfplxdm: Option<&'a RawValue>,
    #[serde(borrow, default)]
    dylzfphm: Option<&'a RawValue>,
    #[serde(borrow, default)]
    hzqrxxdbh: Option<&'a RawValue>,
    #[serde(borrow, default)]
    hzqrduuid: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "chyyDm")]
    chyydm: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "fpmxList")]
    lines: Option<Vec<WireLine<'a>>>,
}

/// A line's fields, unread.
#[derive(Deserialize)]
struct WireLine<'a> {
    #[serde(borrow, default)]
    je: Option<&'a RawValue>,
    #[serde(borrow, default)]
    se: Option<&'a RawValue>,
    #[serde(borrow, default)]
    yhzcbs: Option<&'a RawValue>,
    #[serde(borrow, default)]
    sphfwssflhbbm: Option<&'a RawValue>,
}

/// Finds the invoices in an array, in the object itself, or in what the object holds.
fn find(text: &str, levels: usize) -> Result<Option<Vec<Wire<'_>>>, MessageError> {
    let text = text.trim_start();
    if text.starts_with('[') {
        return Ok(Some(serde_json::from_str(text)?));
    }
    if !text.starts_with('{') || levels == 0 {
        return Ok(None);
    }
    let wire: Wire<'_> = serde_json::from_str(text)?;
    if wire.fphm.is_some() || wire.hjje.is_some() {
        return Ok(Some(vec![wire]));
    }
    let held: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text)?;
    for raw in held.values() {
        // an array of something else (texts, numbers) is no error, only not what is looked for
        let Ok(Some(found)) = find(raw.get(), levels - 1) else { continue };
        if found.iter().any(|wire| wire.fphm.is_some()) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

impl Wire<'_> {
    fn read(&self, index: usize) -> Result<Invoice, InvoiceError> {
        let failed = |field: &'static str, why: Invalid| InvoiceError {
            index,
            invoice_no: owned(self.fphm),
            field,
            reason: why.to_string(),
        };
        let net = needed(self.hjje, Money::parse).map_err(|why| failed("hjje", why))?;
        let lines = self.lines.iter().flatten().map(WireLine::read).collect::<Result<_, _>>();
        Ok(Invoice {
            invoice_no: needed(self.fphm, InvoiceNo::parse).map_err(|why| failed("fphm", why))?,
            red: self.colour(net).map_err(|why| failed("lzfpbz", why))?,
            kind: owned(self.fppz).unwrap_or_default(),
            seller: owned(self.xsfnsrsbh),
            buyer: owned(self.gmfnsrsbh),
            net,
            tax: optional(self.hjse, Money::parse).map_err(|why| failed("hjse", why))?.unwrap_or_default(),
            gross: optional(self.jshj, Money::parse).map_err(|why| failed("jshj", why))?,
            issued_at: needed(self.kprq, parse_beijing).map_err(|why| failed("kprq", why))?,
            platform_id: optional(self.ptbh, PlatformId::parse).map_err(|why| failed("ptbh", why))?,
            province: owned(self.qydm),
            purchase_type: owned(self.sgfplxdm),
            reversed_invoice_no: owned(self.dylzfphm),
            red_letter_no: owned(self.hzqrxxdbh),
            red_letter_uuid: owned(self.hzqrduuid),
            red_reason: owned(self.chyydm),
            lines: lines.map_err(|why| failed("fpmxList", why))?,
        })
    }

    fn colour(&self, net: Money) -> Result<bool, Invalid> {
        match self.lzfpbz.and_then(loose::unwrap).as_deref() {
            Some("0") => Ok(false),
            Some("1") => Ok(true),
            None => Ok(net < Money::ZERO),
            Some(_) => Err(Invalid::new("neither 0 (blue) nor 1 (red)")),
        }
    }
}

impl WireLine<'_> {
    fn read(&self) -> Result<InvoiceLine, Invalid> {
        Ok(InvoiceLine {
            net: optional(self.je, Money::parse)
                .map_err(|why| Invalid::with(format!("je: {why}")))?
                .unwrap_or_default(),
            // nothing is decided by a line's tax, so what cannot be read there stops no invoice
            tax: optional(self.se, Money::parse).unwrap_or_default(),
            tax_exempt_mark: owned(self.yhzcbs),
            goods_code: owned(self.sphfwssflhbbm),
        })
    }
}

fn owned(raw: Option<&RawValue>) -> Option<String> {
    raw.and_then(loose::unwrap).map(Cow::into_owned)
}

fn optional<T>(raw: Option<&RawValue>, parse: fn(&str) -> Result<T, Invalid>) -> Result<Option<T>, Invalid> {
    raw.and_then(loose::unwrap).map(|text| parse(&text)).transpose()
}

fn needed<T>(raw: Option<&RawValue>, parse: fn(&str) -> Result<T, Invalid>) -> Result<T, Invalid> {
    optional(raw, parse)?.ok_or(Invalid::new("missing"))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's `serialize_with` passes references")]
fn write_colour<S: Serializer>(red: &bool, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(if *red { "1" } else { "0" })
}

fn write_time<S: Serializer>(at: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(&BEIJING.to_datetime(*at).strftime("%Y-%m-%d %H:%M:%S"))
}
