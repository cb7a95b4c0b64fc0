-- 0005_capture.sql - putting a table under sync: the checks, the catalog entry and the generated
-- triggers.
--
-- enable_sync, refresh_sync and disable_sync are run by a superuser (a migration): they make
-- functions that belong to everward_definer. What is generated is one function a table for each of:
-- update of a row, insert, update, delete of a statement; generated, because a dynamic statement
-- costs 0.2 ms each time where a cached one costs 0.01.

SET LOCAL ROLE everward_owner;

-- The catalog's name of a type, or NULL if it cannot be synced. Domains count as what they are made
-- of, but for moment.
CREATE FUNCTION everward.wire_type(type_oid oid) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    base oid := type_oid;
    up oid;
BEGIN
    WHILE base IS NOT NULL LOOP
        IF base = 'everward.moment'::regtype THEN
            RETURN 'moment';
        END IF;
        SELECT t.typbasetype INTO up FROM pg_type t WHERE t.oid = base AND t.typtype = 'd';
        EXIT WHEN NOT FOUND;
        base := up;
    END LOOP;
    RETURN CASE base::regtype::text
        WHEN 'text' THEN 'text' WHEN 'character varying' THEN 'text' WHEN 'character'
            THEN 'text' WHEN 'uuid' THEN 'uuid'
        WHEN 'smallint' THEN 'int' WHEN 'integer' THEN 'int' WHEN 'bigint' THEN 'int' WHEN 'numeric'
            THEN 'decimal'
        WHEN 'boolean' THEN 'bool' WHEN 'date' THEN 'date' WHEN 'timestamp without time zone'
            THEN 'instant'
        WHEN 'timestamp with time zone' THEN 'instant' WHEN 'json' THEN 'json' WHEN 'jsonb'
            THEN 'json' WHEN 'bytea' THEN 'bytes' END;
END
$$;

