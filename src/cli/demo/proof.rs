//! Looks into the platform's books, the gateway's ledger and its log, and compares them.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use anyhow::Context;
use http::Method;
use serde_json::Value;

use super::{
    claims::Claims,
    invoicing::{Made, sha256},
    stage::Stage,
};
use crate::{
    cli::http::Http,
    domain::InvoiceNo,
    simulator::{
        books::{Account, State},
        world::Unit,
    },
    store::ledger::Figures,
};

/// How long the log may take to show the last call: reads are written in batches.
const PATIENCE: Duration = Duration::from_secs(10);

/// The gateway's figures of the unit's month.
pub(super) async fn ledger(stage: &Stage, unit: &Unit) -> anyhow::Result<Figures> {
    let account = stage.parts.ledger.balance(&unit.tax_no, stage.month).await?;
    Ok(account.context("the ledger has no account")?.figures)
}

/// The platform's account of the unit's month.
pub(super) fn books(stage: &Stage, unit: &Unit) -> Account {
    stage.simulator.books.lock().production.account(&unit.tax_no, stage.month).clone()
}

/// How many invoices of the unit the platform has issued.
pub(super) fn issued_by(stage: &Stage, unit: &Unit) -> usize {
    let books = stage.simulator.books.lock();
    let invoices = books.production.invoices.values();
    invoices.filter(|row| row.state == State::Issued && row.draft.issuer == unit.tax_no).count()
}

/// How many calls of the service reached the platform.
pub(super) fn arrived(stage: &Stage, service: &str) -> usize {
    stage.simulator.books.calls.count(|call| call.service.as_deref() == Some(service))
}

/// Ledger and books agree to the fen, and the ledger can be rebuilt from its own events.
pub(super) async fn books_agree(stage: &Stage, claims: &mut Claims) -> anyhow::Result<()> {
    claims.part("   Ledger and platform agree to the fen 台账与平台逐分一致");
    for unit in stage.companies() {
        let (ours, theirs) = (ledger(stage, unit).await?, books(stage, unit));
        let same = ours.downloaded == theirs.downloaded
            && (ours.issued, ours.reserved) == (theirs.used, theirs.held)
            && ours.available() == theirs.unused();
        let detail = format!(
            "downloaded 下载 {}  used 已用 {}  left 剩余 {}",
            ours.downloaded,
            ours.issued,
            ours.available()
        );
        claims.claim(&unit.name, &detail, same);
    }
    let mismatches = stage.parts.ledger.verify(stage.month).await?;
    claims.claim("rebuilt from its events 重算", "no difference 无差异", mismatches.is_empty());
    Ok(())
}

/// An entry of the request log, found by invoice number and shown in clear.
pub(super) async fn log_in_clear(
    stage: &Stage,
    number: &InvoiceNo,
    claims: &mut Claims,
) -> anyhow::Result<()> {
    claims.part(&format!("7. The request log, found by {number} 乐企请求日志"));
    let found = stage.api.get(&format!("/exchanges?invoice_no={number}&service=QDFPSC")).await?;
    let rows = found["items"].as_array().context("the log gave no list")?;
    let of_upload = rows.iter().find(|row| row["invoice_nos"][0] == number.as_str());
    let row = of_upload.context("the log does not have the upload")?;
    let id = row["id"].as_str().context("the entry has no id")?;
    for (what, field) in [
        ("time 时间", "started_at"),
        ("service 服务", "service_name"),
        ("taxpayer 纳税人", "tax_no"),
        ("acceptance 受理流水号", "acceptance_no"),
        ("request id 请求编号", "request_id"),
    ] {
        claims.say(what, row[field].as_str().unwrap_or_default());
    }
    let request = stage.api.get(&format!("/exchanges/{id}/request?view=clear")).await?;
    let response = stage.api.get(&format!("/exchanges/{id}/response?view=clear")).await?;
    claims.claim(
        "request in clear 请求明文",
        &shortened(&request),
        request[0]["fphm"] == number.as_str() && request[0]["hjje"] == "1000.00",
    );
    claims.claim(
        "answer in clear 应答明文",
        &shortened(&response),
        response["sllsh"].is_string() && response["sllsh"] == row["acceptance_no"],
    );
    Ok(())
}

