//! Every answer that the gateway makes itself: one table from reason to the platform's envelope (protocol.md §2).
//!
//! A *business* refusal is HTTP 200 with `httpStatusCode` 200 and an `Error`, so that clients show the sentence and
//! do not retry; an *infrastructure* failure is HTTP 4xx/5xx with the same number in `httpStatusCode`.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};

use crate::{
    domain::ExchangeId,
    leqi, listener,
    quota::Refusal,
    unit::IdCheck,
    upstream::{Body, Phase},
};

/// Why the gateway answers a call itself.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The client's address is not in the listener's allow list.
    #[error("the client's address is not allowed")]
    ClientDenied,
    /// The client broke off or garbled its request body.
    #[error("the request body could not be read: {0}")]
    ClientBody(String),
    /// The client sent its request body too slowly.
    #[error("the client sent its request body too slowly")]
    ClientSlow,
    /// The request body is larger than the gateway reads for such a call; the limit in bytes.
    #[error("the request body is larger than {0} bytes")]
    BodyTooLarge(usize),
    /// The upload's body cannot be decoded or is no list of invoices.
    #[error("the body cannot be read: {0}")]
    BodyUnreadable(String),
    /// The ledger says no.
    #[error("{0}")]
    Credit(Refusal),
    /// The call's task ended without an answer: a forced stop, or a bug. Whether it was sent is not known.
    #[error("the call was interrupted inside the gateway")]
    Interrupted,
    /// The issuing party in the upload is not the using unit named in the header.
    #[error("issuing party {issuer} is not the using unit {unit}")]
    IssuerMismatch {
        /// The issuing party's tax number in the upload.
        issuer: String,
        /// The tax number of the unit that the header names.
        unit: String,
    },
    /// The registry has no SM4 key for the access unit in this environment.
    #[error("no SM4 key for access unit {0}")]
    KeyMissing(String),
    /// No route takes the path.
    #[error("no route for this path")]
    NoRoute,
    /// The platform may take the path for one of another route: dot segments, escapes or doubled slashes lead there.
    #[error("the path leads out of its route")]
    PathAmbiguous,
    /// The listener refused it before it was read.
    #[error("refused before it was read: {}", .0.reason())]
    Refused(listener::Refusal),
    /// A sandbox flag on a production route.
    #[error("sxcsbz is set on a production route")]
    SandboxFlag,
    /// The database did not take what must be stored before the call may go out.
    #[error("the store is not available: {0}")]
    StoreDown(String),
    /// The two platform ids of the headers are not registered, or do not belong together.
    #[error("jrdwptbh {access_id:?} and sydwptbh {using_id:?} are not a registered pair")]
    Units {
        /// What the registry says of them.
        check: IdCheck,
        /// `jrdwptbh` as sent.
        access_id: String,
        /// `sydwptbh` as sent.
        using_id: String,
    },
    /// The upstream failed in this phase; `sent` says whether anything may have arrived there.
    #[error("the upstream failed while {phase}: {reason}")]
    Upstream {
        /// What was being done.
        phase: Phase,
        /// Whether a byte of the request may have left.
        sent: bool,
        /// How long the client should wait before it tries again, where that is known.
        retry_after: Option<Duration>,
        /// The error's text.
        reason: String,
    },
}

/// One row of the table.
struct Row {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl GatewayError {
    /// The `GW-…` code that clients, log and metrics show.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.row().code
    }

    /// The sentence that clients show, in Chinese.
    #[must_use]
    pub fn message(&self) -> String {
        self.row().message
    }

