-- 0150_devices.sql - tablets that belong here, how one comes to belong, PINs, and sessions that are one tablet's.
-- Nothing here is synced: a tablet belongs to one node. Times are milliseconds since 1970.

-- secret_hash: of what only the tablet knows. paired_by NULL: by the command line. A revoked one stays, for the list.
CREATE TABLE node_device (
    id          BLOB PRIMARY KEY,
    name        TEXT NOT NULL,
    class       TEXT NOT NULL CHECK (class IN ('tablet', 'workstation', 'shared')),
    secret_hash BLOB NOT NULL UNIQUE,
    paired_ms   INTEGER NOT NULL,
    paired_by   BLOB,
    seen_ms     INTEGER NOT NULL,
    last_user   BLOB,
    revoked_ms  INTEGER,
    revoked_by  BLOB
) WITHOUT ROWID;
CREATE UNIQUE INDEX node_device_name ON node_device (name) WHERE revoked_ms IS NULL;

-- Offers that wait for their tablet. Taken ones are deleted in the transaction that makes the device.
CREATE TABLE node_pairing (
    token_hash BLOB PRIMARY KEY,
    code_hash  BLOB NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    class      TEXT NOT NULL,
    made_by    BLOB,
    expires_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- Argon2id, as passwords. A PIN only opens a session that its person began with the password.
CREATE TABLE node_pin (
    staff_id BLOB PRIMARY KEY,
    verifier TEXT NOT NULL,
    set_ms   INTEGER NOT NULL
) WITHOUT ROWID;

-- device_id NULL: not a paired tablet's. pin_failures: wrong PINs since the last right one.
ALTER TABLE node_session ADD COLUMN device_id BLOB;
ALTER TABLE node_session ADD COLUMN locked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE node_session ADD COLUMN pin_failures INTEGER NOT NULL DEFAULT 0;
