//! Mixed calls of many invoicing systems at full speed, some of which leave before they are answered. What came of every
//! call is written down, to be compared with what gateway and platform say of it.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    error::Error,
    fs::File,
    io::{BufWriter, Write},
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
use tokio::{sync::Mutex, task::LocalSet};

use crate::{
    connect::{Body, Halted, Sender, Target, TargetArgs},
    invoicing::{self, Company},
    random::Random,
};

const PREFIX: &str = "/access/v2/invoke/202007/";
/// Numbers that one call asks for, the most there are (protocol.md §3).
const RANGE: u64 = 5000;
/// Of a thousand calls so many are left before they are answered.
const LEAVING: u64 = 20;
/// Of a thousand calls so many are left when half of their body is sent.
const HALTING: u64 = 5;
/// How long a client that leaves waits at most, in milliseconds.
const PATIENCE_MS: u64 = 30;

/// Mixed calls at full speed, every outcome written down
///
/// Prints `started` once every company has its credit, and at the end how many calls had which outcome.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// The companies, as the simulated platform writes them
    #[arg(long, value_name = "FILE")]
    units: PathBuf,
    /// Where every call and its outcome are written, a line each: clientTid, service, outcome
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Seconds
    #[arg(long, value_name = "NUMBER")]
    seconds: u64,
    /// The same seed makes the same choices
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// Connections that speak HTTP/1.1
    #[arg(long, default_value_t = 40, value_name = "NUMBER")]
    http1: u64,
    /// Connections that speak HTTP/2
    #[arg(long, default_value_t = 4, value_name = "NUMBER")]
    http2: u64,
    /// Calls at a time on each of these
    #[arg(long, default_value_t = 6, value_name = "NUMBER")]
    streams: u64,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The platform's answer, whole.
    Platform,
    /// The gateway's own answer with this code.
    Gateway(String),
    /// An answer that broke off.
    Broken,
    /// No answer: the connection ended.
    Cut,
    /// The client left.
    Left,
}

impl Outcome {
    /// Reads a whole answer.
    fn of(answer: &[u8]) -> Self {
        let text = String::from_utf8_lossy(answer);
        let Some((_, code)) = text.split_once("GW-") else { return Self::Platform };
        let end = code.find(|c: char| !c.is_ascii_uppercase() && c != '-').unwrap_or(code.len());
        Self::Gateway(format!("GW-{}", code.get(..end).unwrap_or_default()))
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Platform => f.write_str("platform"),
            Self::Gateway(code) => f.write_str(code),
            Self::Broken => f.write_str("broken"),
            Self::Cut => f.write_str("cut"),
            Self::Left => f.write_str("left"),
        }
    }
}

/// What all invoicing systems share.
struct Soak {
    companies: Vec<Company>,
    next: Cell<u64>,
    out: RefCell<BufWriter<File>>,
    /// Why the last outcome that could not be written down could not.
    unwritten: RefCell<Option<std::io::Error>>,
    counts: RefCell<BTreeMap<String, u64>>,
    date: String,
    end: Cell<Instant>,
}

/// Runs until the time is over and prints the counts.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let out = File::create(&args.out).with_context(|| format!("cannot write {}", args.out.display()))?;
    let soak = Rc::new(Soak {
        companies: Company::all(&args.units)?,
        next: Cell::new(0),
        out: RefCell::new(BufWriter::new(out)),
        unwritten: RefCell::default(),
        counts: RefCell::default(),
        date: invoicing::now(),
        end: Cell::new(Instant::now()),
    });
    let [first, second] = [Target::new(&args.target, false)?, Target::new(&args.target, true)?];
    soak.download_credit(&first).await?;
    println!("started");
    soak.end.set(Instant::now() + Duration::from_secs(args.seconds));

    let local = LocalSet::new();
    let mut seeds = Random::new(args.seed);
    let lines = (0..args.http1).map(|_| (&first, 1)).chain((0..args.http2).map(|_| (&second, args.streams)));
    for (target, streams) in lines {
        let line = Rc::new(Line { target: target.clone(), shared: Mutex::default() });
        for _ in 0..streams {
            let system = System::new(Rc::clone(&soak), Rc::clone(&line), seeds.number());
            local.spawn_local(system.run());
        }
    }
    local.await;
    soak.out.borrow_mut().flush()?;
    if let Some(error) = soak.unwritten.take() {
        return Err(error).context("an outcome could not be written down");
    }
    println!("{}", json!({ "calls": soak.next.get(), "outcomes": *soak.counts.borrow() }));
    Ok(())
}

