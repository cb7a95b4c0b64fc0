-- 0171_node_report.sql - how a node says it is, for the fleet page: what only the node itself can know. One row a node, the newest.
--
-- Ages come, not times: a node's clock may be wrong, and its offset is one of the things it tells.

SET LOCAL ROLE everward_owner;

CREATE TABLE everward.node_report (
    tenant_id         uuid NOT NULL,
    node_id           uuid NOT NULL,
    reported_at       timestamptz NOT NULL DEFAULT now(),
    attention         boolean NOT NULL, -- somebody has to look at the node's own console
    pending           bigint NOT NULL CHECK (pending >= 0),
    oldest_pending_at timestamptz,
    quarantined       bigint NOT NULL CHECK (quarantined >= 0),
    clock_offset_ms   bigint, -- the centre's clock minus the node's
    disk_bytes        bigint CHECK (disk_bytes >= 0),
    disk_free_bytes   bigint CHECK (disk_free_bytes >= 0),
    PRIMARY KEY (tenant_id, node_id),
    FOREIGN KEY (tenant_id, node_id) REFERENCES everward.node (tenant_id, node_id) ON DELETE CASCADE
);
SELECT everward.isolate('everward.node_report'::regclass);
GRANT SELECT, INSERT, UPDATE ON everward.node_report TO everward_definer;

-- The context's node about itself.
CREATE FUNCTION everward.take_report(attention boolean, pending bigint, oldest_pending_s bigint, quarantined bigint, clock_offset_ms bigint,
    disk_bytes bigint, disk_free_bytes bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t uuid := everward.tenant();
    me uuid := everward.context_node();
BEGIN
    IF me IS NULL THEN
        RAISE EXCEPTION 'no node has entered this transaction' USING ERRCODE = 'EW401';
    END IF;
    INSERT INTO everward.node_report AS x (tenant_id, node_id, attention, pending, oldest_pending_at, quarantined, clock_offset_ms,
        disk_bytes, disk_free_bytes)
    VALUES (t, me, take_report.attention, take_report.pending, now() - make_interval(secs => oldest_pending_s), take_report.quarantined,
        take_report.clock_offset_ms, take_report.disk_bytes, take_report.disk_free_bytes)
    ON CONFLICT (tenant_id, node_id) DO UPDATE SET reported_at = now(), attention = excluded.attention, pending = excluded.pending,
        oldest_pending_at = excluded.oldest_pending_at, quarantined = excluded.quarantined, clock_offset_ms = excluded.clock_offset_ms,
        disk_bytes = excluded.disk_bytes, disk_free_bytes = excluded.disk_free_bytes;
END
$$;

RESET ROLE;

-- As in 0170, with what the node has told. A node that asks for attention is not called up to date because its cursor is.
CREATE OR REPLACE FUNCTION everward.fleet_page() RETURNS json
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH nodes AS (
        SELECT n.node_id, n.name, s.name AS site, n.status, n.incarnation, n.enrolled_at, n.last_seen_at, n.program_version,
            n.acked_cut, greatest(coalesce(h.head, 0) - n.acked_cut, 0) AS behind, coalesce(r.last_seq, 0) AS last_seq,
            r.updated_at AS last_push_at,
            (SELECT min(t.at) FROM everward.cut c JOIN everward.txn t USING (tenant_id, txn)
                WHERE c.tenant_id = n.tenant_id AND c.cut = n.acked_cut + 1) AS behind_since,
            (SELECT count(*) FROM everward.conflict c WHERE c.tenant_id = n.tenant_id AND c.state = 'open'
                AND c.incoming_node = n.node_id) AS conflicts_open,
            p.reported_at, CASE WHEN p.node_id IS NOT NULL THEN json_build_object('attention', p.attention, 'pending', p.pending,
                'oldest_pending_at', p.oldest_pending_at, 'quarantined', p.quarantined, 'clock_offset_ms', p.clock_offset_ms,
                'disk_bytes', p.disk_bytes, 'disk_free_bytes', p.disk_free_bytes) END AS report, coalesce(p.attention, false) AS attention
        FROM everward.node n JOIN everward.site s USING (tenant_id, site_id)
        LEFT JOIN everward.feed_head h USING (tenant_id)
        LEFT JOIN everward.node_head r ON r.tenant_id = n.tenant_id AND r.node_id = n.node_id AND r.incarnation = n.incarnation
        LEFT JOIN everward.node_report p ON p.tenant_id = n.tenant_id AND p.node_id = n.node_id
        WHERE n.tenant_id = (SELECT everward.tenant())
        ORDER BY s.name, n.name, n.node_id
        LIMIT 5000
    )
    SELECT json_build_object('tenant_id', t.tenant_id, 'tenant', t.name, 'as_of', now(), 'silent_after_s', 300,
        'conflicts_open', (SELECT count(*) FROM everward.conflict c WHERE c.tenant_id = t.tenant_id AND c.state = 'open'),
        'nodes', (SELECT coalesce(json_agg(x), '[]') FROM (
            SELECT CASE WHEN n.status <> 'enrolled' THEN n.status WHEN n.last_seen_at IS NULL THEN 'never'
                WHEN n.last_seen_at < now() - interval '300 seconds' THEN 'silent' WHEN n.attention THEN 'attention'
                WHEN n.behind > 0 THEN 'behind' ELSE 'current' END AS state, n.* FROM nodes n) x))
    FROM everward.tenant t WHERE t.tenant_id = (SELECT everward.tenant())
$$;

ALTER FUNCTION everward.take_report(boolean, bigint, bigint, bigint, bigint, bigint, bigint) OWNER TO everward_definer;
GRANT EXECUTE ON FUNCTION everward.take_report(boolean, bigint, bigint, bigint, bigint, bigint, bigint) TO everward_gateway;
