-- 0060_audit.sql - the nodes' audit trails: kept here entry by entry, and their heads witnessed.
--
-- Facts that only ever come from nodes and go to none: they are not rows of a synced table, because
-- each batch would be a cut that wakes every node of the tenant, whose reading would be audited again.
-- What a node says must go on from what it said before: a head that goes backwards or is another one
-- is refused and remembered as an alarm, whatever the node is told afterwards.

SET LOCAL ROLE everward_owner;

CREATE TABLE everward.audit_trail (
    tenant_id   uuid NOT NULL,
    node_id     uuid NOT NULL,
    life        bigint NOT NULL,
    n           bigint NOT NULL,
    at          everward.moment NOT NULL,
    actor       uuid,
    device      text NOT NULL,
    request_id  text NOT NULL,
    action      text NOT NULL,
    table_name  text,
    row_id      uuid,
    patient_id  uuid,
    outcome     text NOT NULL,
    detail      text NOT NULL,
    chain       bytea NOT NULL CHECK (length(chain) = 32),
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, node_id, life, n)
);
CREATE INDEX ON everward.audit_trail (tenant_id, patient_id, at) WHERE patient_id IS NOT NULL;

-- The newest head of each life of a node (a restore from a backup begins the next one), with what it signed.
CREATE TABLE everward.audit_witness (
    tenant_id   uuid NOT NULL,
    node_id     uuid NOT NULL,
    life        bigint NOT NULL,
    n           bigint NOT NULL,
    chain       bytea NOT NULL CHECK (length(chain) = 32),
    statement   text NOT NULL,
    sig         bytea NOT NULL CHECK (length(sig) = 64),
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, node_id, life)
);

-- behind: the node's trail ends before what it has said; forked: it is another trail; gap: entries
-- were left out; restored: a new life began before the end of the one before, whose last entries
-- only the centre has.
CREATE TABLE everward.audit_alarm (
    tenant_id   uuid NOT NULL,
    node_id     uuid NOT NULL,
    life        bigint NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('behind', 'forked', 'gap', 'restored')),
    held_n      bigint NOT NULL,
    said_n      bigint NOT NULL,
    said_chain  bytea NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, node_id, life, kind, held_n, said_n, said_chain)
);

SELECT everward.isolate(r) FROM unnest(ARRAY['everward.audit_trail', 'everward.audit_witness',
    'everward.audit_alarm']::regclass[]) r;

CREATE FUNCTION everward.audit_is_kept() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'audit entries are never changed' USING ERRCODE = 'EW405';
END
$$;

CREATE TRIGGER kept BEFORE UPDATE OR DELETE OR TRUNCATE ON everward.audit_trail
    FOR EACH STATEMENT EXECUTE FUNCTION everward.audit_is_kept();
CREATE TRIGGER kept BEFORE UPDATE OR DELETE OR TRUNCATE ON everward.audit_alarm
    FOR EACH STATEMENT EXECUTE FUNCTION everward.audit_is_kept();
CREATE TRIGGER kept BEFORE DELETE OR TRUNCATE ON everward.audit_witness
    FOR EACH STATEMENT EXECUTE FUNCTION everward.audit_is_kept();
ALTER TABLE everward.audit_trail ENABLE ALWAYS TRIGGER kept;
ALTER TABLE everward.audit_alarm ENABLE ALWAYS TRIGGER kept;
ALTER TABLE everward.audit_witness ENABLE ALWAYS TRIGGER kept;

GRANT SELECT, INSERT ON everward.audit_trail, everward.audit_alarm TO everward_definer;
GRANT SELECT, INSERT, UPDATE ON everward.audit_witness TO everward_definer;
GRANT SELECT ON everward.audit_trail, everward.audit_alarm, everward.audit_witness TO everward_app;

-- Does the batch go on from what was witnessed? NULL: yes.
-- at_held: what the batch says the witnessed entry's chain is, NULL if it does not hold it.
CREATE FUNCTION everward.audit_verdict(w everward.audit_witness, first bigint, before bytea,
    head bigint, head_chain bytea, at_held bytea) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN head < w.n THEN 'behind'
        WHEN head = w.n AND head_chain <> w.chain THEN 'forked'
        WHEN first > w.n + 1 THEN 'gap'
        WHEN first = w.n + 1 AND before <> w.chain THEN 'forked'
        WHEN first <= w.n AND at_held IS NULL THEN 'behind'
        WHEN first <= w.n AND at_held <> w.chain THEN 'forked'
    END
$$;

