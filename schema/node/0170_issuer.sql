-- 0170_issuer.sql - what the hospital's identity provider publishes (discovery document and key set, both public), as it was fetched last:
-- a node that starts while the line is down must still be able to check access tokens. Time is milliseconds since 1970.

CREATE TABLE node_issuer (
    issuer     TEXT PRIMARY KEY,
    document   TEXT NOT NULL,
    fetched_ms INTEGER NOT NULL
) WITHOUT ROWID;
