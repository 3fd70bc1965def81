-- The request log (乐企请求日志): one row per exchange; bodies and search keys apart. Ids order by time, and each Beijing
-- month is a partition of its own in all four tables: made before its first row is written, dropped whole when its time
-- is over.

CREATE TABLE exchange (
    id                 BIGINT  NOT NULL PRIMARY KEY,
    started_at         BIGINT  NOT NULL,             -- µs since 1970, like all instants
    finished_at        BIGINT,
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
    access_id          TEXT,
    using_id           TEXT,
    tax_no             TEXT,
    client_tid         TEXT,
    request_headers    TEXT    NOT NULL,             -- JSON list of [name, value]
    response_headers   TEXT    NOT NULL,
    request_size       BIGINT  NOT NULL,
    response_size      BIGINT  NOT NULL,
    request_sha256     BYTEA,
    response_sha256    BYTEA,
    status             BIGINT,
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
    upstream_us        BIGINT,
    gateway_us         BIGINT,
    invoice_nos        TEXT    NOT NULL,             -- JSON list
    request_truncated  BOOLEAN NOT NULL,
    response_truncated BOOLEAN NOT NULL
) PARTITION BY RANGE (id);

CREATE INDEX exchange_by_tax_no ON exchange (tax_no, id) WHERE tax_no IS NOT NULL;
CREATE INDEX exchange_by_access_id ON exchange (lower(access_id), id) WHERE access_id IS NOT NULL;
CREATE INDEX exchange_by_using_id ON exchange (lower(using_id), id) WHERE using_id IS NOT NULL;
CREATE INDEX exchange_by_service ON exchange (service, id) WHERE service IS NOT NULL;
CREATE INDEX exchange_by_error_code ON exchange (error_code, id) WHERE error_code IS NOT NULL;
CREATE INDEX exchange_by_decision_code ON exchange (decision_code, id) WHERE decision_code IS NOT NULL;
-- of the following columns, values that most rows have are found soon enough by going backwards
CREATE INDEX exchange_by_class ON exchange (class, id) WHERE class NOT IN ('issue', 'issue_result', 'read');
CREATE INDEX exchange_by_decision ON exchange (decision, id) WHERE decision <> 'forwarded';
CREATE INDEX exchange_by_state ON exchange (state, id) WHERE state <> 'complete';

-- Values that name few exchanges. A search goes through the buckets of its time range, one step into the tree each, so
-- that only the newest part of the tree is written.
CREATE TABLE exchange_key (
    bucket   BIGINT NOT NULL,                        -- id >> 44: about 2.3 hours
    kind     BIGINT NOT NULL,                        -- 1 invoice, 2 clientTid, 3 sllsh, 4 ywlsh, 5 RequestId
    value    TEXT   COLLATE "C" NOT NULL,
    exchange BIGINT NOT NULL,
    PRIMARY KEY (bucket, kind, value, exchange)
) PARTITION BY RANGE (exchange);

-- Bodies as they went over the wire, up to the limit; empty ones have no row. They are encrypted, and so not worth
-- compressing.
CREATE TABLE exchange_request (
    id   BIGINT NOT NULL PRIMARY KEY,
    body BYTEA  NOT NULL
) PARTITION BY RANGE (id);

CREATE TABLE exchange_response (
    id   BIGINT NOT NULL PRIMARY KEY,
    body BYTEA  NOT NULL
) PARTITION BY RANGE (id);

ALTER TABLE exchange_request ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE exchange_response ALTER COLUMN body SET STORAGE EXTERNAL;
