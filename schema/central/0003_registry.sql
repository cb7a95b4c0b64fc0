-- 0003_registry.sql - tenants, sites, nodes and invites; how a node enrols and enters.

SET LOCAL ROLE everward_owner;

CREATE TABLE everward.tenant (
    tenant_id  uuid PRIMARY KEY,
    name       text NOT NULL,
    tier       text NOT NULL DEFAULT 'standard',
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE everward.site (
    tenant_id uuid NOT NULL REFERENCES everward.tenant,
    site_id   uuid NOT NULL,
    name      text NOT NULL,
    PRIMARY KEY (tenant_id, site_id)
);

CREATE TABLE everward.node (
    tenant_id       uuid NOT NULL,
    node_id         uuid NOT NULL,
    site_id         uuid NOT NULL,
    name            text NOT NULL,
    public_key      bytea NOT NULL CHECK (length(public_key) = 32),
    ticket_hash     bytea NOT NULL CHECK (length(ticket_hash) = 32),
    status          text NOT NULL DEFAULT 'enrolled' CHECK (status IN ('enrolled', 'revoked',
        'retired')),
    incarnation     bigint NOT NULL DEFAULT 1,
    enrolled_at     timestamptz NOT NULL DEFAULT now(),
    revoked_at      timestamptz,
    last_seen_at    timestamptz,
    acked_cut       bigint NOT NULL DEFAULT 0,
    program_version text,
    PRIMARY KEY (tenant_id, node_id),
    FOREIGN KEY (tenant_id, site_id) REFERENCES everward.site
);

CREATE TABLE everward.invite (
    tenant_id  uuid NOT NULL,
    site_id    uuid NOT NULL,
    node_name  text NOT NULL,
    token_hash bytea NOT NULL CHECK (length(token_hash) = 32),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    node_id    uuid,
    PRIMARY KEY (tenant_id, token_hash),
    FOREIGN KEY (tenant_id, site_id) REFERENCES everward.site
);

SELECT everward.isolate(r) FROM unnest(ARRAY['everward.tenant', 'everward.site', 'everward.node',
    'everward.invite']::regclass[]) r;

-- Whose node, whose token? Asked before there is a tenant, so it cannot be under a tenant's policy:
-- two maps that everward_definer alone reads, kept by triggers. All else about a node is read under
-- its tenant's policy like everything.
CREATE TABLE everward.node_of (node_id uuid PRIMARY KEY, tenant uuid NOT NULL);
CREATE TABLE everward.token_of (token_hash bytea PRIMARY KEY, tenant uuid NOT NULL);

GRANT SELECT, INSERT ON everward.node_of, everward.token_of TO everward_definer;
GRANT SELECT, INSERT, UPDATE ON everward.node, everward.invite TO everward_definer;
GRANT SELECT ON everward.tenant, everward.site TO everward_definer, everward_gateway;

CREATE FUNCTION everward.map_node() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO everward.node_of VALUES (NEW.node_id, NEW.tenant_id);
    RETURN NULL;
END
$$;

CREATE FUNCTION everward.map_token() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO everward.token_of VALUES (NEW.token_hash, NEW.tenant_id);
    RETURN NULL;
END
$$;

CREATE TRIGGER map_node AFTER INSERT ON everward.node FOR EACH ROW EXECUTE FUNCTION
    everward.map_node();
CREATE TRIGGER map_token AFTER INSERT ON everward.invite FOR EACH ROW EXECUTE FUNCTION
    everward.map_token();

-- The first statement of every transaction of the gateway for a node.
CREATE FUNCTION everward.enter_node(node uuid, ticket bytea, OUT tenant_id uuid, OUT site_id uuid,
    OUT incarnation bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t uuid;
    n record;
BEGIN
    SELECT m.tenant INTO t FROM everward.node_of m WHERE m.node_id = node;
    IF t IS NULL THEN
        RAISE EXCEPTION 'unknown node or wrong ticket' USING ERRCODE = 'EW401';
    END IF;
    IF coalesce(current_setting('everward.txn', true), '') <> '' THEN
        RAISE EXCEPTION 'this transaction has already written for a tenant' USING ERRCODE = 'EW400';
    END IF;
    PERFORM everward.seal(t, node);
    SELECT * INTO n FROM everward.node x WHERE x.tenant_id = t AND x.node_id = node;
    IF NOT FOUND OR ticket IS NULL OR n.ticket_hash <> sha256(ticket) THEN
        RAISE EXCEPTION 'unknown node or wrong ticket' USING ERRCODE = 'EW401';
    END IF;
    IF n.status <> 'enrolled' THEN
        RAISE EXCEPTION 'this node is %', n.status USING ERRCODE = 'EW403';
    END IF;
    tenant_id := t;
    site_id := n.site_id;
    incarnation := n.incarnation;
END
$$;

-- What the gateway needs to check a token, before any ticket is checked; the transaction's tenant
-- stays what it was.
CREATE FUNCTION everward.node_key(node uuid) RETURNS TABLE (tenant_id uuid, public_key bytea,
    status text)
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
    RETURN QUERY SELECT x.tenant_id, x.public_key, x.status FROM everward.node x
        WHERE x.tenant_id = t AND x.node_id = node;
    PERFORM set_config('everward.context', before, true);
END
$$;

CREATE FUNCTION everward.enrol(token bytea, public_key bytea, node_name text, ticket_hash bytea)
RETURNS TABLE (tenant_id uuid, site_id uuid, node_id uuid, tenant_name text, site_name text,
    incarnation bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    h bytea := sha256(token);
    t uuid;
    i record;
    n uuid;
BEGIN
    SELECT m.tenant INTO t FROM everward.token_of m WHERE m.token_hash = h;
    IF t IS NULL THEN
        RAISE EXCEPTION 'unknown invite' USING ERRCODE = 'EW401';
    END IF;
    PERFORM everward.seal(t, NULL);
    SELECT * INTO i FROM everward.invite x WHERE x.tenant_id = t AND x.token_hash = h FOR UPDATE;
    IF i.expires_at <= now() THEN
        RAISE EXCEPTION 'this invite has expired' USING ERRCODE = 'EW410';
    END IF;
    IF i.used_at IS NULL THEN
        n := gen_random_uuid();
        INSERT INTO everward.node (tenant_id, node_id, site_id, name, public_key, ticket_hash)
        VALUES (t, n, i.site_id, coalesce(nullif(i.node_name, ''), nullif(node_name, ''), 'node'),
            enrol.public_key, enrol.ticket_hash);
        UPDATE everward.invite x SET used_at = now(), node_id = n WHERE x.tenant_id = t
            AND x.token_hash = h;
    ELSE
        UPDATE everward.node x SET ticket_hash = enrol.ticket_hash
        WHERE x.tenant_id = t AND x.node_id = i.node_id AND x.public_key = enrol.public_key
            AND x.status = 'enrolled'
        RETURNING x.node_id INTO n;
        IF n IS NULL THEN
            RAISE EXCEPTION 'this invite has been used' USING ERRCODE = 'EW409';
        END IF;
    END IF;
    RETURN QUERY
        SELECT x.tenant_id, x.site_id, x.node_id, tn.name, s.name, x.incarnation
        FROM everward.node x
        JOIN everward.tenant tn ON tn.tenant_id = x.tenant_id
        JOIN everward.site s ON s.tenant_id = x.tenant_id AND s.site_id = x.site_id
        WHERE x.tenant_id = t AND x.node_id = n;
    PERFORM set_config('everward.context', '', true);
END
$$;

CREATE FUNCTION everward.node_seen(acked_cut bigint, version text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE everward.node x
    SET last_seen_at = now(), acked_cut = coalesce(node_seen.acked_cut, x.acked_cut),
        program_version = coalesce(left(version, 64), x.program_version)
    WHERE x.tenant_id = everward.tenant() AND x.node_id = everward.context_node();
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no node has entered this transaction' USING ERRCODE = 'EW401';
    END IF;
END
$$;

-- A node that was restored begins a new life: the next number, never another. The present one again
-- is no change.
CREATE FUNCTION everward.begin_incarnation(inc bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    present bigint;
BEGIN
    SELECT x.incarnation INTO present FROM everward.node x
    WHERE x.tenant_id = everward.tenant() AND x.node_id = everward.context_node() FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no node has entered this transaction' USING ERRCODE = 'EW401';
    END IF;
    IF inc = present + 1 THEN
        UPDATE everward.node x SET incarnation = inc
        WHERE x.tenant_id = everward.tenant() AND x.node_id = everward.context_node();
    ELSIF inc IS DISTINCT FROM present THEN
        RAISE EXCEPTION 'incarnation % does not follow %', inc, present USING ERRCODE = 'EW409';
    END IF;
END
$$;

-- Where this database lives now. It moves when it is restored elsewhere (system identifier),
-- recovered to a point or promoted (timeline of the log), or dumped and restored (database).
CREATE FUNCTION everward.cluster_identity() RETURNS text
LANGUAGE sql VOLATILE
AS $$
    SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system())
        || '/' || left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8)
        || '/' || (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
$$;

CREATE TABLE everward.timeline (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    id       uuid NOT NULL,
    identity text NOT NULL
);

INSERT INTO everward.timeline (id, identity) VALUES (gen_random_uuid(),
    everward.cluster_identity());
GRANT SELECT, UPDATE ON everward.timeline TO everward_definer;

CREATE FUNCTION everward.timeline() RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT l.id FROM everward.timeline l);
END
$$;

-- `migrate` and `serve` call it at their start; true if the centre has begun a new life.
CREATE FUNCTION everward.renew_timeline() RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    now_at text := everward.cluster_identity();
BEGIN
    UPDATE everward.timeline l SET id = gen_random_uuid(), identity = now_at
        WHERE l.identity <> now_at;
    RETURN FOUND;
END
$$;

-- The operator's: plain inserts by everward_admin, no definer.
CREATE FUNCTION everward.add_tenant(name text) RETURNS uuid
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    t uuid := gen_random_uuid();
BEGIN
    INSERT INTO everward.tenant (tenant_id, name) VALUES (t, add_tenant.name);
    INSERT INTO everward.feed_head (tenant_id) VALUES (t);
    PERFORM everward.seed_tenant(t);
    RETURN t;
END
$$;

CREATE FUNCTION everward.add_site(tenant uuid, name text) RETURNS uuid
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    s uuid := gen_random_uuid();
BEGIN
    INSERT INTO everward.site (tenant_id, site_id, name) VALUES (tenant, s, add_site.name);
    RETURN s;
END
$$;

CREATE FUNCTION everward.add_invite(tenant uuid, site uuid, node_name text, token_hash bytea,
    ttl interval DEFAULT '24 hours')
RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO everward.invite (tenant_id, site_id, node_name, token_hash, expires_at)
    VALUES (tenant, site, add_invite.node_name, add_invite.token_hash, now() + least(ttl,
        interval '24 hours'));
END
$$;

CREATE FUNCTION everward.revoke_node(tenant uuid, node uuid,
    new_status text DEFAULT 'revoked') RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    UPDATE everward.node x SET status = new_status, revoked_at = now()
    WHERE x.tenant_id = tenant AND x.node_id = node AND x.status = 'enrolled';
    RETURN FOUND;
END
$$;

RESET ROLE;

ALTER FUNCTION everward.map_node() OWNER TO everward_definer;
ALTER FUNCTION everward.map_token() OWNER TO everward_definer;
ALTER FUNCTION everward.enter_node(uuid, bytea) OWNER TO everward_definer;
ALTER FUNCTION everward.node_key(uuid) OWNER TO everward_definer;
ALTER FUNCTION everward.enrol(bytea, bytea, text, bytea) OWNER TO everward_definer;
ALTER FUNCTION everward.node_seen(bigint, text) OWNER TO everward_definer;
ALTER FUNCTION everward.begin_incarnation(bigint) OWNER TO everward_definer;
ALTER FUNCTION everward.cluster_identity() OWNER TO everward_definer;
ALTER FUNCTION everward.timeline() OWNER TO everward_definer;
ALTER FUNCTION everward.renew_timeline() OWNER TO everward_definer;

GRANT EXECUTE ON FUNCTION everward.enter_node(uuid, bytea), everward.node_key(uuid),
    everward.enrol(bytea, bytea, text, bytea),
    everward.node_seen(bigint, text), everward.begin_incarnation(bigint), everward.timeline(),
        everward.renew_timeline()
    TO everward_gateway;
GRANT EXECUTE ON FUNCTION everward.timeline(), everward.renew_timeline() TO everward_admin;
