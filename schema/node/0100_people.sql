-- 0100_people.sql - who is logged in, and who failed to.
-- Nothing here is synced. Times are milliseconds since 1970.

-- The token itself is known to the client alone.
CREATE TABLE IF NOT EXISTS node_session (
    token_hash BLOB PRIMARY KEY,
    staff_id   BLOB NOT NULL,
    device     TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    seen_ms    INTEGER NOT NULL
) WITHOUT ROWID;

-- By the hash of the name that was typed: people type passwords into the name field.
CREATE TABLE IF NOT EXISTS node_login_failure (
    name_hash BLOB PRIMARY KEY,
    failures  INTEGER NOT NULL,
    last_ms   INTEGER NOT NULL
) WITHOUT ROWID;
