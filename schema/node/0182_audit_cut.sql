-- 0182_audit_cut.sql - the audit trail's beginning goes when it is old and the centre has it (node/store/audit_trim.c).

-- A checkpoint: entries up to n may be gone; the trail goes on from this chain. tag: the audit key's over the checkpoint's
-- text, so that nobody without it can make one; key, sig: the node's signature over the same text. Append only.
CREATE TABLE _audit_cut (
    n     INTEGER PRIMARY KEY,
    at    TEXT NOT NULL,
    chain BLOB NOT NULL,
    tag   BLOB NOT NULL,
    key   BLOB NOT NULL,
    sig   BLOB NOT NULL
);

-- Never above what the centre has taken, and never the last entry: the next one goes on from it.
CREATE TRIGGER _audit_cut_insert BEFORE INSERT ON _audit_cut
WHEN NEW.n <= (SELECT coalesce(max(n), 0) FROM _audit_cut)
    OR NEW.n > coalesce((SELECT CAST(value AS INTEGER) FROM _meta WHERE name = '_audit_sent'), 0)
    OR NEW.n >= (SELECT coalesce(max(n), 0) FROM _audit)
BEGIN
    SELECT RAISE(ABORT, 'a checkpoint lies behind the last one and before what the centre has');
END;

CREATE TRIGGER _audit_cut_update BEFORE UPDATE ON _audit_cut
BEGIN
    SELECT RAISE(ABORT, 'checkpoints are never changed');
END;

CREATE TRIGGER _audit_cut_delete BEFORE DELETE ON _audit_cut
BEGIN
    SELECT RAISE(ABORT, 'checkpoints are never deleted');
END;

DROP TRIGGER _audit_delete;
CREATE TRIGGER _audit_delete BEFORE DELETE ON _audit
WHEN OLD.n > (SELECT coalesce(max(n), 0) FROM _audit_cut)
BEGIN
    SELECT RAISE(ABORT, 'audit entries are never deleted');
END;

DROP TRIGGER _audit_mark_delete;
CREATE TRIGGER _audit_mark_delete BEFORE DELETE ON _audit_mark
WHEN OLD.n >= (SELECT coalesce(max(n), 0) FROM _audit_cut)
BEGIN
    SELECT RAISE(ABORT, 'signed heads are never deleted');
END;
