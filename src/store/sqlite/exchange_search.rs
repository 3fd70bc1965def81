//! The query of a search in the request log: the conditions that are given, newest first.

use sqlx::{QueryBuilder, Sqlite};

use super::exchange_keys as keys;
use crate::{
    domain::{ExchangeId, ServiceClass, TaxNo},
    store::exchanges::{Decision, Filter, State},
};

/// Builds the query. Each of the columns that have an index gives its rows in the order of ids, so that nothing is
/// sorted but what a key finds.
pub(super) fn search(filter: &Filter, before: Option<ExchangeId>, limit: usize) -> QueryBuilder<Sqlite> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let until = filter.until.map(ExchangeId::first_at);
    let below = before.into_iter().chain(until).map(ExchangeId::number).min().unwrap_or(i64::MAX);
    let from = filter.from.map_or(0, |from| ExchangeId::first_at(from).number());
    let range = Range { from, below };
    if let Some(mut query) = keys::search(filter, from, below, "e.*") {
        conditions(&mut query, filter, range);
        either_id(&mut query, filter);
        newest(&mut query, limit);
        return query;
    }
    let mut query = QueryBuilder::new("SELECT e.* FROM exchange AS e");
    if filter.platform_id.is_none() {
        conditions(&mut query, filter, range);
    } else {
        // one walk through each index, rather than both wholly and a sort
        query.push(" WHERE e.id IN (SELECT id FROM (");
        by_one_id(&mut query, "e.access_id", filter, range, limit);
        query.push(") UNION ALL SELECT id FROM (");
        by_one_id(&mut query, "e.using_id", filter, range, limit);
        query.push("))");
    }
    newest(&mut query, limit);
    query
}

/// Ids from `from` up to below `below`.
#[derive(Clone, Copy)]
struct Range {
    from: i64,
    below: i64,
}

fn newest(query: &mut QueryBuilder<Sqlite>, limit: i64) {
    query.push(" ORDER BY e.id DESC LIMIT ").push_bind(limit);
}

fn by_one_id(
    query: &mut QueryBuilder<Sqlite>,
    column: &'static str,
    filter: &Filter,
    range: Range,
    limit: i64,
) {
    query.push("SELECT e.id FROM exchange AS e");
    conditions(query, filter, range);
    let id = filter.platform_id.as_ref().map(ToString::to_string);
    query.push(" AND ").push(column).push(" = ").push_bind(id);
    newest(query, limit);
}

fn either_id(query: &mut QueryBuilder<Sqlite>, filter: &Filter) {
    if let Some(id) = &filter.platform_id {
        query.push(" AND (e.access_id = ").push_bind(id.to_string());
        query.push(" OR e.using_id = ").push_bind(id.to_string()).push(")");
    }
}

/// Everything but the platform id.
fn conditions(query: &mut QueryBuilder<Sqlite>, filter: &Filter, range: Range) {
    query.push(" WHERE e.id >= ").push_bind(range.from).push(" AND e.id < ").push_bind(range.below);
    let texts = [
        ("e.tax_no", filter.tax_no.as_ref().map(TaxNo::as_str)),
        ("e.service", filter.service.as_deref()),
        ("e.class", filter.class.map(ServiceClass::as_str)),
        ("e.error_code", filter.error_code.as_deref()),
        ("e.decision_code", filter.decision_code.as_deref()),
        ("e.client_tid", filter.client_tid.as_deref()),
        ("e.acceptance_no", filter.acceptance_no.as_deref()),
        ("e.serial", filter.serial.as_deref()),
        ("e.request_id", filter.request_id.as_deref()),
        ("e.state", filter.state.map(State::as_str)),
        ("e.decision", filter.decision.map(Decision::as_str)),
    ];
    for (column, text) in texts {
        if let Some(text) = text {
            query.push(" AND ").push(column).push(" = ").push_bind(text.to_owned());
        }
    }
    partial_indexes(query, filter);
}

/// Repeats the conditions of partial indexes, which SQLite does not conclude from a bound value.
fn partial_indexes(query: &mut QueryBuilder<Sqlite>, filter: &Filter) {
    match filter.class {
        None | Some(ServiceClass::Issue | ServiceClass::IssueResult | ServiceClass::Read) => {}
        Some(
            ServiceClass::Precode
            | ServiceClass::QuotaQuery
            | ServiceClass::QuotaTransfer
            | ServiceClass::QuotaValidity
            | ServiceClass::SummaryQuery
            | ServiceClass::SummaryUpload
            | ServiceClass::Write,
        ) => {
            query.push(" AND e.class NOT IN ('issue', 'issue_result', 'read')");
        }
    }
    if filter.decision.is_some_and(|decision| decision != Decision::Forwarded) {
        query.push(" AND e.decision <> 'forwarded'");
    }
    if filter.state.is_some_and(|state| state != State::Complete) {
        query.push(" AND e.state <> 'complete'");
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Row};

    use super::*;
    use crate::{store, telemetry::metrics::Metrics};

    async fn plan(filter: &Filter) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.db");
        let config =
            store::Config { url: format!("sqlite://{}", path.display()), ..store::Config::default() };
        let metrics = store::Metrics::register(&Metrics::new().unwrap()).unwrap();
        let database = super::super::open::database(&config, &metrics).await.unwrap();
        let query = search(filter, None, 50);
        let sql = format!("EXPLAIN QUERY PLAN {}", query.sql().as_str());
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&database.readers).await.unwrap();
        rows.iter().map(|row| row.get::<String, _>("detail") + "\n").collect()
    }

    #[tokio::test]
    async fn every_search_walks_an_index_and_only_what_a_key_finds_is_sorted() {
        let some = |text: &str| Some(text.to_owned());
        let none = Filter::default;
        let searches = [
            ("exchange_by_tax_no", Filter { tax_no: "91350100M000100Y43".parse().ok(), ..none() }),
            ("exchange_by_service", Filter { service: some("QDFPSC"), ..none() }),
            ("exchange_by_class", Filter { class: Some(ServiceClass::SummaryUpload), ..none() }),
            ("exchange_by_error_code", Filter { error_code: some("4067"), ..none() }),
            ("exchange_by_decision_code", Filter { decision_code: some("GW-QUOTA-SHORT"), ..none() }),
            ("exchange_by_decision", Filter { decision: Some(Decision::Refused), ..none() }),
            ("exchange_by_state", Filter { state: Some(State::Interrupted), ..none() }),
        ];
        for (index, filter) in searches {
            let plan = plan(&filter).await;
            assert!(
                plan.contains(index) && !plan.contains("SCAN e") && !plan.contains("TEMP B-TREE"),
                "{plan}"
            );
        }
        let by_platform = plan(&Filter { platform_id: "A".repeat(20).parse().ok(), ..none() }).await;
        for index in ["exchange_by_access_id", "exchange_by_using_id"] {
            assert!(by_platform.contains(index) && !by_platform.contains("SCAN e"), "{by_platform}");
        }
        for filter in [
            Filter { invoice_no: "2".repeat(20).parse().ok(), ..none() },
            Filter {
                request_id: some("e0c4ae4cfb5ccb11"),
                tax_no: "91350100M000100Y43".parse().ok(),
                ..none()
            },
            Filter { serial: some("s"), platform_id: "A".repeat(20).parse().ok(), ..none() },
        ] {
            let plan = plan(&filter).await;
            assert!(plan.contains("SEARCH k USING PRIMARY KEY (bucket=? AND kind=? AND value=?"), "{plan}");
            assert!(plan.contains("SEARCH e USING INTEGER PRIMARY KEY (rowid=?)"), "{plan}");
        }
    }
}
