-- 0100_people.sql - the API's own bookkeeping: who is logged in, who failed to, which request was answered how.
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

-- Both in order of arrival: new rows come together at one end, old ones go from the other. There is no index on the keys: they
-- are random, and one would make each write touch a page of its own. The API keeps the fingerprints in memory and reads them
-- back at its start.
CREATE TABLE IF NOT EXISTS node_idempotency (
    n            INTEGER PRIMARY KEY,
    key_hash     BLOB NOT NULL,
    request_hash BLOB NOT NULL,
    status       INTEGER NOT NULL,
    location     TEXT,
    etag         TEXT,
    body         TEXT NOT NULL,
    at_ms        INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS node_idempotency_key (
    n           INTEGER PRIMARY KEY,
    fingerprint INTEGER NOT NULL
);
