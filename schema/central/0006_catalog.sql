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
                'tbl', s.tbl, 'name', s.name, 'class', s.class, 'deletable', s.deletable, 'push_only', s.push_only,
                'order', s.bootstrap_order,
                'columns', coalesce((
                    SELECT json_agg(CASE WHEN k.dropped_version IS NULL THEN json_build_object(
                        'ord', k.ord, 'name', k.name, 'type', k.type, 'null', k.nullable, 'class', k.class, 'group', k.grp,
                        'api', k.api, 'allowed', to_json(k.allowed), 'ref', k.ref_table)
                    ELSE json_build_object(
                        'ord', k.ord, 'name', 'dropped_' || k.ord, 'type', 'text', 'null', true, 'class', NULL, 'group', NULL,
                        'api', 'hidden', 'allowed', NULL, 'ref', NULL)
                    END ORDER BY k.ord)
                    FROM everward.sync_column k WHERE k.tbl = s.tbl), '[]'),
                'indexes', coalesce(s.options->'indexes', '[]')) ORDER BY s.bootstrap_order, s.tbl)
            FROM everward.sync_table s WHERE s.enabled), '[]'))
$$;

-- Digests of a half-open range of ids, split by the next `depth` hex digits beneath what all ids of the range have in common.
-- Reads as the caller, under the caller's tenant. Empty parts are listed too: at the other side they may not be empty.
CREATE FUNCTION everward.digest(tbl int, from_id uuid, to_id uuid, depth int)
RETURNS TABLE (part_from uuid, part_to uuid, n bigint, digest text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, MDY' SET timezone = 'UTC' SET bytea_output = hex SET extra_float_digits = 1
AS $$
DECLARE
    s everward.sync_table%ROWTYPE;
    low text := coalesce(replace(from_id::text, '-', ''), repeat('0', 32));
    high text := coalesce(everward.hex_before(replace(to_id::text, '-', '')), repeat('f', 32));
    k int := 0;
    parts int;
BEGIN
    SELECT * INTO s FROM everward.sync_table x WHERE x.tbl = digest.tbl AND x.enabled;
    IF NOT FOUND OR depth NOT BETWEEN 0 AND 3 OR depth IS NULL THEN
        RAISE EXCEPTION 'no such table, or depth not within 0 and 3' USING ERRCODE = 'EW422';
    END IF;
    IF to_id <= from_id OR high IS NULL THEN
        RETURN;
    END IF;
    WHILE k < 32 - depth AND left(low, k + 1) = left(high, k + 1) LOOP
        k := k + 1;
    END LOOP;
    parts := (16 ^ depth)::int;
    RETURN QUERY EXECUTE format($f$
        WITH part AS (
            SELECT g.i, rpad($1 || everward.hex_digits(g.i, $2), 32, '0')::uuid AS low,
                   CASE WHEN g.i + 1 < $3 THEN rpad($1 || everward.hex_digits(g.i + 1, $2), 32, '0')::uuid END AS high
            FROM generate_series(0, $3 - 1) AS g (i)
        ), got AS (
            SELECT substr(replace(r.%1$I::text, '-', ''), length($1) + 1, $2) AS digits, count(*) AS n,
                   bit_xor(('x' || left(encode(sha256(convert_to(%2$s, 'UTF8')), 'hex'), 16))::bit(64)::bigint) AS d
            FROM %3$I.%4$I r
            WHERE r.%1$I >= $4 AND ($5 IS NULL OR r.%1$I < $5)
            GROUP BY 1
        )
        SELECT CASE WHEN part.i = 0 OR part.low < $4 THEN $4 ELSE part.low END,
               CASE WHEN part.high IS NULL OR part.high > $5 THEN $5 ELSE part.high END,
               coalesce(got.n, 0), lpad(to_hex(coalesce(got.d, 0)), 16, '0')
        FROM part LEFT JOIN got ON got.digits = everward.hex_digits(part.i, $2)
        WHERE (part.high IS NULL OR part.high > $4) AND ($5 IS NULL OR part.low < $5)
        ORDER BY part.i$f$, s.key_column, everward.image_sql(s.tbl, 'r'), s.schema_name, s.table_name)
    USING left(low, k), depth, parts, low::uuid, to_id;
END
$$;

CREATE FUNCTION everward.hex_digits(i int, n int) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$ SELECT CASE WHEN n = 0 THEN '' ELSE lpad(to_hex(i), n, '0') END $$;

-- The 32 hex digits before these; NULL before the first and for NULL.
CREATE FUNCTION everward.hex_before(h text) RETURNS text
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    head text := rtrim(h, '0');
BEGIN
    IF h IS NULL OR head = '' THEN
        RETURN NULL;
    END IF;
    RETURN rpad(left(head, -1) || substr('0123456789abcde', strpos('123456789abcdef', right(head, 1)), 1), 32, 'f');
END
$$;

GRANT EXECUTE ON FUNCTION everward.catalog(), everward.digest(int, uuid, uuid, int), everward.image_sql(int, text, int),
    everward.hex_digits(int, int), everward.hex_before(text) TO everward_gateway;

RESET ROLE;
