-- 0004_log.sql - the catalog's tables, the change log, cuts and receipts.
--
-- One sequence numbers both transactions and changes. A change's number is drawn under its row's
-- lock, a push's transaction number under its node_head's lock, so the order by a transaction's
-- highest number is one in which no row goes backwards and no push of a node overtakes an earlier
-- one: sequence_feed() relies on that when it splits a long run into several cuts.

SET LOCAL ROLE everward_owner;

CREATE TABLE everward.catalog_state (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint NOT NULL
);
INSERT INTO everward.catalog_state (version) VALUES (1);

CREATE TABLE everward.sync_table (
    tbl             int PRIMARY KEY,
    schema_name     name NOT NULL,
    table_name      name NOT NULL,
    name            text NOT NULL UNIQUE,
    class           text NOT NULL CHECK (class IN ('fact', 'state', 'field', 'review', 'union',
        'claim', 'central', 'link')),
    key_column      name NOT NULL,
    tenant_column   name NOT NULL,
    deletable       boolean NOT NULL,
    push_only       boolean NOT NULL,
    bootstrap_order int NOT NULL,
    columns_version bigint NOT NULL,
    options         jsonb NOT NULL,
    enabled         boolean NOT NULL,
    UNIQUE (schema_name, table_name)
);

CREATE TABLE everward.sync_column (
    tbl             int NOT NULL REFERENCES everward.sync_table,
    ord             int NOT NULL CHECK (ord >= 4),
    name            name NOT NULL,
    type            text NOT NULL CHECK (type IN ('text', 'uuid', 'int', 'decimal', 'bool',
        'moment', 'date', 'instant', 'json', 'bytes')),
    nullable        boolean NOT NULL,
    class           text,
    grp             text,
    api             text NOT NULL DEFAULT 'rw' CHECK (api IN ('rw', 'ro', 'hidden')),
    allowed         text[],
    ref_table       text,
    since_version   bigint NOT NULL,
    dropped_version bigint,
    PRIMARY KEY (tbl, ord)
);

CREATE SEQUENCE everward.change_id;

CREATE TABLE everward.txn (
    tenant_id   uuid NOT NULL,
    txn         bigint NOT NULL,
    xid         xid8 NOT NULL,
    at          timestamptz NOT NULL,
    origin_node uuid,
    origin_inc  bigint,
    origin_seq  bigint,
    PRIMARY KEY (tenant_id, txn)
) PARTITION BY RANGE (txn);
CREATE INDEX txn_xid ON everward.txn (tenant_id, xid);

CREATE TABLE everward.change (
    tenant_id   uuid NOT NULL,
    txn         bigint NOT NULL,
    id          bigint NOT NULL,
    tbl         int NOT NULL,
    row_id      uuid NOT NULL,
    rev         bigint NOT NULL,
    op          "char" NOT NULL,
    cols        smallint[],
    image       text NOT NULL,
    origin_node uuid,
    origin_inc  bigint,
    actor       uuid,
    at          timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, txn, id)
) PARTITION BY RANGE (txn);
-- Merging asks for the images of a row from the revision on that its writer had seen. A row has few
-- changes, so the id finds them; tbl and rev in the key would double the entry that every change
-- has to make here.
CREATE INDEX change_row ON everward.change (tenant_id, row_id);

CREATE TABLE everward.cut (
    tenant_id uuid NOT NULL,
    cut       bigint NOT NULL,
    txn       bigint NOT NULL,
    PRIMARY KEY (tenant_id, cut, txn),
    UNIQUE (tenant_id, txn)
);

-- snap_xmax, snap_running, identity: the snapshot in which the last cut was made, and the cluster
-- whose snapshot it is.
CREATE TABLE everward.feed_head (
    tenant_id uuid PRIMARY KEY,
    head      bigint NOT NULL DEFAULT 0,
    tail      bigint NOT NULL DEFAULT 0,
    snap_xmax    xid8,
    snap_running xid8[],
    identity  text
);

CREATE TABLE everward.node_head (
    tenant_id   uuid NOT NULL,
    node_id     uuid NOT NULL,
    incarnation bigint NOT NULL,
    last_seq    bigint NOT NULL,
    chain       bytea NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, node_id, incarnation)
);

