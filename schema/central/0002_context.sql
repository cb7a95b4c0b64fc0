-- 0002_context.sql - the tenant of a transaction, sealed.
--
-- A setting is no secret: any SQL that a session runs could switch it. So the tenant stands in
-- everward.context together with a MAC over tenant, node, backend, transaction start and expiry,
-- whose key only everward_definer reads. Everything here ends with the transaction, so that a pool
-- in transaction mode cannot carry it on.
--
-- SQLSTATEs of this schema: EW400 two tenants, EW401 unknown or wrong, EW403 not allowed (any
-- more), EW405 not done to synced rows, EW409 used or out of order, EW410 too old, EW422 a table
-- that cannot be synced.

SET LOCAL ROLE everward_owner;

-- A FHIR dateTime in text, so that its precision and offset survive: 2024, 2024-02, 2024-02-29,
-- 2024-02-29T08:00:00.000+02:00. The expression by itself costs 3.5 µs a value (PostgreSQL builds
-- its automaton anew each time); the common forms, with an offset and with or without milliseconds,
-- are known by their shape and read by the timestamp's own reader instead: 0.8 µs.
CREATE DOMAIN everward.moment AS text CONSTRAINT moment_form CHECK (
    CASE WHEN (VALUE LIKE '____-__-__T__:__:__.___Z' OR VALUE LIKE '____-__-__T__:__:__Z'
               OR VALUE LIKE '____-__-__T__:__:__.___+__:__'
                   OR VALUE LIKE '____-__-__T__:__:__+__:__'
               OR VALUE LIKE '____-__-__T__:__:__.___-__:__'
                   OR VALUE LIKE '____-__-__T__:__:__-__:__') AND strpos(VALUE, ' ') = 0
         THEN VALUE::timestamptz IS NOT NULL
         ELSE VALUE ~ '^\d{4}(-[01]\d(-[0-3]\d(T[0-2]\d:[0-5]\d:[0-6]\d(\.\d{1,9})?(Z|[+-][01]\d:[0-5]\d))?)?)?$' END);

CREATE TABLE everward.secret (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    mac_key    bytea NOT NULL,
    notify_key bytea NOT NULL
);

-- gen_random_uuid() draws from the operating system; two of them hold 244 random bits.
INSERT INTO everward.secret (mac_key, notify_key) VALUES (
    sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
        || uuid_send(gen_random_uuid())),
    sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
        || uuid_send(gen_random_uuid())));

GRANT SELECT ON everward.secret TO everward_definer;

-- Not granted to anyone: whoever may call it can forge. Nested, so that a known MAC cannot be
-- lengthened.
CREATE FUNCTION everward.mac(kind text, body text) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
AS $$
DECLARE
    k bytea;
BEGIN
    SELECT s.mac_key INTO STRICT k FROM everward.secret s;
    RETURN encode(sha256(k || sha256(k || convert_to(kind || ',' || pg_backend_pid() || ','
        || extract(epoch FROM now()) || ','
                                                      || body, 'UTF8'))), 'hex');
END
$$;

-- tenant,node (may be empty),expiry in epoch seconds,MAC
CREATE FUNCTION everward.seal(tenant uuid, node uuid) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    body text := tenant || ',' || coalesce(node::text, '') || ',' || floor(extract(epoch
        FROM now()) + 3600);
BEGIN
    PERFORM set_config('everward.context', body || ',' || everward.mac('context', body), true);
END
$$;

-- May this session name its tenant by a plain setting? Trusted software of the tenant's own system
-- may; the gateway may not.
CREATE FUNCTION everward.trusted_session() RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
AS $$
BEGIN
    RETURN pg_has_role(session_user, 'everward_app', 'MEMBER') OR everward.bypassing_session();
END
$$;

CREATE FUNCTION everward.bypassing_session() RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
AS $$
BEGIN
    RETURN (SELECT r.rolsuper OR r.rolbypassrls FROM pg_catalog.pg_roles r
        WHERE r.rolname = session_user);
END
$$;

-- NULL unless a valid context or, for a trusted session, everward.tenant_id is set: nothing is
-- visible then. PARALLEL RESTRICTED: a worker has another pid, so the MAC would not hold there.
CREATE FUNCTION everward.tenant() RETURNS uuid
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c text := current_setting('everward.context', true);
    f text[];
BEGIN
    IF c IS NULL OR c = '' THEN
        IF nullif(current_setting('everward.tenant_id', true), '') IS NOT NULL
            AND everward.trusted_session() THEN
            RETURN current_setting('everward.tenant_id')::uuid;
        END IF;
        RETURN NULL;
    END IF;
    IF right(c, 64) IS DISTINCT FROM everward.mac('context', left(c, -65)) THEN
        RETURN NULL;
    END IF;
    f := string_to_array(c, ',');
    IF extract(epoch FROM statement_timestamp()) > f[3]::numeric THEN
        RETURN NULL;
    END IF;
    RETURN f[1]::uuid;
END
$$;

-- The node that entered this transaction, or NULL.
CREATE FUNCTION everward.context_node() RETURNS uuid
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c text := nullif(current_setting('everward.context', true), '');
BEGIN
    IF c IS NULL OR everward.tenant() IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN nullif(split_part(c, ',', 2), '')::uuid;
END
$$;

-- What NOTIFY carries for a tenant: whoever does not know both the key and the tenant learns
-- nothing from it.
CREATE FUNCTION everward.wake_key_of(tenant uuid) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN (SELECT left(encode(sha256(s.notify_key || convert_to(tenant::text, 'UTF8')), 'hex'), 16)
        FROM everward.secret s);
END
$$;

CREATE FUNCTION everward.wake_key() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN everward.wake_key_of(everward.tenant());
END
$$;

-- Row security as every table with a tenant has it: one policy for reading and writing. The
-- sub-select is evaluated once a query.
CREATE FUNCTION everward.isolate(rel regclass, tenant_column text DEFAULT 'tenant_id') RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', rel);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', rel);
    EXECUTE format('CREATE POLICY tenant ON %s USING (%2$I = (SELECT everward.tenant())) WITH CHECK (%2$I = (SELECT everward.tenant()))',
                   rel, tenant_column);
END
$$;

RESET ROLE;

ALTER FUNCTION everward.mac(text, text) OWNER TO everward_definer;
ALTER FUNCTION everward.seal(uuid, uuid) OWNER TO everward_definer;
ALTER FUNCTION everward.trusted_session() OWNER TO everward_definer;
ALTER FUNCTION everward.bypassing_session() OWNER TO everward_definer;
ALTER FUNCTION everward.tenant() OWNER TO everward_definer;
ALTER FUNCTION everward.context_node() OWNER TO everward_definer;
ALTER FUNCTION everward.wake_key_of(uuid) OWNER TO everward_definer;
ALTER FUNCTION everward.wake_key() OWNER TO everward_definer;

-- tenant() runs inside every policy, for whatever role reads.
GRANT EXECUTE ON FUNCTION everward.tenant() TO PUBLIC;
GRANT EXECUTE ON FUNCTION everward.wake_key(), everward.context_node() TO everward_gateway;
