-- 0101_replies.sql - which request was answered how, for requests that come again under their idempotency key.
--
-- Both in order of arrival: new rows come together at one end, old ones go from the other. There is no index on the keys: they
-- are random, and one would make each write touch a page of its own. The API keeps the fingerprints in memory and reads them
-- back at its start.
CREATE TABLE IF NOT EXISTS node_reply (
    n            INTEGER PRIMARY KEY,
    key_hash     BLOB NOT NULL,
    request_hash BLOB NOT NULL,
    status       INTEGER NOT NULL,
    location     TEXT,
    etag         TEXT,
    body         TEXT NOT NULL,
    at_ms        INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS node_reply_key (
    n           INTEGER PRIMARY KEY,
    fingerprint INTEGER NOT NULL
);
