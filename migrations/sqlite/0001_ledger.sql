-- The credit ledger (protocol.md §4, design.md §3). Amounts in fen, months as yyyyMM, instants in microseconds since
-- 1970, days as yyyy-MM-dd.

-- One row per issuing party and month. available = downloaded - elsewhere - issued - reserved.
CREATE TABLE ledger_account (
    issuer           TEXT    NOT NULL,
    period           INTEGER NOT NULL,
    downloaded       INTEGER NOT NULL,
    elsewhere        INTEGER NOT NULL,
    issued           INTEGER NOT NULL,
    reserved         INTEGER NOT NULL,
    pending_return   INTEGER NOT NULL,          -- what red invoices give back once they are issued
    bureau_total     INTEGER,
    bureau_available INTEGER,
    suspended        INTEGER NOT NULL,
    valid_from       TEXT,
    valid_to         TEXT,
    closed_for       TEXT    NOT NULL,          -- JSON list of the platform ids whose month is confirmed
    epoch            INTEGER NOT NULL,          -- rises with every observed balance or transfer
    stale            INTEGER NOT NULL,          -- 1: a balance must be asked for before the next refusal
    synced_at        INTEGER,
    updated_at       INTEGER NOT NULL,
    PRIMARY KEY (issuer, period)
) STRICT, WITHOUT ROWID;

-- One row per invoice that was ever to be sent.
CREATE TABLE ledger_entry (
    issuer        TEXT    NOT NULL,
    invoice_no    TEXT    NOT NULL,
    period        INTEGER NOT NULL,
    platform_id   TEXT    NOT NULL,             -- lower case; empty when the message named none
    red           INTEGER NOT NULL,
    net           INTEGER NOT NULL,
    tax           INTEGER NOT NULL,
    credit        INTEGER NOT NULL,             -- used when positive, given back on issue when negative
    reversed_no   TEXT,
    state         TEXT    NOT NULL CHECK (state IN ('reserved', 'issued', 'released')),
    sends         TEXT    NOT NULL,             -- JSON list of [exchange, acceptance number or null] without proven outcome
    acceptance_no TEXT,                         -- the latest
    result_code   TEXT,
    result_text   TEXT,
    dated_at      INTEGER NOT NULL,             -- kprq
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    PRIMARY KEY (issuer, invoice_no)
) STRICT, WITHOUT ROWID;

CREATE INDEX ledger_entry_by_month ON ledger_entry (issuer, period, invoice_no);
CREATE INDEX ledger_entry_by_acceptance ON ledger_entry (acceptance_no) WHERE acceptance_no IS NOT NULL;
CREATE INDEX ledger_entry_open ON ledger_entry (updated_at) WHERE state = 'reserved';

-- Append-only: every change of a figure of an account, so that the sums of the deltas are the account's figures.
CREATE TABLE ledger_event (
    id         INTEGER PRIMARY KEY,
    issuer     TEXT    NOT NULL,
    period     INTEGER NOT NULL,
    invoice_no TEXT,
    kind       TEXT    NOT NULL,
    downloaded INTEGER NOT NULL,
    elsewhere  INTEGER NOT NULL,
    issued     INTEGER NOT NULL,
    reserved   INTEGER NOT NULL,
    pending_return  INTEGER NOT NULL,
    exchange   INTEGER,
    at         INTEGER NOT NULL
) STRICT;

CREATE INDEX ledger_event_by_month ON ledger_event (issuer, period, id);

-- Transfers of credit that were to be sent, by their serial (ywlsh), so that each counts once.
CREATE TABLE ledger_transfer (
    serial    TEXT    NOT NULL PRIMARY KEY,
    issuer    TEXT    NOT NULL,
    period    INTEGER NOT NULL,
    booked    INTEGER NOT NULL,                 -- what it has changed so far, negative when returned
    epoch     INTEGER NOT NULL,                 -- the account's when it was first sent
    done      INTEGER NOT NULL,                 -- 1: its successful answer was seen
    at        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
