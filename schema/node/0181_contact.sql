-- 0181_contact.sql - on which days this node had the centre, and how far the log was acknowledged then (node/store/prune.h).

-- n: the days in the order they came, whatever their dates. day: since 1970, by the centre's clock; each counts once.
-- acked, audited: _acked and _audit_sent when the day was noted; lowered when the centre was restored and knows less.
-- In _meta: _pruned    changes below it may be gone, it and all above are there (0: nothing is gone)
--           _prune_at  how far today's look has come
CREATE TABLE _contact (
    n       INTEGER PRIMARY KEY,
    day     INTEGER NOT NULL UNIQUE,
    acked   INTEGER NOT NULL,
    audited INTEGER NOT NULL
);
