-- 0009_people.sql - what each role may do, as a tenant begins with it. Whatever is not named is
-- denied.

SET LOCAL ROLE everward_owner;

CREATE FUNCTION everward.default_permissions() RETURNS TABLE (role text, table_name text,
    actions text)
LANGUAGE sql IMMUTABLE
AS $$
    SELECT v.role, x.table_name, string_agg(v.action, ' ' ORDER BY v.n)
    FROM (SELECT w.*, row_number() OVER () AS n FROM (VALUES
        ('nurse', 'read', 'patient patient_identifier patient_link location staff encounter bed_stay allergy condition
            medication_order order_event dose_slot medication_administration note task appointment
                lab_order
            specimen lab_result result_ack observation conflict conflict_resolution'),
        ('nurse', 'create', 'observation medication_administration note task allergy bed_stay order_event specimen
            patient_identifier'),
        ('nurse', 'update', 'task note encounter bed_stay patient'),
        ('charge_nurse', 'read',
            'patient patient_identifier patient_link location staff staff_role encounter bed_stay allergy
            condition medication_order order_event dose_slot medication_administration note task
                appointment
            lab_order specimen lab_result result_ack observation conflict conflict_resolution'),
        ('charge_nurse', 'create',
            'observation medication_administration note task allergy bed_stay order_event specimen
            patient_identifier patient encounter appointment conflict_resolution'),
        ('charge_nurse', 'update', 'task note encounter bed_stay patient allergy appointment'),
        ('charge_nurse', 'delete', 'task appointment'),
        ('charge_nurse', 'resolve', 'conflict'),
        ('doctor', 'read', 'patient patient_identifier patient_link location staff encounter bed_stay allergy condition
            medication_order order_event dose_slot medication_administration note task appointment
                lab_order
            specimen lab_result result_ack observation conflict conflict_resolution'),
        ('doctor', 'create', 'observation medication_administration note task allergy condition medication_order order_event
            dose_slot lab_order specimen result_ack encounter conflict_resolution'),
        ('doctor', 'update', 'task note encounter patient allergy condition medication_order lab_order'),
        ('doctor', 'resolve', 'conflict'),
        ('pharmacist', 'read',
            'patient patient_identifier location staff encounter bed_stay allergy condition medication_order
            order_event dose_slot medication_administration note task lab_result observation
                conflict
            conflict_resolution'),
        ('pharmacist', 'create', 'note task allergy order_event dose_slot conflict_resolution'),
        ('pharmacist', 'update', 'task note medication_order'),
        ('pharmacist', 'resolve', 'conflict'),
        ('registrar', 'read',
            'patient patient_identifier patient_link location encounter bed_stay appointment conflict
            conflict_resolution'),
        ('registrar', 'create',
            'patient patient_identifier patient_link encounter bed_stay appointment conflict_resolution'),
        ('registrar', 'update', 'patient encounter bed_stay appointment'),
        ('registrar', 'delete', 'appointment'),
        ('registrar', 'resolve', 'conflict'),
        ('it_support', 'read', 'location staff staff_role role_permission')) AS w (role, action,
            tables)) v
    CROSS JOIN LATERAL regexp_split_to_table(v.tables, '\s+') AS x (table_name)
    GROUP BY v.role, x.table_name
$$;

-- Gives a tenant the permissions it lacks; those that it has changed stay as they are. Run by
-- everward_admin.
CREATE FUNCTION everward.seed_tenant(tenant uuid) RETURNS int
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    n int;
BEGIN
    INSERT INTO ward.role_permission (id, tenant_id, role, table_name, actions)
    SELECT gen_random_uuid(), tenant, g.role, g.table_name, g.actions
        FROM everward.default_permissions() g
    WHERE NOT EXISTS (SELECT FROM ward.role_permission p
                      WHERE p.tenant_id = tenant AND p.role = g.role
                          AND p.table_name = g.table_name);
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;

RESET ROLE;
