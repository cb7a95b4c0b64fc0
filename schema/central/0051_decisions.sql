-- 0051_decisions.sql - whom a conflict may be decided by, besides the role it names.
--
-- A node lets decide_role decide, or a role with "resolve" on the conflict's own table: doctors, about what they order
-- and find. Rights of one role on one table from several sources become one row.

SET LOCAL ROLE everward_owner;

CREATE FUNCTION everward.decision_permissions() RETURNS TABLE (role text, table_name text, actions text)
LANGUAGE sql IMMUTABLE
AS $$
    SELECT 'doctor', t, 'resolve'
    FROM unnest(ARRAY['allergy', 'condition', 'medication_order', 'order_event', 'medication_administration', 'observation',
        'encounter', 'note', 'task', 'lab_order']) AS t
$$;

CREATE OR REPLACE FUNCTION everward.seed_tenant(tenant uuid) RETURNS int
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    n int;
BEGIN
    INSERT INTO ward.role_permission (id, tenant_id, role, table_name, actions)
    SELECT gen_random_uuid(), tenant, g.role, g.table_name, string_agg(g.actions, ' ' ORDER BY g.actions)
        FROM (SELECT * FROM everward.default_permissions()
              UNION ALL SELECT * FROM everward.alert_permissions() -- 0021
              UNION ALL SELECT * FROM everward.safeguard_permissions()
              UNION ALL SELECT * FROM everward.decision_permissions()) g
    WHERE NOT EXISTS (SELECT FROM ward.role_permission p
                      WHERE p.tenant_id = tenant AND p.role = g.role
                          AND p.table_name = g.table_name)
    GROUP BY g.role, g.table_name;
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;

RESET ROLE;
