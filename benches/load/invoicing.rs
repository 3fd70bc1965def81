//! What an invoicing system writes: its companies, their keys, invoices.

use std::path::Path;

use anyhow::Context;
use jiff::{Timestamp, tz};
use leqi_gateway::{
    domain::{Money, PlatformId, ProvinceCode, TaxNo},
    leqi::{self, Sm4Key},
};
use serde_json::{Value, json};

/// Net amount of every invoice in fen; 13 % tax come on top.
const NET: i64 = 100;

/// A unit as `units.json` of the simulated platform lists it.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct Unit {
    /// Its tax number.
    pub(crate) tax_no: TaxNo,
    /// Its name.
    pub(crate) name: String,
    /// Its platform id.
    pub(crate) platform_id: PlatformId,
    /// The platform id of its access unit.
    pub(crate) access_platform_id: PlatformId,
    /// Its provincial tax authority.
    pub(crate) province_code: ProvinceCode,
    /// The key, of access units.
    sm4_key: Option<String>,
}

/// A company that calls, with the key of its access unit.
#[derive(Clone)]
pub(crate) struct Company {
    /// Who it is.
    pub(crate) unit: Unit,
    /// What its bodies are encrypted with.
    pub(crate) key: Sm4Key,
}

impl Company {
    /// The companies of a file, in its order.
    pub(crate) fn all(file: &Path) -> anyhow::Result<Vec<Self>> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let units: Vec<Unit> = serde_json::from_str(&text)?;
        let key_of = |unit: &Unit| {
            let access = units.iter().find(|other| other.platform_id == unit.access_platform_id);
            access.and_then(|access| access.sm4_key.as_deref()).context("an access unit has no key")
        };
        let company = |unit: &Unit| {
            let key = Sm4Key::from_hex(key_of(unit)?).map_err(|error| anyhow::anyhow!("{error}"))?;
            Ok(Self { unit: unit.clone(), key })
        };
        units.iter().map(company).collect()
    }

    /// A body with this JSON.
    pub(crate) fn encrypt(&self, json: &Value) -> Vec<u8> {
        leqi::write_body(&self.key, json.to_string().as_bytes())
    }

    /// One invoice of one line, with a remark that makes its JSON as long as `size` if it is shorter.
    pub(crate) fn invoice(&self, number: &str, date: &str, size: usize) -> Value {
        let yuan = |fen: i64| Money::from_fen(fen).to_string();
        let tax = NET * 13 / 100;
        let mut invoice = json!({
            "fphm": number, "lzfpbz": "0", "fppz": "01",
            "xsfnsrsbh": self.unit.tax_no, "xsfmc": self.unit.name,
            "gmfnsrsbh": "91350100M000100Y43", "gmfmc": "购买方公司",
            "hjje": yuan(NET), "hjse": yuan(tax), "jshj": yuan(NET + tax), "kprq": date,
            "ptbh": self.unit.access_platform_id, "qyDm": self.unit.province_code, "sgfplxDm": "", "bz": "",
            "fpmxList": [{ "mxxh": "1", "xmmc": "*信息技术服务*技术服务", "je": yuan(NET), "slv": "0.13",
                           "se": yuan(tax), "sphfwssflhbbm": "3040201010000000000", "yhzcbs": "" }],
        });
        let missing = size.saturating_sub(invoice.to_string().len());
        invoice["bz"] = json!("x".repeat(missing));
        invoice
    }
}

/// Now, as invoices write it.
pub(crate) fn now() -> String {
    tz::Offset::constant(8).to_datetime(Timestamp::now()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Batches of invoices with numbers that count up; for a platform that does not look at them.
pub(crate) struct Uploads {
    company: Company,
    invoices: u64,
    size: usize,
    next: u64,
    date: String,
}

impl Uploads {
    /// Batches of so many invoices with bodies of at least `size` bytes. Numbers begin at the present second, so that
    /// no two runs share one.
    pub(crate) fn new(company: Company, invoices: u64, size: usize) -> anyhow::Result<Self> {
        let seconds = u64::try_from(Timestamp::now().as_second())?;
        Ok(Self { company, invoices, size, next: seconds * 100_000, date: now() })
    }

    /// The next batch, encrypted.
    pub(crate) fn next_body(&mut self) -> Vec<u8> {
        // base64 makes four bytes of three; a bracket or comma for each invoice
        let share = self.size * 3 / 4 / usize::try_from(self.invoices).unwrap_or(1).max(1) - 2;
        let year = self.date.get(2..4).unwrap_or("26").to_owned();
        let province = self.company.unit.province_code.as_str().get(1..3).unwrap_or("44").to_owned();
        let batch: Vec<Value> = (0..self.invoices)
            .map(|_| {
                self.next += 1;
                self.company.invoice(&format!("{year}{province}7{:015}", self.next), &self.date, share)
            })
            .collect();
        self.company.encrypt(&json!(batch))
    }
}
