-- 0151_break_glass.sql - who looked at whom in an emergency, and who has judged it since.
-- Kept at the node; the audit trail, which the centre has, tells the same in its own words.

CREATE TABLE node_break_glass (
    id          BLOB PRIMARY KEY,
    staff_id    BLOB NOT NULL,
    patient_id  BLOB NOT NULL,
    reason      TEXT NOT NULL,
    text        TEXT NOT NULL,
    device      TEXT NOT NULL,
    begun_ms    INTEGER NOT NULL,
    ends_ms     INTEGER NOT NULL,
    ended_ms    INTEGER,
    reads       INTEGER NOT NULL DEFAULT 0,
    writes      INTEGER NOT NULL DEFAULT 0,
    reviewed_ms INTEGER,
    reviewed_by BLOB,
    verdict     TEXT,
    note        TEXT
) WITHOUT ROWID;
CREATE INDEX node_break_glass_staff ON node_break_glass (staff_id, ends_ms);

-- When somebody last logged in here, for the list of people.
CREATE TABLE node_last_login (
    staff_id BLOB PRIMARY KEY,
    at_ms    INTEGER NOT NULL
) WITHOUT ROWID;

-- How many changes of the staff list this node has taken in: the number of the list it decides by.
CREATE TABLE node_staff_list (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    number INTEGER NOT NULL
);
INSERT INTO node_staff_list (one, number) VALUES (1, 0);