-- The words that a CHECK allows in this column alone (col IN (…), col = ANY (…)), or NULL.
CREATE FUNCTION everward.allowed_words(rel regclass, num smallint) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    d text;
BEGIN
    SELECT pg_get_constraintdef(c.oid) INTO d FROM pg_constraint c
    WHERE c.conrelid = rel AND c.contype = 'c' AND c.conkey = ARRAY[num]
      AND pg_get_constraintdef(c.oid) ~ '^CHECK \(\(+[^(]*\)?(::text)? = ANY \(+ARRAY\['''
          AND pg_get_constraintdef(c.oid) !~ ' (OR|AND) '
    ORDER BY c.conname LIMIT 1;
    IF d IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN ARRAY(SELECT replace(m[1], '''''', '''')
                 FROM regexp_matches(d, '''((?:[^'']|'''')*)''::(?:text|character varying|bpchar)',
                     'g') WITH ORDINALITY AS r (m, n)
                 ORDER BY r.n);
END
$$;

-- Everything that keeps a table from being synced, in words for whoever is to mend it.
CREATE FUNCTION everward.sync_problems(rel regclass, class text, options jsonb) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    p text[] := '{}';
    key_name text := coalesce(options->>'key', 'id');
    tenant_name text := coalesce(options->>'tenant', 'tenant_id');
    wire_name text;
    c pg_class%ROWTYPE;
    r record;
    nums smallint[];
BEGIN
    SELECT * INTO STRICT c FROM pg_class WHERE oid = rel;
    wire_name := coalesce(options->>'name', c.relname);
    IF c.relkind <> 'r' OR c.relispartition OR EXISTS (SELECT FROM pg_inherits i
        WHERE rel IN (i.inhparent, i.inhrelid)) THEN
        p := p || 'it must be an ordinary table, neither partitioned nor inherited'::text;
    END IF;
    IF c.relpersistence <> 'p' THEN
        p := p || 'it must be a permanent, logged table'::text;
    END IF;
    IF c.relhasrules THEN
        p := p || 'it has a rewrite rule, which can change what a statement does behind the triggers'::text;
    END IF;
    IF class IS NULL OR class NOT IN ('fact', 'state', 'field', 'review', 'union', 'claim',
        'central', 'link') THEN
        p := p || format('class %L is none of fact, state, field, review, union, claim, central, link', class);
    END IF;
    IF wire_name !~ '^[a-z][a-z0-9_]{0,62}$' THEN
        p := p || format('its name %L must be of a-z, 0-9 and _: give another by the option "name"',
            wire_name);
    END IF;
    IF EXISTS (SELECT FROM everward.sync_table s JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE s.name = wire_name AND (s.schema_name, s.table_name) <> (n.nspname, c.relname))
                   THEN
        p := p || format('another synced table is called %s already: give another name by the option "name"', wire_name);
    END IF;
    FOR r IN SELECT * FROM (VALUES (key_name, 'key'), (tenant_name, 'tenant')) AS v (col, what) LOOP
        IF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = rel AND a.attname = r.col
            AND NOT a.attisdropped) THEN
            p := p || format('it lacks the %s column %s (uuid NOT NULL): name another by the option "%s"', r.what, r.col, r.what);
        ELSIF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = rel AND a.attname = r.col
                          AND a.atttypid = 'uuid'::regtype AND a.attnotnull) THEN
            p := p || format('its %s column %s must be uuid NOT NULL', r.what, r.col);
        END IF;
    END LOOP;
    SELECT array_agg(a.attnum ORDER BY a.attname <> tenant_name) INTO nums FROM pg_attribute a
    WHERE a.attrelid = rel AND a.attname IN (key_name, tenant_name) AND NOT a.attisdropped;
    IF NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = rel AND i.indisunique AND i.indisvalid
        AND i.indpred IS NULL
                   AND i.indnkeyatts = 2 AND i.indkey[0] = nums[1] AND i.indkey[1] = nums[2]) THEN
        p := p || format('it lacks a primary key or unique index on (%s, %s)', tenant_name,
            key_name);
    END IF;
    IF EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = rel AND a.attname = 'rev'
        AND NOT a.attisdropped
               AND (a.atttypid <> 'bigint'::regtype OR NOT a.attnotnull)) THEN
        p := p || 'its column rev must be bigint NOT NULL: capture counts the row''s versions in it'::text;
    END IF;
    FOR r IN SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type,
        everward.wire_type(a.atttypid) AS wire
             FROM pg_attribute a WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped
                 ORDER BY a.attnum LOOP
        IF r.wire IS NULL THEN
            p := p || format('column %s has type %s, which cannot be synced', r.attname, r.type);
        END IF;
        IF r.attname !~ '^[a-z][a-z0-9_]*$' THEN
            p := p || format('column %s must be named with a-z, 0-9 and _', quote_ident(r.attname));
        END IF;
    END LOOP;
    FOR r IN SELECT k.name, k.type AS was, everward.wire_type(a.atttypid) AS type
             FROM everward.sync_table x JOIN pg_namespace n ON n.nspname = x.schema_name
                 AND n.oid = c.relnamespace
             JOIN everward.sync_column k ON k.tbl = x.tbl AND k.dropped_version IS NULL
             JOIN pg_attribute a ON a.attrelid = rel AND a.attname = k.name AND a.attnum > 0
             WHERE x.table_name = c.relname
                 AND NOT coalesce(sync_problems.options->'columns'->k.name ? 'type', false)
               AND k.type <> everward.wire_type(a.atttypid) LOOP
        p := p || format('column %s was synced as %s and is %s now: bring it under a new name',
            r.name, r.was, r.type);
    END LOOP;
    IF NOT c.relrowsecurity OR NOT c.relforcerowsecurity THEN
        p := p || format('row security must be enabled and forced: SELECT everward.isolate(%L, %L) does it', rel, tenant_name);
    END IF;
    IF NOT EXISTS (SELECT FROM pg_policy y WHERE y.polrelid = rel AND everward.is_tenant_policy(y,
        tenant_name)) THEN
        p := p || format('it lacks the policy USING and WITH CHECK (%1$s = (SELECT everward.tenant())) for all commands and PUBLIC',
                         tenant_name);
    END IF;
    FOR r IN SELECT y.polname FROM pg_policy y WHERE y.polrelid = rel AND y.polpermissive
             AND NOT everward.is_tenant_policy(y, tenant_name) LOOP
        p := p || format('policy %s lets in more than the tenant''s own rows: make it restrictive or drop it', quote_ident(r.polname));
    END LOOP;
    FOR r IN SELECT t.tgname FROM pg_trigger t WHERE t.tgrelid = rel AND NOT t.tgisinternal
             AND t.tgtype & 3 = 3 AND t.tgname > 'zzzz_everward'
                 AND t.tgname !~ '^zzzz_everward' LOOP
        p := p || format('trigger %s would run after capture''s own: give it a name before zzzz_everward', quote_ident(r.tgname));
    END LOOP;
    FOR r IN SELECT k FROM jsonb_object_keys(options) k WHERE k NOT IN ('name', 'key', 'tenant',
        'deletable', 'push_only', 'order',
                                                                        'indexes', 'columns',
                                                                            'groups') LOOP
        p := p || format('option %s is unknown', r.k);
    END LOOP;
    FOR r IN SELECT k AS col FROM jsonb_object_keys(coalesce(options->'columns', '{}')) k
             UNION SELECT x FROM jsonb_each(coalesce(options->'groups', '{}')) g,
                 jsonb_array_elements_text(g.value->'columns') x
             UNION SELECT x FROM jsonb_array_elements(coalesce(options->'indexes', '[]')) i,
                 jsonb_array_elements_text(i) x LOOP
        IF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = rel AND a.attname = r.col
            AND a.attnum > 0 AND NOT a.attisdropped) THEN
            p := p || format('the options name a column %s, which it has not', r.col);
        END IF;
    END LOOP;
    FOR r IN SELECT o.key AS col, o.value->>'ref' AS parent
        FROM jsonb_each(coalesce(options->'columns', '{}')) o
             WHERE o.value->'must_exist' = 'true' LOOP
        IF NOT EXISTS (SELECT FROM everward.sync_table x WHERE x.name = r.parent AND x.enabled
            AND NOT x.deletable) THEN
            p := p || format('"must_exist" on %s needs a "ref" to a table that is synced and not deletable', r.col);
        END IF;
    END LOOP;
    RETURN p;
END
$$;

CREATE FUNCTION everward.is_tenant_policy(y pg_policy, tenant_name text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    want text := format('(%I = ( SELECT everward.tenant() AS tenant))', tenant_name);
BEGIN
    RETURN y.polpermissive AND y.polcmd = '*' AND y.polroles = '{0}' AND pg_get_expr(y.polqual,
        y.polrelid) = want
        AND coalesce(pg_get_expr(y.polwithcheck, y.polrelid), want) = want;
END
$$;

CREATE FUNCTION everward.bump_catalog() RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$ UPDATE everward.catalog_state SET version = version + 1 RETURNING version $$;

-- Enters the columns that the catalog does not know yet, with the next ordinals; marks the ones
-- that are gone; notes what is allowed now in the others. Returns how many columns it touched.
CREATE FUNCTION everward.enter_columns(rel regclass, t int, at_version bigint) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s everward.sync_table%ROWTYPE;
    next_ord int;
    r record;
    o jsonb;
    g record;
    n int := 0;
    gone int;
    moved int;
BEGIN
    SELECT * INTO STRICT s FROM everward.sync_table x WHERE x.tbl = t;
    UPDATE everward.sync_column k SET dropped_version = at_version
    WHERE k.tbl = t AND k.dropped_version IS NULL AND NOT EXISTS (
        SELECT FROM pg_attribute a WHERE a.attrelid = rel AND a.attname = k.name AND a.attnum > 0
            AND NOT a.attisdropped);
    GET DIAGNOSTICS gone = ROW_COUNT;
    UPDATE everward.sync_column k
    SET nullable = NOT a.attnotnull, allowed = everward.allowed_words(rel, a.attnum),
        ref_table = coalesce(s.options->'columns'->k.name->>'ref', everward.referenced_table(rel,
            a.attnum))
    FROM pg_attribute a
    WHERE k.tbl = t AND k.dropped_version IS NULL AND a.attrelid = rel AND a.attname = k.name
        AND a.attnum > 0
      AND (k.nullable, k.allowed, k.ref_table) IS DISTINCT FROM (NOT a.attnotnull,
          everward.allowed_words(rel, a.attnum),
          coalesce(s.options->'columns'->k.name->>'ref', everward.referenced_table(rel, a.attnum)));
    GET DIAGNOSTICS moved = ROW_COUNT;
    SELECT coalesce(max(k.ord), 3) + 1 INTO next_ord FROM everward.sync_column k WHERE k.tbl = t;
    FOR r IN SELECT a.* FROM pg_attribute a WHERE a.attrelid = rel AND a.attnum > 0
        AND NOT a.attisdropped
             AND a.attname NOT IN (s.key_column, s.tenant_column, 'rev')
             AND NOT EXISTS (SELECT FROM everward.sync_column k WHERE k.tbl = t
                 AND k.name = a.attname AND k.dropped_version IS NULL)
             ORDER BY a.attnum LOOP
        o := coalesce(s.options->'columns'->r.attname, '{}');
        SELECT e.key AS name, e.value->>'class' AS class INTO g
            FROM jsonb_each(coalesce(s.options->'groups', '{}')) e
        WHERE e.value->'columns' ? r.attname LIMIT 1;
        INSERT INTO everward.sync_column (tbl, ord, name, type, nullable, class, grp, api, allowed,
            ref_table, since_version)
        VALUES (t, next_ord + n, r.attname, coalesce(o->>'type', everward.wire_type(r.atttypid)),
            NOT r.attnotnull,
                coalesce(o->>'class', g.class), coalesce(o->>'group', g.name), coalesce(o->>'api',
                    'rw'),
                everward.allowed_words(rel, r.attnum), coalesce(o->>'ref',
                    everward.referenced_table(rel, r.attnum)), at_version);
        n := n + 1;
    END LOOP;
    RETURN n + gone + moved;
END
$$;

CREATE FUNCTION everward.referenced_table(rel regclass, num smallint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(s.name, c.relname)
    FROM pg_constraint k
    JOIN pg_class c ON c.oid = k.confrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN everward.sync_table s ON (s.schema_name, s.table_name) = (n.nspname, c.relname)
    WHERE k.conrelid = rel AND k.contype = 'f' AND num = ANY (k.conkey)
        AND cardinality(k.conkey) <= 2
    ORDER BY k.conname LIMIT 1
$$;

-- ROW(id, tenant_id, rev, columns by ordinal): the image of a row that the query calls `alias`.
-- bump is added to rev.
CREATE FUNCTION everward.image_sql(t int, alias text, bump int DEFAULT 0) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('ROW(%1$s.%2$I, %1$s.%3$I, %1$s.rev%4$s', alias, s.key_column, s.tenant_column,
        CASE WHEN bump <> 0 THEN ' + ' || bump ELSE '' END)
        || coalesce((SELECT string_agg(CASE WHEN k.dropped_version IS NULL THEN format(', %s.%I',
            alias, k.name) ELSE ', NULL' END, ''
                                       ORDER BY k.ord) FROM everward.sync_column k WHERE k.tbl = t),
                                           '') || ')::text'
    FROM everward.sync_table s WHERE s.tbl = t
$$;

-- The settings on which the text form of this table's columns depends; a setting costs a
-- microsecond a statement, so no others.
CREATE FUNCTION everward.image_settings(t int) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(string_agg(DISTINCT v.setting, ' '), '')
    FROM everward.sync_column k
    JOIN (VALUES ('date', 'SET datestyle = ''ISO, MDY'''), ('instant',
        'SET datestyle = ''ISO, MDY'''),
                 ('instant', 'SET timezone = ''UTC'''), ('bytes', 'SET bytea_output = hex'))
                     AS v (type, setting) ON v.type = k.type
    WHERE k.tbl = t AND k.dropped_version IS NULL
$$;

CREATE FUNCTION everward.make_function(name text, attributes text, body text,
    definer boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('CREATE OR REPLACE FUNCTION everward.%I() RETURNS trigger LANGUAGE plpgsql %s %s AS %L', name,
                   CASE WHEN definer THEN 'SECURITY DEFINER SET search_path = pg_catalog, pg_temp'
                       ELSE '' END, attributes, body);
    EXECUTE format('REVOKE ALL ON FUNCTION everward.%I() FROM PUBLIC', name);
    EXECUTE format('ALTER FUNCTION everward.%I() OWNER TO everward_definer', name);
END
$$;

CREATE FUNCTION everward.make_trigger(rel regclass, name text, what text,
    function_name text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('CREATE OR REPLACE TRIGGER %I %s EXECUTE FUNCTION everward.%I()', name,
        replace(what, '$rel', rel::text), function_name);
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', rel, name);
END
$$;

CREATE FUNCTION everward.rev_one() RETURNS trigger LANGUAGE plpgsql
AS $$
BEGIN
    NEW.rev := 1;
    RETURN NEW;
END
$$;

CREATE FUNCTION everward.refuse_delete() RETURNS trigger LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION 'rows of %.% are not deleted', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'EW405', HINT = TG_ARGV[0];
END
$$;

CREATE FUNCTION everward.refuse_truncate() RETURNS trigger LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION '%.% is synced and cannot be truncated', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'EW405';
END
$$;

-- Before each row: rev. After each statement: the changes.
CREATE FUNCTION everward.build_capture(rel regclass, t int) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s everward.sync_table%ROWTYPE;
    settings text := everward.image_settings(t);
    prelude text;
    target constant text :=
        'INSERT INTO everward.change (tenant_id, txn, id, tbl, row_id, rev, op, cols, image, origin_node, origin_inc, actor, at)';
    source text;
    hint text;
BEGIN
    SELECT * INTO STRICT s FROM everward.sync_table x WHERE x.tbl = t;
    -- Every column is named with its alias, so what has none is a variable, whatever the table's
    -- columns are called.
    prelude := format($f$#variable_conflict use_variable
DECLARE
    t uuid;
    x everward.open_txn;
BEGIN
    SELECT r.%1$I INTO t FROM %%s r LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF EXISTS (SELECT FROM %%s r WHERE r.%1$I <> t) THEN
        RAISE EXCEPTION 'a transaction cannot write for two tenants' USING ERRCODE = 'EW400',
            HINT = 'Use one transaction for each tenant.';
    END IF;
    x := everward.capture_txn(t);
$f$, s.tenant_column);
    -- push_only tables are numbered and logged like the others; the feed leaves them out.
    source := format('    %s SELECT t, x.txn, nextval(''everward.change_id''), %s, n.%I, n.rev%%s, %%L, %%s, %%s, x.origin_node, x.origin_inc, x.actor, now() FROM ',
                     target, t, s.key_column);

    PERFORM everward.make_function('t' || t || '_row', '', everward.row_body(rel, t), false);
    PERFORM everward.make_trigger(rel, 'zzzz_everward_row', 'BEFORE UPDATE ON $rel FOR EACH ROW',
        't' || t || '_row');

    PERFORM everward.make_function('t' || t || '_insert', settings, format(prelude, 'new_rows',
        'new_rows')
        || everward.parents_body(t, 'new_rows n WHERE n.%1$I IS NOT NULL') || format(source, '',
            'i', 'NULL', everward.image_sql(t, 'n')) || 'new_rows n;' || E'\n'
        || CASE WHEN s.deletable THEN everward.comeback_body(t) ELSE '' END
            || E'    RETURN NULL;\nEND', true);
    PERFORM everward.make_trigger(rel, 'zzzz_everward_insert',
        'AFTER INSERT ON $rel REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', 't' || t
            || '_insert');

    -- A plan made for one row is kept for five thousand: without this it would compare each with
    -- each.
    PERFORM everward.make_function('t' || t || '_update', settings || ' SET enable_nestloop = off',
        format(replace(prelude,
            'r LIMIT 1', format('r JOIN old_rows o ON o.%1$I = r.%1$I AND o.rev <> r.rev LIMIT 1',
                s.key_column)), 'new_rows', 'new_rows')
        || everward.parents_body(t,
            format('new_rows n JOIN old_rows o ON o.%1$I = n.%1$I WHERE n.%%1$I IS DISTINCT FROM o.%%1$I'
                                           ' AND n.%%1$I IS NOT NULL', s.key_column))
        || format(source, '', 'u', everward.changed_sql(t), everward.image_sql(t, 'n'))
        || format('new_rows n JOIN old_rows o ON o.%1$I = n.%1$I WHERE o.rev <> n.rev;',
            s.key_column)
        || E'\n    RETURN NULL;\nEND', true);
    PERFORM everward.make_trigger(rel, 'zzzz_everward_update',
        'AFTER UPDATE ON $rel REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT', 't' || t || '_update');

    IF s.deletable THEN
        PERFORM everward.make_function('t' || t || '_back', '', format($f$
DECLARE
    gone bigint;
BEGIN
    SELECT d.rev INTO gone FROM everward.tombstone d WHERE d.tenant_id = NEW.%I AND d.tbl = %s
        AND d.row_id = NEW.%I;
    NEW.rev := coalesce(gone, 0) + 1;
    RETURN NEW;
END$f$, s.tenant_column, t, s.key_column), true);
        PERFORM everward.make_trigger(rel, 'zzzz_everward_rev',
            'BEFORE INSERT ON $rel FOR EACH ROW', 't' || t || '_back');
        PERFORM everward.make_function('t' || t || '_delete', settings, format(prelude, 'old_rows',
            'old_rows')
            || format(source, ' + 1', 'd', 'NULL', everward.image_sql(t, 'n', 1))
                || E'old_rows n;\n'
            || format('    INSERT INTO everward.tombstone SELECT t, %s, n.%I, n.rev + 1 FROM old_rows n '
                      'ON CONFLICT (tenant_id, tbl, row_id) DO UPDATE SET rev = EXCLUDED.rev;', t,
                          s.key_column)
            || E'\n    RETURN NULL;\nEND', true);
        PERFORM everward.make_trigger(rel, 'zzzz_everward_delete',
            'AFTER DELETE ON $rel REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT', 't' || t
                || '_delete');
    ELSE
        -- WHEN is checked without calling a function: an insert that leaves rev alone pays nothing.
        PERFORM everward.make_trigger(rel, 'zzzz_everward_rev',
            'BEFORE INSERT ON $rel FOR EACH ROW WHEN (NEW.rev IS DISTINCT FROM 1)', 'rev_one');
        hint := everward.instead_of_delete(t);
        EXECUTE format('CREATE OR REPLACE TRIGGER zzzz_everward_delete BEFORE DELETE ON %s FOR EACH ROW EXECUTE FUNCTION everward.refuse_delete(%L)',
                       rel, hint);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER zzzz_everward_delete', rel);
    END IF;
    PERFORM everward.make_trigger(rel, 'zzzz_everward_truncate',
        'BEFORE TRUNCATE ON $rel FOR EACH STATEMENT', 'refuse_truncate');
END
$$;

CREATE FUNCTION everward.instead_of_delete(t int) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(
        (SELECT format('Set %s to ''entered-in-error''.', k.name) FROM everward.sync_column k
         WHERE k.tbl = t AND k.dropped_version IS NULL AND k.name LIKE '%status'
             AND 'entered-in-error' = ANY (k.allowed) ORDER BY k.ord LIMIT 1),
        (SELECT 'Set active to false.' FROM everward.sync_column k
         WHERE k.tbl = t AND k.dropped_version IS NULL AND k.name = 'active' AND k.type = 'bool'),
        (SELECT format('Set %s to a closing value.', k.name) FROM everward.sync_column k
         WHERE k.tbl = t AND k.dropped_version IS NULL AND k.name LIKE '%status'
             ORDER BY k.ord LIMIT 1),
        'Add a row that corrects it.')
$$;

-- everward.send_again: see backfill(). Unsynced columns (there are none unless a column was added
-- and not refreshed, or is generated) do not raise rev.
CREATE FUNCTION everward.row_body(rel regclass, t int) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s everward.sync_table%ROWTYPE;
    whole boolean;
    differs text;
BEGIN
    SELECT * INTO STRICT s FROM everward.sync_table x WHERE x.tbl = t;
    whole := NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = rel
        AND a.attgenerated <> '');
    IF whole THEN
        differs := 'NEW OPERATOR(pg_catalog.*<>) OLD';
    ELSE
        SELECT format('ROW(%s)::record OPERATOR(pg_catalog.*<>) ROW(%s)::record',
            string_agg(format('NEW.%I', k.name), ', ' ORDER BY k.ord),
                      string_agg(format('OLD.%I', k.name), ', ' ORDER BY k.ord)) INTO differs
        FROM everward.sync_column k
        JOIN pg_attribute a ON a.attrelid = rel AND a.attname = k.name AND a.attgenerated = ''
        WHERE k.tbl = t AND k.dropped_version IS NULL;
    END IF;
    RETURN format($f$
BEGIN
    IF NEW.%1$I OPERATOR(pg_catalog.<>) OLD.%1$I OR NEW.%2$I OPERATOR(pg_catalog.<>) OLD.%2$I THEN
        RAISE EXCEPTION '%1$s and %2$s of a synced row cannot change' USING ERRCODE = 'EW405';
    END IF;
    NEW.rev := OLD.rev;
    IF %3$s OR current_setting('everward.send_again', true) OPERATOR(pg_catalog.=) 'on' THEN
        NEW.rev := OLD.rev OPERATOR(pg_catalog.+) 1;
    END IF;
    RETURN NEW;
END$f$, s.key_column, s.tenant_column, differs);
END
$$;

-- A row that was deleted by a transaction which this insert waited for: the tombstone was not
-- visible when rev was set.
CREATE FUNCTION everward.comeback_body(t int) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format($f$
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        INSERT INTO everward.tombstone SELECT t, %1$s, n.%2$I, 0 FROM new_rows n
            ON CONFLICT DO NOTHING;
    END IF;
    IF EXISTS (SELECT FROM new_rows n JOIN everward.tombstone d ON d.tenant_id = t AND d.tbl = %1$s
        AND d.row_id = n.%2$I
               WHERE d.rev >= n.rev) THEN
        RAISE EXCEPTION 'the row was deleted at the same moment' USING ERRCODE = '40001',
            HINT = 'Try again.';
    END IF;
$f$, s.tbl, s.key_column) FROM everward.sync_table s WHERE s.tbl = t
$$;

-- The option "must_exist": a foreign key as one query a statement, 1 µs a row where the real one
-- costs 8. It is as strong as long as the parent is synced and not deletable, for then its rows
-- never go and their keys never change; it refuses others.
CREATE FUNCTION everward.parents_body(t int, those text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(string_agg(format($f$
    IF EXISTS (SELECT FROM (SELECT DISTINCT n.%1$I AS parent FROM %7$s) want
               WHERE NOT EXISTS (SELECT FROM %3$I.%4$I p WHERE p.%5$I = t AND p.%6$I = want.parent))
                   THEN
        RAISE EXCEPTION 'a row of %2$s names a row of %4$s that is not there'
            USING ERRCODE = '23503',
            CONSTRAINT = '%2$s_%1$s_must_exist', COLUMN = '%1$s', TABLE = TG_TABLE_NAME,
                SCHEMA = TG_TABLE_SCHEMA;
    END IF;
$f$, k.name, s.name, r.schema_name, r.table_name, r.tenant_column, r.key_column, format(those,
    k.name)), '' ORDER BY k.ord), '')
    FROM everward.sync_table s
    JOIN everward.sync_column k ON k.tbl = s.tbl AND k.dropped_version IS NULL
    JOIN everward.sync_table r ON r.name = k.ref_table
    WHERE s.tbl = t AND s.options->'columns'->k.name->'must_exist' = 'true'
$$;

CREATE FUNCTION everward.changed_sql(t int) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'array_remove(ARRAY[' || coalesce(string_agg(format(CASE WHEN k.type IN ('json',
        'decimal')
                THEN 'CASE WHEN n.%1$I::text IS DISTINCT FROM o.%1$I::text THEN %2$s::smallint END'
                ELSE 'CASE WHEN n.%1$I IS DISTINCT FROM o.%1$I THEN %2$s::smallint END' END, k.name,
                    k.ord), ', ' ORDER BY k.ord), '')
        || ']::smallint[], NULL)'
    FROM everward.sync_column k WHERE k.tbl = t AND k.dropped_version IS NULL
$$;

CREATE FUNCTION everward.enable_sync(rel regclass, class text,
    options jsonb DEFAULT '{}') RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    p text[];
    n record;
    t int;
    v bigint;
BEGIN
    -- Waits for the writers under way: what they write is there before, what comes later is
    -- captured.
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', rel);
    p := everward.sync_problems(rel, class, options);
    IF cardinality(p) > 0 THEN
        RAISE EXCEPTION '% cannot be synced: %', rel, array_to_string(p, '; ')
            USING ERRCODE = 'EW422', DETAIL = array_to_string(p, E'\n');
    END IF;
    SELECT s.nspname, c.relname INTO n FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
        WHERE c.oid = rel;
    IF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = rel AND a.attname = 'rev'
        AND NOT a.attisdropped) THEN
        EXECUTE format('ALTER TABLE %s ADD COLUMN rev bigint NOT NULL DEFAULT 1', rel);
    END IF;
    EXECUTE format('ALTER TABLE %s ALTER COLUMN rev SET DEFAULT 1', rel);

    v := everward.bump_catalog(); -- locks the catalog: the next number is ours
    SELECT s.tbl INTO t FROM everward.sync_table s WHERE (s.schema_name, s.table_name) = (n.nspname,
        n.relname);
    IF t IS NULL THEN
        SELECT coalesce(max(s.tbl), 0) + 1 INTO t FROM everward.sync_table s;
    END IF;
    INSERT INTO everward.sync_table AS s (tbl, schema_name, table_name, name, class, key_column,
        tenant_column, deletable, push_only,
                                          bootstrap_order, columns_version, options, enabled)
    VALUES (t, n.nspname, n.relname, coalesce(options->>'name', n.relname), class,
        coalesce(options->>'key', 'id'),
            coalesce(options->>'tenant', 'tenant_id'), coalesce((options->>'deletable')::boolean,
                false),
            coalesce((options->>'push_only')::boolean, false), coalesce((options->>'order')::int,
                100), v, options, true)
    ON CONFLICT (tbl) DO UPDATE SET name = EXCLUDED.name, class = EXCLUDED.class,
        key_column = EXCLUDED.key_column,
        tenant_column = EXCLUDED.tenant_column, deletable = EXCLUDED.deletable,
            push_only = EXCLUDED.push_only,
        bootstrap_order = EXCLUDED.bootstrap_order, columns_version = v, options = EXCLUDED.options,
            enabled = true;
    PERFORM everward.enter_columns(rel, t, v);
    PERFORM everward.build_capture(rel, t);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO everward_gateway', rel);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO everward_gateway', n.nspname);
    RETURN t;
END
$$;

-- After ALTER TABLE: new columns get the next ordinals, dropped ones leave their place empty. Rows
-- are not touched, since they are of many tenants: a new column's values reach the nodes with each
-- row's next change, by verify, or by backfill().
CREATE FUNCTION everward.refresh_sync(rel regclass) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s record;
    p text[];
    v bigint;
BEGIN
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', rel);
    SELECT x.* INTO s FROM everward.sync_table x JOIN pg_class c ON c.oid = rel
        JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE (x.schema_name, x.table_name) = (n.nspname, c.relname) AND x.enabled;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% is not synced', rel USING ERRCODE = 'EW422';
    END IF;
    p := everward.sync_problems(rel, s.class, s.options);
    IF cardinality(p) > 0 THEN
        RAISE EXCEPTION '% cannot be synced: %', rel, array_to_string(p, '; ')
            USING ERRCODE = 'EW422', DETAIL = array_to_string(p, E'\n');
    END IF;
    SELECT version INTO v FROM everward.catalog_state FOR UPDATE;
    IF everward.enter_columns(rel, s.tbl, v + 1) = 0 THEN
        RETURN v;
    END IF;
    v := everward.bump_catalog();
    UPDATE everward.sync_table x SET columns_version = v WHERE x.tbl = s.tbl;
    PERFORM everward.build_capture(rel, s.tbl);
    RETURN v;
END
$$;

-- The log keeps what was captured; the number and the ordinals stay reserved, should the table come
-- back.
CREATE FUNCTION everward.disable_sync(rel regclass) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
AS $$
DECLARE
    t int;
    suffix text;
BEGIN
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', rel);
    UPDATE everward.sync_table x SET enabled = false
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = rel AND (x.schema_name, x.table_name) = (n.nspname, c.relname) AND x.enabled
    RETURNING x.tbl INTO t;
    IF t IS NULL THEN
        RAISE EXCEPTION '% is not synced', rel USING ERRCODE = 'EW422';
    END IF;
    FOREACH suffix IN ARRAY ARRAY['row', 'rev', 'insert', 'update', 'delete', 'truncate'] LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s', 'zzzz_everward_' || suffix, rel);
    END LOOP;
    FOREACH suffix IN ARRAY ARRAY['row', 'back', 'insert', 'update', 'delete'] LOOP
        EXECUTE format('DROP FUNCTION IF EXISTS everward.%I()', 't' || t || '_' || suffix);
    END LOOP;
    EXECUTE format('REVOKE ALL ON %s FROM everward_gateway', rel);
    PERFORM everward.bump_catalog();
END
$$;

-- Sends a tenant's rows once more in which one of these columns has a value: each gets a new
-- revision and a change that names no column, so that it disturbs no merge. Run by everward_admin,
-- one transaction a tenant.
CREATE FUNCTION everward.backfill(rel regclass, tenant uuid, columns text[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    tenant_name name;
    n bigint;
BEGIN
    SELECT s.tenant_column INTO tenant_name FROM everward.sync_table s
        JOIN pg_catalog.pg_class c ON c.oid = rel
    JOIN pg_catalog.pg_namespace x ON x.oid = c.relnamespace
    WHERE (s.schema_name, s.table_name) = (x.nspname, c.relname) AND s.enabled;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% is not synced', rel USING ERRCODE = 'EW422';
    END IF;
    PERFORM set_config('everward.send_again', 'on', true);
    EXECUTE format('UPDATE %s SET rev = rev WHERE %I = $1 AND num_nonnulls(%s) > 0', rel,
        tenant_name,
                   (SELECT string_agg(quote_ident(c), ', ') FROM unnest(columns) c)) USING tenant;
    GET DIAGNOSTICS n = ROW_COUNT;
    PERFORM set_config('everward.send_again', '', true);
    RETURN n;
END
$$;

RESET ROLE;
