-- Units, bearer tokens, the audit log and idempotency keys. Instants in microseconds since 1970.

CREATE TABLE unit (
    tax_no             TEXT    NOT NULL PRIMARY KEY,
    name               TEXT    NOT NULL,
    access_unit        TEXT    REFERENCES unit (tax_no) ON DELETE RESTRICT,  -- of using units; NULL: an access unit
    platform_id        TEXT    NOT NULL COLLATE NOCASE UNIQUE,
    province           TEXT    NOT NULL,
    quota_mode         TEXT    NOT NULL,
    sealed_key         BLOB,                         -- AES-256-GCM under the master key
    sealed_sandbox_key BLOB,
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    hash       BLOB    NOT NULL UNIQUE,              -- SHA-256
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

CREATE UNIQUE INDEX token_valid_name ON token (name) WHERE revoked_at IS NULL;

-- Append-only.
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    detail  TEXT    NOT NULL                         -- JSON
) STRICT;

CREATE INDEX audit_by_subject ON audit (subject, id);

CREATE TABLE idempotency (
    actor        TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    fingerprint  BLOB    NOT NULL,
    begun_at     INTEGER NOT NULL,
    status       INTEGER,                            -- NULL: no answer yet
    content_type TEXT,
    body         BLOB,
    PRIMARY KEY (actor, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_by_age ON idempotency (begun_at);
