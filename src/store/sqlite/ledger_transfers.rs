//! SQL of the ledger's transfers, and rows to values and back.

use serde_json::{Value, json};
use sqlx::{QueryBuilder, Row, Sqlite, sqlite::SqliteRow};

use super::ledger_rows::{instant, key_of, text};
use crate::{
    domain::Money,
    store::{
        StoreError,
        ledger::{Transfer, TransferFilter, TransferState, Way},
    },
};

macro_rules! transfer_columns {
    () => {
        "t.serial, t.issuer, t.period, t.booked, t.epoch, t.at, t.direction, t.amount, t.platform_id, t.state, t.own, \
         t.origin, t.actor, t.code, t.text, t.begun_at, t.\"before\""
    };
}

pub(super) const LOAD: &str = concat!(
    "SELECT ",
    transfer_columns!(),
    " FROM json_each(?1) AS k CROSS JOIN ledger_transfer AS t ON t.serial = k.value"
);

/// The open own ones of an issuer, and the one of an origin.
pub(super) const LOAD_OWN: &str = concat!(
    "SELECT ",
    transfer_columns!(),
    " FROM json_each(?1) AS k CROSS JOIN ledger_transfer AS t",
    " ON t.issuer = k.value ->> 0 AND t.own = 1 AND t.state = 'open' UNION SELECT ",
    transfer_columns!(),
    " FROM json_each(?1) AS k CROSS JOIN ledger_transfer AS t",
    " ON t.issuer = k.value ->> 0 AND t.origin = k.value ->> 1 AND t.origin IS NOT NULL"
);

pub(super) const SAVE: &str = "
INSERT INTO ledger_transfer (serial, issuer, period, booked, epoch, at, direction, amount, platform_id, state, own,
    origin, actor, code, text, begun_at, \"before\")
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
    value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14, value ->> 15,
    value ->> 16
FROM json_each(?1) WHERE true
ON CONFLICT (serial) DO UPDATE SET issuer = excluded.issuer, period = excluded.period, booked = excluded.booked,
    epoch = excluded.epoch, at = excluded.at, direction = excluded.direction, amount = excluded.amount,
    platform_id = excluded.platform_id, state = excluded.state, own = excluded.own, origin = excluded.origin,
    actor = excluded.actor, code = excluded.code, text = excluded.text, begun_at = excluded.begun_at,
    \"before\" = excluded.\"before\"";

pub(super) fn list(filter: &TransferFilter) -> QueryBuilder<Sqlite> {
    let mut query =
        QueryBuilder::new(concat!("SELECT ", transfer_columns!(), " FROM ledger_transfer AS t WHERE true"));
    if let Some(issuer) = &filter.issuer {
        query.push(" AND t.issuer = ").push_bind(issuer.to_string());
    }
    if let Some(state) = filter.state {
        query.push(" AND t.state = ").push_bind(state.as_str());
    }
    if filter.own {
        query.push(" AND t.own = 1");
    }
    if let Some(origin) = &filter.origin {
        query.push(" AND t.origin = ").push_bind(origin.clone());
    }
    if let Some((at, serial)) = &filter.before {
        query.push(" AND (t.begun_at, t.serial) < (").push_bind(at.as_microsecond());
        query.push(", ").push_bind(serial.clone()).push(")");
    }
    query.push(" ORDER BY t.begun_at DESC, t.serial DESC LIMIT ").push_bind(filter.limit);
    query
}

pub(super) fn transfer(t: &Transfer) -> Value {
    json!([
        t.serial,
        t.key.issuer,
        t.key.period.number(),
        t.booked.fen(),
        t.epoch,
        t.at.as_microsecond(),
        t.way.as_str(),
        t.amount.fen(),
        t.platform_id,
        t.state.as_str(),
        i64::from(t.own),
        t.origin,
        t.actor,
        t.code,
        t.text,
        t.begun_at.as_microsecond(),
        t.before.fen(),
    ])
}

pub(super) fn transfer_of(row: &SqliteRow) -> Result<Transfer, StoreError> {
    Ok(Transfer {
        serial: row.try_get(0)?,
        key: key_of(row, 1)?,
        booked: Money::from_fen(row.try_get(3)?),
        epoch: row.try_get(4)?,
        at: instant(row.try_get(5)?)?,
        way: text(row, 6, "direction", Way::parse)?,
        amount: Money::from_fen(row.try_get(7)?),
        platform_id: row.try_get(8)?,
        state: text(row, 9, "state", TransferState::parse)?,
        own: row.try_get(10)?,
        origin: row.try_get(11)?,
        actor: row.try_get(12)?,
        code: row.try_get(13)?,
        text: row.try_get(14)?,
        begun_at: instant(row.try_get(15)?)?,
        before: Money::from_fen(row.try_get(16)?),
    })
}
