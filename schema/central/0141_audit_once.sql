-- 0141_audit_once.sql - each audit entry is parsed once.
--
-- With type json each of an entry's eleven fields parsed the whole entry again, and the regular
-- expression that split the lines counted characters: together a sixth of the database's time while
-- a backlog of writes was drained. OFFSET 0 keeps the planner from copying the expression to each use.

-- entries: lines "<chain in hex> <JSON array>", numbered first, first + 1, …, last. The gateway has
-- checked the signature. The verdict is told, not raised, so that the alarm stays.
CREATE OR REPLACE FUNCTION everward.take_audit(in_life bigint, first bigint, last bigint, before bytea, chain bytea,
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
                SELECT x.line, x.i FROM string_to_table(entries, E'\n')
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
    FROM string_to_table(rtrim(entries, E'\n'), E'\n') WITH ORDINALITY AS l (line, i),
        LATERAL (SELECT substr(l.line, 66)::jsonb OFFSET 0) AS d (j)
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

