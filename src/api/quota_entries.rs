//! `/quotas/{tax_no}/entries` (授信额度使用记录): what used the credit, invoice by invoice, filtered and exported.

use axum::{body::Body, extract::State, response::Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderValue, header};
use serde::Serialize;

use super::{
    ApiState,
    auth::Viewer,
    exchanges::{named, parse_time},
    fields::{Fields, Query, Segment},
    page::{Page, PageRequest, Time},
    problem::Problem,
    quotas::period,
    reply::{Outcome, Reply},
    units::tax_no_of,
};
use crate::{
    domain::{ExchangeId, Invalid, InvoiceNo, Money, Period, TaxNo},
    quota::Ledger,
    store::ledger::{Entry, EntryFilter, EntryState},
};

/// An invoice of the ledger as shown.
#[derive(Debug, Serialize)]
struct Shown {
    invoice_no: InvoiceNo,
    period: Period,
    platform_id: String,
    state: &'static str,
    red: bool,
    net: Money,
    tax: Money,
    credit: Money,
    reversed_invoice_no: Option<InvoiceNo>,
    exchange: Option<ExchangeId>,
    unresolved_sends: Vec<ShownSend>,
    acceptance_no: Option<String>,
    result_code: Option<String>,
    result_text: Option<String>,
    dated_at: Time,
    created_at: Time,
    updated_at: Time,
}

#[derive(Debug, Serialize)]
struct ShownSend {
    exchange: ExchangeId,
    acceptance_no: Option<String>,
}

impl From<Entry> for Shown {
    fn from(entry: Entry) -> Self {
        let sends = entry.sends.into_iter();
        Self {
            invoice_no: entry.key.invoice_no,
            period: entry.period,
            platform_id: entry.platform_id,
            state: entry.state.as_str(),
            red: entry.red,
            net: entry.net,
            tax: entry.tax,
            credit: entry.credit,
            reversed_invoice_no: entry.reversed_no,
            exchange: entry.exchange,
            unresolved_sends: sends
                .map(|send| ShownSend { exchange: send.exchange, acceptance_no: send.acceptance_no })
                .collect(),
            acceptance_no: entry.acceptance_no,
            result_code: entry.result_code,
            result_text: entry.result_text,
            dated_at: Time(entry.dated_at),
            created_at: Time(entry.created_at),
            updated_at: Time(entry.updated_at),
        }
    }
}

/// GET `/quotas/{tax_no}/entries`
pub(super) async fn list(
    State(state): State<ApiState>,
    _: Viewer,
    Segment(tax_no): Segment,
    Query(mut query): Query,
) -> Outcome {
    let issuer = tax_no_of(&tax_no)?;
    let page = PageRequest::<InvoiceNo>::take(&mut query)?;
    let limit = u32::try_from(page.limit + 1).unwrap_or(u32::MAX);
    let filter = EntryFilter { after: page.cursor, limit, ..filter(&state, issuer, &mut query)? };
    query.finish()?;
    let rows = state.ledger.entries(&filter).await?;
    Reply::ok(&Page::cut(rows, page.limit, |entry| entry.key.invoice_no.to_string(), Shown::from))
}

/// What the query asks for. An invoice or an exchange is looked for in every month, all else in one.
fn filter(state: &ApiState, issuer: TaxNo, query: &mut Fields) -> Result<EntryFilter, Problem> {
    let invoice_no = query.optional("invoice_no")?;
    let exchange = query.optional("exchange")?;
    let anywhere = invoice_no.is_some() || exchange.is_some();
    let period = if anywhere { query.optional("period")? } else { Some(period(state, query)?) };
    Ok(EntryFilter {
        issuer,
        period,
        state: named(query, "state", EntryState::parse)?,
        invoice_no,
        exchange,
        from: named(query, "from", parse_time)?,
        to: named(query, "to", parse_time)?,
        after: None,
        limit: EXPORT_PAGE,
    })
}

/// Entries that are read at once for an export.
const EXPORT_PAGE: u32 = 500;

