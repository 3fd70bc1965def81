-- The request log (乐企请求日志): one row per exchange; bodies and search keys apart. Ids order by time.
--
-- Inserting must cost the same at ten million rows, so nothing here is sorted by a value that is random: indexes are on
-- columns with few values, each of which grows at its end, and random values (numbers of invoices, serials) are kept in
-- exchange_key, sorted by time first.

CREATE TABLE exchange (
    id                 INTEGER PRIMARY KEY,
    started_at         INTEGER NOT NULL,             -- µs since 1970, like all instants
    finished_at        INTEGER,
    client             TEXT    NOT NULL,
    client_identity    TEXT,
    listener           TEXT    NOT NULL,
    route              TEXT    NOT NULL,
    upstream           TEXT    NOT NULL,
    environment        TEXT    NOT NULL,
    method             TEXT    NOT NULL,
    target             TEXT    NOT NULL,
    service            TEXT,
    capability         TEXT,
    class              TEXT    NOT NULL,
    access_id          TEXT    COLLATE NOCASE,
    using_id           TEXT    COLLATE NOCASE,
    tax_no             TEXT,
    client_tid         TEXT,
    request_headers    TEXT    NOT NULL,             -- JSON list of [name, value]
    response_headers   TEXT    NOT NULL,
    request_size       INTEGER NOT NULL,
    response_size      INTEGER NOT NULL,
    request_sha256     BLOB,
    response_sha256    BLOB,
    status             INTEGER,
    platform_status    TEXT,
    request_id         TEXT,
    error_code         TEXT,
    error_text         TEXT,
    return_code        TEXT,
    return_message     TEXT,
    acceptance_no      TEXT,
    serial             TEXT,
    decision           TEXT    NOT NULL,
    decision_code      TEXT,
    note               TEXT,
    state              TEXT    NOT NULL,
    upstream_us        INTEGER,
    gateway_us         INTEGER,
    invoice_nos        TEXT    NOT NULL,             -- JSON list
    request_truncated  INTEGER NOT NULL,
    response_truncated INTEGER NOT NULL
) STRICT;

CREATE INDEX exchange_by_tax_no ON exchange (tax_no) WHERE tax_no IS NOT NULL;
CREATE INDEX exchange_by_access_id ON exchange (access_id) WHERE access_id IS NOT NULL;
CREATE INDEX exchange_by_using_id ON exchange (using_id) WHERE using_id IS NOT NULL;
CREATE INDEX exchange_by_service ON exchange (service) WHERE service IS NOT NULL;
CREATE INDEX exchange_by_error_code ON exchange (error_code) WHERE error_code IS NOT NULL;
CREATE INDEX exchange_by_decision_code ON exchange (decision_code) WHERE decision_code IS NOT NULL;
-- of the following columns, values that most rows have are found soon enough by going backwards
CREATE INDEX exchange_by_class ON exchange (class) WHERE class NOT IN ('issue', 'issue_result', 'read');
CREATE INDEX exchange_by_decision ON exchange (decision) WHERE decision <> 'forwarded';
CREATE INDEX exchange_by_state ON exchange (state) WHERE state <> 'complete';

-- Values that name few exchanges. A search goes through the buckets of its time range, one step into the tree each.
CREATE TABLE exchange_key (
    bucket   INTEGER NOT NULL,                       -- id >> 44: about 2.3 hours
    kind     INTEGER NOT NULL,                       -- 1 invoice, 2 clientTid, 3 sllsh, 4 ywlsh, 5 RequestId
    value    TEXT    NOT NULL,
    exchange INTEGER NOT NULL,
    PRIMARY KEY (bucket, kind, value, exchange)
) STRICT, WITHOUT ROWID;

-- Bodies as they went over the wire, up to the limit; empty ones have no row.
CREATE TABLE exchange_request (
    id   INTEGER PRIMARY KEY,
    body BLOB    NOT NULL
) STRICT;

CREATE TABLE exchange_response (
    id   INTEGER PRIMARY KEY,
    body BLOB    NOT NULL
) STRICT;
