-- 0140_lives.sql - lives of a node (incarnations) and of the centre (timelines).
--
-- A node that was restored goes on under a new incarnation. Its numbers go on where its log and what
-- the centre holds of it part (after_seq); its chain begins there anew.
-- A centre that was restored has a new timeline. since_txn parts the changes of the lives before, which
-- every node may have seen, from those of this one.

SET LOCAL ROLE everward_owner;

-- The first 8 bytes of the chain after each change from first_seq to last_seq: where two logs part is found to the change.
ALTER TABLE everward.receipt ADD COLUMN links bytea;

CREATE TABLE everward.incarnation (
    tenant_id   uuid NOT NULL,
    node_id     uuid NOT NULL,
    incarnation bigint NOT NULL,
    after_seq   bigint NOT NULL CHECK (after_seq >= 0),
    begun_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, node_id, incarnation),
    FOREIGN KEY (tenant_id, node_id) REFERENCES everward.node
);
SELECT everward.isolate('everward.incarnation'::regclass);
GRANT SELECT ON everward.incarnation TO everward_gateway;
GRANT SELECT, INSERT ON everward.incarnation TO everward_definer;
GRANT INSERT ON everward.node_head TO everward_definer;

DROP FUNCTION everward.begin_incarnation(bigint);

-- The node that entered begins its life `inc` behind change after_seq of its life from_inc; link: the first 8 bytes of its
-- chain there; start: its new chain. Asked again with the same words (the answer was lost) it changes nothing.
CREATE FUNCTION everward.begin_incarnation(inc bigint, from_inc bigint, after_seq bigint, link bytea,
    start bytea) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t uuid := everward.tenant();
    me uuid := everward.context_node();
    present bigint;
    r record;
BEGIN
    SELECT x.incarnation INTO present FROM everward.node x
    WHERE x.tenant_id = t AND x.node_id = me FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no node has entered this transaction' USING ERRCODE = 'EW401';
    END IF;
    IF inc = present AND EXISTS (SELECT FROM everward.incarnation i JOIN everward.node_head h
        USING (tenant_id, node_id, incarnation) WHERE i.tenant_id = t AND i.node_id = me
        AND i.incarnation = inc AND i.after_seq = begin_incarnation.after_seq
        AND h.last_seq = i.after_seq AND h.chain = start) THEN
        RETURN;
    END IF;
    IF (inc > present AND inc <= present + 1000 AND from_inc <= present) IS NOT TRUE THEN
        RAISE EXCEPTION 'incarnation % does not follow %', inc, present USING ERRCODE = 'EW409';
    END IF;
    IF after_seq > coalesce((SELECT i.after_seq FROM everward.incarnation i WHERE i.tenant_id = t
        AND i.node_id = me AND i.incarnation = from_inc), 0) THEN
        SELECT x.first_seq, x.last_seq, x.chain, x.links INTO r FROM everward.receipt x
        WHERE x.tenant_id = t AND x.node_id = me AND x.incarnation = from_inc
            AND x.last_seq >= begin_incarnation.after_seq
        ORDER BY x.last_seq LIMIT 1;
        IF r.first_seq IS NULL OR r.first_seq > after_seq OR link IS DISTINCT FROM (CASE
            WHEN r.links IS NOT NULL
                THEN substring(r.links FROM ((after_seq - r.first_seq) * 8 + 1)::int FOR 8)
            WHEN r.last_seq = after_seq THEN substring(r.chain FROM 1 FOR 8) END) THEN
            RAISE EXCEPTION 'change % of incarnation % is not common', after_seq, from_inc
                USING ERRCODE = 'EW409';
        END IF;
    END IF;
    UPDATE everward.node x SET incarnation = inc WHERE x.tenant_id = t AND x.node_id = me;
    INSERT INTO everward.incarnation (tenant_id, node_id, incarnation, after_seq)
    VALUES (t, me, inc, begin_incarnation.after_seq);
    INSERT INTO everward.node_head (tenant_id, node_id, incarnation, last_seq, chain)
    VALUES (t, me, inc, begin_incarnation.after_seq, start);
