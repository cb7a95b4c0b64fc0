-- 0170_fleet.sql - the fleet page at the gateway: who may open it, and what the centre knows of a tenant's nodes.
--
-- An operator makes a link (minutes, once); the browser that opens it first gets a session of hours. Link and session are kept as
-- hashes. Both name their tenant, which is sealed before the hash is looked for: a session finds its own tenant's rows or none.

SET LOCAL ROLE everward_owner;

CREATE TABLE everward.fleet_session (
    tenant_id       uuid NOT NULL,
    link_hash       bytea NOT NULL CHECK (length(link_hash) = 32),
    made_by         text NOT NULL DEFAULT session_user,
    made_at         timestamptz NOT NULL DEFAULT now(),
    link_expires_at timestamptz NOT NULL,
    session_hash    bytea CHECK (length(session_hash) = 32), -- NULL: not opened yet
    opened_at       timestamptz,
    expires_at      timestamptz,
    closed_at       timestamptz,
    PRIMARY KEY (tenant_id, link_hash),
    FOREIGN KEY (tenant_id) REFERENCES everward.tenant
);
SELECT everward.isolate('everward.fleet_session'::regclass);
GRANT SELECT, UPDATE ON everward.fleet_session TO everward_definer;
GRANT SELECT ON everward.conflict, everward.cut, everward.txn, everward.feed_head, everward.node_head TO everward_definer;

-- The operator's. What ended a month ago is forgotten.
CREATE FUNCTION everward.add_fleet_link(tenant uuid, link_hash bytea) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    until timestamptz := now() + interval '10 minutes';
BEGIN
    DELETE FROM everward.fleet_session s WHERE s.tenant_id = tenant AND s.made_at < now() - interval '30 days';
    INSERT INTO everward.fleet_session (tenant_id, link_hash, link_expires_at) VALUES (tenant, add_fleet_link.link_hash, until);
    RETURN until;
END
$$;

CREATE FUNCTION everward.close_fleet_sessions(tenant uuid) RETURNS bigint
LANGUAGE sql VOLATILE
AS $$
    WITH closed AS (UPDATE everward.fleet_session s SET closed_at = now() WHERE s.tenant_id = tenant AND s.closed_at IS NULL
        AND coalesce(s.expires_at, s.link_expires_at) > now() RETURNING 1)
    SELECT count(*) FROM closed
$$;

-- A link becomes a session, once.
CREATE FUNCTION everward.open_fleet(tenant uuid, link bytea, new_session bytea) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    until timestamptz;
BEGIN
    IF coalesce(current_setting('everward.txn', true), '') <> '' THEN
        RAISE EXCEPTION 'this transaction has already written for a tenant' USING ERRCODE = 'EW400';
    END IF;
    PERFORM everward.seal(tenant, NULL);
    UPDATE everward.fleet_session s SET session_hash = sha256(new_session), opened_at = now(), expires_at = now() + interval '8 hours'
        WHERE s.tenant_id = tenant AND s.link_hash = sha256(link) AND s.session_hash IS NULL AND s.closed_at IS NULL
            AND s.link_expires_at > now()
        RETURNING s.expires_at INTO until;
    IF until IS NULL THEN
        RAISE EXCEPTION 'no such link, or used, or expired' USING ERRCODE = 'EW401';
    END IF;
    RETURN until;
END
$$;

-- The first statement of a transaction for somebody at the fleet page.
CREATE FUNCTION everward.enter_fleet(tenant uuid, session bytea) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    until timestamptz;
BEGIN
    IF coalesce(current_setting('everward.txn', true), '') <> '' THEN
        RAISE EXCEPTION 'this transaction has already written for a tenant' USING ERRCODE = 'EW400';
    END IF;
    PERFORM everward.seal(tenant, NULL);
    SELECT s.expires_at INTO until FROM everward.fleet_session s
        WHERE s.tenant_id = tenant AND s.session_hash = sha256(session) AND s.closed_at IS NULL AND s.expires_at > now();
    IF until IS NULL THEN
        RAISE EXCEPTION 'no such session' USING ERRCODE = 'EW401';
    END IF;
    RETURN until;
END
$$;

CREATE FUNCTION everward.close_fleet(session bytea) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE everward.fleet_session s SET closed_at = now()
    WHERE s.tenant_id = (SELECT everward.tenant()) AND s.session_hash = sha256(session) AND s.closed_at IS NULL
$$;

-- The context's tenant, its nodes, and how each is. No names of people, no rows of the ward.
CREATE FUNCTION everward.fleet_page() RETURNS json
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH nodes AS (
        SELECT n.node_id, n.name, s.name AS site, n.status, n.incarnation, n.enrolled_at, n.last_seen_at, n.program_version,
            n.acked_cut, greatest(coalesce(h.head, 0) - n.acked_cut, 0) AS behind, coalesce(r.last_seq, 0) AS last_seq,
            r.updated_at AS last_push_at,
            (SELECT min(t.at) FROM everward.cut c JOIN everward.txn t USING (tenant_id, txn)
                WHERE c.tenant_id = n.tenant_id AND c.cut = n.acked_cut + 1) AS behind_since,
            (SELECT count(*) FROM everward.conflict c WHERE c.tenant_id = n.tenant_id AND c.state = 'open'
                AND c.incoming_node = n.node_id) AS conflicts_open
        FROM everward.node n JOIN everward.site s USING (tenant_id, site_id)
        LEFT JOIN everward.feed_head h USING (tenant_id)
        LEFT JOIN everward.node_head r ON r.tenant_id = n.tenant_id AND r.node_id = n.node_id AND r.incarnation = n.incarnation
        WHERE n.tenant_id = (SELECT everward.tenant())
        ORDER BY s.name, n.name, n.node_id
        LIMIT 5000
    )
    SELECT json_build_object('tenant_id', t.tenant_id, 'tenant', t.name, 'as_of', now(), 'silent_after_s', 300,
        'conflicts_open', (SELECT count(*) FROM everward.conflict c WHERE c.tenant_id = t.tenant_id AND c.state = 'open'),
        'nodes', (SELECT coalesce(json_agg(x), '[]') FROM (
            SELECT CASE WHEN n.status <> 'enrolled' THEN n.status WHEN n.last_seen_at IS NULL THEN 'never'
                WHEN n.last_seen_at < now() - interval '300 seconds' THEN 'silent'
                WHEN n.behind > 0 THEN 'behind' ELSE 'current' END AS state, n.* FROM nodes n) x))
    FROM everward.tenant t WHERE t.tenant_id = (SELECT everward.tenant())
$$;

RESET ROLE;

ALTER FUNCTION everward.open_fleet(uuid, bytea, bytea) OWNER TO everward_definer;
ALTER FUNCTION everward.enter_fleet(uuid, bytea) OWNER TO everward_definer;
ALTER FUNCTION everward.close_fleet(bytea) OWNER TO everward_definer;
ALTER FUNCTION everward.fleet_page() OWNER TO everward_definer;
GRANT EXECUTE ON FUNCTION everward.open_fleet(uuid, bytea, bytea), everward.enter_fleet(uuid, bytea), everward.close_fleet(bytea),
    everward.fleet_page() TO everward_gateway;
