//! A day of a large company: uploads of many invoices at the highest rate, each followed by the question for its results.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Either, Full};
use leqi_gateway::leqi;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::{
    connect::{Sender, Target, TargetArgs},
    invoicing::{self, Company},
    latency::Latencies,
};

const PREFIX: &str = "/access/v2/invoke/202007/";
/// Numbers that one call asks for, the most there are (protocol.md §3).
const RANGE: u64 = 5000;
/// The platform decides an upload after two seconds; its results are asked for after three.
const DECIDED: Duration = Duration::from_secs(3);

/// Uploads of many invoices as fast as they are answered, against the simulated platform
///
/// Prints `started` once there are credit and numbers, and at the end what was done.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// The companies, as the simulated platform writes them; the first one invoices
    #[arg(long, value_name = "FILE")]
    units: PathBuf,
    /// Invoices of each upload, at most 100
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    invoices: u64,
    /// Bytes of the body of each upload, at least
    #[arg(long, default_value_t = 400_000, value_name = "BYTES")]
    size: usize,
    /// Connections
    #[arg(long, default_value_t = 8, value_name = "NUMBER")]
    connections: u64,
    /// Seconds
    #[arg(long, default_value_t = 60, value_name = "NUMBER")]
    seconds: u64,
}

/// What all connections share.
struct Day {
    company: Company,
    target: Target,
    args: Args,
    serials: Cell<u64>,
    begun: Instant,
    end: Cell<Instant>,
    uploads: RefCell<Latencies>,
    results: RefCell<Latencies>,
    bytes: Cell<u64>,
    issued: Cell<u64>,
}

/// Runs until the time is over, then asks for the results that are left, and prints the figures.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let target = Target::new(&args.target, false)?;
    let company = Company::all(&args.units)?.into_iter().next().context("there is no unit")?;
    let now = Instant::now();
    let day = Rc::new(Day {
        company,
        target,
        args,
        serials: Cell::new(0),
        begun: now,
        end: Cell::new(now),
        uploads: RefCell::default(),
        results: RefCell::default(),
        bytes: Cell::new(0),
        issued: Cell::new(0),
    });
    let mut first = day.target.open().await.context("cannot connect")?;
    let unit = &day.company.unit;
    let order = json!({ "nsrsbh": unit.tax_no, "ptbh": unit.access_platform_id, "sqlx": "0", "sqed": "50000000.00",
                        "ywlsh": day.serial() });
    day.ask(&mut first, "XZTHSXED", &order).await?;
    let mut systems = Vec::new();
    for _ in 0..day.args.connections {
        systems.push((day.target.open().await.context("cannot connect")?, day.numbers(&mut first).await?));
    }
    println!("started");
    let begun = Instant::now();
    day.end.set(begun + Duration::from_secs(day.args.seconds));
    let local = LocalSet::new();
    let failed = Rc::new(RefCell::new(None));
    for (sender, numbers) in systems {
        let (day, failed) = (Rc::clone(&day), Rc::clone(&failed));
        local.spawn_local(async move {
            if let Err(error) = day.work(sender, numbers).await {
                failed.borrow_mut().get_or_insert(error);
            }
        });
    }
    local.await;
    if let Some(error) = failed.take() {
        return Err(error);
    }
    let uploads = day.uploads.borrow().count();
    println!(
        "{}",
        json!({
            "uploads": uploads, "invoices": uploads as u64 * day.args.invoices, "issued": day.issued.get(),
            "bytes": day.bytes.get(), "seconds": begun.elapsed().as_secs_f64(),
            "upload_us": day.uploads.borrow_mut().summary(), "result_us": day.results.borrow_mut().summary(),
        })
    );
    Ok(())
}

impl Day {
    /// One connection's uploads and questions.
    async fn work(&self, mut sender: Sender, mut numbers: std::ops::Range<u128>) -> anyhow::Result<()> {
        let mut accepted: VecDeque<(String, Instant)> = VecDeque::new();
        while Instant::now() < self.end.get() {
            let due = accepted.pop_front_if(|(_, since)| since.elapsed() > DECIDED);
            if let Some((acceptance, _)) = due {
                self.result(&mut sender, &acceptance).await?;
            }
            if numbers.end - numbers.start < u128::from(self.args.invoices) {
                numbers = self.numbers(&mut sender).await?;
            }
            let rest = numbers.start + u128::from(self.args.invoices);
            let acceptance = self.upload(&mut sender, numbers.start..rest).await?;
            numbers.start = rest;
            accepted.push_back((acceptance, Instant::now()));
        }
        for (acceptance, since) in accepted {
            tokio::time::sleep(DECIDED.saturating_sub(since.elapsed())).await;
            self.result(&mut sender, &acceptance).await?;
        }
        Ok(())
    }

