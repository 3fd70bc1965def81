//! `/exchanges` (乐企请求日志): search, read, raw bodies and bodies in clear.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;

use super::{
    ApiState, audit,
    auth::{Operator, Viewer},
    exchange_view::{Full, Shown},
    fields::{Fields, Query, Segment},
    page::{Page, PageRequest},
    problem::Problem,
    reply::{Outcome, Reply},
};
use crate::{
    domain::{BEIJING, ExchangeId, Invalid, ServiceClass},
    request_log::{
        ClearView, Content, Decision, Filter, Record, Side, State as Progress, StoredBody, clear_view,
    },
};

/// Says that a body is only the beginning of what was sent.
const TRUNCATED: HeaderName = HeaderName::from_static("leqi-truncated");
/// How the clear body was written on the wire.
const FORM: HeaderName = HeaderName::from_static("leqi-form");
/// The envelope's `httpStatusCode`.
const HTTP_STATUS_CODE: HeaderName = HeaderName::from_static("leqi-http-status-code");
/// The envelope's `RequestId`.
const REQUEST_ID: HeaderName = HeaderName::from_static("leqi-request-id");

/// GET `/exchanges`
pub(super) async fn list(State(state): State<ApiState>, _: Viewer, Query(mut query): Query) -> Outcome {
    let page = PageRequest::<ExchangeId>::take(&mut query)?;
    let filter = filter(&mut query)?;
    query.finish()?;
    let found = state.log.search(&filter, page.cursor, page.limit).await?;
    let items = found.records.iter().map(Shown::from).collect();
    Reply::ok(&Page { items, next_cursor: found.next.map(|id| id.to_string()) })
}

/// GET `/exchanges/{id}`
pub(super) async fn read(State(state): State<ApiState>, _: Viewer, Segment(id): Segment) -> Outcome {
    Reply::ok(&Full::from(&record(&state, &id).await?))
}

/// GET `/exchanges/{id}/request`
pub(super) async fn request(
    state: State<ApiState>,
    operator: Operator,
    id: Segment,
    query: Query,
) -> Result<Response, Problem> {
    body(state, operator, id, query, Side::Request).await
}

/// GET `/exchanges/{id}/response`
pub(super) async fn response(
    state: State<ApiState>,
    operator: Operator,
    id: Segment,
    query: Query,
) -> Result<Response, Problem> {
    body(state, operator, id, query, Side::Response).await
}

/// One side's body: as it went over the wire, or with `?view=clear` decoded. Who looked is written down.
async fn body(
    State(state): State<ApiState>,
    Operator(actor): Operator,
    Segment(id): Segment,
    Query(mut query): Query,
    side: Side,
) -> Result<Response, Problem> {
    let view: Option<View> = query.optional("view")?;
    query.finish()?;
    let record = record(&state, &id).await?;
    let stored = state.log.body(record.id, side).await?;
    let stored = stored.ok_or_else(|| Problem::not_found(side_name(side), &id))?;
    let view = view.unwrap_or(View::Raw);
    let detail = serde_json::json!({ "side": side_name(side), "view": view.as_str() });
    audit::note(&state, &actor, "exchange.view", record.id.to_string(), &detail).await?;
    match view {
        View::Raw => Ok(raw(stored)),
        View::Clear => {
            let access_id = record.access_id.as_deref().unwrap_or_default();
            let key = state.registry.key_for(access_id, record.environment);
            Ok(clear(clear_view(&record, side, &stored, key.as_ref())?))
        }
    }
}

/// How a body is shown.
#[derive(Clone, Copy)]
enum View {
    Clear,
    Raw,
}

impl View {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Raw => "raw",
        }
    }
}

impl std::str::FromStr for View {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "clear" => Ok(Self::Clear),
            "raw" => Ok(Self::Raw),
            _ => Err(Invalid::new("must be raw or clear")),
        }
    }
}

const fn side_name(side: Side) -> &'static str {
    match side {
        Side::Request => "request",
        Side::Response => "response",
    }
}

