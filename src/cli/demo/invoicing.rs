//! An invoicing system as companies run it: builds messages, encrypts them, calls the gateway instead of the
//! platform, reads the answers.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    cli::http::Http,
    domain::{BEIJING, InvoiceNo, Money},
    leqi::{self, Sm4Key},
    simulator::world::Unit,
};

/// The capability under which everything is called: 数电票（基础版）自用.
const CAPABILITY: &str = "202007";

/// One call that was made.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) service: &'static str,
    pub(super) client_tid: String,
    pub(super) request_sha256: String,
    pub(super) answer_sha256: String,
    /// Whether the gateway refused it by itself.
    pub(super) refused: bool,
}

/// What the platform, or the gateway in its stead, said.
#[derive(Debug)]
pub(super) enum Said {
    /// `Data`, decrypted.
    Data(Value),
    /// `Error`.
    Error { code: String, message: String },
}

/// One company's invoicing system.
pub(super) struct Invoicing<'a> {
    pub(super) unit: &'a Unit,
    access: &'a Unit,
    key: Sm4Key,
    gateway: &'a Http,
    made: &'a Mutex<Vec<Made>>,
    numbers: Vec<InvoiceNo>,
}

/// An invoice to be uploaded.
pub(super) struct Draft<'a> {
    pub(super) number: InvoiceNo,
    pub(super) buyer: &'a str,
    pub(super) net: Money,
    /// The blue invoice and the red-letter confirmation, for a red one.
    pub(super) reverses: Option<(&'a InvoiceNo, &'a str)>,
}

impl<'a> Invoicing<'a> {
    pub(super) fn new(
        unit: &'a Unit,
        access: &'a Unit,
        gateway: &'a Http,
        made: &'a Mutex<Vec<Made>>,
    ) -> anyhow::Result<Self> {
        let key = Sm4Key::from_hex(access.sm4_key.as_deref().context("the access unit has no key")?)?;
        Ok(Self { unit, access, key, gateway, made, numbers: Vec::new() })
    }

    /// Calls a service.
    pub(super) async fn call(&self, service: &'static str, message: &Value) -> anyhow::Result<Said> {
        let number = self.made.lock().unwrap_or_else(PoisonError::into_inner).len();
        let client_tid = format!("demo-{number:06}");
        let body = leqi::write_body(&self.key, message.to_string().as_bytes());
        let request_sha256 = sha256(&body);
        let headers = [
            ("content-type", "application/json"),
            ("fwbm", service),
            ("nlbm", CAPABILITY),
            ("jrdwptbh", self.access.platform_id.as_str()),
            ("sydwptbh", self.unit.platform_id.as_str()),
            ("ylbm", ""),
            ("access_signature", ""),
            ("clientTid", client_tid.as_str()),
        ];
        let path = format!("/access/v2/invoke/{CAPABILITY}/{service}");
        let answer = self.gateway.send(Method::POST, &path, &headers, body).await?;
        let envelope = leqi::read_envelope(&answer.body)
            .with_context(|| format!("{service}: HTTP {}: the answer is no envelope", answer.status))?;
        let said = match &envelope.payload {
            leqi::Payload::Error { code, message } => {
                Said::Error { code: code.clone(), message: message.clone() }
            }
            leqi::Payload::Data(_) => {
                let clear = envelope.open(&self.key)?.context("the envelope is empty")?;
                Said::Data(serde_json::from_slice(&clear)?)
            }
            leqi::Payload::Text(text) => bail!("{service}: {text}"),
            leqi::Payload::Nothing => bail!("{service}: an empty answer"),
        };
        let refused = matches!(&said, Said::Error { code, .. } if code.starts_with("GW-"));
        let answer_sha256 = sha256(&answer.body);
        let made = Made { service, client_tid, request_sha256, answer_sha256, refused };
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(made);
        Ok(said)
    }

    /// Calls a service that must succeed; gives its `Data`.
    pub(super) async fn ask(&self, service: &'static str, message: &Value) -> anyhow::Result<Value> {
        match self.call(service, message).await? {
            Said::Data(data) if data["returncode"] == "00" => Ok(data),
            Said::Data(data) => bail!("{service}: {} {}", data["returncode"], data["returnmsg"]),
            Said::Error { code, message } => bail!("{service}: {code} {message}"),
        }
    }

