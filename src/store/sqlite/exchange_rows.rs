//! SQL of the request log's main table, and records to rows.

use std::sync::LazyLock;

use bytes::Bytes;
use sqlx::{Sqlite, query::Query, sqlite::SqliteArguments};

use super::exchange_keys;
use crate::{
    domain::{ExchangeId, TaxNo},
    store::{
        exchanges::Record,
        sql::exchange_rows::{BEGUN, ENDED, signed},
        value::json_text,
    },
};

/// Rows of one statement at most. Each number of rows is a statement of its own that is kept prepared, so that the
/// memory they take grows with the square of this.
pub(super) const ROWS: usize = 16;

/// Adds records, or completes those whose intent is there, with bodies and keys: all at once, since what a statement
/// costs besides its rows, its way to the driver's thread and back, is as much as several rows. The parameters are
/// those of [`bind`] for each record, of [`bind_body`] for each request, then for each answer, then the keys.
pub(super) static SAVE: LazyLock<ByRows> = LazyLock::new(|| {
    ByRows::new(|rows| {
        let (requests, answers) =
            (save_bodies("exchange_request", rows), save_bodies("exchange_response", rows));
        format!("{};\n{requests};\n{answers};\n{}", save(rows), exchange_keys::SAVE)
    })
});

/// One kind of statement for 1 to [`ROWS`] rows.
pub(super) struct ByRows(Vec<String>);

impl ByRows {
    fn new(sql: impl Fn(usize) -> String) -> Self {
        Self((1..=ROWS).map(sql).collect())
    }

    /// The statement for so many rows, of which there are 1 to [`ROWS`].
    pub(super) fn of(&self, rows: usize) -> &str {
        &self.0[rows - 1]
    }
}

fn save(rows: usize) -> String {
    let (begun, ended) = (BEGUN.join(", "), ENDED.join(", "));
    let columns = BEGUN.len() + ENDED.len();
    let values = many(columns, rows);
    let set = ENDED.map(|column| format!("{column} = excluded.{column}")).join(", ");
    format!("INSERT INTO exchange ({begun}, {ended}) VALUES {values} ON CONFLICT (id) DO UPDATE SET {set}")
}

fn save_bodies(table: &str, rows: usize) -> String {
    let values = many(2, rows);
    format!(
        "INSERT INTO {table} (id, body) SELECT column1, column2 FROM (VALUES {values}) WHERE column2 IS NOT NULL \
         ON CONFLICT (id) DO UPDATE SET body = excluded.body"
    )
}

/// `(?, …), (?, …)`
fn many(columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(", "));
    vec![row.as_str(); rows].join(", ")
}

/// A statement on its way.
type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Binds a body; an empty one has no row.
pub(super) fn bind_body<'q>(query: Statement<'q>, id: ExchangeId, body: Option<&Bytes>) -> Statement<'q> {
    query.bind(id.number()).bind(body.filter(|body| !body.is_empty()).map(|body| body.to_vec()))
}

/// Binds one record in the order of the columns.
pub(super) fn bind<'q>(query: Statement<'q>, record: &Record) -> Statement<'q> {
    bind_ended(bind_begun(query, record), record)
}

fn bind_begun<'q>(query: Statement<'q>, record: &Record) -> Statement<'q> {
    query
        .bind(record.id.number())
        .bind(record.started_at.as_microsecond())
        .bind(record.client.as_str())
        .bind(record.client_identity.as_deref())
        .bind(record.listener.as_str())
        .bind(record.route.as_str())
        .bind(record.upstream.as_str())
        .bind(record.environment.as_str())
        .bind(record.method.as_str())
        .bind(record.target.as_str())
        .bind(record.service.as_deref())
        .bind(record.capability.as_deref())
        .bind(record.class.as_str())
        .bind(record.access_id.as_deref())
        .bind(record.using_id.as_deref())
        .bind(record.tax_no.as_ref().map(TaxNo::as_str))
        .bind(record.client_tid.as_deref())
        .bind(json_text(&record.request_headers))
        .bind(signed(record.request_size))
        .bind(record.request_sha256.map(|digest| digest.to_vec()))
        .bind(record.serial.as_deref())
        .bind(record.request_truncated)
}

fn bind_ended<'q>(query: Statement<'q>, record: &Record) -> Statement<'q> {
    query
        .bind(record.finished_at.map(jiff::Timestamp::as_microsecond))
        .bind(json_text(&record.response_headers))
        .bind(signed(record.response_size))
        .bind(record.response_sha256.map(|digest| digest.to_vec()))
        .bind(record.status.map(i64::from))
        .bind(record.platform_status.as_deref())
        .bind(record.request_id.as_deref())
        .bind(record.error_code.as_deref())
        .bind(record.error_text.as_deref())
        .bind(record.return_code.as_deref())
        .bind(record.return_message.as_deref())
        .bind(record.acceptance_no.as_deref())
        .bind(record.decision.as_str())
        .bind(record.decision_code.as_deref())
        .bind(record.note.as_deref())
        .bind(record.state.as_str())
        .bind(record.upstream_us.map(signed))
        .bind(record.gateway_us.map(signed))
        .bind(json_text(&record.invoice_nos))
        .bind(record.response_truncated)
}
