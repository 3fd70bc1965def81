-- How often units or their credit settings were changed: one row. Each gateway on the database looks here for what the
-- others have changed, and nobody changes what has been changed since it was read.
CREATE TABLE unit_version (
    version INTEGER NOT NULL
);

INSERT INTO unit_version (version) VALUES (0);