    /// The HTTP status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.row().status
    }

    /// The answer in the platform's envelope, with the exchange's id as its `RequestId`.
    #[must_use]
    pub fn answer(&self, id: ExchangeId) -> (Response<Body>, Bytes) {
        let Row { status, code, message } = self.row();
        let body = Bytes::from(leqi::write_error(status.as_u16(), &id.to_string(), code, &message));
        let mut response =
            Response::new(Full::new(body.clone()).map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = status;
        let json = HeaderValue::from_static("application/json;charset=UTF-8");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        let as_told = HeaderValue::from_static("nosniff");
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, as_told);
        if let Some(wait) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        (response, body)
    }

    /// After how long the same call may succeed, where that is known.
    fn retry_after(&self) -> Option<Duration> {
        if let Self::Upstream { retry_after, .. } = self {
            return *retry_after;
        }
        let soon = matches!(self, Self::Refused(listener::Refusal::Busy | listener::Refusal::TooOften));
        soon.then_some(Duration::from_secs(1))
    }

    fn row(&self) -> Row {
        const REFUSED: StatusCode = StatusCode::OK;
        let (status, code, message) = match self {
            Self::ClientDenied => (
                StatusCode::FORBIDDEN,
                "GW-CLIENT",
                "网关拒绝：客户端地址不在允许范围内，请联系网关管理员在 [[listen]] allow 中加入该地址"
                    .to_owned(),
            ),
            Self::ClientBody(_) => (
                StatusCode::BAD_REQUEST,
                "GW-REQUEST",
                "网关未收到完整的请求报文，未转发到乐企平台，请重试；反复出现时请检查开票系统到网关的网络"
                    .to_owned(),
            ),
            Self::ClientSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "GW-SLOW",
                "开票系统发送请求报文过慢，网关已中止，未转发到乐企平台，可以直接重试；反复出现时请检查开票系统到网关的网络，或由管理员调大 [[listen]] body_timeout"
                    .to_owned(),
            ),
            Self::BodyTooLarge(limit) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "GW-SIZE",
                format!(
                    "请求报文超过网关上限 {limit} 字节，未转发；请减少每批发票张数，或由管理员调大 [limits] request_body"
                ),
            ),
            Self::BodyUnreadable(reason) => (
                REFUSED,
                "GW-BODY",
                format!(
                    "网关无法读取上传报文，未转发，额度未占用：{reason}。请核对网关中登记的 SM4 密钥与报文格式"
                ),
            ),
            Self::Credit(refusal) => (REFUSED, refusal.code(), refusal.message()),
            Self::Interrupted => (
                StatusCode::BAD_GATEWAY,
                "GW-INTERRUPTED",
                "网关处理本次请求时中断；报文可能已到达平台，请先查询结果，不要更换发票号码重开".to_owned(),
            ),
            Self::IssuerMismatch { issuer, unit } => (
                REFUSED,
                "GW-ISSUER",
                format!(
                    "发票的开票方税号 {issuer} 与请求头 sydwptbh 对应的使用单位 {unit} 不一致，未转发；请核对使用单位编号，或发票的销售方税号(xsfnsrsbh；收购发票为购买方gmfnsrsbh)"
                ),
            ),
            Self::KeyMissing(id) => (
                REFUSED,
                "GW-KEY",
                format!(
                    "网关没有接入单位 {id} 的 SM4 密钥，无法校验额度，未转发；请管理员在“企业信息”（/api/v1/units）中登记密钥"
                ),
            ),
            Self::NoRoute => (
                StatusCode::NOT_FOUND,
                "GW-ROUTE",
                "网关没有匹配该地址的路由，请核对开票系统中的乐企接入地址（应以 /access/v2/invoke/ 结尾）"
                    .to_owned(),
            ),
            Self::PathAmbiguous => (
                StatusCode::BAD_REQUEST,
                "GW-PATH",
                "请求路径中的 ..、//、; 或百分号编码使其指向网关的另一条路由，未转发到乐企平台；请核对开票系统中的乐企接入地址"
                    .to_owned(),
            ),
            Self::Refused(refusal) => return refused_row(*refusal),
            Self::SandboxFlag => (
                REFUSED,
                "GW-SXCSBZ",
                "生产环境请求带有沙箱测试标志 sxcsbz，未转发；请在开票系统中删除 sxcsbz 配置项".to_owned(),
            ),
            Self::StoreDown(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "GW-STORE",
                "网关数据库暂不可用，本次请求未转发到乐企平台，额度未占用，请稍后重试并通知网关管理员"
                    .to_owned(),
            ),
            Self::Units { check, access_id, using_id } => {
                (REFUSED, units_code(check), units_message(check, access_id, using_id))
            }
            Self::Upstream { phase, sent, .. } => return upstream_row(*phase, *sent),
        };
        Row { status, code, message }
    }
}