/// Never as a type that a browser would show: the bytes are the platform's or the client's.
fn raw(stored: StoredBody) -> Response {
    let mut response = stored.bytes.into_response();
    let headers = response.headers_mut();
    protect(headers, "application/octet-stream");
    if stored.truncated {
        headers.insert(TRUNCATED, HeaderValue::from_static("true"));
    }
    response
}

fn clear(view: ClearView) -> Response {
    let (text, content_type) = match view.content {
        Content::Json(text) => (text, "application/json"),
        Content::Error { code, message } => {
            let explanation = view.explanation.map(|e| serde_json::json!({ "zh": e.zh, "en": e.en }));
            let error = serde_json::json!({ "code": code, "message": message, "explanation": explanation });
            (error.to_string(), "application/json")
        }
        Content::Text(text) => (text, "text/plain; charset=utf-8"),
    };
    let mut response = text.into_response();
    let headers = response.headers_mut();
    protect(headers, content_type);
    headers.insert(FORM, HeaderValue::from_static(view.form));
    for (name, value) in [(HTTP_STATUS_CODE, view.http_status_code), (REQUEST_ID, view.request_id)] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(name, value);
        }
    }
    response
}

fn protect(headers: &mut HeaderMap, content_type: &'static str) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

async fn record(state: &ApiState, id: &str) -> Result<Record, Problem> {
    let parsed = ExchangeId::parse(id).map_err(|why| Problem::field("id", why.to_string()))?;
    state.log.by_id(parsed).await?.ok_or_else(|| Problem::not_found("exchange", id))
}

fn filter(query: &mut Fields) -> Result<Filter, Problem> {
    Ok(Filter {
        invoice_no: query.optional("invoice_no")?,
        tax_no: query.optional("tax_no")?,
        platform_id: query.optional("platform_id")?,
        service: query.optional("service")?,
        class: named(query, "class", ServiceClass::parse)?,
        error_code: query.optional("error_code")?,
        decision_code: query.optional("decision_code")?,
        client_tid: query.optional("client_tid")?,
        acceptance_no: query.optional("acceptance_no")?,
        serial: query.optional("serial")?,
        request_id: query.optional("request_id")?,
        from: named(query, "from", parse_time)?,
        until: named(query, "until", parse_time)?,
        state: named(query, "state", Progress::parse)?,
        decision: named(query, "decision", Decision::parse)?,
    })
}

/// A parameter of a type that has no `FromStr`.
pub(super) fn named<T>(
    query: &mut Fields,
    name: &str,
    parse: fn(&str) -> Result<T, Invalid>,
) -> Result<Option<T>, Problem> {
    let text: Option<String> = query.optional(name)?;
    text.map(|text| parse(&text).map_err(|why| query.wrong(name, why.to_string()))).transpose()
}

/// RFC 3339, or a day, which begins at midnight in Beijing. A `+` that a careless client did not escape came as a blank.
pub(super) fn parse_time(text: &str) -> Result<Timestamp, Invalid> {
    const REASON: Invalid = Invalid::new("must be a time such as 2026-11-30T00:00:00+08:00, or a day");
    if let Ok(day) = text.parse::<jiff::civil::Date>()
        && text.len() == 10
    {
        return BEIJING.to_timestamp(day.at(0, 0, 0, 0)).map_err(|_| REASON);
    }
    text.replace(' ', "+").parse().map_err(|_| REASON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_offset_or_as_days_in_beijing() {
        let midnight: Timestamp = "2026-11-29T16:00:00Z".parse().unwrap();
        for text in
            ["2026-11-30", "2026-11-30T00:00:00+08:00", "2026-11-30T00:00:00 08:00", "2026-11-29T16:00:00Z"]
        {
            assert_eq!(parse_time(text), Ok(midnight), "{text}");
        }
        assert!(parse_time("yesterday").is_err());
        assert!(parse_time("2026-11-30T00:00:00").is_err());
    }
}