/// The forms of an export.
#[derive(Clone, Copy)]
enum Format {
    Csv,
    Jsonl,
}

impl Format {
    fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "csv" => Ok(Self::Csv),
            "jsonl" => Ok(Self::Jsonl),
            _ => Err(Invalid::new("must be csv or jsonl")),
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Jsonl => "application/x-ndjson",
        }
    }

    const fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// GET `/quotas/{tax_no}/entries/export`: the whole list as a file, read page by page while it is sent.
pub(super) async fn export(
    State(state): State<ApiState>,
    _: Viewer,
    Segment(tax_no): Segment,
    Query(mut query): Query,
) -> Result<Response, Problem> {
    let issuer = tax_no_of(&tax_no)?;
    let format = named(&mut query, "format", Format::parse)?.unwrap_or(Format::Csv);
    let filter = filter(&state, issuer, &mut query)?;
    query.finish()?;
    let name = format!("attachment; filename=\"quota-{tax_no}.{}\"", format.extension());
    let mut response = Response::new(Body::from_stream(pages(state.ledger.clone(), filter, format)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let name = HeaderValue::from_str(&name).map_err(|error| Problem::internal(&error))?;
    headers.insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

/// The export in pieces; it breaks off where the database fails, so that a part is not taken for the whole.
fn pages(
    ledger: Ledger,
    filter: EntryFilter,
    format: Format,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    let page = move |(ledger, filter, first): (Ledger, EntryFilter, bool)| async move {
        let rows = ledger.entries(&filter).await.map_err(std::io::Error::other)?;
        let last = rows.last().map(|entry| entry.key.invoice_no.clone());
        if rows.is_empty() && !first {
            return Ok(None);
        }
        let bytes = match format {
            Format::Csv => csv_of(rows, first)?,
            Format::Jsonl => jsonl_of(rows)?,
        };
        let next = EntryFilter { after: last.or(filter.after), ..filter };
        Ok(Some((bytes, (ledger, next, false))))
    };
    stream::try_unfold((ledger, filter, true), page)
}

fn jsonl_of(rows: Vec<Entry>) -> Result<Bytes, std::io::Error> {
    let mut out = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut out, &Shown::from(row))?;
        out.push(b'\n');
    }
    Ok(out.into())
}

const COLUMNS: [&str; 16] = [
    "invoice_no",
    "period",
    "state",
    "red",
    "net",
    "tax",
    "credit",
    "reversed_invoice_no",
    "platform_id",
    "exchange",
    "acceptance_no",
    "result_code",
    "result_text",
    "dated_at",
    "created_at",
    "updated_at",
];

/// With a byte order mark at the beginning: without it spreadsheets take the Chinese for another encoding.
fn csv_of(rows: Vec<Entry>, first: bool) -> Result<Bytes, std::io::Error> {
    let mut out = Vec::new();
    if first {
        out.extend_from_slice("\u{feff}".as_bytes());
    }
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
    if first {
        writer.write_record(COLUMNS)?;
    }
    for row in rows {
        let shown = Shown::from(row);
        writer.write_record([
            shown.invoice_no.to_string(),
            shown.period.to_string(),
            shown.state.to_owned(),
            shown.red.to_string(),
            shown.net.to_string(),
            shown.tax.to_string(),
            shown.credit.to_string(),
            shown.reversed_invoice_no.map(|no| no.to_string()).unwrap_or_default(),
            inert(shown.platform_id),
            shown.exchange.map(|exchange| exchange.to_string()).unwrap_or_default(),
            inert(shown.acceptance_no.unwrap_or_default()),
            inert(shown.result_code.unwrap_or_default()),
            inert(shown.result_text.unwrap_or_default()),
            shown.dated_at.to_string(),
            shown.created_at.to_string(),
            shown.updated_at.to_string(),
        ])?;
    }
    let bytes = writer.into_inner().map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(bytes.into())
}

/// Texts of others must not become formulas in a spreadsheet.
fn inert(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { format!("'{text}") } else { text }
}
