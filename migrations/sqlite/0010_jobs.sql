-- Jobs: when each is due, who runs it, how its last run ended. Instants in microseconds since 1970.

CREATE TABLE job (
    name          TEXT    NOT NULL PRIMARY KEY,
    schedule      TEXT    NOT NULL,
    due_at        INTEGER,                       -- NULL: switched off, runs only when asked for
    fence         INTEGER NOT NULL DEFAULT 0,    -- rises with every run
    requested_by  TEXT,
    requested_at  INTEGER,
    running_on    TEXT,
    running_since INTEGER,
    last_run      INTEGER,                       -- the fence of the last run that ended
    last_runner   TEXT,
    started_at    INTEGER,
    ended_at      INTEGER,
    result        TEXT,
    summary       TEXT,                          -- JSON
    error         TEXT,
    failures      INTEGER NOT NULL DEFAULT 0,    -- in a row
    succeeded_at  INTEGER
) STRICT, WITHOUT ROWID;
