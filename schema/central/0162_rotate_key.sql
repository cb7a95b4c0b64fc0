-- 0162_rotate_key.sql - a node that is let in takes another signing key by itself.
--
-- Batches that the former key has signed count up to the change that the node named then; its tokens no longer.

-- What the gateway needs to check a token, and a batch that was signed before the last change of key.
DROP FUNCTION everward.node_key(uuid);
CREATE FUNCTION everward.node_key(node uuid) RETURNS TABLE (tenant_id uuid, public_key bytea,
    status text, former_key bytea, former_upto bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before text := coalesce(current_setting('everward.context', true), '');
    t uuid;
BEGIN
    SELECT m.tenant INTO t FROM everward.node_of m WHERE m.node_id = node;
    IF t IS NULL THEN
        RETURN;
    END IF;
    PERFORM everward.seal(t, NULL);
    RETURN QUERY SELECT x.tenant_id, x.public_key, x.status, k.public_key, k.upto_seq FROM everward.node x
        LEFT JOIN LATERAL (SELECT f.public_key, f.upto_seq FROM everward.node_former_key f
            WHERE f.tenant_id = t AND f.node_id = node AND f.how = 'rotated' AND f.incarnation = x.incarnation
            ORDER BY f.replaced_at DESC LIMIT 1) k ON true
        WHERE x.tenant_id = t AND x.node_id = node;
    PERFORM set_config('everward.context', before, true);
END
$$;

-- The node that entered has another key from now on. seen: the key that its request was checked with. The same new key
-- again (the answer was lost) changes nothing.
CREATE FUNCTION everward.rotate_key(seen bytea, new_key bytea, last_seq bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t uuid := everward.tenant();
    me uuid := everward.context_node();
    n everward.node%ROWTYPE;
BEGIN
    SELECT * INTO n FROM everward.node x WHERE x.tenant_id = t AND x.node_id = me FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no node has entered this transaction' USING ERRCODE = 'EW401';
    END IF;
    IF n.public_key = new_key THEN
        RETURN;
    END IF;
    IF n.public_key IS DISTINCT FROM seen OR EXISTS (SELECT FROM everward.node_former_key f
        WHERE f.tenant_id = t AND f.node_id = me AND f.public_key = new_key) THEN
        RAISE EXCEPTION 'the node has another key by now, or had this one before' USING ERRCODE = 'EW409';
    END IF;
    INSERT INTO everward.node_former_key (tenant_id, node_id, public_key, incarnation, upto_seq, how)
    VALUES (t, me, n.public_key, n.incarnation, rotate_key.last_seq, 'rotated');
    UPDATE everward.node x SET public_key = new_key WHERE x.tenant_id = t AND x.node_id = me;
END
$$;

-- A node that was put back from a backup holds a key that it had before. The first is the present one.
DROP FUNCTION everward.readmission_key(bytea, uuid);
CREATE FUNCTION everward.readmission_key(token bytea, node uuid) RETURNS SETOF bytea
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    i everward.invite%ROWTYPE := everward.readmission(token, node);
BEGIN
    RETURN QUERY SELECT k.key FROM (
        SELECT x.public_key AS key, NULL::timestamptz AS at FROM everward.node x
        WHERE x.tenant_id = i.tenant_id AND x.node_id = node
        UNION ALL SELECT f.public_key, f.replaced_at FROM everward.node_former_key f
        WHERE f.tenant_id = i.tenant_id AND f.node_id = node) k ORDER BY k.at DESC NULLS FIRST LIMIT 64;
    PERFORM set_config('everward.context', '', true);
END
$$;

ALTER FUNCTION everward.node_key(uuid) OWNER TO everward_definer;
ALTER FUNCTION everward.rotate_key(bytea, bytea, bigint) OWNER TO everward_definer;
ALTER FUNCTION everward.readmission_key(bytea, uuid) OWNER TO everward_definer;
REVOKE EXECUTE ON FUNCTION everward.node_key(uuid), everward.rotate_key(bytea, bytea, bigint), everward.readmission_key(bytea, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION everward.node_key(uuid), everward.rotate_key(bytea, bytea, bigint), everward.readmission_key(bytea, uuid) TO everward_gateway;