impl Soak {
    /// Every company downloads credit, so that uploads do not end for lack of it.
    async fn download_credit(self: &Rc<Self>, target: &Target) -> anyhow::Result<()> {
        let line = Rc::new(Line { target: target.clone(), shared: Mutex::default() });
        for (place, company) in self.companies.iter().enumerate() {
            let mut system = System::new(Rc::clone(self), Rc::clone(&line), place as u64);
            system.company = place;
            let unit = &company.unit;
            let serial = system.serial();
            let request = json!({ "nsrsbh": unit.tax_no, "ptbh": unit.access_platform_id, "sqlx": "0",
                                  "sqed": "9000000.00", "ywlsh": serial });
            let answer = system.ask("XZTHSXED", &request).await.unwrap_or_default();
            ensure!(answer["returncode"] == "00", "{} gets no credit: {answer}", unit.tax_no);
        }
        Ok(())
    }

    fn note(&self, tid: &str, service: &str, outcome: &Outcome) {
        *self.counts.borrow_mut().entry(outcome.to_string()).or_default() += 1;
        if let Err(error) = writeln!(self.out.borrow_mut(), "{tid} {service} {outcome}") {
            self.unwritten.replace(Some(error));
        }
    }
}

/// A connection that is opened again when it is gone. Systems share it when it takes many calls.
struct Line {
    target: Target,
    shared: Mutex<Option<Sender>>,
}

impl Line {
    /// A way to send one call: the connection itself, or a part of it.
    async fn sender(&self) -> anyhow::Result<Sender> {
        let mut shared = self.shared.lock().await;
        let sender = match shared.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.target.open().await?,
        };
        if let Some(part) = sender.share() {
            *shared = Some(sender);
            return Ok(part);
        }
        Ok(sender)
    }

    /// Takes back a connection that can be used again.
    async fn keep(&self, sender: Sender) {
        if sender.share().is_none() {
            *self.shared.lock().await = Some(sender);
        }
    }
}

/// One invoicing system: one call after the other.
struct System {
    soak: Rc<Soak>,
    line: Rc<Line>,
    random: Random,
    company: usize,
    /// Numbers that are its own and not used yet.
    numbers: std::ops::Range<u128>,
    /// Acceptance numbers whose results were not asked for, and when they were given.
    accepted: VecDeque<(String, Instant)>,
}

impl System {
    fn new(soak: Rc<Soak>, line: Rc<Line>, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let company = usize::try_from(random.below(soak.companies.len() as u64)).unwrap_or_default();
        Self { soak, line, random, company, numbers: 0..0, accepted: VecDeque::new() }
    }

    async fn run(mut self) {
        while Instant::now() < self.soak.end.get() {
            match self.random.below(100) {
                0..5 => drop(self.ask("CXSXED", &self.own_number()).await),
                5..30 => self.upload().await,
                30..45 => self.result().await,
                45..60 => drop(self.ask("CXKYSL", &self.own_number()).await),
                _ => drop(self.ask("CXNSRJBXX", &self.own_number()).await),
            }
        }
    }

    fn company(&self) -> &Company {
        &self.soak.companies[self.company]
    }

    fn own_number(&self) -> Value {
        json!({ "nsrsbh": self.company().unit.tax_no })
    }

    /// A serial number (`ywlsh`) of its own.
    fn serial(&mut self) -> String {
        let (high, low) = (self.random.number(), self.random.number());
        let unit = &self.company().unit;
        format!("{}{}{high:016x}{low:016x}", unit.platform_id, unit.access_platform_id)
    }

