//! SQL that loads and saves the ledger's transfers on SQLite.

use crate::store::sql::ledger_transfers::transfer_columns;

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
