-- 0010_operation.sql - what the operator's tools look at and clear away.

SET LOCAL ROLE everward_owner;

GRANT SELECT ON everward.receipt, everward.conflict TO everward_definer;

-- Counts by tenant, for monitoring: no names, no rows. Tenants that have enrolled no node are left
-- out.
CREATE FUNCTION everward.counts()
RETURNS TABLE (tenant uuid, nodes_enrolled bigint, nodes_silent bigint, last_seen_at timestamptz,
    head bigint, tail bigint,
               acked_lowest bigint, conflicts_open bigint, conflict_oldest text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before text := coalesce(current_setting('everward.context', true), '');
BEGIN
    FOR tenant IN SELECT DISTINCT m.tenant FROM everward.node_of m LOOP
        PERFORM everward.seal(tenant, NULL);
        SELECT count(*), count(*) FILTER (WHERE coalesce(x.last_seen_at,
            x.enrolled_at) < now() - interval '10 minutes'),
               max(x.last_seen_at), min(x.acked_cut)
        INTO nodes_enrolled, nodes_silent, last_seen_at, acked_lowest
        FROM everward.node x WHERE x.tenant_id = tenant AND x.status = 'enrolled';
        SELECT f.head, f.tail INTO head, tail FROM everward.feed_head f WHERE f.tenant_id = tenant;
        SELECT count(*), min(c.incoming_at) INTO conflicts_open, conflict_oldest
        FROM everward.conflict c WHERE c.tenant_id = tenant AND c.state = 'open';
        RETURN NEXT;
    END LOOP;
    PERFORM set_config('everward.context', before, true);
END
$$;

-- Forgets the cuts up to this one with their changes. Never by time: a cut may go when every
-- enrolled node has passed it; what an absent node then misses it gets by verify, so an operator
-- may say that it shall go all the same. Run by everward_admin.
CREATE FUNCTION everward.compact(tenant uuid, upto bigint,
    all_the_same boolean DEFAULT false) RETURNS bigint
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    passed bigint;
    h record;
    n bigint;
BEGIN
    SELECT f.head, f.tail INTO h FROM everward.feed_head f WHERE f.tenant_id = tenant FOR UPDATE;
    SELECT min(x.acked_cut) INTO passed FROM everward.node x WHERE x.tenant_id = tenant
        AND x.status = 'enrolled';
    IF upto IS NULL OR upto > h.head OR (passed < upto AND NOT all_the_same) THEN
        RAISE EXCEPTION 'cut % has not been passed by every node: the lowest stands at %', upto,
            least(passed, h.head)
            USING ERRCODE = 'EW409';
    END IF;
    DELETE FROM everward.change c USING everward.cut k
    WHERE k.tenant_id = tenant AND k.cut > h.tail AND k.cut <= upto AND c.tenant_id = k.tenant_id
        AND c.txn = k.txn;
    GET DIAGNOSTICS n = ROW_COUNT;
    DELETE FROM everward.txn x USING everward.cut k
    WHERE k.tenant_id = tenant AND k.cut > h.tail AND k.cut <= upto AND x.tenant_id = k.tenant_id
        AND x.txn = k.txn;
    DELETE FROM everward.cut k WHERE k.tenant_id = tenant AND k.cut > h.tail AND k.cut <= upto;
    UPDATE everward.feed_head f SET tail = greatest(h.tail, upto) WHERE f.tenant_id = tenant;
    RETURN n;
END
$$;

RESET ROLE;

ALTER FUNCTION everward.counts() OWNER TO everward_definer;
GRANT EXECUTE ON FUNCTION everward.counts() TO everward_monitor, everward_admin;
