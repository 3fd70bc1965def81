//! SQL of the request log's main table, and records to rows.

use std::sync::LazyLock;

use sqlx::{Sqlite, query::Query, sqlite::SqliteArguments};

use crate::{
    domain::TaxNo,
    store::{
        exchanges::Record,
        sql::exchange_rows::{BEGUN, ENDED, json_text, signed},
    },
};

/// Rows per statement, largest first: few sizes, so that prepared statements are used again.
pub(super) const SIZES: [usize; 3] = [32, 8, 1];

/// Adds so many records, or completes those whose intent is there; in the order of [`SIZES`].
pub(super) static SAVE: LazyLock<[String; 3]> = LazyLock::new(|| SIZES.map(save));

fn save(rows: usize) -> String {
    let (begun, ended) = (BEGUN.join(", "), ENDED.join(", "));
    let columns = BEGUN.len() + ENDED.len();
    let values = many(columns, rows);
    let set = ENDED.map(|column| format!("{column} = excluded.{column}")).join(", ");
    format!("INSERT INTO exchange ({begun}, {ended}) VALUES {values} ON CONFLICT (id) DO UPDATE SET {set}")
}

/// `(?, …), (?, …)`
pub(super) fn many(columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(", "));
    vec![row.as_str(); rows].join(", ")
}

/// How many of `left` rows the next statement takes, and its place in [`SIZES`].
pub(super) fn next_size(left: usize) -> (usize, usize) {
    SIZES.into_iter().enumerate().find(|(_, size)| *size <= left).map_or((2, 1), |(at, size)| (at, size))
}

/// A statement on its way.
type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

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
