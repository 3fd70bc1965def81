//! Balances that are rebuilt, on a real database that keeps more than the month that is asked for.

use std::path::Path;

use super::{
    ledger::{Ledger, TOTALS, VERIFY, text_for},
    session::{Dialect, Statement, Tables},
};
use crate::{
    domain::{Money, Period},
    store::{self, StoreError, ledger::LedgerTable, value::at},
    telemetry::metrics::Metrics,
};

/// Three issuers with twelve months each, 300 entries and events a month of one fen each; one account says more.
const FILL: [&str; 4] = [
    "INSERT INTO ledger_account (issuer, period, downloaded, elsewhere, issued, reserved, pending_return, suspended, \
     closed_for, epoch, stale, updated_at)
     SELECT '9135010000000000' || i, 202600 + m, 0, 0, 300, 0, 0, $1, '[]', 0, $1, 0 FROM \
     (SELECT DISTINCT n % 3 AS i FROM number) AS i, (SELECT DISTINCT n % 12 + 1 AS m FROM number) AS m",
    "INSERT INTO ledger_entry (issuer, invoice_no, period, platform_id, red, net, tax, credit, state, sends, dated_at, \
     created_at, updated_at)
     SELECT '9135010000000000' || i, CAST(n AS TEXT), 202600 + n % 12 + 1, '', $1, 1, 0, 1, 'issued', '[]', 0, 0, 0 \
     FROM (SELECT DISTINCT n % 3 AS i FROM number) AS i, number",
    "INSERT INTO ledger_event (issuer, period, kind, downloaded, elsewhere, issued, reserved, pending_return, at)
     SELECT '9135010000000000' || i, 202600 + n % 12 + 1, 'issued', 0, 0, 1, 0, 0, 0 \
     FROM (SELECT DISTINCT n % 3 AS i FROM number) AS i, number",
    "UPDATE ledger_account SET reserved = 5 WHERE issuer = '91350100000000001' AND period = 202611 AND suspended = $1",
];

const NUMBERS: &str =
    "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 3600) ";

async fn filled(path: &Path) -> Tables {
    let config = store::testing::config(path);
    let metrics = store::Metrics::register(&Metrics::new().unwrap()).unwrap();
    let tables = if config.url.starts_with("sqlite") {
        Tables::Sqlite(Box::new(store::sqlite::database(&config, &metrics).await.unwrap()))
    } else {
        Tables::Postgres(Box::new(store::postgres::database(&config, &metrics).await.unwrap()))
    };
    for sql in FILL {
        let sql: &'static str = (NUMBERS.to_owned() + sql).leak();
        let filled = tables.write(move |mut session| {
            Box::pin(async move { session.execute(Statement::new(sql).bind(false)).await })
        });
        assert!(filled.await.unwrap() > 0);
    }
    if tables.dialect() == Dialect::Postgres {
        let analyzed = tables
            .write(|mut session| Box::pin(async move { session.execute(Statement::new("ANALYZE")).await }));
        analyzed.await.unwrap();
    }
    tables
}

#[tokio::test]
async fn an_account_that_says_something_else_than_its_entries_and_events_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger(filled(&directory.path().join("gateway.db")).await);
    assert_eq!(ledger.verify(Period::parse("2026-10").unwrap()).await.unwrap(), []);
    let found = ledger.verify(Period::parse("2026-11").unwrap()).await.unwrap();
    let [found] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(found.key.issuer.as_str(), "91350100000000001");
    let figures = [found.account, found.entries, found.events];
    assert_eq!(figures.map(|sums| sums.issued), [Money::from_fen(300); 3]);
    assert_eq!(figures.map(|sums| sums.reserved), [5, 0, 0].map(Money::from_fen));
}

#[tokio::test]
async fn a_month_is_verified_through_indexes_however_much_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let tables = filled(&directory.path().join("gateway.db")).await;
    let (explain, text, event) = match tables.dialect() {
        Dialect::Postgres => ("EXPLAIN ", 0, "ledger_event_by_month"),
        Dialect::Sqlite => (
            "EXPLAIN QUERY PLAN ",
            3,
            "ledger_event USING INDEX ledger_event_by_month (issuer=? AND period=?)",
        ),
    };
    let plan = async |sql| {
        let sql: &'static str = (explain.to_owned() + text_for(tables.dialect(), sql)).leak();
        let mut asked = Statement::new(sql).bind("91350100000000001").bind(202_611);
        if sql.contains("$3") {
            asked = asked.bind("");
        }
        let rows = tables.rows(asked).await.unwrap();
        let lines: Result<Vec<String>, StoreError> = rows.iter().map(|row| Ok(at(row, text)?)).collect();
        let plan = lines.unwrap().join("\n");
        for whole in ["Seq Scan on ledger_e", "SCAN ledger_e", "PRIMARY KEY (issuer=?)"] {
            assert!(!plan.contains(whole), "{plan}");
        }
        assert!(plan.contains("ledger_entry_by_month"), "{plan}");
        plan
    };
    plan(TOTALS).await;
    let plan = plan(VERIFY).await;
    assert!(plan.contains(event), "{plan}");
}
