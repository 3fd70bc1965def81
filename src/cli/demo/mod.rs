//! `demo`: the simulated platform and the gateway in one process, real encrypted traffic through both, and an
//! account of what happened in which every sentence is checked against the platform's books, the gateway's ledger and
//! its log.

mod claims;
mod invoicing;
mod month;
mod proof;
mod stage;
mod story;

use std::net::SocketAddr;

use anyhow::Context;

use self::{claims::Claims, stage::Stage};
use super::{output, signals::Signals};
use crate::telemetry::logging::{self, Format};

/// Show the whole gateway on a simulated platform 演示
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: leqi-gateway demo --once

Nothing has to be set up and nothing is left behind. Without --once it keeps running, so that you can look around; \
the exit code is not 0 if anything it says is untrue.")]
pub(super) struct Args {
    /// End after the account instead of running on
    #[arg(long)]
    once: bool,
    /// Where the gateway takes calls; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where the management API listens
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    admin: SocketAddr,
}

/// Runs the story once, then ends or keeps serving.
///
/// # Errors
/// When something cannot be started, or a claim of the account is untrue.
pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    logging::start(Format::Text, "error").map_err(anyhow::Error::msg)?;
    let mut stop = Signals::listen().context("signals cannot be listened to")?;
    let stage = Box::pin(Stage::set(args.listen, args.admin)).await?;
    let mut claims = Claims::default();
    Box::pin(story::tell(&stage, &mut claims)).await?;
    output::line("");
    output::line(&format!("{} statements, each checked 以上 {} 条均已核对", claims.made(), claims.made()));
    let verdict = claims.finish();
    if !args.once && verdict.is_ok() {
        running(&stage);
        stop.next().await;
    }
    stage.strike().await?;
    verdict
}

/// Where to look while it runs.
fn running(stage: &Stage) {
    let folder = stage.folder().display();
    let (data, admin, ops) = (
        stage.addresses.data.first().map(|(address, _)| *address),
        stage.addresses.admin.0,
        stage.addresses.ops,
    );
    let base = data.map_or_else(String::new, |address| format!("https://{address}/access/v2/invoke/"));
    output::line("");
    output::line("Running until Ctrl-C 持续运行，按 Ctrl-C 结束");
    for (what, detail) in [
        ("base URL 乐企接入地址", base),
        ("  its CA", format!("{folder}/ca.pem")),
        ("management API 管理接口", format!("http://{admin}/api/v1/")),
        ("  bearer token", stage.token.clone()),
        ("metrics 指标", format!("http://{ops}/metrics")),
        ("platform's books 模拟平台账簿", format!("https://{}/_sim/books", stage.simulator.address)),
        ("  its CA, the units' keys", format!("{folder}/platform/")),
    ] {
        Claims::default().say(what, &detail);
    }
}
