//! The same call again and again on kept connections, at a fixed rate or as fast as answers come.
//!
//! At a fixed rate every connection has its own timetable. A call that is due while the call before it is still waiting
//! counts from the moment when it was due, so that a proxy that stands still is not measured by fewer calls. A call
//! whose connection was free counts from the moment when it was sent: a late timer is not the proxy's.

use std::{
    cell::RefCell,
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Either, Full};
use serde_json::json;
use tokio::task::LocalSet;

use crate::{
    connect::{Sender, Target, TargetArgs},
    invoicing::{Company, Uploads},
    latency::Latencies,
};

/// The same call again and again
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: load steady --address 127.0.0.1:8443 --ca ca.pem --path /access/v2/invoke/202007/CXNSRJBXX \
--body body --expect answer --connections 64 --rate 2000 --seconds 10"
)]
pub(crate) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// Speak HTTP/2
    #[arg(long)]
    http2: bool,
    /// Path of the call
    #[arg(long)]
    path: String,
    /// A header, NAME:VALUE; may be repeated
    #[arg(long = "header", value_parser = header, value_name = "NAME:VALUE")]
    headers: Vec<(String, String)>,
    /// File with the body of every call
    #[arg(long, value_name = "FILE", required_unless_present = "units")]
    body: Option<PathBuf>,
    /// Upload invoices of the last unit of this units.json instead; every body is another
    #[arg(long, value_name = "FILE", conflicts_with = "body")]
    units: Option<PathBuf>,
    /// Invoices of each upload
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    invoices: u64,
    /// Bytes of the body of each upload, at least
    #[arg(long, default_value_t = 4096, value_name = "BYTES")]
    size: usize,
    /// File with the body that every answer must have
    #[arg(long, value_name = "FILE")]
    expect: PathBuf,
    /// Connections
    #[arg(long, default_value_t = 64, value_name = "NUMBER")]
    connections: u32,
    /// Calls per second over all connections; 0 is as fast as answers come
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    rate: u32,
    /// Seconds
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
    seconds: f64,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write NAME:VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// What all connections share.
struct Load {
    target: Target,
    path: String,
    headers: Vec<(String, String)>,
    bodies: RefCell<Bodies>,
    expected: Bytes,
    /// Between two calls of one connection; `None` is at once.
    pause: Option<Duration>,
    start: Instant,
    end: Instant,
    done: RefCell<Done>,
}

enum Bodies {
    Same(Bytes),
    Uploads(Uploads),
}

#[derive(Default)]
struct Done {
    latencies: Latencies,
    /// Calls that broke off.
    errors: u64,
    /// Answers that were not what was expected.
    wrong: u64,
    /// The beginning of one of them.
    example: Option<String>,
}

/// Runs until the time is over and prints the figures.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let target = Target::new(&args.target, args.http2)?;
    let bodies = match (&args.units, &args.body) {
        (Some(units), _) => {
            let company = Company::all(units)?.pop().context("there is no unit")?;
            Bodies::Uploads(Uploads::new(company, args.invoices, args.size)?)
        }
        (None, Some(body)) => Bodies::Same(read(body)?),
        (None, None) => anyhow::bail!("give --body or --units"),
    };
    let mut senders = Vec::new();
    for _ in 0..args.connections {
        senders.push(target.open().await.context("cannot connect")?);
    }
    let start = Instant::now();
    let load = Rc::new(Load {
        target,
        path: args.path,
        headers: args.headers,
        bodies: RefCell::new(bodies),
        expected: read(&args.expect)?,
        pause: (args.rate > 0).then(|| Duration::from_secs(1) * args.connections / args.rate),
        start,
        end: start + Duration::from_secs_f64(args.seconds),
        done: RefCell::default(),
    });
    let local = LocalSet::new();
    for (place, sender) in (0..args.connections).zip(senders) {
        // connections begin one after the other, so that calls are spread evenly
        let offset = load.pause.map_or(Duration::ZERO, |pause| pause * place / args.connections);
        local.spawn_local(Rc::clone(&load).call(sender, offset));
    }
    local.await;
    load.print()
}

fn read(file: &PathBuf) -> anyhow::Result<Bytes> {
    Ok(std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?.into())
}

impl Load {
    /// One connection's calls.
    async fn call(self: Rc<Self>, mut sender: Sender, offset: Duration) {
        let mut due = self.start + offset;
        while due < self.end {
            tokio::time::sleep_until(due.into()).await;
            let free_at = Instant::now();
            let mut begun = free_at;
            // calls that fell due meanwhile are made at once, and count from when they were due
            loop {
                let sent = self.one(&mut sender, begun).await;
                if !sent {
                    match self.target.open().await {
                        Ok(again) => sender = again,
                        Err(_) => return,
                    }
                }
                let now = Instant::now();
                due = self.pause.map_or(now, |pause| due + pause);
                if due > now || now >= self.end {
                    break;
                }
                begun = due;
            }
        }
    }

    /// One call; `false` when the connection is gone.
    async fn one(&self, sender: &mut Sender, begun: Instant) -> bool {
        let body = match &mut *self.bodies.borrow_mut() {
            Bodies::Same(body) => body.clone(),
            Bodies::Uploads(uploads) => uploads.next_body().into(),
        };
        let Ok(answer) = self.exchange(sender, body).await else {
            self.done.borrow_mut().errors += 1;
            return false;
        };
        let mut done = self.done.borrow_mut();
        done.latencies.add(begun.elapsed());
        if answer != self.expected {
            done.wrong += 1;
            done.example.get_or_insert_with(|| String::from_utf8_lossy(&answer).chars().take(300).collect());
        }
        true
    }

    async fn exchange(&self, sender: &mut Sender, body: Bytes) -> anyhow::Result<Bytes> {
        let (head, ()) = self.target.request(&self.path, &self.headers)?.into_parts();
        let response = sender.send(Request::from_parts(head, Either::Left(Full::new(body)))).await?;
        ensure!(response.status() == 200, "{}", response.status());
        Ok(response.into_body().collect().await?.to_bytes())
    }

    fn print(&self) -> anyhow::Result<()> {
        let seconds = self.start.elapsed().as_secs_f64();
        let mut done = self.done.borrow_mut();
        let requests = done.latencies.count();
        println!(
            "{}",
            json!({
                "requests": requests, "errors": done.errors, "wrong": done.wrong, "seconds": seconds,
                "latency_us": done.latencies.summary(),
            })
        );
        ensure!(
            done.errors == 0 && done.wrong == 0,
            "{} calls broke off, {} had another answer than expected, for example: {}",
            done.errors,
            done.wrong,
            done.example.as_deref().unwrap_or("none")
        );
        Ok(())
    }
}
