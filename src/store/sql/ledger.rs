//! The ledger's tables: queries for both engines; changes go to the engine's writer.

use futures_util::future::BoxFuture;

use super::{
    ledger_rows::{account_columns, account_of, entry_columns, entry_of, event_of, figures_of, key_of},
    ledger_transfers::{self, transfer_of},
    session::{Dialect, Query, Row, Statement, Tables},
};
use crate::{
    domain::{Money, Period, PlatformId, Totals},
    store::{
        StoreError,
        ledger::{
            Account, AccountFilter, AccountKey, Entry, EntryFilter, EntryKey, Event, LedgerJob, LedgerTable,
            Mismatch, OpenCursor, Transfer, TransferFilter,
        },
        value::at,
    },
};

const ACCOUNT: &str =
    concat!("SELECT ", account_columns!(), " FROM ledger_account AS a WHERE a.issuer = $1 AND a.period = $2");

const ACCOUNTS: &str = concat!(
    "SELECT ",
    account_columns!(),
    " FROM ledger_account AS a WHERE ($1 IS NULL OR a.period = $1) AND (a.issuer, a.period) > ($2, $3)",
    " ORDER BY a.issuer, a.period LIMIT $4"
);

const ENTRY: &str =
    concat!("SELECT ", entry_columns!(), " FROM ledger_entry AS e WHERE e.issuer = $1 AND e.invoice_no = $2");

const ENTRIES: &str = concat!("SELECT ", entry_columns!(), " FROM ledger_entry AS e WHERE e.issuer = ");

const BY_ACCEPTANCE: &str =
    concat!("SELECT ", entry_columns!(), " FROM ledger_entry AS e WHERE e.acceptance_no = $1");

const OPEN: &str = concat!(
    "SELECT ",
    entry_columns!(),
    " FROM ledger_entry AS e WHERE e.state = 'reserved' AND e.updated_at <= $1",
    " AND (e.updated_at, e.issuer, e.invoice_no) > ($2, $3, $4)",
    " ORDER BY e.updated_at, e.issuer, e.invoice_no LIMIT $5"
);

const OPEN_UNTIL: &str = concat!("SELECT ", entry_columns!(), " FROM ledger_entry AS e");

const EVENTS: &str = "
SELECT id, issuer, period, invoice_no, kind, downloaded, elsewhere, issued, reserved, pending_return, exchange, at
FROM ledger_event WHERE issuer = $1 AND period = $2 AND id < $3 ORDER BY id DESC LIMIT $4";

/// Says which entries are those of a month: SQLite would go through all of the issuer's.
macro_rules! by_month {
    ($before:literal, $after:literal) => {
        [concat!($before, $after), concat!($before, " INDEXED BY ledger_entry_by_month", $after)]
    };
}

pub(super) const TOTALS: [&str; 2] = by_month!(
    "
SELECT red, count(*), CAST(sum(net) AS BIGINT), CAST(sum(tax) AS BIGINT) FROM ledger_entry",
    "
WHERE issuer = $1 AND period = $2 AND platform_id = $3 AND state = 'issued' GROUP BY red"
);

const ISSUERS: &str = "SELECT issuer FROM ledger_account WHERE period = $1 ORDER BY issuer";

/// What an account says, and what its entries and events add up to, where they differ. One statement, and so one
/// instant, for each account: both indexes begin with the issuer, and nothing reads for long.
pub(super) const VERIFY: [&str; 2] = by_month!(
    "
SELECT a.issuer, a.period,
    a.downloaded, a.elsewhere, a.issued, a.reserved, a.pending_return,
    CAST(0 AS BIGINT), CAST(0 AS BIGINT), e.issued, e.reserved, e.pending_return,
    v.downloaded, v.elsewhere, v.issued, v.reserved, v.pending_return
FROM ledger_account AS a, (
    SELECT CAST(coalesce(sum(CASE WHEN state = 'issued' THEN credit END), 0) AS BIGINT) AS issued,
        CAST(coalesce(sum(CASE WHEN state = 'reserved' AND credit > 0 THEN credit END), 0) AS BIGINT) AS reserved,
        CAST(coalesce(-sum(CASE WHEN state = 'reserved' AND credit < 0 THEN credit END), 0) AS BIGINT) AS pending_return
    FROM ledger_entry",
    " WHERE issuer = $1 AND period = $2
) AS e, (
    SELECT CAST(coalesce(sum(downloaded), 0) AS BIGINT) AS downloaded,
        CAST(coalesce(sum(elsewhere), 0) AS BIGINT) AS elsewhere, CAST(coalesce(sum(issued), 0) AS BIGINT) AS issued,
        CAST(coalesce(sum(reserved), 0) AS BIGINT) AS reserved,
        CAST(coalesce(sum(pending_return), 0) AS BIGINT) AS pending_return
    FROM ledger_event WHERE issuer = $1 AND period = $2
) AS v
WHERE a.issuer = $1 AND a.period = $2 AND (
    (a.issued, a.reserved, a.pending_return) <> (e.issued, e.reserved, e.pending_return)
    OR (a.downloaded, a.elsewhere, a.issued, a.reserved, a.pending_return)
        <> (v.downloaded, v.elsewhere, v.issued, v.reserved, v.pending_return)
)"
);

