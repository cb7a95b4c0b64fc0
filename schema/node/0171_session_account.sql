-- 0171_session_account.sql - sessions that began at the hospital's identity provider: they end when their person's link to it does.

ALTER TABLE node_session ADD COLUMN by_account INTEGER NOT NULL DEFAULT 0;