    /// Uploads one to three invoices; without numbers it asks for some first.
    async fn upload(&mut self) {
        let count = 1 + self.random.below(3);
        if self.numbers.clone().count() < 3 {
            let serial = self.serial();
            let request =
                json!({ "nsrsbh": self.company().unit.tax_no, "lysl": RANGE.to_string(), "ywlsh": serial });
            let answer = self.ask("QDFPPLFM", &request).await.unwrap_or_default();
            // a call that fails is made again by the next upload
            let Some(first) = answer["fpqshm"].as_str().and_then(|first| first.parse().ok()) else { return };
            self.numbers = first..first + u128::from(RANGE);
        }
        let numbers: Vec<u128> = (0..count).filter_map(|_| self.numbers.next()).collect();
        let batch: Vec<Value> = numbers
            .into_iter()
            .map(|number| self.company().invoice(&format!("{number:020}"), &self.soak.date, 0))
            .collect();
        let answer = self.ask("QDFPSC", &json!(batch)).await.unwrap_or_default();
        if let Some(acceptance) = answer["sllsh"].as_str() {
            self.accepted.push_back((acceptance.to_owned(), Instant::now()));
        }
    }

    /// Asks for the result of the oldest upload, if it can be known by now.
    async fn result(&mut self) {
        let due = self.accepted.pop_front_if(|(_, since)| since.elapsed() > Duration::from_secs(3));
        match due {
            Some((acceptance, _)) => drop(self.ask("CXQDFPSCJG", &json!({ "sllsh": acceptance })).await),
            None => drop(self.ask("CXNSRJBXX", &self.own_number()).await),
        }
    }

    /// One call; the decrypted `Data`, if there is any.
    async fn ask(&mut self, service: &str, request: &Value) -> Option<Value> {
        let number = self.soak.next.get();
        self.soak.next.set(number + 1);
        let tid = format!("soak-{number}");
        let body = Bytes::from(self.company().encrypt(request));
        let luck = self.random.below(1000);
        let patience = self.random.pause(PATIENCE_MS);
        let setting_up = Instant::now() >= self.soak.end.get();
        let (body, patience) = match luck {
            _ if setting_up => (Either::Left(Full::new(body)), None),
            0..HALTING => (Either::Right(Halted::of(&body)), Some(patience)),
            HALTING..LEAVING => (Either::Left(Full::new(body)), Some(patience)),
            _ => (Either::Left(Full::new(body)), None),
        };
        let (outcome, answer) = self.call(service, &tid, body, patience).await;
        self.soak.note(&tid, service, &outcome);
        let envelope = leqi::read_envelope(&answer?).ok()?;
        serde_json::from_slice(&envelope.open(&self.company().key).ok()??).ok()
    }

    async fn call(
        &self,
        service: &str,
        tid: &str,
        body: Body,
        patience: Option<Duration>,
    ) -> (Outcome, Option<Bytes>) {
        let Ok(mut sender) = self.line.sender().await else { return (Outcome::Cut, None) };
        let Ok(request) = self.request(service, tid, body) else { return (Outcome::Cut, None) };
        let answered = match patience {
            None => Some(exchange(&mut sender, request).await),
            Some(patience) => tokio::time::timeout(patience, exchange(&mut sender, request)).await.ok(),
        };
        match answered {
            Some(Ok(answer)) => {
                self.line.keep(sender).await;
                (Outcome::of(&answer), Some(answer))
            }
            Some(Err(outcome)) => (outcome, None),
            None => {
                sender.leave();
                (Outcome::Left, None)
            }
        }
    }

    fn request(&self, service: &str, tid: &str, body: Body) -> anyhow::Result<Request<Body>> {
        let unit = &self.company().unit;
        let headers = [
            ("content-type", "application/json"),
            ("fwbm", service),
            ("nlbm", "202007"),
            ("jrdwptbh", unit.access_platform_id.as_str()),
            ("sydwptbh", unit.platform_id.as_str()),
            ("access_signature", ""),
            ("clientTid", tid),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (head, ()) = self.line.target.request(&format!("{PREFIX}{service}"), &headers)?.into_parts();
        Ok(Request::from_parts(head, body))
    }
}

/// What an answer without a head is. With HTTP/2 an answer that breaks off soon is ended by a reset of its stream, which
/// overtakes the head that was not sent yet; the connection stays.
fn lost(error: &hyper::Error) -> Outcome {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    if cause.is_some_and(|cause| cause.is_reset() && cause.is_remote()) {
        Outcome::Broken
    } else {
        Outcome::Cut
    }
}

async fn exchange(sender: &mut Sender, request: Request<Body>) -> Result<Bytes, Outcome> {
    let response = sender.send(request).await.map_err(|error| lost(&error))?;
    let body = response.into_body().collect().await.map_err(|_| Outcome::Broken)?;
    Ok(body.to_bytes())
}
