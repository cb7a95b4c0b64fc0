-- 0021_rules.sql - what only several rows together can tell: the alerts.
--
-- The merge decides row by row (sync/core/merge.c). That one slot was given twice, that a dose was given after a stop, that two patients
-- lie in one bed or share a record number, shows only here, where everything meets; nothing of it may refuse a fact. So the fact stays
-- as it is, and an alert, a synced row like any other, tells the people concerned, on every node. An alert is closed for a person by
-- an alert_ack, which is a fact. Its id is derived from what it is about: the same thing is never told twice.
--
-- Statement triggers behind the capture's own (they sort after them), so that a push, an import and any other SQL client are
-- alike. Times on a node's clock decide nothing here either: they only choose the words.

SET LOCAL ROLE everward_owner;

CREATE TABLE everward.alert (
    id         uuid NOT NULL,
    tenant_id  uuid NOT NULL,
    rev        bigint NOT NULL DEFAULT 1,
    site_id    uuid,
    kind       text NOT NULL CHECK (kind IN ('double-dose', 'given-after-stop', 'bed-shared', 'slot-shared', 'record-number-shared',
        'corrected-after-ack', 'state-clash')),
    table_name text NOT NULL,
    row_id     uuid NOT NULL,
    other_id   uuid,
    patient_id uuid,
    text       text NOT NULL,
    for_staff  json,
    raised_at  everward.moment NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX ON everward.alert (tenant_id, patient_id);
CREATE INDEX ON everward.alert (tenant_id, row_id);

CREATE TABLE everward.alert_ack (
    id           uuid NOT NULL,
    tenant_id    uuid NOT NULL,
    rev          bigint NOT NULL DEFAULT 1,
    site_id      uuid,
    alert_id     uuid NOT NULL,
    note         text,
    effective_at everward.moment,
    recorded_at  everward.moment,
    recorded_by  uuid,
    performed_by uuid,
    device_id    text,
    clock_state  text,
    source       text DEFAULT 'live' CHECK (source IN ('live', 'back-entry', 'interface')),
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX ON everward.alert_ack (tenant_id, alert_id);

SELECT everward.isolate(r) FROM unnest(ARRAY['everward.alert', 'everward.alert_ack']::regclass[]) r;

GRANT SELECT, INSERT, UPDATE, DELETE ON everward.alert, everward.alert_ack TO everward_app;
GRANT SELECT, INSERT ON everward.alert TO everward_definer;
GRANT SELECT ON ward.medication_administration, ward.order_event, ward.medication_order, ward.bed_stay, ward.appointment, ward.location,
    ward.patient_identifier, ward.lab_result, ward.result_ack TO everward_definer;

CREATE INDEX ON ward.medication_administration (tenant_id, order_id);
CREATE INDEX ON ward.medication_administration (tenant_id, corrects_id) WHERE corrects_id IS NOT NULL;

-- A point in time, or NULL for a date alone.
CREATE FUNCTION everward.instant(m text) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT CASE WHEN m LIKE '____-__-__T%' THEN m::timestamptz END $$;

-- A uuid of version 8 that the same words always give.
CREATE FUNCTION everward.derived_id(words text) RETURNS uuid
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT overlay(overlay(left(h, 32) PLACING '8' FROM 13 FOR 1) PLACING '8' FROM 17 FOR 1)::uuid
    FROM encode(sha256(convert_to(words, 'UTF8')), 'hex') AS h
$$;

CREATE FUNCTION everward.raise_alert(tenant uuid, site uuid, kind text, tab text, about uuid, other uuid, patient uuid, words text,
    staff uuid[], again text DEFAULT '') RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO everward.alert (id, tenant_id, site_id, kind, table_name, row_id, other_id, patient_id, text, for_staff, raised_at)
    VALUES (everward.derived_id(concat_ws(' ', 'alert', tenant, kind, tab, least(about, coalesce(other, about)), greatest(about, other), again)),
        tenant, site, kind, tab, about, other, patient, words,
        (SELECT json_agg(DISTINCT s) FROM unnest(staff) s WHERE s IS NOT NULL),
        to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))
    ON CONFLICT DO NOTHING
$$;

-- Two doses for one slot: both stay, both nurses and the prescriber are told. And a dose whose order had been stopped.
CREATE FUNCTION everward.rule_dose() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM everward.raise_alert(f.tenant_id, f.site_id, 'double-dose', 'medication_administration', f.id, o.id, f.patient_id,
        'One dose was given twice. Both stand: look at the patient, then correct what was not given.',
        ARRAY[f.performed_by, f.recorded_by, o.performed_by, o.recorded_by, m.requester_id])
    FROM fresh f JOIN ward.medication_administration o ON o.tenant_id = f.tenant_id AND o.slot_id = f.slot_id AND o.id <> f.id
    LEFT JOIN ward.medication_order m ON m.tenant_id = f.tenant_id AND m.id = f.order_id
    WHERE f.status = 'completed' AND o.status = 'completed' AND f.corrects_id IS DISTINCT FROM o.id AND o.corrects_id IS DISTINCT FROM f.id
        AND NOT EXISTS (SELECT FROM ward.medication_administration c WHERE c.tenant_id = o.tenant_id AND c.corrects_id IN (o.id, f.id));
    PERFORM everward.raise_alert(f.tenant_id, f.site_id, 'given-after-stop', 'medication_administration', f.id, e.id, f.patient_id,
        'A dose was given for an order that had been stopped. It stands: look at the patient and tell the prescriber.',
        ARRAY[f.performed_by, f.recorded_by, e.recorded_by, m.requester_id])
    FROM fresh f JOIN ward.order_event e ON e.tenant_id = f.tenant_id AND e.order_id = f.order_id AND e.action = 'stop'
    LEFT JOIN ward.medication_order m ON m.tenant_id = f.tenant_id AND m.id = f.order_id
    WHERE f.status = 'completed' AND (f.clock_state IS DISTINCT FROM 'ok'
        OR coalesce(everward.instant(f.effective_at) >= everward.instant(e.effective_at), true));
    RETURN NULL;
END
$$;

-- The stop may be the one that arrives later.
CREATE FUNCTION everward.rule_stop() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM everward.raise_alert(f.tenant_id, a.site_id, 'given-after-stop', 'medication_administration', a.id, f.id, a.patient_id,
        'A dose was given for an order that had been stopped. It stands: look at the patient and tell the prescriber.',
        ARRAY[a.performed_by, a.recorded_by, f.recorded_by, m.requester_id])
    FROM fresh f JOIN ward.medication_administration a ON a.tenant_id = f.tenant_id AND a.order_id = f.order_id AND a.status = 'completed'
    LEFT JOIN ward.medication_order m ON m.tenant_id = f.tenant_id AND m.id = f.order_id
    WHERE f.action = 'stop' AND everward.instant(a.effective_at) >= everward.instant(f.effective_at);
    RETURN NULL;
END
$$;

-- Claims that overlap are both kept and both shown; a bed, not a ward.
CREATE FUNCTION everward.rule_bed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM everward.raise_alert(f.tenant_id, f.site_id, 'bed-shared', 'bed_stay', f.id, o.id, f.patient_id,
        'Two patients are recorded for one bed at the same time. Both are shown: see who lies there, and end the other stay.',
        ARRAY[f.recorded_by, o.recorded_by])
    FROM fresh f JOIN ward.location l ON l.tenant_id = f.tenant_id AND l.id = f.location_id AND l.kind = 'bed'
    JOIN ward.bed_stay o ON o.tenant_id = f.tenant_id AND o.location_id = f.location_id AND o.id <> f.id AND o.patient_id <> f.patient_id
    WHERE f.status IN ('planned', 'active') AND o.status IN ('planned', 'active')
        AND coalesce(everward.instant(f.started_at), '-infinity') < coalesce(everward.instant(o.ended_at), 'infinity')
        AND coalesce(everward.instant(o.started_at), '-infinity') < coalesce(everward.instant(f.ended_at), 'infinity');
    RETURN NULL;
END
$$;

CREATE FUNCTION everward.rule_appointment() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM everward.raise_alert(f.tenant_id, f.site_id, 'slot-shared', 'appointment', f.id, o.id, f.patient_id,
        'Two appointments claim the same place or person at the same time. Both stand until one is moved.',
        ARRAY[f.recorded_by, o.recorded_by, f.practitioner_id])
    FROM fresh f JOIN ward.appointment o ON o.tenant_id = f.tenant_id AND o.id <> f.id
        AND (o.location_id = f.location_id OR o.practitioner_id = f.practitioner_id)
    WHERE coalesce(f.status, '') NOT IN ('cancelled', 'noshow', 'entered-in-error')
        AND coalesce(o.status, '') NOT IN ('cancelled', 'noshow', 'entered-in-error')
        AND everward.instant(f.start_at) < everward.instant(o.end_at) AND everward.instant(o.start_at) < everward.instant(f.end_at);
    RETURN NULL;
END
$$;

CREATE FUNCTION everward.rule_identifier() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM everward.raise_alert(f.tenant_id, f.site_id, 'record-number-shared', 'patient_identifier', f.id, o.id, f.patient_id,
        'Two patients carry the same record number. Neither is hidden: find out whether they are one person.',
        ARRAY[f.recorded_by, o.recorded_by])
    FROM fresh f JOIN ward.patient_identifier o ON o.tenant_id = f.tenant_id AND o.value = f.value AND o.system IS NOT DISTINCT FROM f.system
        AND o.patient_id <> f.patient_id;
    RETURN NULL;
END
$$;

-- Whoever has acknowledged a result is told that it has changed since.
CREATE FUNCTION everward.rule_result() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM everward.raise_alert(f.tenant_id, f.site_id, 'corrected-after-ack', 'lab_result', f.id, NULL, f.patient_id,
        'A laboratory result was corrected after it had been acknowledged. Look at it again.',
        (SELECT array_agg(k.recorded_by) FROM ward.result_ack k WHERE k.tenant_id = f.tenant_id AND k.lab_result_id = f.id), f.rev::text)
    FROM fresh f WHERE EXISTS (SELECT FROM ward.result_ack k WHERE k.tenant_id = f.tenant_id AND k.lab_result_id = f.id);
    RETURN NULL;
END
$$;

-- Of two states the safer one stood (sync/core/merge.c); both people are told.
CREATE FUNCTION everward.rule_state() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM everward.raise_alert(f.tenant_id, f.site_id, 'state-clash', f.table_name, f.row_id, f.id, f.patient_id,
        'Two people changed a state without seeing each other. The safer one stands; look whether it is right.',
        ARRAY[f.live_by, f.incoming_by])
    FROM fresh f WHERE f.state = 'resolved' AND f.class = 'state';
    RETURN NULL;
END
$$;

CREATE TRIGGER zzzzz_rule AFTER INSERT ON ward.medication_administration REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION everward.rule_dose();
CREATE TRIGGER zzzzz_rule AFTER INSERT ON ward.order_event REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION everward.rule_stop();
CREATE TRIGGER zzzzz_rule_insert AFTER INSERT ON ward.bed_stay REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION everward.rule_bed();
CREATE TRIGGER zzzzz_rule_update AFTER UPDATE ON ward.bed_stay REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION everward.rule_bed();
CREATE TRIGGER zzzzz_rule_insert AFTER INSERT ON ward.appointment REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION everward.rule_appointment();
CREATE TRIGGER zzzzz_rule_update AFTER UPDATE ON ward.appointment REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION everward.rule_appointment();
CREATE TRIGGER zzzzz_rule AFTER INSERT ON ward.patient_identifier REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION everward.rule_identifier();
CREATE TRIGGER zzzzz_rule AFTER UPDATE ON ward.lab_result REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION everward.rule_result();
CREATE TRIGGER zzzzz_rule AFTER INSERT ON everward.conflict REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION everward.rule_state();

-- Who reads conflicts reads alerts, and may say that they have seen them.
CREATE FUNCTION everward.alert_permissions() RETURNS TABLE (role text, table_name text, actions text)
LANGUAGE sql STABLE
AS $$
    SELECT d.role, x.name, x.actions FROM everward.default_permissions() d,
        (VALUES ('alert', 'read'), ('alert_ack', 'read create')) AS x (name, actions)
    WHERE d.table_name = 'conflict' AND d.actions LIKE '%read%'
$$;

RESET ROLE;

DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'everward'::regnamespace AND (p.proname LIKE 'rule\_%'
        OR p.proname IN ('raise_alert', 'instant', 'derived_id')) LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO everward_definer', f);
    END LOOP;
END
$$;

SELECT everward.enable_sync('everward.alert', 'central',
    '{"order": 52, "columns": {"patient_id": {"ref": "patient"}}, "indexes": [["patient_id"], ["row_id"]]}');
SELECT everward.enable_sync('everward.alert_ack', 'fact',
    '{"order": 53, "columns": {"alert_id": {"ref": "alert"}}, "indexes": [["alert_id"]]}');