/// Every call that was let through reached the platform byte for byte, its answer the client byte for byte, and
/// every call is in the log.
pub(super) async fn calls_arrived(stage: &Stage, made: &[Made], claims: &mut Claims) -> anyhow::Result<()> {
    claims.part("8. Nothing altered, nothing missing 未改一字，无一遗漏");
    let forwarded: Vec<&Made> = made.iter().filter(|call| !call.refused).collect();
    let services: BTreeSet<&str> = forwarded.iter().map(|call| call.service).collect();
    claims.claim(
        "forwarded 已转发",
        &format!("{} calls 次调用, {} services 种服务", forwarded.len(), services.len()),
        forwarded.len() >= 50 && services.len() >= 8,
    );
    let platform: HashMap<String, (Option<String>, Option<String>)> = stage
        .simulator
        .books
        .calls
        .all()
        .into_iter()
        .filter_map(|call| {
            let tid = call.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("clientTid"))?;
            Some((tid.1.clone(), (call.body_sha256.clone(), call.answer_sha256.clone())))
        })
        .collect();
    let same = |call: &&Made| {
        let expected = (Some(call.request_sha256.clone()), Some(call.answer_sha256.clone()));
        platform.get(&call.client_tid) == Some(&expected)
    };
    let exact = forwarded.iter().copied().filter(|call| same(call)).count();
    claims.claim(
        "byte for byte 逐字节一致",
        &format!("{exact} requests and answers by SHA-256 个请求与应答"),
        exact == forwarded.len() && platform.len() == forwarded.len(),
    );
    let logged = logged(stage, made).await?;
    claims.claim(
        "in the log 已记录",
        &format!("{logged} of {} calls 次调用", made.len()),
        logged == made.len(),
    );
    metrics(stage, claims).await
}

/// How many of the calls the log has with the digests of what was really sent; waits for the writer.
async fn logged(stage: &Stage, made: &[Made]) -> anyhow::Result<usize> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let rows = log_rows(stage).await?;
        let found = made
            .iter()
            .filter(|call| {
                rows.get(&call.client_tid).is_some_and(|row| {
                    row["request_sha256"] == call.request_sha256.as_str()
                        && row["response_sha256"] == call.answer_sha256.as_str()
                })
            })
            .count();
        if found == made.len() || Instant::now() > deadline {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The whole log by the clients' transaction ids.
async fn log_rows(stage: &Stage) -> anyhow::Result<HashMap<String, Value>> {
    let mut rows = HashMap::new();
    let mut cursor = String::new();
    loop {
        let page = stage.api.get(&format!("/exchanges?limit=100{cursor}")).await?;
        for row in page["items"].as_array().into_iter().flatten() {
            if let Some(tid) = row["client_tid"].as_str() {
                rows.insert(tid.to_owned(), row.clone());
            }
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(rows),
        }
    }
}

/// Metrics and health answer.
async fn metrics(stage: &Stage, claims: &mut Claims) -> anyhow::Result<()> {
    let ops = Http::plain(stage.addresses.ops);
    let ready = ops.send(Method::GET, "/readyz", &[], Vec::new()).await?;
    let metrics = ops.send(Method::GET, "/metrics", &[], Vec::new()).await?;
    let text = String::from_utf8_lossy(&metrics.body);
    let families = text.lines().filter(|line| line.starts_with("# HELP leqi_gateway_")).count();
    claims.claim(
        "metrics and health 指标与健康检查",
        &format!("{families} metrics, ready {}", ready.status.as_u16()),
        families > 0 && ready.status.is_success() && metrics.status.is_success(),
    );
    Ok(())
}

/// Enough of a message to recognise it, with its digest for the rest.
fn shortened(message: &Value) -> String {
    let text = message.to_string();
    let mut beginning: String = text.chars().take(150).collect();
    if beginning.len() < text.len() {
        let digest = sha256(text.as_bytes());
        beginning.push_str(&format!("… sha256 {}", digest.get(..12).unwrap_or_default()));
    }
    beginning
}
