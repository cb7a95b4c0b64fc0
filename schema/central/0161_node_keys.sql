-- 0161_node_keys.sql - a node gets another signing key: by an invite that lets it come back with its outbox, or by itself.
--
-- It stays the node that it was: the numbers of its log go on, so that nothing that had arrived is taken for new. What it comes back
-- with is sent in its next life (begin_incarnation). The keys it had are kept with the change up to which each of them signed.

SET LOCAL ROLE everward_owner;

CREATE TABLE everward.node_former_key (
    tenant_id   uuid NOT NULL,
    node_id     uuid NOT NULL,
    public_key  bytea NOT NULL CHECK (length(public_key) = 32),
    incarnation bigint NOT NULL,
    upto_seq    bigint NOT NULL,            -- the node's last change when the next key took its place
    replaced_at timestamptz NOT NULL DEFAULT now(),
    how         text NOT NULL CHECK (how IN ('readmitted', 'rotated')),
    late_upto   bigint NOT NULL DEFAULT 0,  -- changes up to it were written while the node was not let in: to be reviewed
    PRIMARY KEY (tenant_id, node_id, public_key),
    FOREIGN KEY (tenant_id, node_id) REFERENCES everward.node
);
SELECT everward.isolate('everward.node_former_key'::regclass);
GRANT SELECT ON everward.node_former_key TO everward_gateway;
GRANT SELECT, INSERT ON everward.node_former_key TO everward_definer;

ALTER TABLE everward.invite ADD COLUMN readmits uuid;

-- The operator's.
CREATE FUNCTION everward.add_readmission(tenant uuid, node uuid, token_hash bytea, ttl interval DEFAULT '24 hours') RETURNS void
LANGUAGE sql VOLATILE
AS $$
    INSERT INTO everward.invite (tenant_id, site_id, node_name, token_hash, expires_at, readmits)
    SELECT n.tenant_id, n.site_id, n.name, add_readmission.token_hash, now() + least(ttl, interval '24 hours'), n.node_id
    FROM everward.node n WHERE n.tenant_id = tenant AND n.node_id = node
$$;

-- The invite, if this token is one that readmits this node and may still be used; the transaction is its tenant's then.
CREATE FUNCTION everward.readmission(token bytea, node uuid) RETURNS everward.invite
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    h bytea := sha256(token);
    t uuid := (SELECT m.tenant FROM everward.token_of m WHERE m.token_hash = h);
    i everward.invite%ROWTYPE;
BEGIN
    IF t IS NULL THEN
        RAISE EXCEPTION 'unknown invite' USING ERRCODE = 'EW401';
    END IF;
    PERFORM everward.seal(t, NULL);
    SELECT * INTO i FROM everward.invite x WHERE x.tenant_id = t AND x.token_hash = h FOR UPDATE;
    IF i.expires_at <= now() THEN
        RAISE EXCEPTION 'this invite has expired' USING ERRCODE = 'EW410';
    END IF;
    IF i.readmits IS DISTINCT FROM node THEN
        RAISE EXCEPTION 'this invite does not let that node come back' USING ERRCODE = 'EW403';
    END IF;
    RETURN i;
END
$$;

-- The key by which whoever comes must show that it is this node.
CREATE FUNCTION everward.readmission_key(token bytea, node uuid) RETURNS bytea
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    i everward.invite%ROWTYPE := everward.readmission(token, node);
    k bytea;
BEGIN
    SELECT x.public_key INTO k FROM everward.node x WHERE x.tenant_id = i.tenant_id AND x.node_id = node;
    PERFORM set_config('everward.context', '', true);
    RETURN k;
END
$$;

-- seen: the key that readmission_key told and that was checked. Repeated with the same new key it gives the same answer.
CREATE FUNCTION everward.readmit(token bytea, node uuid, seen bytea, new_key bytea, ticket_hash bytea, last_seq bigint)
RETURNS TABLE (tenant_id uuid, site_id uuid, node_id uuid, tenant_name text, site_name text, incarnation bigint, node_name text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    i everward.invite%ROWTYPE := everward.readmission(token, node);
    t uuid := i.tenant_id;
    n everward.node%ROWTYPE;
BEGIN
    SELECT * INTO n FROM everward.node x WHERE x.tenant_id = t AND x.node_id = node FOR UPDATE;
    IF n.public_key IS DISTINCT FROM seen OR (i.used_at IS NOT NULL AND (n.public_key <> new_key OR n.status <> 'enrolled')) THEN
        RAISE EXCEPTION 'this invite has been used' USING ERRCODE = 'EW409';
    END IF;
    IF i.used_at IS NULL AND n.public_key <> new_key THEN
        INSERT INTO everward.node_former_key (tenant_id, node_id, public_key, incarnation, upto_seq, how, late_upto)
        VALUES (t, node, n.public_key, n.incarnation, last_seq, 'readmitted', CASE WHEN n.status = 'enrolled' THEN 0 ELSE last_seq END);
    END IF;
    UPDATE everward.node x SET public_key = new_key, ticket_hash = readmit.ticket_hash, status = 'enrolled', revoked_at = NULL
    WHERE x.tenant_id = t AND x.node_id = node;
    UPDATE everward.invite x SET used_at = coalesce(x.used_at, now()), node_id = node WHERE x.tenant_id = t AND x.token_hash = i.token_hash;
    RETURN QUERY SELECT x.tenant_id, x.site_id, x.node_id, tn.name, s.name, x.incarnation, x.name
        FROM everward.node x
        JOIN everward.tenant tn ON tn.tenant_id = x.tenant_id
        JOIN everward.site s ON s.tenant_id = x.tenant_id AND s.site_id = x.site_id
        WHERE x.tenant_id = t AND x.node_id = node;
    PERFORM set_config('everward.context', '', true);
END
$$;

RESET ROLE;

-- An invite that lets a node come back makes no new one. (It belongs to everward_definer already.)
DO $$
DECLARE
    was text := pg_get_functiondef('everward.enrol(bytea,bytea,text,bytea)'::regprocedure);
    is_now text := replace(was, 'IF i.used_at IS NULL THEN',
        'IF i.readmits IS NOT NULL THEN RAISE EXCEPTION ''this invite is for a node that comes back'' USING ERRCODE = ''EW403''; END IF;
    IF i.used_at IS NULL THEN');
BEGIN
    IF is_now = was THEN
        RAISE EXCEPTION 'everward.enrol is not what it was';
    END IF;
    EXECUTE is_now;
END
$$;

ALTER FUNCTION everward.readmission(bytea, uuid) OWNER TO everward_definer;
ALTER FUNCTION everward.readmission_key(bytea, uuid) OWNER TO everward_definer;
ALTER FUNCTION everward.readmit(bytea, uuid, bytea, bytea, bytea, bigint) OWNER TO everward_definer;
GRANT EXECUTE ON FUNCTION everward.readmission_key(bytea, uuid), everward.readmit(bytea, uuid, bytea, bytea, bytea, bigint) TO everward_gateway;
