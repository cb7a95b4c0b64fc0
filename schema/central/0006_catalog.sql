-- 0006_catalog.sql - the catalog as a document, and digests for verify.

SET LOCAL ROLE everward_owner;

-- A dropped column keeps its place as a hidden one that is always NULL.
CREATE FUNCTION everward.catalog() RETURNS json
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT json_build_object(
        'format', 'everward-catalog/1',
        'version', (SELECT version FROM everward.catalog_state),
        'tables', coalesce((
            SELECT json_agg(json_build_object(
                'tbl', s.tbl, 'name', s.name, 'class', s.class, 'deletable', s.deletable,
                    'push_only', s.push_only,
                'order', s.bootstrap_order,
                'columns', coalesce((
                    SELECT json_agg(CASE WHEN k.dropped_version IS NULL THEN json_build_object(
                        'ord', k.ord, 'name', k.name, 'type', k.type, 'null', k.nullable, 'class',
                            k.class, 'group', k.grp,
                        'api', k.api, 'allowed', to_json(k.allowed), 'ref', k.ref_table)
                    ELSE json_build_object(
                        'ord', k.ord, 'name', 'dropped_' || k.ord, 'type', 'text', 'null', true,
                            'class', NULL, 'group', NULL,
                        'api', 'hidden', 'allowed', NULL, 'ref', NULL)
                    END ORDER BY k.ord)
                    FROM everward.sync_column k WHERE k.tbl = s.tbl), '[]'),
                'indexes', coalesce(s.options->'indexes', '[]')) ORDER BY s.bootstrap_order, s.tbl)
            FROM everward.sync_table s WHERE s.enabled), '[]'))
$$;

-- The digest of a half-open range of ids: XOR of the first 8 bytes of each image's SHA-256. Reads
-- as the caller, in its tenant.
CREATE FUNCTION everward.digest(tbl int, from_id uuid, to_id uuid) RETURNS TABLE (rows bigint,
    digest text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, MDY' SET timezone = 'UTC'
    SET bytea_output = hex SET extra_float_digits = 1
AS $$
DECLARE
    s everward.sync_table%ROWTYPE;
BEGIN
    SELECT * INTO s FROM everward.sync_table x WHERE x.tbl = digest.tbl AND x.enabled;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such table' USING ERRCODE = 'EW422';
    END IF;
    RETURN QUERY EXECUTE format($f$
        SELECT count(*), lpad(to_hex(coalesce(
            bit_xor(('x' || left(encode(sha256(convert_to(%2$s, 'UTF8')), 'hex'),
                16))::bit(64)::bigint), 0)), 16, '0')
        FROM %3$I.%4$I r WHERE true%5$s%6$s$f$,
        s.key_column, everward.image_sql(s.tbl, 'r'), s.schema_name, s.table_name,
        CASE WHEN from_id IS NOT NULL THEN format(' AND r.%I >= $1', s.key_column) ELSE '' END,
        CASE WHEN to_id IS NOT NULL THEN format(' AND r.%I < $2', s.key_column) ELSE '' END)
    USING from_id, to_id;
END
$$;

GRANT EXECUTE ON FUNCTION everward.catalog(), everward.digest(int, uuid, uuid),
    everward.image_sql(int, text, int)
    TO everward_gateway;

RESET ROLE;