/// What a listener refuses before it is read; nothing of it was sent.
fn refused_row(refusal: listener::Refusal) -> Row {
    use listener::Refusal as R;
    let (code, message) = match refusal {
        R::Busy => (
            "GW-BUSY",
            "该客户端同时进行的请求过多，本次未转发到乐企平台，可以直接重试；如属正常业务量，请管理员调大 [[listen]] client_in_flight".to_owned(),
        ),
        R::Framing(why) => (
            "GW-FRAMING",
            format!("网关拒绝：HTTP 请求的格式有歧义（{why}），未转发到乐企平台，连接已关闭；请检查开票系统或中间代理的 HTTP 实现"),
        ),
        R::HeadTooLarge => (
            "GW-HEAD",
            "网关拒绝：请求头过大或过多，未转发到乐企平台；请检查开票系统，或由管理员调大 [[listen]] max_head、max_headers".to_owned(),
        ),
        R::HeadTooSlow => (
            "GW-SLOW",
            "请求头未在规定时间内发完，网关已中止，未转发到乐企平台，可以直接重试；反复出现时请检查开票系统到网关的网络".to_owned(),
        ),
        R::TooOften => (
            "GW-RATE",
            "该客户端请求过于频繁，本次未转发到乐企平台，请稍后重试；如属正常业务量，请管理员调大 [[listen]] client_rate".to_owned(),
        ),
    };
    Row { status: refusal.status(), code, message }
}

const fn units_code(check: &IdCheck) -> &'static str {
    match check {
        IdCheck::Fits { .. } | IdCheck::UnknownAccess | IdCheck::UnknownUsing { .. } => "GW-UNIT",
        IdCheck::NotTogether { .. } => "GW-UNIT-PAIR",
        IdCheck::Swapped { .. } => "GW-UNIT-SWAPPED",
    }
}

fn units_message(check: &IdCheck, access_id: &str, using_id: &str) -> String {
    let sentence = check.sentence_zh().unwrap_or_default();
    format!(
        "{sentence}（jrdwptbh={access_id}，sydwptbh={using_id}）；未转发，请在“企业信息”（/api/v1/units）中核对"
    )
}

/// Seconds, rounded up, at least one.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// Failures towards the platform: 502 where it cannot be reached or breaks off, 504 where it is too slow, 503 where the gateway does not
/// even try.
fn upstream_row(phase: Phase, sent: bool) -> Row {
    let (status, code, what) = match phase {
        Phase::Resolve => {
            (StatusCode::BAD_GATEWAY, "GW-UP-DNS", "无法解析乐企平台地址，请检查网关主机的 DNS 或 hosts")
        }
        Phase::Connect => {
            (StatusCode::BAD_GATEWAY, "GW-UP-CONNECT", "无法连接乐企平台，请检查网关主机的网络与防火墙")
        }
        Phase::Tls => (
            StatusCode::BAD_GATEWAY,
            "GW-UP-TLS",
            "乐企平台的证书未通过校验或 TLS 握手失败，请网关管理员核对 verify 设置",
        ),
        Phase::Send => (StatusCode::BAD_GATEWAY, "GW-UP-SEND", "向乐企平台发送报文时连接中断"),
        Phase::Response => (StatusCode::GATEWAY_TIMEOUT, "GW-UP-TIMEOUT", "乐企平台在规定时间内没有应答"),
        Phase::Head => (StatusCode::BAD_GATEWAY, "GW-UP-HEAD", "乐企平台的应答不完整或连接中断"),
        Phase::Body => (StatusCode::BAD_GATEWAY, "GW-UP-BODY", "乐企平台的应答报文不完整"),
        Phase::Idle => (StatusCode::GATEWAY_TIMEOUT, "GW-UP-IDLE", "乐企平台的应答报文中途停顿超时"),
        Phase::Open => (
            StatusCode::SERVICE_UNAVAILABLE,
            "GW-UP-OPEN",
            "乐企平台连续多次无法访问，网关暂停转发（熔断），稍后自动探测恢复，请网关管理员查看日志",
        ),
        Phase::Pin => (
            StatusCode::BAD_GATEWAY,
            "GW-UP-PIN",
            "乐企平台出示的公钥与登记的指纹（pins）不一致，可能有人冒充平台，请网关管理员立即核对日志中的两个指纹",
        ),
        Phase::Pool => (
            StatusCode::SERVICE_UNAVAILABLE,
            "GW-UP-POOL",
            "网关到乐企平台的连接已全部占用，请减少并发，或由管理员调大 [[upstream]] max_connections",
        ),
        Phase::Proxy => (
            StatusCode::BAD_GATEWAY,
            "GW-UP-PROXY",
            "出口代理不可用或拒绝连接乐企平台，请网关管理员核对 [[upstream]] proxy 的地址与账号",
        ),
        Phase::Total => {
            (StatusCode::GATEWAY_TIMEOUT, "GW-UP-TOTAL", "整个请求超过规定的总时长（total_timeout）")
        }
    };
    let then = if sent {
        "；报文可能已到达平台，请先查询结果，不要更换发票号码重开"
    } else {
        "；报文没有发出，可以直接重试"
    };
    Row { status, code, message: format!("{what}{then}") }
}