/// The text for the engine of one that there is for each.
pub(super) const fn text_for(dialect: Dialect, [postgres, sqlite]: [&'static str; 2]) -> &'static str {
    match dialect {
        Dialect::Postgres => postgres,
        Dialect::Sqlite => sqlite,
    }
}

/// The ledger's tables.
pub(in crate::store) struct Ledger(pub(in crate::store) Tables);

impl Ledger {
    async fn list<T>(
        &self,
        statement: Statement,
        read: impl Fn(&Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.0.rows(statement).await?.iter().map(read).collect()
    }
}

/// The entries that fit the filter, in the order of their numbers.
fn list_entries(dialect: Dialect, filter: &EntryFilter) -> Statement {
    let mut query = Query::new(dialect);
    query.push(ENTRIES).bind(filter.issuer.as_str());
    if let Some(period) = filter.period {
        query.push(" AND e.period = ").bind(period.number());
    }
    if let Some(state) = filter.state {
        query.push(" AND e.state = ").bind(state.as_str());
    }
    if let Some(invoice_no) = &filter.invoice_no {
        query.push(" AND e.invoice_no = ").bind(invoice_no.as_str());
    }
    if let Some(exchange) = filter.exchange {
        query.push(" AND e.exchange = ").bind(exchange.number());
    }
    if let Some(from) = filter.from {
        query.push(" AND e.created_at >= ").bind(from);
    }
    if let Some(to) = filter.to {
        query.push(" AND e.created_at < ").bind(to);
    }
    if let Some(after) = &filter.after {
        query.push(" AND e.invoice_no > ").bind(after.as_str());
    }
    query.push(" ORDER BY e.invoice_no LIMIT ").bind(i64::from(filter.limit));
    query.finish()
}

fn of_account(sql: &'static str, key: &AccountKey) -> Statement {
    Statement::new(sql).bind(key.issuer.as_str()).bind(key.period.number())
}

impl LedgerTable for Ledger {
    fn submit(&self, job: Box<dyn LedgerJob>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            match &self.0 {
                Tables::Postgres(database) => database.change(job).await,
                Tables::Sqlite(database) => database.change(job).await,
            }
        })
    }

    fn keep_evidence(&self, evidence: Vec<u8>) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            match &self.0 {
                Tables::Postgres(database) => database.spool_evidence(evidence).await,
                Tables::Sqlite(_) => false,
            }
        })
    }

    fn account<'a>(&'a self, key: &'a AccountKey) -> BoxFuture<'a, Result<Option<Account>, StoreError>> {
        Box::pin(async move { Ok(self.list(of_account(ACCOUNT, key), account_of).await?.pop()) })
    }

    fn accounts<'a>(&'a self, filter: &'a AccountFilter) -> BoxFuture<'a, Result<Vec<Account>, StoreError>> {
        Box::pin(async move {
            let after = filter.after.as_ref();
            let statement = Statement::new(ACCOUNTS)
                .bind(filter.period.map(Period::number))
                .bind(after.map_or("", |key| key.issuer.as_str()))
                .bind(after.map_or(0, |key| key.period.number()))
                .bind(i64::from(filter.limit));
            self.list(statement, account_of).await
        })
    }

    fn entry<'a>(&'a self, key: &'a EntryKey) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        Box::pin(async move {
            let statement = Statement::new(ENTRY).bind(key.issuer.as_str()).bind(key.invoice_no.as_str());
            Ok(self.list(statement, entry_of).await?.pop())
        })
    }

    fn entries<'a>(&'a self, filter: &'a EntryFilter) -> BoxFuture<'a, Result<Vec<Entry>, StoreError>> {
        Box::pin(async move { self.list(list_entries(self.0.dialect(), filter), entry_of).await })
    }

    fn entries_by_acceptance<'a>(
        &'a self,
        acceptance_no: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Entry>, StoreError>> {
        Box::pin(async move { self.list(Statement::new(BY_ACCEPTANCE).bind(acceptance_no), entry_of).await })
    }

    fn open_entries(
        &self,
        unchanged_since: jiff::Timestamp,
        after: Option<OpenCursor>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>> {
        Box::pin(async move {
            let after = after.as_ref();
            let statement = Statement::new(OPEN)
                .bind(unchanged_since)
                .bind(after.map_or(i64::MIN, |(at, _)| at.as_microsecond()))
                .bind(after.map_or("", |(_, key)| key.issuer.as_str()))
                .bind(after.map_or("", |(_, key)| key.invoice_no.as_str()))
                .bind(i64::from(limit));
            self.list(statement, entry_of).await
        })
    }

    fn open_until(&self, period: Period, limit: u32) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>> {
        Box::pin(async move {
            let mut query = Query::new(self.0.dialect());
            let through = query.dialect().through_index("ledger_entry_open");
            query.push(OPEN_UNTIL).push(&through).push(" WHERE e.state = 'reserved' AND e.period <= ");
            query.bind(period.number()).push(" LIMIT ").bind(i64::from(limit));
            self.list(query.finish(), entry_of).await
        })
    }

    fn transfers<'a>(
        &'a self,
        filter: &'a TransferFilter,
    ) -> BoxFuture<'a, Result<Vec<Transfer>, StoreError>> {
        Box::pin(
            async move { self.list(ledger_transfers::list(self.0.dialect(), filter), transfer_of).await },
        )
    }

    fn events<'a>(
        &'a self,
        key: &'a AccountKey,
        before: Option<i64>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Event>, StoreError>> {
        Box::pin(async move {
            let statement = of_account(EVENTS, key).bind(before.unwrap_or(i64::MAX)).bind(i64::from(limit));
            self.list(statement, event_of).await
        })
    }

    fn totals<'a>(
        &'a self,
        key: &'a AccountKey,
        platform_id: &'a PlatformId,
    ) -> BoxFuture<'a, Result<Totals, StoreError>> {
        Box::pin(async move {
            let mut totals = Totals::default();
            let row = |row: &Row| -> Result<(bool, i64, i64, i64), StoreError> {
                Ok((at(row, 0)?, at(row, 1)?, at(row, 2)?, at(row, 3)?))
            };
            let statement = of_account(text_for(self.0.dialect(), TOTALS), key).bind(platform_id.folded());
            for (red, count, net, tax) in self.list(statement, row).await? {
                let (net, tax) = (Money::from_fen(net), Money::from_fen(tax));
                if red {
                    (totals.red_count, totals.red_net, totals.red_tax) = (count, net, tax);
                } else {
                    (totals.blue_count, totals.blue_net, totals.blue_tax) = (count, net, tax);
                }
            }
            Ok(totals)
        })
    }

    fn verify(&self, period: Period) -> BoxFuture<'_, Result<Vec<Mismatch>, StoreError>> {
        Box::pin(async move {
            let row = |row: &Row| -> Result<Mismatch, StoreError> {
                Ok(Mismatch {
                    key: key_of(row, 0)?,
                    account: figures_of(row, 2)?,
                    entries: figures_of(row, 7)?,
                    events: figures_of(row, 12)?,
                })
            };
            let issuers = Statement::new(ISSUERS).bind(period.number());
            let mut mismatches = Vec::new();
            for issuer in self.list(issuers, |row| Ok(at::<String>(row, 0)?)).await? {
                let account =
                    Statement::new(text_for(self.0.dialect(), VERIFY)).bind(issuer).bind(period.number());
                mismatches.extend(self.list(account, row).await?);
            }
            Ok(mismatches)
        })
    }
}
