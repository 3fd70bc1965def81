//! Uploads of invoices as an invoicing system writes them: every batch with numbers of its own, encrypted.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use jiff::{Timestamp, tz};
use leqi_gateway::{
    domain::{Money, PlatformId, ProvinceCode, TaxNo},
    leqi::{self, Sm4Key},
};
use serde_json::{Value, json};

/// A unit as `units.json` of the simulated platform lists it.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct Unit {
    /// Its tax number.
    pub tax_no: TaxNo,
    /// Its name.
    pub name: String,
    /// Its platform id.
    pub platform_id: PlatformId,
    /// The platform id of its access unit.
    pub access_platform_id: PlatformId,
    /// Its provincial tax authority.
    pub province_code: ProvinceCode,
    /// The key, of access units.
    pub sm4_key: Option<String>,
}

/// The units of a file, in its order.
pub(crate) fn units(file: &Path) -> anyhow::Result<Vec<Unit>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(serde_json::from_str(&text)?)
}

/// The key of the access unit that a unit calls through.
pub(crate) fn key_of(units: &[Unit], unit: &Unit) -> anyhow::Result<Sm4Key> {
    let access = units.iter().find(|other| other.platform_id == unit.access_platform_id);
    let key = access.and_then(|access| access.sm4_key.as_deref()).context("the access unit has no key")?;
    Sm4Key::from_hex(key).map_err(|error| anyhow::anyhow!("{error}"))
}

/// Makes bodies of uploads.
pub(crate) struct Uploads {
    unit: Unit,
    key: Sm4Key,
    invoices: u64,
    size: usize,
    next: u64,
    date: Arc<str>,
}

impl Uploads {
    /// Batches of so many invoices with bodies of at least `size` bytes. Numbers begin at the present second, so that
    /// no two runs share one.
    pub(crate) fn new(units: &[Unit], invoices: u64, size: usize) -> anyhow::Result<Self> {
        let unit = units.last().context("there is no unit")?.clone();
        let now = Timestamp::now();
        let seconds = u64::try_from(now.as_second())?;
        let beijing = tz::Offset::constant(8).to_datetime(now);
        Ok(Self {
            key: key_of(units, &unit)?,
            unit,
            invoices,
            size,
            next: seconds * 100_000,
            date: beijing.strftime("%Y-%m-%d %H:%M:%S").to_string().into(),
        })
    }

    /// The next batch, encrypted.
    pub(crate) fn next_body(&mut self) -> Vec<u8> {
        let batch: Vec<Value> = (0..self.invoices).map(|_| self.next_invoice()).collect();
        let json = json!(batch).to_string();
        leqi::write_body(&self.key, json.as_bytes())
    }

    /// One line of 1 yuan with 13 % tax, and a remark that fills it up to its share of the size.
    fn next_invoice(&mut self) -> Value {
        self.next += 1;
        let year = self.date.get(2..4).unwrap_or("26");
        let province = self.unit.province_code.as_str().get(1..3).unwrap_or("44");
        let mut invoice = json!({
            "fphm": format!("{year}{province}7{:015}", self.next), "lzfpbz": "0", "fppz": "01",
            "xsfnsrsbh": self.unit.tax_no, "xsfmc": self.unit.name,
            "gmfnsrsbh": "91350100M000100Y43", "gmfmc": "购买方公司",
            "hjje": yuan(100), "hjse": yuan(13), "jshj": yuan(113), "kprq": &*self.date,
            "ptbh": self.unit.access_platform_id, "qyDm": self.unit.province_code, "sgfplxDm": "", "bz": "",
            "fpmxList": [{ "mxxh": "1", "xmmc": "*信息技术服务*技术服务", "je": yuan(100), "slv": "0.13", "se": yuan(13),
                           "sphfwssflhbbm": "3040201010000000000", "yhzcbs": "" }],
        });
        // base64 makes four bytes of three
        let share = self.size * 3 / 4 / usize::try_from(self.invoices).unwrap_or(1).max(1);
        let missing = share.saturating_sub(invoice.to_string().len() + 2);
        invoice["bz"] = json!("x".repeat(missing));
        invoice
    }
}

fn yuan(fen: i64) -> String {
    Money::from_fen(fen).to_string()
}
