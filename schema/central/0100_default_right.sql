-- 0100_default_right.sql - the default rights are rows, and tenants that exist already get new ones.
--
-- Each migration that brought rights had to write seed_tenant anew with one more function in its list, and only tenants
-- made after it got them. From now on a migration inserts into everward.default_right;
-- `everward-gateway migrate` seeds each tenant at its end, one
-- transaction a tenant (a transaction cannot write for two).
-- What a tenant was given once is remembered: a right that a hospital took away does not come back, and one that it
-- changed stays as it is.

SET LOCAL ROLE everward_owner;

CREATE TABLE everward.default_right (
    role       text NOT NULL,
    table_name text NOT NULL,
    action     text NOT NULL CHECK (action IN ('read', 'create', 'update', 'delete', 'resolve')),
    PRIMARY KEY (role, table_name, action)
);

CREATE TABLE everward.given_right (
    tenant_id  uuid NOT NULL REFERENCES everward.tenant,
    role       text NOT NULL,
    table_name text NOT NULL,
    action     text NOT NULL,
    PRIMARY KEY (tenant_id, role, table_name, action)
);
SELECT everward.isolate('everward.given_right');

INSERT INTO everward.default_right (role, table_name, action)
SELECT DISTINCT g.role, g.table_name, a
FROM (SELECT * FROM everward.default_permissions()
      UNION ALL SELECT * FROM everward.alert_permissions()
      UNION ALL SELECT * FROM everward.safeguard_permissions()
      UNION ALL SELECT * FROM everward.decision_permissions()) g,
    regexp_split_to_table(g.actions, '\s+') AS a
WHERE a <> '';

CREATE FUNCTION everward.actions_union(a text, b text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(string_agg(DISTINCT x, ' ' ORDER BY x), '')
    FROM regexp_split_to_table(coalesce(a, '') || ' ' || coalesce(b, ''), '\s+') AS x WHERE x <> ''
$$;

-- Gives a tenant the default rights that it was never given: a role's new table as a new row, a new action on a table
-- that the role has added to its row. How many rows came or changed. Run by everward_admin.
CREATE OR REPLACE FUNCTION everward.seed_tenant(tenant uuid) RETURNS int
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    n int := 0;
    g record;
BEGIN
    FOR g IN
        WITH fresh AS (
            INSERT INTO everward.given_right (tenant_id, role, table_name, action)
            SELECT tenant, d.role, d.table_name, d.action FROM everward.default_right d
            ON CONFLICT DO NOTHING
            RETURNING given_right.role, given_right.table_name, given_right.action)
        SELECT f.role, f.table_name, string_agg(f.action, ' ' ORDER BY f.action) AS actions
        FROM fresh f GROUP BY f.role, f.table_name ORDER BY f.role, f.table_name
    LOOP
        UPDATE ward.role_permission p SET actions = everward.actions_union(p.actions, g.actions)
        WHERE p.tenant_id = tenant AND p.role = g.role AND p.table_name = g.table_name
            AND everward.actions_union(p.actions, g.actions) <> everward.actions_union(p.actions, '');
        IF FOUND THEN
            n := n + 1;
        ELSIF NOT EXISTS (SELECT FROM ward.role_permission p WHERE p.tenant_id = tenant
                AND p.role = g.role AND p.table_name = g.table_name) THEN
            INSERT INTO ward.role_permission (id, tenant_id, role, table_name, actions)
            VALUES (gen_random_uuid(), tenant, g.role, g.table_name, g.actions);
            n := n + 1;
        END IF;
    END LOOP;
    RETURN n;
END
$$;

RESET ROLE;

-- What the tenants of today were given. Nobody has written it down: a migration's rights of which a tenant has not one were
-- never given; where it has some of them, the others were taken away by the hospital and stay away.
WITH brought AS (
    SELECT d.*, CASE
        WHEN d.table_name IN ('alert', 'alert_ack') THEN '0021'
        WHEN d.table_name IN ('device', 'login', 'break_glass') OR d.role = 'privacy_officer' THEN '0050'
        WHEN d.role = 'doctor' AND d.action = 'resolve' AND d.table_name <> 'conflict' THEN '0051'
        ELSE '0009' END AS by
    FROM everward.default_right d),
had AS (
    SELECT DISTINCT p.tenant_id, b.by FROM ward.role_permission p JOIN brought b
        ON b.role = p.role AND b.table_name = p.table_name
            AND b.action = ANY (regexp_split_to_array(p.actions, '\s+')))
INSERT INTO everward.given_right (tenant_id, role, table_name, action)
SELECT t.tenant_id, b.role, b.table_name, b.action FROM everward.tenant t CROSS JOIN brought b
WHERE b.by = '0009' OR EXISTS (SELECT FROM had h WHERE h.tenant_id = t.tenant_id AND h.by = b.by);
