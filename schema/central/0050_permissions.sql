-- 0050_permissions.sql - rights on what is not a table: devices, logins, break-glass.
--
-- role_permission stays the one place that a hospital changes; these names are no tables and never will be: device (create:
-- pair, read: list, update: rename, delete: revoke), login (read: the list of people, update: unlock, log out), break_glass (create: do
-- it, read and update: review it). Who is asked to review does not get to break in by default.

SET LOCAL ROLE everward_owner;

CREATE FUNCTION everward.safeguard_permissions() RETURNS TABLE (role text, table_name text, actions text)
LANGUAGE sql IMMUTABLE
AS $$
    VALUES ('it_support', 'device', 'read create update delete'),
           ('it_support', 'login', 'read update'),
           ('charge_nurse', 'device', 'read create'),
           ('charge_nurse', 'login', 'read update'),
           ('charge_nurse', 'break_glass', 'create'),
           ('nurse', 'break_glass', 'create'),
           ('doctor', 'break_glass', 'create'),
           ('pharmacist', 'break_glass', 'create'),
           ('privacy_officer', 'break_glass', 'read update'),
           ('privacy_officer', 'staff', 'read'),
           ('privacy_officer', 'login', 'read')
$$;

CREATE OR REPLACE FUNCTION everward.seed_tenant(tenant uuid) RETURNS int
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    n int;
BEGIN
    INSERT INTO ward.role_permission (id, tenant_id, role, table_name, actions)
    SELECT gen_random_uuid(), tenant, g.role, g.table_name, g.actions
        FROM (SELECT * FROM everward.default_permissions()
              UNION ALL SELECT * FROM everward.alert_permissions() -- 0021
              UNION ALL SELECT * FROM everward.safeguard_permissions()) g
    WHERE NOT EXISTS (SELECT FROM ward.role_permission p
                      WHERE p.tenant_id = tenant AND p.role = g.role
                          AND p.table_name = g.table_name);
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;

RESET ROLE;