END
$$;

ALTER TABLE everward.timeline
    ADD COLUMN since_txn bigint NOT NULL DEFAULT 0,
    ADD COLUMN started timestamptz,
    ADD COLUMN database oid;
GRANT SELECT ON SEQUENCE everward.change_id TO everward_definer;

-- Is this still the server and the life that were seen last? Asked by each transaction that is captured, so that a
-- restored centre begins its new life before its first change. SKIP LOCKED: one does it, nobody waits.
CREATE FUNCTION everward.notice_restart() RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    here oid := (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());
    now_at text;
    was text;
BEGIN
    IF EXISTS (SELECT FROM everward.timeline l
        WHERE l.started = pg_postmaster_start_time() AND l.database = here) THEN
        RETURN false;
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN false; -- it could fail for what another one does here; the feed's next reader sees to it
    END IF;
    SELECT l.identity INTO was FROM everward.timeline l FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    now_at := everward.cluster_identity();
    IF now_at = was THEN
        UPDATE everward.timeline l SET started = pg_postmaster_start_time(), database = here;
        RETURN false;
    END IF;
    PERFORM everward.begin_timeline();
    RETURN true;
END
$$;

-- The centre's new life begins here.
CREATE FUNCTION everward.begin_timeline() RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    begun uuid;
BEGIN
    UPDATE everward.timeline l SET id = gen_random_uuid(), identity = everward.cluster_identity(),
        since_txn = (SELECT s.last_value FROM everward.change_id s),
        started = pg_postmaster_start_time(),
        database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
    RETURNING l.id INTO begun;
    RETURN begun;
END
$$;

-- Changes of the tenant above it are of the centre's present life; 0: of that life some have been compacted away, and
-- nothing that is left tells which, so that all count as such.
CREATE FUNCTION everward.life_began() RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    since bigint := (SELECT l.since_txn FROM everward.timeline l);
BEGIN
    IF since < (SELECT min(c.txn) FROM everward.change c WHERE c.tenant_id = everward.tenant()) THEN
        RETURN 0;
    END IF;
    RETURN since;
END
$$;

RESET ROLE;

-- These two belong to everward_definer already.
CREATE OR REPLACE FUNCTION everward.renew_timeline() RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN everward.notice_restart()
        OR EXISTS (SELECT FROM everward.timeline l WHERE l.identity <> everward.cluster_identity())
        AND everward.begin_timeline() IS NOT NULL;
END
$$;

CREATE OR REPLACE FUNCTION everward.begin_txn(t uuid, node uuid, inc bigint, seq bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    renewed boolean := everward.notice_restart();
    n bigint := nextval('everward.change_id');
    body text := concat_ws(',', n, t, coalesce(node::text, ''), coalesce(inc::text, ''));
BEGIN
    INSERT INTO everward.txn (tenant_id, txn, xid, at, origin_node, origin_inc, origin_seq)
    VALUES (t, n, pg_current_xact_id(), now(), node, inc, seq);
    PERFORM set_config('everward.txn', body || ',' || everward.mac('txn', body), true);
    PERFORM pg_notify('everward_feed', everward.wake_key_of(t));
    RETURN n;
END
$$;

ALTER FUNCTION everward.begin_incarnation(bigint, bigint, bigint, bytea, bytea) OWNER TO everward_definer;
ALTER FUNCTION everward.notice_restart() OWNER TO everward_definer;
ALTER FUNCTION everward.begin_timeline() OWNER TO everward_definer;
ALTER FUNCTION everward.life_began() OWNER TO everward_definer;
GRANT EXECUTE ON FUNCTION everward.begin_incarnation(bigint, bigint, bigint, bytea, bytea),
    everward.life_began() TO everward_gateway;
GRANT EXECUTE ON FUNCTION everward.begin_timeline() TO everward_admin;