-- Not partitioned: one small row a push, and this key is the last fence against applying a batch
-- twice.
CREATE TABLE everward.receipt (
    tenant_id   uuid NOT NULL,
    node_id     uuid NOT NULL,
    incarnation bigint NOT NULL,
    first_seq   bigint NOT NULL,
    last_seq    bigint NOT NULL,
    chain       bytea NOT NULL,
    outcomes    json NOT NULL,
    txn         bigint NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, node_id, incarnation, last_seq)
);

CREATE TABLE everward.tombstone (
    tenant_id uuid NOT NULL,
    tbl       int NOT NULL,
    row_id    uuid NOT NULL,
    rev       bigint NOT NULL,
    PRIMARY KEY (tenant_id, tbl, row_id)
);

SELECT everward.isolate(r) FROM unnest(ARRAY['everward.txn', 'everward.change', 'everward.cut',
    'everward.feed_head',
    'everward.node_head', 'everward.receipt', 'everward.tombstone']::regclass[]) r;

CREATE FUNCTION everward.add_partition(parent text, suffix text, bounds text) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE format('CREATE TABLE everward.%I PARTITION OF everward.%I %s', parent || '_' || suffix,
        parent, bounds);
    PERFORM everward.isolate(format('everward.%I', parent || '_' || suffix)::regclass);
END
$$;

-- Makes the partitions of the next two ranges. What it has not made in time goes to the default
-- partition: nothing breaks.
CREATE FUNCTION everward.maintain() RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    step constant bigint := 10000000;
    present bigint := (SELECT last_value FROM everward.change_id) / step;
    parent text;
    made int := 0;
BEGIN
    FOREACH parent IN ARRAY ARRAY['txn', 'change'] LOOP
        FOR n IN present + 1 .. present + 2 LOOP
            IF to_regclass(format('everward.%I', parent || '_p' || n)) IS NULL THEN
                PERFORM everward.add_partition(parent, 'p' || n,
                    format('FOR VALUES FROM (%s) TO (%s)', n * step, (n + 1) * step));
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;

SELECT everward.add_partition(p, 'default', 'DEFAULT') FROM unnest(ARRAY['txn', 'change']) p;
SELECT everward.add_partition(p, 'p0', 'FOR VALUES FROM (MINVALUE) TO (10000000)')
    FROM unnest(ARRAY['txn', 'change']) p;
SELECT everward.maintain();

GRANT SELECT ON everward.catalog_state, everward.sync_table, everward.sync_column
    TO everward_gateway, everward_app, everward_definer,
    everward_monitor;
GRANT SELECT ON everward.txn, everward.change, everward.cut, everward.feed_head TO everward_gateway;
GRANT SELECT, INSERT ON everward.receipt TO everward_gateway;
GRANT SELECT, INSERT, UPDATE ON everward.node_head TO everward_gateway;
GRANT SELECT, INSERT ON everward.txn, everward.change, everward.cut TO everward_definer;
GRANT SELECT, INSERT, UPDATE ON everward.feed_head, everward.tombstone TO everward_definer;
GRANT SELECT, UPDATE ON everward.node_head TO everward_definer;
GRANT USAGE ON SEQUENCE everward.change_id TO everward_definer;

-- The transaction's number and origin, sealed like the context: txn,tenant,node,incarnation,MAC. An
-- open number that could be set by hand would let a writer file changes under a transaction that
-- stands in a cut already: nobody would ever see them.
CREATE TYPE everward.open_txn AS (txn bigint, origin_node uuid, origin_inc bigint, actor uuid);

