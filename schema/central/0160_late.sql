-- 0160_late.sql - an exported outbox is taken in at the centre: late, to be reviewed.
--
-- The node itself may be revoked, so that it cannot enter. An operator's permit lets the gateway's role, and no other, enter for it:
-- one file, half a day, until it is used up. The rows of late_accept stay: who took in what, when, and how it ended.

SET LOCAL ROLE everward_owner;

CREATE TABLE everward.late_accept (
    tenant_id   uuid NOT NULL,
    accept_id   uuid NOT NULL DEFAULT gen_random_uuid(),
    node_id     uuid NOT NULL,
    permit_hash bytea NOT NULL CHECK (length(permit_hash) = 32),
    file_sha256 bytea NOT NULL CHECK (length(file_sha256) = 32),
    incarnation bigint NOT NULL,
    first_seq   bigint NOT NULL,
    last_seq    bigint NOT NULL,
    begun_by    text NOT NULL DEFAULT session_user,
    begun_at    timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL DEFAULT now() + interval '12 hours',
    done_at     timestamptz,      -- NULL: under way, or broken off
    applied     bigint,
    known       bigint,
    outcome     text,
    PRIMARY KEY (tenant_id, accept_id),
    FOREIGN KEY (tenant_id, node_id) REFERENCES everward.node
);
SELECT everward.isolate('everward.late_accept'::regclass);
GRANT SELECT ON everward.late_accept TO everward_definer;

-- Like enter_node, whatever the node's status, with an operator's permit in the place of its ticket.
CREATE FUNCTION everward.enter_late(node uuid, permit bytea, OUT tenant_id uuid, OUT site_id uuid, OUT incarnation bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t uuid := (SELECT m.tenant FROM everward.node_of m WHERE m.node_id = node);
    n record;
BEGIN
    IF coalesce(current_setting('everward.txn', true), '') <> '' THEN
        RAISE EXCEPTION 'this transaction has already written for a tenant' USING ERRCODE = 'EW400';
    END IF;
    IF t IS NOT NULL THEN
        PERFORM everward.seal(t, node);
    END IF;
    SELECT x.site_id, x.incarnation INTO n FROM everward.node x
    JOIN everward.late_accept a ON a.tenant_id = x.tenant_id AND a.node_id = x.node_id
    WHERE x.tenant_id = t AND x.node_id = node AND a.permit_hash = sha256(permit)
        AND a.done_at IS NULL AND a.expires_at > now();
    IF NOT FOUND THEN
        PERFORM set_config('everward.context', '', true);
        RAISE EXCEPTION 'nobody has permitted this' USING ERRCODE = 'EW401';
    END IF;
    tenant_id := t;
    site_id := n.site_id;
    incarnation := n.incarnation;
END
$$;

-- One more kind of alert, whatever kinds there are by now.
DO $$
DECLARE
    words text[] := everward.allowed_words('everward.alert', (SELECT a.attnum FROM pg_attribute a
        WHERE a.attrelid = 'everward.alert'::regclass AND a.attname = 'kind'));
BEGIN
    ALTER TABLE everward.alert DROP CONSTRAINT alert_kind_check;
    EXECUTE format('ALTER TABLE everward.alert ADD CONSTRAINT alert_kind_check CHECK (kind IN (%s))',
        (SELECT string_agg(quote_literal(w), ', ' ORDER BY i) FROM unnest(words || 'late'::text) WITH ORDINALITY AS u (w, i)));
END
$$;

RESET ROLE;

ALTER FUNCTION everward.enter_late(uuid, bytea) OWNER TO everward_definer;
GRANT EXECUTE ON FUNCTION everward.enter_late(uuid, bytea) TO everward_gateway;

SELECT everward.refresh_sync('everward.alert');
