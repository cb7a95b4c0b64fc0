-- 0001_roles.sql - who may do what, before there is anything to do it to.
--
-- Roles belong to the cluster, schemas to a database: several databases of one cluster share the
-- roles, so a role that is there is left as it is but for the attributes that matter. Passwords are
-- never set here.

DO $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT * FROM (VALUES
        ('everward_owner',   'NOLOGIN NOBYPASSRLS'),
        ('everward_definer', 'NOLOGIN NOBYPASSRLS'),
        ('everward_admin',   'LOGIN BYPASSRLS'),
        ('everward_gateway', 'LOGIN NOBYPASSRLS'),
        ('everward_app',     'LOGIN NOBYPASSRLS'),
        ('everward_monitor', 'LOGIN NOBYPASSRLS')) AS v (name, attributes)
    LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r.name) THEN
                EXECUTE format('CREATE ROLE %I %s', r.name, r.attributes);
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- another database of this cluster is being migrated at the same moment
        END;
        EXECUTE format('ALTER ROLE %I NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION %s', r.name,
            r.attributes);
    END LOOP;
END
$$;

SET LOCAL client_min_messages = warning;
GRANT everward_owner TO everward_admin;
RESET client_min_messages;

CREATE SCHEMA everward AUTHORIZATION everward_owner;
CREATE SCHEMA ward AUTHORIZATION everward_owner;

GRANT USAGE ON SCHEMA everward TO everward_definer, everward_gateway, everward_app,
    everward_monitor;
GRANT USAGE ON SCHEMA ward TO everward_definer, everward_gateway, everward_app;

-- A function is callable by nobody until it is granted.
ALTER DEFAULT PRIVILEGES FOR ROLE everward_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE everward_definer REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

SET LOCAL ROLE everward_owner;

CREATE TABLE everward.migration (
    name       text PRIMARY KEY,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

RESET ROLE;
