-- 0001_store.sql - the replica's own bookkeeping. The synced tables themselves are made from the catalog (node/store/catalog.c):
--
--   "<table>" (_rowid INTEGER PRIMARY KEY, id BLOB UNIQUE, rev INTEGER, _pending INTEGER, <columns>)
--
-- rev is the revision of the centre's image (0: the centre has not got the row yet), _pending the seq of the newest change of
-- ours that lies over that image (0: none). What the columns hold is what the ward reads: the image with those changes over it.
-- Names of ours begin with "_", which no synced table or column may.

-- Small values by name. Names that begin with "_" are the store's own:
--   _tenant_id _site_id _node_id _tenant_name _site_name _node_name _incarnation    who the replica belongs to
--   _acked      newest seq the centre has given a receipt for
--   _settled    newest seq of ours whose outcome has come back, by the feed or by a complete fill
--   _done       min(_acked, _settled): changes above it lie over the centre's images; kept so that it is one look
--   _cursor     last cut applied (-1: no fill has begun); _timeline the centre's life it counts in
--   _surplus    1: filled over a published replica; until a comparison, rows may be here that the centre has deleted
--   _filled     1: published; _fill_head, _fill_acked, _fill_timeline: noted when the fill under way began
CREATE TABLE _meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- The catalog in force, one row, verbatim. generation moves with every change of it, also if the version should repeat.
CREATE TABLE _catalog (
    generation INTEGER PRIMARY KEY,
    version    INTEGER NOT NULL,
    json       TEXT NOT NULL
);

-- What was written here, in order and without a gap. line is the canonical form that is hashed, signed and sent.
-- A change lies over the centre's image while seq > _done, or while it is held; a person's retry or drop (closed) ends either.
-- outcome is NULL without a receipt, and stays NULL for the common outcome "applied", so that a receipt for 5,000 changes
-- does not rewrite 5,000 rows.
CREATE TABLE _change (
    seq             INTEGER PRIMARY KEY,
    txn             INTEGER NOT NULL,
    tbl             TEXT NOT NULL,
    row_id          BLOB NOT NULL,
    base            INTEGER NOT NULL,
    at              TEXT NOT NULL,
    held            INTEGER NOT NULL DEFAULT 0, -- quarantined, and neither retried nor dropped
    outcome         TEXT,
    sqlstate        TEXT,
    constraint_name TEXT,
    reason          TEXT,
    closed          TEXT, -- of a quarantined change: "retried as <seq>", "dropped: <reason>"
    line            TEXT NOT NULL,
    chain           BLOB NOT NULL -- after this change
);
CREATE INDEX _change_row ON _change (row_id);
CREATE INDEX _change_held ON _change (seq) WHERE held = 1;

-- Every row that has changes lying over it, and no other. image: the centre's, as composite text; NULL if it has none.
-- gone: the centre has deleted it; the image is then the last one, so that what is pending has something to lie over.
CREATE TABLE _base (
    tbl    TEXT NOT NULL,
    row_id BLOB NOT NULL,
    rev    INTEGER NOT NULL,
    gone   INTEGER NOT NULL DEFAULT 0,
    image  TEXT,
    PRIMARY KEY (tbl, row_id)
) WITHOUT ROWID;

-- Tables to be fetched, in order of place. equal: images of the same rev count too, because a column was added.
-- bare: the table's indexes are away until its last page (node/store/fill.c).
CREATE TABLE _fill (
    tbl   TEXT PRIMARY KEY,
    place INTEGER NOT NULL,
    after TEXT NOT NULL DEFAULT '',
    done  INTEGER NOT NULL DEFAULT 0,
    equal INTEGER NOT NULL DEFAULT 0,
    rows  INTEGER NOT NULL DEFAULT 0,
    bare  INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- chain: BLAKE2b over the chain before and this entry's canonical line (node/store/audit.c).
CREATE TABLE _audit (
    n          INTEGER PRIMARY KEY,
    at         TEXT NOT NULL,
    actor      BLOB,
    device     TEXT NOT NULL,
    request_id TEXT NOT NULL,
    action     TEXT NOT NULL,
    tbl        TEXT,
    row_id     BLOB,
    patient_id BLOB,
    outcome    TEXT NOT NULL,
    detail     TEXT NOT NULL,
    chain      BLOB NOT NULL
);
CREATE INDEX _audit_patient ON _audit (patient_id) WHERE patient_id IS NOT NULL;

CREATE TRIGGER _audit_update BEFORE UPDATE ON _audit
BEGIN
    SELECT RAISE(ABORT, 'audit entries are never changed');
END;

CREATE TRIGGER _audit_delete BEFORE DELETE ON _audit
BEGIN
    SELECT RAISE(ABORT, 'audit entries are never deleted');
END;