-- entries: lines "<chain in hex> <JSON array>", numbered first, first + 1, …, last. The gateway has
-- checked the signature. The verdict is told, not raised, so that the alarm stays.
CREATE FUNCTION everward.take_audit(in_life bigint, first bigint, last bigint, before bytea, chain bytea,
    head bigint, head_chain bytea, statement text, sig bytea, entries text,
    OUT verdict text, OUT held bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t uuid := everward.tenant();
    nd uuid := everward.context_node();
    w everward.audit_witness%ROWTYPE;
    at_held bytea;
    told bigint;
BEGIN
    PERFORM FROM everward.node x WHERE x.tenant_id = t AND x.node_id = nd FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no node has entered this transaction' USING ERRCODE = 'EW401';
    END IF;
    held := 0;
    IF NOT (in_life >= 1 AND first >= 1 AND last >= first - 1 AND head >= last) THEN
        RAISE EXCEPTION 'numbers that do not fit' USING ERRCODE = 'EW409';
    END IF;
    SELECT * INTO w FROM everward.audit_witness x
        WHERE x.tenant_id = t AND x.node_id = nd ORDER BY x.life DESC LIMIT 1;
    IF FOUND AND w.life > in_life THEN
        verdict := 'forked'; -- the former life goes on beside its successor
        held := w.n;
    ELSIF FOUND AND w.life < in_life AND first - 1 < w.n AND (first = 1 OR EXISTS (
            SELECT FROM everward.audit_trail a WHERE a.tenant_id = t AND a.node_id = nd
            AND a.n = first - 1 AND a.chain = before)) THEN
        -- a new life that goes on from before the end of the last one
        verdict := 'restored';
    ELSIF FOUND THEN
        IF first <= w.n AND last >= w.n THEN
            SELECT decode(left(l.line, 64), 'hex') INTO at_held FROM (
                SELECT x.line, x.i FROM regexp_split_to_table(entries, E'\n')
                WITH ORDINALITY AS x (line, i)) l WHERE l.i = w.n - first + 1;
        END IF;
        verdict := everward.audit_verdict(w, first, before, head, head_chain, at_held);
        held := w.n;
    ELSIF first > 1 THEN
        verdict := 'gap';
    END IF;
    IF verdict IS NOT NULL THEN
        INSERT INTO everward.audit_alarm (tenant_id, node_id, life, kind, held_n, said_n,
            said_chain)
        VALUES (t, nd, in_life, verdict, coalesce(w.n, 0), CASE WHEN verdict = 'restored'
            THEN first - 1 ELSE head END, CASE WHEN verdict = 'restored' THEN before
            ELSE head_chain END) ON CONFLICT DO NOTHING;
        IF verdict <> 'restored' THEN
            RETURN;
        END IF;
        held := first - 1;
    END IF;
    INSERT INTO everward.audit_trail (tenant_id, node_id, life, n, at, actor, device,
        request_id, action, table_name, row_id, patient_id, outcome, detail, chain)
    SELECT t, nd, in_life, (j->>0)::bigint, j->>1, nullif(j->>2,
        '00000000-0000-0000-0000-000000000000')::uuid, j->>3, j->>4, j->>5, j->>6, (j->>7)::uuid,
        (j->>8)::uuid, j->>9, j->>10, decode(left(l.line, 64), 'hex')
    FROM regexp_split_to_table(rtrim(entries, E'\n'), E'\n') WITH ORDINALITY AS l (line, i),
        LATERAL (SELECT substr(l.line, 66)::json) AS d (j)
    WHERE l.line <> '' AND first + l.i - 1 > held AND (j->>0)::bigint = first + l.i - 1;
    GET DIAGNOSTICS told = ROW_COUNT;
    IF told <> greatest(last - greatest(held, first - 1), 0) THEN
        RAISE EXCEPTION 'entries are missing or not in order' USING ERRCODE = 'EW409';
    END IF;
    INSERT INTO everward.audit_witness AS x (tenant_id, node_id, life, n, chain, statement,
        sig) VALUES (t, nd, in_life, last, take_audit.chain, take_audit.statement, take_audit.sig)
    ON CONFLICT (tenant_id, node_id, life) DO UPDATE
        SET n = excluded.n, chain = excluded.chain, statement = excluded.statement,
            sig = excluded.sig, at = now()
        WHERE excluded.n >= x.n;
    verdict := 'ok';
    held := last;
END
$$;

RESET ROLE;

ALTER FUNCTION everward.take_audit(bigint, bigint, bigint, bytea, bytea, bigint, bytea, text, bytea,
    text) OWNER TO everward_definer;
ALTER FUNCTION everward.audit_verdict(everward.audit_witness, bigint, bytea, bigint, bytea, bytea)
    OWNER TO everward_definer;
GRANT EXECUTE ON FUNCTION everward.take_audit(bigint, bigint, bigint, bytea, bytea, bigint, bytea,
    text, bytea, text) TO everward_gateway;
