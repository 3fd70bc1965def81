-- The request log (乐企请求日志): one row per exchange, bodies apart so that searches do not read them.
-- Ids order by time. Indexes are few and partial: inserting must cost the same at ten million rows.

CREATE TABLE exchange (
    id               INTEGER PRIMARY KEY,
    started_at       INTEGER NOT NULL,               -- µs since 1970, like all instants
    finished_at      INTEGER,
    client           TEXT    NOT NULL,
    client_identity  TEXT,
    listener         TEXT    NOT NULL,
    route            TEXT    NOT NULL,
    upstream         TEXT    NOT NULL,
    environment      TEXT    NOT NULL,
    method           TEXT    NOT NULL,
    target           TEXT    NOT NULL,
    service          TEXT,
    capability       TEXT,
    class            TEXT    NOT NULL,
    access_id        TEXT    COLLATE NOCASE,
    using_id         TEXT    COLLATE NOCASE,
    tax_no           TEXT,
    client_tid       TEXT,
    request_headers  TEXT    NOT NULL,               -- JSON list of [name, value]
    response_headers TEXT    NOT NULL,
    request_size     INTEGER NOT NULL,
    response_size    INTEGER NOT NULL,
    request_sha256   TEXT,                           -- hex
    response_sha256  TEXT,
    status           INTEGER,
    platform_status  TEXT,
    request_id       TEXT,
    error_code       TEXT,
    error_text       TEXT,
    return_code      TEXT,
    return_message   TEXT,
    acceptance_no    TEXT,
    serial           TEXT,
    decision         TEXT    NOT NULL,
    decision_code    TEXT,
    note             TEXT,
    state            TEXT    NOT NULL,
    upstream_us      INTEGER,
    gateway_us       INTEGER,
    invoice_nos      TEXT    NOT NULL                -- JSON list
) STRICT;

CREATE INDEX exchange_by_tax_no ON exchange (tax_no, id) WHERE tax_no IS NOT NULL;
CREATE INDEX exchange_by_error ON exchange (error_code, id) WHERE error_code IS NOT NULL;
CREATE INDEX exchange_by_client_tid ON exchange (client_tid, id) WHERE client_tid IS NOT NULL;
CREATE INDEX exchange_by_acceptance ON exchange (acceptance_no, id) WHERE acceptance_no IS NOT NULL;
CREATE INDEX exchange_by_serial ON exchange (serial, id) WHERE serial IS NOT NULL;
CREATE INDEX exchange_by_request_id ON exchange (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX exchange_open ON exchange (id) WHERE state = 'sending';

CREATE TABLE exchange_invoice (
    invoice_no TEXT    NOT NULL,
    exchange   INTEGER NOT NULL,
    PRIMARY KEY (invoice_no, exchange)
) STRICT, WITHOUT ROWID;

CREATE TABLE exchange_body (
    id                 INTEGER PRIMARY KEY,
    request            BLOB    NOT NULL,
    request_truncated  INTEGER NOT NULL,
    response           BLOB    NOT NULL,
    response_truncated INTEGER NOT NULL
) STRICT;
