-- Jobs: when each is due, who runs it, how its last run ended. Instants in microseconds since 1970.

CREATE TABLE job (
    name          TEXT    COLLATE "C" NOT NULL PRIMARY KEY,
    schedule      TEXT    NOT NULL,
    due_at        BIGINT,                       -- NULL: switched off, runs only when asked for
    fence         BIGINT NOT NULL DEFAULT 0,    -- rises with every run
    requested_by  TEXT,
    requested_at  BIGINT,
    running_on    TEXT,
    running_since BIGINT,
    last_run      BIGINT,                       -- the fence of the last run that ended
    last_runner   TEXT,
    started_at    BIGINT,
    ended_at      BIGINT,
    result        TEXT,
    summary       TEXT,                          -- JSON
    error         TEXT,
    failures      BIGINT NOT NULL DEFAULT 0,    -- in a row
    succeeded_at  BIGINT
);
