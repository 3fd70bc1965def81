//! One call that changes nothing, sent the way the gateway sends its own, and what the answer means.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};

use super::{report::Finding, target::Target};
use crate::{
    leqi::{self, Payload, catalogue},
    telemetry::metrics::Metrics,
    upstream::{Body, Phase, SendError, Upstream, UpstreamMetrics},
};

/// Asks for the company's own data (查询纳税人基本信息); sent without a body it cannot mean anything else.
const SERVICE: &str = "CXNSRJBXX";

/// More of an answer is not read.
const MOST: usize = 1 << 20;

/// Makes the call.
pub(super) async fn make(target: &Target) -> (Finding, Option<()>) {
    let finding = match send(target).await {
        Ok((status, body)) => judge(target, status, &body),
        Err(error) => match error.downcast_ref::<SendError>() {
            Some(failure) => unanswered(failure),
            None => Finding::failed(error.to_string()),
        },
    };
    (finding, Some(()))
}

async fn send(target: &Target) -> anyhow::Result<(StatusCode, Bytes)> {
    let metrics = UpstreamMetrics::register(&Metrics::new()?)?;
    let upstream = Upstream::new(target.upstream.clone(), &metrics)?;
    let capability = target.platform.capability.as_str();
    let path = format!("{}{}{capability}/{SERVICE}/", upstream.base_path(), target.platform.path);
    let empty: Body = Full::default().map_err(|never| match never {}).boxed_unsync();
    let request = Request::post(path)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, 0)
        .header("fwbm", SERVICE)
        .header("nlbm", capability)
        .header("jrdwptbh", "")
        .header("sydwptbh", "")
        .header("access_signature", "")
        .body(empty)?;
    let (head, body) = upstream.send(request).await?.into_parts();
    let body = Limited::new(body, MOST).collect().await.map_err(anyhow::Error::from_boxed)?.to_bytes();
    let packed = body.starts_with(&[0x1f, 0x8b]);
    Ok((head.status, if packed { leqi::gunzip(&body, MOST)?.into() } else { body }))
}

fn unanswered(failure: &SendError) -> Finding {
    let finding = Finding::failed(failure.to_string());
    if matches!(failure.phase, Phase::Response | Phase::Head | Phase::Body) {
        return finding.advise(
            "连接正常但平台没有完整应答：稍后重试；一直如此时，出口地址可能未登记或已被封，请向税务机关确认",
            "the platform takes the connection but gives no whole answer: try again later; if it stays so, the egress \
             address may be unregistered or banned: ask the tax authority",
        );
    }
    finding
}

/// What an answer says about the way to the platform: a refusal of *this* call, which names no company, is a good sign.
fn judge(target: &Target, status: StatusCode, body: &[u8]) -> Finding {
    let envelope = leqi::read_envelope(body).ok();
    let (number, code, text) = match envelope.map(|envelope| (envelope.http_status_code, envelope.payload)) {
        Some((_, Payload::Data(_))) => return Finding::ok("answered 平台已应答"),
        Some((number, Payload::Error { code, message })) => (number.unwrap_or_default(), code, message),
        Some((number, Payload::Text(text))) => (number.unwrap_or_default(), String::new(), text),
        Some((Some(number), Payload::Nothing)) => (number, String::new(), String::new()),
        Some((None, Payload::Nothing)) | None => return stranger(target, status),
    };
    let code = if code.is_empty() { number.clone() } else { code };
    let mut detail = format!("HTTP {}  {code} {text}", status.as_u16());
    if let Some(explained) = catalogue::explain(&code, &text) {
        detail = format!("{detail}\n{}\n{}", explained.zh, explained.en);
    }
    let mut lines = detail.lines().map(str::trim_end);
    let first = lines.next().unwrap_or_default().to_owned();
    if [code.as_str(), number.as_str()].iter().any(|code| ["4067", "403"].contains(code))
        || status == StatusCode::FORBIDDEN
    {
        return lines.fold(register(Finding::failed(first)), Finding::and);
    }
    if code.starts_with("GW-") {
        return Finding::failed(first).advise(
            "应答来自另一个 leqi-gateway：核对 base_url 与 addresses",
            "another leqi-gateway answers: check base_url and addresses",
        );
    }
    if status.is_server_error() || ["500", "5001"].contains(&code.as_str()) {
        return lines
            .fold(Finding::failed(first), Finding::and)
            .advise("平台暂时不可用，稍后再试", "the platform is failing for the moment; try again later");
    }
    if text.contains("ResourceNotFound") || status == StatusCode::NOT_FOUND {
        return wrong_path(target, lines.fold(Finding::failed(first), Finding::and));
    }
    // it knows the caller's address and looks at the call: that is all a call without a company can show
    Finding::ok(first)
        .and("the platform answers; it refuses since no company is named 平台可用（未指明企业，拒绝属预期）")
}

fn stranger(target: &Target, status: StatusCode) -> Finding {
    let finding = Finding::failed(format!("HTTP {status}, not the platform's envelope 应答不是乐企报文"));
    if status == StatusCode::FORBIDDEN {
        return register(finding);
    }
    if status == StatusCode::NOT_FOUND {
        return wrong_path(target, finding);
    }
    finding.advise(
        "核对 base_url：应答者可能是代理、登录页或其他系统，而不是乐企平台",
        "check base_url: what answers may be a proxy, a login page or another system, not the platform",
    )
}

fn register(finding: Finding) -> Finding {
    finding.advise(
        "本机的出口公网地址未在税务机关登记，或已被封：请向税务机关登记该出口地址（在本机执行 curl -4 ifconfig.me 等方式确认实际出口地址）",
        "this host's public egress address is not registered with the tax authority, or banned: have it registered (find \
         out which one it really is, for example from your network department)",
    )
}

fn wrong_path(target: &Target, finding: Finding) -> Finding {
    let path = &target.platform.path;
    finding.advise(
        format!("平台不认识该路径：核对 base_url 中的路径和 [platform] path（当前 {path}）"),
        format!(
            "the platform does not know the path: check the path in base_url and [platform] path (now {path})"
        ),
    )
}