    /// Downloads credit.
    pub(super) async fn download(&self, amount: Money, serial: u32) -> anyhow::Result<Value> {
        let message = json!({
            "nsrsbh": self.unit.tax_no,
            "ptbh": self.access.platform_id,
            "sqlx": "0",
            "sqed": amount,
            "ywlsh": self.serial(serial),
        });
        self.ask("XZTHSXED", &message).await
    }

    /// Fetches so many invoice numbers.
    pub(super) async fn fetch_numbers(&mut self, count: u32, serial: u32) -> anyhow::Result<()> {
        let message = json!({
            "nsrsbh": self.unit.tax_no, "lysl": count.to_string(), "ywlsh": self.serial(serial),
        });
        let data = self.ask("QDFPPLFM", &message).await?;
        let first = data["fpqshm"].as_str().context("the answer has no fpqshm")?;
        let (stem, tail) = first.split_at_checked(10).context("the number is too short")?;
        let start: u64 = tail.parse()?;
        let numbers = (0..u64::from(count)).map(|n| InvoiceNo::parse(&format!("{stem}{:010}", start + n)));
        self.numbers = numbers.rev().collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The next number that is not used yet.
    pub(super) fn number(&mut self) -> anyhow::Result<InvoiceNo> {
        self.numbers.pop().context("no invoice numbers are left")
    }

    /// Uploads invoices.
    pub(super) async fn upload(&self, drafts: &[Draft<'_>], now: Timestamp) -> anyhow::Result<Said> {
        let invoices: Vec<Value> = drafts.iter().map(|draft| self.invoice(draft, now)).collect();
        self.call("QDFPSC", &invoices.into()).await
    }

    /// Asks for the results of an upload: number and status of each invoice.
    pub(super) async fn results(&self, acceptance_no: &str) -> anyhow::Result<Vec<(String, String)>> {
        let data = self.ask("CXQDFPSCJG", &json!({"sllsh": acceptance_no})).await?;
        let rows = data["resultList"].as_array().context("the answer has no resultList")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(rows.iter().map(|row| (text(&row["fphm"]), text(&row["status"]))).collect())
    }

    fn invoice(&self, draft: &Draft<'_>, now: Timestamp) -> Value {
        let tax = Money::from_fen(draft.net.fen() * 13 / 100);
        let mut invoice = json!({
            "fphm": draft.number,
            "lzfpbz": if draft.reverses.is_some() { "1" } else { "0" },
            "fppz": "01",
            "xsfnsrsbh": self.unit.tax_no,
            "xsfmc": self.unit.name,
            "gmfnsrsbh": draft.buyer,
            "hjje": draft.net,
            "hjse": tax,
            "jshj": draft.net.saturating_add(tax),
            "kprq": BEIJING.to_datetime(now).strftime("%Y-%m-%d %H:%M:%S").to_string(),
            "ptbh": self.access.platform_id,
            "qyDm": self.unit.province_code,
            "fpmxList": [{
                "mxxh": "1", "xmmc": "*信息技术服务*软件维护", "sphfwssflhbbm": "3040201010000000000",
                "je": draft.net, "slv": "0.13", "se": tax,
            }],
        });
        if let Some((blue, letter)) = draft.reverses {
            invoice["dylzfphm"] = json!(blue);
            invoice["hzqrduuid"] = letter.into();
        }
        invoice
    }

    /// Using unit's id, access unit's id, 32 characters.
    fn serial(&self, number: u32) -> String {
        format!("{}{}{number:032x}", self.unit.platform_id, self.access.platform_id)
    }
}

impl Said {
    /// The acceptance serial of an upload.
    pub(super) fn accepted(&self) -> anyhow::Result<String> {
        match self {
            Self::Data(data) if data["returncode"] == "00" => {
                Ok(data["sllsh"].as_str().context("the answer has no sllsh")?.to_owned())
            }
            Self::Data(data) => bail!("the upload was refused: {}", data["returnmsg"]),
            Self::Error { code, message } => bail!("the upload was refused: {code} {message}"),
        }
    }

    /// The words of a refusal, with its code; `None` for a success.
    pub(super) fn refusal(&self) -> Option<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match self {
            Self::Data(data) if data["returncode"] == "00" => None,
            Self::Data(data) => Some((text(&data["returncode"]), text(&data["returnmsg"]))),
            Self::Error { code, message } => Some((code.clone(), message.clone())),
        }
    }
}

/// SHA-256 in hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
