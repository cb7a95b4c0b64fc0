-- 0110_access_ended.sql - what somebody wrote whose access had ended by then.
--
-- A revocation cannot reach a node without a line; those whom it knows go on working there. What they wrote has happened and is kept
-- (facts are never refused), but an alert asks for a review. Only what comes from a node: other applications answer for their own writers.
--
-- With a good clock that says that it was written before the end, nothing is raised; a clock in doubt, a person who is inactive
-- since nobody knows when, or no time at all: unsure means a person looks.

SET LOCAL ROLE everward_owner;

ALTER TABLE everward.alert DROP CONSTRAINT alert_kind_check;
ALTER TABLE everward.alert ADD CONSTRAINT alert_kind_check CHECK (kind IN ('double-dose', 'given-after-stop', 'bed-shared', 'slot-shared',
    'record-number-shared', 'corrected-after-ack', 'state-clash', 'access-ended'));

-- The moment's end where the end is asked for, else its beginning; NULL for what is no date. Never an error: that would refuse a fact.
CREATE FUNCTION everward.moment_at(m text, at_end boolean) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE length(m)
        WHEN 4 THEN (m || '-01-01')::timestamptz + CASE WHEN at_end THEN interval '1 year' ELSE '0' END
        WHEN 7 THEN (m || '-01')::timestamptz + CASE WHEN at_end THEN interval '1 month' ELSE '0' END
        WHEN 10 THEN m::timestamptz + CASE WHEN at_end THEN interval '1 day' ELSE '0' END
        ELSE m::timestamptz END;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$;

-- When the access of those ended whose access has ended; -infinity where nobody knows when.
CREATE FUNCTION everward.access_ended(tenant uuid, who uuid[]) RETURNS TABLE (staff_id uuid, ended_at timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT e.id, e.ended_at FROM (
        SELECT s.id, coalesce(least(everward.moment_at(s.revoked_at, false), everward.moment_at(s.valid_until_at, true)), '-infinity') AS ended_at
        FROM ward.staff s WHERE s.tenant_id = tenant AND s.id = ANY (who)
            AND (s.active IS NOT TRUE OR s.revoked_at IS NOT NULL OR s.valid_until_at IS NOT NULL)) e
    WHERE e.ended_at <= now()
$$;

-- Nearly always nobody is found, and that costs one look at the staff's key.
CREATE FUNCTION everward.rule_access() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    gone record;
BEGIN
    IF everward.context_node() IS NULL THEN
        RETURN NULL;
    END IF;
    FOR gone IN SELECT * FROM everward.access_ended(everward.tenant(),
        (SELECT array_agg(DISTINCT f.recorded_by) FROM fresh f WHERE f.recorded_by IS NOT NULL)) LOOP
        PERFORM everward.raise_alert(f.tenant_id, f.site_id, 'access-ended', TG_ARGV[0], f.id, NULL,
            CASE TG_ARGV[0] WHEN 'patient' THEN f.id ELSE (to_jsonb(f)->>'patient_id')::uuid END,
            'Written after the access of its author had ended. It stands: look whether it is right, and who wrote it.', NULL)
        FROM fresh f WHERE f.recorded_by = gone.staff_id AND f.tenant_id = everward.tenant()
            AND (f.clock_state IS DISTINCT FROM 'ok'
                OR coalesce(everward.moment_at(f.recorded_at, true) >= gone.ended_at, true));
    END LOOP;
    RETURN NULL;
END
$$;

RESET ROLE;

GRANT SELECT ON ward.staff TO everward_definer;
ALTER FUNCTION everward.moment_at(text, boolean) OWNER TO everward_definer;
ALTER FUNCTION everward.access_ended(uuid, uuid[]) OWNER TO everward_definer;
ALTER FUNCTION everward.rule_access() OWNER TO everward_definer;

-- Every table of the ward, and the decisions, that say who wrote.
DO $$
DECLARE
    t record;
BEGIN
    FOR t IN SELECT s.name, format('%I.%I', s.schema_name, s.table_name) AS rel FROM everward.sync_table s
        WHERE s.enabled AND s.class <> 'central' AND s.schema_name IN ('ward', 'everward')
            AND 3 = (SELECT count(*) FROM everward.sync_column k WHERE k.tbl = s.tbl AND k.dropped_version IS NULL
                AND k.name IN ('recorded_by', 'recorded_at', 'clock_state'))
    LOOP
        EXECUTE format('CREATE TRIGGER zzzzz_access AFTER INSERT ON %s REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT'
            ' EXECUTE FUNCTION everward.rule_access(%L)', t.rel, t.name);
    END LOOP;
END
$$;

SELECT everward.refresh_sync('everward.alert');
