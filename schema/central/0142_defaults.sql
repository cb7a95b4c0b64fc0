-- 0142_defaults.sql - the catalog tells what stands in a column that must not be null and that nobody names.
--
-- A column added as NOT NULL DEFAULT 'x' made every tablet's form that did not know it fail. The node
-- writes the default itself, so that row, change and centre say the same from the first moment. Only
-- constants: now() or a sequence is the centre's, and such a column must be named.

SET LOCAL ROLE everward_owner;

CREATE FUNCTION everward.constant_default(schema_name name, table_name name, column_name name)
RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN d.expr ~ '^''([^'']|'''')*''(::[a-z ]+)?$'
            THEN replace(substring(d.expr FROM '^''(.*)''(?:::[a-z ]+)?$'), '''''', '''')
        WHEN d.expr IN ('true', 'false') THEN left(d.expr, 1)
        WHEN d.expr ~ '^-?[0-9]+(\.[0-9]+)?$' THEN d.expr END
    FROM (SELECT pg_get_expr(x.adbin, x.adrelid) AS expr FROM pg_attrdef x
        JOIN pg_attribute a ON a.attrelid = x.adrelid AND a.attnum = x.adnum
        JOIN pg_class c ON c.oid = x.adrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = schema_name AND c.relname = table_name AND a.attname = column_name
            AND a.attgenerated = '') d
$$;

CREATE OR REPLACE FUNCTION everward.catalog() RETURNS json
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
                        'api', k.api, 'allowed', to_json(k.allowed), 'ref', k.ref_table,
                        'dominance', s.options->'columns'->k.name->'dominance',
                        'default', CASE WHEN NOT k.nullable
                            THEN everward.constant_default(s.schema_name, s.table_name, k.name) END)
                    ELSE json_build_object(
                        'ord', k.ord, 'name', 'dropped_' || k.ord, 'type', 'text', 'null', true,
                            'class', NULL, 'group', NULL,
                        'api', 'hidden', 'allowed', NULL, 'ref', NULL, 'default', NULL)
                    END ORDER BY k.ord)
                    FROM everward.sync_column k WHERE k.tbl = s.tbl), '[]'),
                'indexes', coalesce(s.options->'indexes', '[]')) ORDER BY s.bootstrap_order, s.tbl)
            FROM everward.sync_table s WHERE s.enabled), '[]'))
$$;

RESET ROLE;

GRANT EXECUTE ON FUNCTION everward.constant_default(name, name, name) TO everward_gateway;
