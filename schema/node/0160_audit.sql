-- 0160_audit.sql - the heads of the audit trail are signed now and then.

-- It cost a tenth of the write throughput, a leaf for every entry; a report goes through the table instead (a
-- second for a million entries), and the centre has an index.
DROP INDEX _audit_patient;

-- Signed heads: this node said at that time that its trail ends in entry n with this chain.
-- key: the public key it signed with; an earlier one after a recovery on new hardware.
CREATE TABLE _audit_mark (
    n     INTEGER PRIMARY KEY,
    at    TEXT NOT NULL,
    chain BLOB NOT NULL,
    key   BLOB NOT NULL,
    sig   BLOB NOT NULL
);

CREATE TRIGGER _audit_mark_insert BEFORE INSERT ON _audit_mark
WHEN NEW.n <= (SELECT coalesce(max(n), -1) FROM _audit_mark)
BEGIN
    SELECT RAISE(ABORT, 'signed heads are only appended');
END;

CREATE TRIGGER _audit_mark_update BEFORE UPDATE ON _audit_mark
BEGIN
    SELECT RAISE(ABORT, 'signed heads are never changed');
END;

CREATE TRIGGER _audit_mark_delete BEFORE DELETE ON _audit_mark
BEGIN
    SELECT RAISE(ABORT, 'signed heads are never deleted');
END;
