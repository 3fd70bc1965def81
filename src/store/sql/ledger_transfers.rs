//! Rows of the ledger's transfers to values and back, for both engines. Columns go by their place.

use super::{
    ledger_rows::{instant, key_of, text},
    session::{Dialect, Query, Statement, Value},
};
use crate::{
    domain::Money,
    store::{
        StoreError,
        ledger::{Transfer, TransferFilter, TransferState, Way},
        value::{Columns, at},
    },
};

/// The columns of a transfer, in the order in which [`transfer_of`] reads them.
macro_rules! transfer_columns {
    () => {
        "t.serial, t.issuer, t.period, t.booked, t.epoch, t.at, t.direction, t.amount, t.platform_id, t.state, t.own, \
         t.origin, t.actor, t.code, t.text, t.begun_at, t.\"before\""
    };
}

pub(in crate::store) use transfer_columns;

/// The transfers that fit the filter, the newest first.
pub(in crate::store) fn list(dialect: Dialect, filter: &TransferFilter) -> Statement {
    let mut query = Query::new(dialect);
    query.push(concat!("SELECT ", transfer_columns!(), " FROM ledger_transfer AS t WHERE true"));
    if let Some(issuer) = &filter.issuer {
        query.push(" AND t.issuer = ").bind(issuer.as_str());
    }
    if let Some(state) = filter.state {
        query.push(" AND t.state = ").bind(state.as_str());
    }
    if filter.own {
        query.push(" AND t.own");
    }
    if let Some(origin) = &filter.origin {
        query.push(" AND t.origin = ").bind(origin.as_str());
    }
    if let Some((at, serial)) = &filter.before {
        query.push(" AND (t.begun_at, t.serial) < (").bind(*at);
        query.push(", ").bind(serial.as_str()).push(")");
    }
    query.push(" ORDER BY t.begun_at DESC, t.serial DESC LIMIT ").bind(i64::from(filter.limit));
    query.finish()
}

/// Values in the order of the columns.
pub(in crate::store) fn transfer(t: &Transfer) -> Vec<Value> {
    vec![
        t.serial.as_str().into(),
        t.key.issuer.as_str().into(),
        t.key.period.number().into(),
        t.booked.fen().into(),
        t.epoch.into(),
        t.at.into(),
        t.way.as_str().into(),
        t.amount.fen().into(),
        t.platform_id.as_str().into(),
        t.state.as_str().into(),
        t.own.into(),
        t.origin.as_deref().into(),
        t.actor.as_str().into(),
        t.code.as_deref().into(),
        t.text.as_deref().into(),
        t.begun_at.into(),
        t.before.fen().into(),
    ]
}

pub(in crate::store) fn transfer_of(row: &impl Columns) -> Result<Transfer, StoreError> {
    Ok(Transfer {
        serial: at(row, 0)?,
        key: key_of(row, 1)?,
        booked: Money::from_fen(at(row, 3)?),
        epoch: at(row, 4)?,
        at: instant(at(row, 5)?)?,
        way: text(row, 6, "direction", Way::parse)?,
        amount: Money::from_fen(at(row, 7)?),
        platform_id: at(row, 8)?,
        state: text(row, 9, "state", TransferState::parse)?,
        own: at(row, 10)?,
        origin: at(row, 11)?,
        actor: at(row, 12)?,
        code: at(row, 13)?,
        text: at(row, 14)?,
        begun_at: instant(at(row, 15)?)?,
        before: Money::from_fen(at(row, 16)?),
    })
}