CREATE FUNCTION everward.begin_txn(t uuid, node uuid, inc bigint, seq bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    n bigint := nextval('everward.change_id');
    body text := concat_ws(',', n, t, coalesce(node::text, ''), coalesce(inc::text, ''));
BEGIN
    INSERT INTO everward.txn (tenant_id, txn, xid, at, origin_node, origin_inc, origin_seq)
    VALUES (t, n, pg_current_xact_id(), now(), node, inc, seq);
    PERFORM set_config('everward.txn', body || ',' || everward.mac('txn', body), true);
    PERFORM pg_notify('everward_feed', everward.wake_key_of(t));
    RETURN n;
END
$$;

-- Called by capture with the tenant of the rows written. Runs as everward_definer.
CREATE FUNCTION everward.capture_txn(t uuid) RETURNS everward.open_txn
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    s text := nullif(current_setting('everward.txn', true), '');
    f text[];
    c uuid;
    r everward.open_txn;
BEGIN
    IF s IS NOT NULL THEN
        IF right(s, 64) IS DISTINCT FROM everward.mac('txn', left(s, -65)) THEN
            RAISE EXCEPTION 'everward.txn was set by hand' USING ERRCODE = 'EW403';
        END IF;
        f := string_to_array(s, ',');
        IF f[2]::uuid <> t THEN
            RAISE EXCEPTION 'a transaction cannot write for two tenants' USING ERRCODE = 'EW400',
                HINT = 'Use one transaction for each tenant.';
        END IF;
        r.txn := f[1];
        r.origin_node := nullif(f[3], '');
        r.origin_inc := nullif(f[4], '');
    ELSE
        c := everward.tenant();
        IF c IS NULL AND everward.bypassing_session() THEN
            PERFORM everward.seal(t, NULL);
        ELSIF c IS NULL THEN
            RAISE EXCEPTION 'no tenant has been entered in this transaction'
                USING ERRCODE = 'EW401';
        ELSIF c <> t THEN
            RAISE EXCEPTION 'a transaction cannot write for two tenants' USING ERRCODE = 'EW400',
                HINT = 'The tenant that was entered is not the one of the rows written.';
        END IF;
        f := string_to_array(coalesce(nullif(current_setting('everward.origin', true), ''), ',,'),
            ',');
        -- Only the node that entered can be an origin; anyone else's word about it is not taken.
        IF session_user = 'everward_gateway' AND nullif(f[1], '')::uuid = everward.context_node()
            THEN
            r.origin_node := f[1];
            r.origin_inc := f[2];
        END IF;
        r.txn := everward.begin_txn(t, r.origin_node, r.origin_inc,
                                    CASE WHEN r.origin_node IS NOT NULL THEN nullif(f[3],
                                        '')::bigint END);
    END IF;
    r.actor := nullif(current_setting('everward.actor', true), '');
    RETURN r;
END
$$;

-- A push writes its transaction even if nothing in it changes: the node waits for its sequence
-- number in the feed.
CREATE FUNCTION everward.push_txn(node uuid, incarnation bigint, last_seq bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t uuid := everward.tenant();
BEGIN
    IF t IS NULL OR node IS NULL OR node IS DISTINCT FROM everward.context_node() THEN
        RAISE EXCEPTION 'this node has not entered this transaction' USING ERRCODE = 'EW401';
    END IF;
    IF coalesce(current_setting('everward.txn', true), '') <> '' THEN
        RAISE EXCEPTION 'push_txn comes before the first write' USING ERRCODE = 'EW409';
    END IF;
    PERFORM FROM everward.node_head h
    WHERE h.tenant_id = t AND h.node_id = node AND h.incarnation = push_txn.incarnation FOR UPDATE;
    RETURN everward.begin_txn(t, node, incarnation, last_seq);
END
$$;

-- Numbers what has become visible since the last time. READ COMMITTED, so that each statement's
-- snapshot is newer than the lock. Whoever calls it commits soon: the lock is the transaction's,
-- and others of the tenant wait for it, 2 s at most. The search is narrowed by the recorded
-- snapshot; the truth is that a transaction stands in a cut or does not. Asked at every poll of a
-- feed, it must cost little when there is nothing new: planning was 0.45 of its 0.58 ms, and a plan
-- that is kept must go by the indexes, since it does not know how little lies above the recorded
-- snapshot.
CREATE FUNCTION everward.sequence_feed() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s' SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
    SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    cut_changes_max constant int := 5000;
    t uuid := everward.tenant();
    lock_key bigint := hashtextextended('everward.feed', 0) # hashtextextended(t::text, 1);
    h record;
    here text;
    s pg_snapshot;
    seen_all boolean;
    found_txn bigint[];
    new_head bigint;
BEGIN
    IF t IS NULL THEN
        RAISE EXCEPTION 'no tenant has been entered in this transaction' USING ERRCODE = 'EW401';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'sequence_feed() needs READ COMMITTED' USING ERRCODE = 'EW409';
    END IF;
    IF NOT pg_try_advisory_xact_lock(lock_key) THEN
        BEGIN
            PERFORM pg_advisory_xact_lock(lock_key);
        EXCEPTION WHEN lock_not_available THEN
            RETURN (SELECT f.head FROM everward.feed_head f WHERE f.tenant_id = t);
        END;
    END IF;

    SELECT f.* INTO h FROM everward.feed_head f WHERE f.tenant_id = t;
    IF NOT FOUND THEN
        INSERT INTO everward.feed_head (tenant_id) VALUES (t) RETURNING * INTO h;
    END IF;
    here := everward.cluster_identity();
    -- Taken before the search: what the search sees beyond it is found a second time and dropped,
    -- never lost.
    s := pg_current_snapshot();
    seen_all := h.identity IS NOT DISTINCT FROM here AND h.snap_xmax <= pg_snapshot_xmax(s);

    IF seen_all THEN
        SELECT array_agg(x.txn) INTO found_txn FROM (
            SELECT a.txn FROM everward.txn a WHERE a.tenant_id = t AND a.xid >= h.snap_xmax
            UNION ALL
            SELECT a.txn FROM everward.txn a WHERE a.tenant_id = t AND a.xid = ANY (h.snap_running)
                AND a.xid < h.snap_xmax) x
        WHERE NOT EXISTS (SELECT FROM everward.cut c WHERE c.tenant_id = t AND c.txn = x.txn);
    ELSE
        SELECT array_agg(x.txn) INTO found_txn FROM everward.txn x
        WHERE x.tenant_id = t AND NOT EXISTS (SELECT FROM everward.cut c WHERE c.tenant_id = t
            AND c.txn = x.txn);
    END IF;
    IF found_txn IS NULL AND seen_all THEN
        RETURN h.head;
    END IF;

    WITH sized AS (
        SELECT n.txn, coalesce(c.last, 0) AS last, coalesce(c.changes, 0) AS changes
        FROM unnest(found_txn) AS n (txn)
        CROSS JOIN LATERAL (SELECT max(x.id) AS last, count(*) AS changes FROM everward.change x
                            WHERE x.tenant_id = t AND x.txn = n.txn) c
    ), placed AS (
        SELECT z.txn, (sum(z.changes) OVER (ORDER BY greatest(z.txn,
            z.last)) - z.changes) / cut_changes_max AS place
        FROM sized z
    ), numbered AS (
        INSERT INTO everward.cut (tenant_id, cut, txn)
        SELECT t, h.head + dense_rank() OVER (ORDER BY floor(p.place)), p.txn FROM placed p
        RETURNING cut
    )
    SELECT coalesce(max(n.cut), h.head) INTO new_head FROM numbered n;

    -- This transaction may write for the tenant after this: its own xid is not running in its own
    -- snapshot.
    UPDATE everward.feed_head f
    SET head = new_head, snap_xmax = pg_snapshot_xmax(s), identity = here,
        snap_running = ARRAY(SELECT pg_snapshot_xip(s) UNION SELECT pg_current_xact_id())
    WHERE f.tenant_id = t;
    RETURN new_head;
END
$$;

RESET ROLE;

ALTER FUNCTION everward.begin_txn(uuid, uuid, bigint, bigint) OWNER TO everward_definer;
ALTER FUNCTION everward.capture_txn(uuid) OWNER TO everward_definer;
ALTER FUNCTION everward.push_txn(uuid, bigint, bigint) OWNER TO everward_definer;
ALTER FUNCTION everward.sequence_feed() OWNER TO everward_definer;

GRANT EXECUTE ON FUNCTION everward.push_txn(uuid, bigint, bigint), everward.sequence_feed(),
    everward.maintain() TO everward_gateway;
GRANT EXECUTE ON FUNCTION everward.sequence_feed() TO everward_admin;