    async fn upload(&self, sender: &mut Sender, numbers: std::ops::Range<u128>) -> anyhow::Result<String> {
        let date = invoicing::now();
        // base64 makes four bytes of three; a comma for each invoice
        let share = self.args.size * 3 / 4 / usize::try_from(self.args.invoices)? - 1;
        let batch: Vec<Value> =
            numbers.map(|number| self.company.invoice(&format!("{number:020}"), &date, share)).collect();
        let body = self.company.encrypt(&json!(batch));
        self.bytes.set(self.bytes.get() + body.len() as u64);
        let sent = Instant::now();
        let answer = self.send(sender, "QDFPSC", body).await?;
        self.uploads.borrow_mut().add(sent.elapsed());
        Ok(answer["sllsh"].as_str().context("an upload was not accepted")?.to_owned())
    }

    async fn result(&self, sender: &mut Sender, acceptance: &str) -> anyhow::Result<()> {
        let sent = Instant::now();
        let answer = self.ask(sender, "CXQDFPSCJG", &json!({ "sllsh": acceptance })).await?;
        self.results.borrow_mut().add(sent.elapsed());
        let rows = answer["resultList"].as_array().context("there is no resultList")?;
        let issued = rows.iter().filter(|row| row["status"] == "00").count();
        self.issued.set(self.issued.get() + issued as u64);
        Ok(())
    }

    /// A range of numbers of its own.
    async fn numbers(&self, sender: &mut Sender) -> anyhow::Result<std::ops::Range<u128>> {
        let unit = &self.company.unit;
        let request = json!({ "nsrsbh": unit.tax_no, "lysl": RANGE.to_string(), "ywlsh": self.serial() });
        let answer = self.ask(sender, "QDFPPLFM", &request).await?;
        let first: u128 = answer["fpqshm"].as_str().context("there is no fpqshm")?.parse()?;
        Ok(first..first + u128::from(RANGE))
    }

    /// A serial number (`ywlsh`) that no other run has.
    fn serial(&self) -> String {
        self.serials.set(self.serials.get() + 1);
        let unit = &self.company.unit;
        let run = jiff::Timestamp::now().as_microsecond();
        format!("{}{}{run:020}{:012}", unit.platform_id, unit.access_platform_id, self.serials.get())
    }

    async fn ask(&self, sender: &mut Sender, service: &str, request: &Value) -> anyhow::Result<Value> {
        self.send(sender, service, self.company.encrypt(request)).await
    }

    /// One call that must succeed; its `Data`.
    async fn send(&self, sender: &mut Sender, service: &str, body: Vec<u8>) -> anyhow::Result<Value> {
        let unit = &self.company.unit;
        let headers = [
            ("content-type", "application/json"),
            ("fwbm", service),
            ("nlbm", "202007"),
            ("jrdwptbh", unit.access_platform_id.as_str()),
            ("sydwptbh", unit.platform_id.as_str()),
            ("access_signature", ""),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (head, ()) = self.target.request(&format!("{PREFIX}{service}"), &headers)?.into_parts();
        let request = Request::from_parts(head, Either::Left(Full::new(Bytes::from(body))));
        let answer = sender.send(request).await?.into_body().collect().await?.to_bytes();
        let text =
            || format!("{service} after {:?}: {}", self.begun.elapsed(), String::from_utf8_lossy(&answer));
        let envelope =
            leqi::read_envelope(&answer).map_err(|error| anyhow::anyhow!("{error}: {}", text()))?;
        let clear = envelope.open(&self.company.key).ok().flatten().with_context(text)?;
        let data: Value = serde_json::from_slice(&clear)?;
        ensure!(data["returncode"] == "00", "{service}: {data}");
        Ok(data)
    }
}
