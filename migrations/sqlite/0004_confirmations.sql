-- Monthly summary confirmations (汇总确认): one row per seller, platform and month.

CREATE TABLE confirmation (
    id           INTEGER PRIMARY KEY,
    tax_no       TEXT    NOT NULL,
    platform_id  TEXT    NOT NULL COLLATE NOCASE,
    period       INTEGER NOT NULL,                   -- yyyyMM
    state        TEXT    NOT NULL,
    sent         TEXT,                               -- JSON list of the six totals: counts, and amounts in fen
    platform     TEXT,
    refusal_code TEXT,
    refusal_text TEXT,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    submitted_at INTEGER,
    confirmed_at INTEGER,
    synced_at    INTEGER,
    version      INTEGER NOT NULL,
    UNIQUE (tax_no, platform_id, period)
) STRICT;
