//! `leqi-gateway jobs`: what a running gateway does regularly, and having it done now.

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Subcommand;
use serde_json::Value;
use tokio::time::sleep;

use super::{
    api_client::{ApiArgs, ApiClient},
    output,
};

/// How often the end of a run is looked for.
const LOOK: Duration = Duration::from_millis(200);

/// Show what the gateway does regularly, or have it done now. 定时任务的查看与立即执行
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: leqi-gateway jobs run month_start --token-file /root/leqi-admin.token")]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(ListArgs),
    Run(RunArgs),
}

/// List all jobs: when each is due, how its last run ended. 列出所有任务
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: leqi-gateway jobs list --output json")]
struct ListArgs {
    /// How it is written
    #[arg(long, value_enum, default_value_t)]
    output: output::Form,
    #[command(flatten)]
    api: ApiArgs,
}

/// Have a job run now, wait for its end and say how it ended; exit code 1 when it was not ok. 立即执行一个任务
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: leqi-gateway jobs run audit --wait 600")]
struct RunArgs {
    /// Its name, as `jobs list` has it
    name: String,
    /// Seconds to wait for its end; 0 does not wait
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    wait: u64,
    #[command(flatten)]
    api: ApiArgs,
}

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    match &args.action {
        Action::List(args) => list(args).await,
        Action::Run(args) => run_now(args).await,
    }
}

async fn list(args: &ListArgs) -> anyhow::Result<()> {
    let jobs = args.api.client()?.get("/jobs").await?["items"].take();
    output::line(&match args.output {
        output::Form::Json => serde_json::to_string_pretty(&jobs)?,
        output::Form::Table => {
            let rows: Vec<_> = jobs.as_array().into_iter().flatten().map(row).collect();
            output::table(&["NAME", "SCHEDULE", "NEXT", "LAST", "RESULT", "WHAT"], &rows)
        }
    });
    Ok(())
}

fn row(job: &Value) -> Vec<String> {
    let minute = |at: &Value| at.as_str().and_then(|at| at.get(..16)).unwrap_or("-").replace('T', " ");
    let running = job["running"]["gateway"].as_str().map(|gateway| format!("running on {gateway}"));
    let result = running.unwrap_or_else(|| text(&job["last"]["result"]));
    vec![
        text(&job["name"]),
        text(&job["schedule"]),
        minute(&job["next_run_at"]),
        minute(&job["last"]["ended_at"]),
        result,
        text(&job["title_zh"]),
    ]
}

async fn run_now(args: &RunArgs) -> anyhow::Result<()> {
    let (api, name) = (args.api.client()?, &args.name);
    let before = number(&api.get(&format!("/jobs/{name}")).await?);
    api.post(&format!("/jobs/{name}/run")).await?;
    if args.wait == 0 {
        output::line(&format!("{name}: asked for"));
        return Ok(());
    }
    let last = ended(&api, name, before, Duration::from_secs(args.wait)).await?;
    let (result, summary) = (text(&last["result"]), &last["summary"]);
    let counts = ["done", "failed", "nothing"].map(|key| format!("{key} {}", summary[key]));
    output::line(&format!("{name}: {result} ({})", counts.join(", ")));
    for note in summary["notes"].as_array().into_iter().flatten() {
        output::line(&format!("  {}", text(note)));
    }
    match result.as_str() {
        "ok" => Ok(()),
        _ => bail!("{name} ended {result}: {}", text(&last["error"])),
    }
}

/// The run that ended after those that were there before.
async fn ended(api: &ApiClient, name: &str, before: i64, wait: Duration) -> anyhow::Result<Value> {
    let deadline = Instant::now() + wait;
    loop {
        let mut job = api.get(&format!("/jobs/{name}")).await?;
        if number(&job) > before && job["requested"].is_null() {
            return Ok(job["last"].take());
        }
        if Instant::now() > deadline {
            bail!(
                "{name} has not ended within {} s; `leqi-gateway jobs list` shows how it goes on",
                wait.as_secs()
            );
        }
        sleep(LOOK).await;
    }
}

/// The number of the last run that ended.
fn number(job: &Value) -> i64 {
    job["last"]["run"].as_i64().unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}
