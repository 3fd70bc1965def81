//! The query of a search in the request log: the conditions that are given, newest first.

use super::{
    exchange_keys::{BUCKET_SHIFT, sought},
    session::{Dialect, Query, Statement},
};
use crate::{
    domain::{ExchangeId, ServiceClass, TaxNo},
    store::exchanges::{Decision, Filter, State},
};

/// Builds the query. Each of the columns that have an index gives its rows in the order of ids, so that nothing is
/// sorted but what a key finds.
pub(in crate::store) fn search(
    dialect: Dialect,
    filter: &Filter,
    before: Option<ExchangeId>,
    limit: usize,
) -> Statement {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let until = filter.until.map(ExchangeId::first_at);
    let below = before.into_iter().chain(until).map(ExchangeId::number).min().unwrap_or(i64::MAX);
    let from = filter.from.map_or(0, |from| ExchangeId::first_at(from).number());
    let range = Range { from, below };
    let mut query = Query::new(dialect);
    if by_key(&mut query, filter, range) {
        conditions(&mut query, filter, range);
        either_id(&mut query, filter);
        newest(&mut query, limit);
        return query.finish();
    }
    query.push("SELECT e.* FROM exchange AS e");
    if filter.platform_id.is_none() {
        conditions(&mut query, filter, range);
    } else {
        // one walk through each index, rather than both wholly and a sort
        query.push(" WHERE e.id IN (SELECT id FROM (");
        by_one_id(&mut query, "access_id", filter, range, limit);
        query.push(") AS a UNION ALL SELECT id FROM (");
        by_one_id(&mut query, "using_id", filter, range, limit);
        query.push(") AS u)");
    }
    newest(&mut query, limit);
    query.finish()
}

/// Begins a search by key, if one is given: a walk through the buckets of the range.
fn by_key(query: &mut Query, filter: &Filter, range: Range) -> bool {
    let Some((kind, value)) = sought(filter) else { return false };
    let (least, greatest) = query.dialect().least_and_greatest();
    query.push("WITH RECURSIVE bucket (b) AS (SELECT ").push(least).push("(").bind(range.below);
    query.push(&format!(", (SELECT max(id) FROM exchange)) >> {BUCKET_SHIFT} UNION ALL "));
    query.push("SELECT b - 1 FROM bucket WHERE b > ").push(greatest).push("(").bind(range.from);
    query.push(&format!(", (SELECT min(id) FROM exchange)) >> {BUCKET_SHIFT}) SELECT e.* "));
    query.push(query.dialect().key_join()).push("k.kind = ").bind(kind as i64);
    query.push(" AND k.value = ").bind(value);
    query.push(query.dialect().exchange_join());
    true
}

/// Ids from `from` up to below `below`.
#[derive(Clone, Copy)]
struct Range {
    from: i64,
    below: i64,
}

fn newest(query: &mut Query, limit: i64) {
    query.push(" ORDER BY e.id DESC LIMIT ").bind(limit);
}

fn by_one_id(query: &mut Query, column: &str, filter: &Filter, range: Range, limit: i64) {
    query.push("SELECT e.id FROM exchange AS e");
    conditions(query, filter, range);
    let id = filter.platform_id.as_ref().map(crate::domain::PlatformId::folded);
    let column = query.dialect().folded(column);
    query.push(" AND ").push(&column).push(" = ").bind(id);
    newest(query, limit);
}

fn either_id(query: &mut Query, filter: &Filter) {
    if let Some(id) = &filter.platform_id {
        let (access, using) = (query.dialect().folded("access_id"), query.dialect().folded("using_id"));
        query.push(" AND (").push(&access).push(" = ").bind(id.folded());
        query.push(" OR ").push(&using).push(" = ").bind(id.folded()).push(")");
    }
}

/// Everything but the platform id.
fn conditions(query: &mut Query, filter: &Filter, range: Range) {
    query.push(" WHERE e.id >= ").bind(range.from).push(" AND e.id < ").bind(range.below);
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
            query.push(" AND ").push(column).push(" = ").bind(text);
        }
    }
    partial_indexes(query, filter);
}

/// Repeats the conditions of partial indexes, which neither engine concludes from a bound value.
fn partial_indexes(query: &mut Query, filter: &Filter) {
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
        let database = crate::store::sqlite::database(&config, &metrics).await.unwrap();
        let query = search(Dialect::Sqlite, filter, None, 50);
        let sql = format!("EXPLAIN QUERY PLAN {}", query.sql());
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
