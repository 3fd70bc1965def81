//! The paths under `/_sim/`: a look into the books, scripted failures, the clock, and what a tax office would do.

use http::{Method, Response, StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Shared, faults::Fault};
use crate::domain::{Money, Period, TaxNo};

/// Calls that one answer holds at most.
const MOST_CALLS: usize = 10_000;

/// Answers a control call; wrong input gets HTTP 400 and a sentence.
pub(super) fn answer(
    shared: &Shared,
    method: &Method,
    path: &str,
    query: &str,
    body: &[u8],
) -> Response<String> {
    let done = match (method, path) {
        (&Method::GET, "/_sim/books") => Ok(shared.books.view(!query.contains("calls=false"))),
        (&Method::GET, "/_sim/calls") => calls(shared, query),
        (&Method::GET, "/_sim/faults") => Ok(json!({ "faults": shared.faults.left() })),
        (&Method::POST, "/_sim/faults") => set_faults(shared, body),
        (&Method::POST, "/_sim/clock") => set_clock(shared, body),
        (&Method::POST, "/_sim/credit") => set_credit(shared, body),
        (&Method::POST, "/_sim/file") => file(shared, body),
        (_, path) => Err((
            StatusCode::NOT_FOUND,
            format!(
                "{method} {path} is not known; there are GET /_sim/books, GET /_sim/calls, GET and POST /_sim/faults, \
                 POST /_sim/clock, POST /_sim/credit, POST /_sim/file (docs/simulator.md)"
            ),
        )),
    };
    let (status, value) = match done {
        Ok(value) => (StatusCode::OK, value),
        Err((status, error)) => (status, json!({ "error": error })),
    };
    let mut response = Response::new(value.to_string());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

type Outcome = Result<Value, (StatusCode, String)>;

fn read<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, (StatusCode, String)> {
    serde_json::from_slice(body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
}

/// `?after=NUMBER`: the calls behind that one, so that all of many calls can be seen while they come in.
fn calls(shared: &Shared, query: &str) -> Outcome {
    let after = query.strip_prefix("after=").unwrap_or("0");
    let after = after.parse().map_err(|_| {
        (StatusCode::BAD_REQUEST, format!("after={after}: give the number of the last call that was seen"))
    })?;
    let calls = &shared.books.calls;
    Ok(json!({ "calls_received": calls.received(), "calls": calls.after(after, MOST_CALLS) }))
}

/// `{"faults": […]}`, a list, or a single fault; replaces the script.
fn set_faults(shared: &Shared, body: &[u8]) -> Outcome {
    #[derive(Deserialize)]
    struct Script {
        faults: Vec<Fault>,
    }
    let faults = match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => read(body)?,
        _ if serde_json::from_slice::<Value>(body).is_ok_and(|v| v.get("faults").is_some()) => {
            read::<Script>(body)?.faults
        }
        _ => vec![read(body)?],
    };
    shared.faults.set(faults);
    Ok(json!({ "faults": shared.faults.left() }))
}

/// `{"now": RFC 3339}` or `{"advance": seconds}`.
fn set_clock(shared: &Shared, body: &[u8]) -> Outcome {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Clock {
        now: Option<Timestamp>,
        advance: Option<i64>,
    }
    let now = match read::<Clock>(body)? {
        Clock { now: Some(now), advance: None } => now,
        Clock { now: None, advance: Some(seconds) } => shared
            .clock
            .now()
            .saturating_add(jiff::SignedDuration::from_secs(seconds))
            .unwrap_or(Timestamp::MAX),
        Clock { .. } => {
            return Err((
                StatusCode::BAD_REQUEST,
                "give either \"now\" (RFC 3339) or \"advance\" (seconds)".to_owned(),
            ));
        }
    };
    shared.clock.set(now);
    Ok(json!({ "now": shared.clock.now() }))
}

/// `{"tax_no", "suspended"?, "month_total"?, "used_elsewhere"?}`: the tax office suspends this month's credit, changes
/// what it grants, or books invoices that another system of the company issued.
fn set_credit(shared: &Shared, body: &[u8]) -> Outcome {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Credit {
        tax_no: TaxNo,
        suspended: Option<bool>,
        month_total: Option<Money>,
        used_elsewhere: Option<Money>,
    }
    let Credit { tax_no, suspended, month_total, used_elsewhere } = read(body)?;
    if shared.world.by_tax_no(&tax_no).is_none() {
        return Err((StatusCode::NOT_FOUND, format!("no company has the tax number {tax_no}")));
    }
    let mut books = shared.books.lock();
    let account = books.production.account(&tax_no, Period::at(shared.clock.now()));
    account.suspended = suspended.unwrap_or(account.suspended);
    if let Some(total) = month_total {
        let left = total.saturating_sub(account.downloaded).max(Money::ZERO);
        account.at_bureau = if total.is_on_demand() { total } else { left };
        account.month_total = total;
    }
    account.used = account.used.saturating_add(used_elsewhere.unwrap_or_default());
    Ok(json!(account))
}

/// `{"tax_no", "period"}`: the company files the month's VAT.
fn file(shared: &Shared, body: &[u8]) -> Outcome {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Filing {
        tax_no: TaxNo,
        period: Period,
    }
    let Filing { tax_no, period } = read(body)?;
    let filed = shared.books.lock().production.file(&tax_no, period);
    filed
        .map(|()| json!({ "filed": period }))
        .map_err(|refusal| (StatusCode::CONFLICT, refusal.text.into_owned()))
}
