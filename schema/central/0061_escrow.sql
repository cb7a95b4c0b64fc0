-- 0061_escrow.sql - the nodes' keys, sealed for the tenant's recovery key, because a dead board must not
-- destroy the only copy of what was not sent; and the order to wipe one.
--
-- The secret half of the recovery key is never here. Every escrow is kept: an old backup needs the one
-- of its time.

SET LOCAL ROLE everward_owner;

CREATE TABLE everward.tenant_recovery (
    tenant_id  uuid PRIMARY KEY REFERENCES everward.tenant,
    public_key bytea NOT NULL CHECK (length(public_key) = 32),
    at         timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE everward.escrow (
    tenant_id    uuid NOT NULL,
    node_id      uuid NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    recovery_key bytea NOT NULL CHECK (length(recovery_key) = 32),
    sealed       bytea NOT NULL CHECK (length(sealed) BETWEEN 48 AND 1024),
    PRIMARY KEY (tenant_id, node_id, at),
    FOREIGN KEY (tenant_id, node_id) REFERENCES everward.node
);

-- wipe: asked for by the operator; the node answers with a proof, or with what stands against it.
CREATE TABLE everward.wipe (
    tenant_id  uuid NOT NULL,
    node_id    uuid NOT NULL,
    asked_at   timestamptz NOT NULL DEFAULT now(),
    nonce      bytea NOT NULL CHECK (length(nonce) = 32),
    refused    text,
    done_at    timestamptz,
    statement  text,
    sig        bytea,
    PRIMARY KEY (tenant_id, node_id, asked_at),
    FOREIGN KEY (tenant_id, node_id) REFERENCES everward.node
);

SELECT everward.isolate(r) FROM unnest(ARRAY['everward.tenant_recovery', 'everward.escrow',
    'everward.wipe']::regclass[]) r;

CREATE TRIGGER kept BEFORE UPDATE OR DELETE OR TRUNCATE ON everward.escrow
    FOR EACH STATEMENT EXECUTE FUNCTION everward.audit_is_kept();
ALTER TABLE everward.escrow ENABLE ALWAYS TRIGGER kept;

GRANT SELECT ON everward.tenant_recovery TO everward_definer;
GRANT SELECT, INSERT ON everward.escrow TO everward_definer;
GRANT SELECT, UPDATE ON everward.wipe TO everward_definer;

-- What the centre wants of the context's node: the recovery key, and a wipe that is asked for and not
-- done. With sealed, keeps an escrow, if it is for the present recovery key.
CREATE FUNCTION everward.exchange_escrow(made_for bytea, box bytea, OUT recovery_key bytea,
    OUT kept boolean, OUT wipe_nonce bytea)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t uuid := everward.tenant();
    nd uuid := everward.context_node();
BEGIN
    IF t IS NULL OR nd IS NULL THEN
        RAISE EXCEPTION 'no node has entered this transaction' USING ERRCODE = 'EW401';
    END IF;
    SELECT r.public_key INTO recovery_key FROM everward.tenant_recovery r WHERE r.tenant_id = t;
    kept := box IS NOT NULL AND made_for = recovery_key;
    IF kept THEN
        INSERT INTO everward.escrow (tenant_id, node_id, recovery_key, sealed)
        VALUES (t, nd, made_for, box);
    END IF;
    kept := coalesce(kept, false);
    SELECT w.nonce INTO wipe_nonce FROM everward.wipe w
        WHERE w.tenant_id = t AND w.node_id = nd AND w.done_at IS NULL
        ORDER BY w.asked_at DESC LIMIT 1;
END
$$;

-- What became of a wipe: the proof, or why not yet.
CREATE FUNCTION everward.answer_wipe(asked bytea, why text, proof text, signature bytea) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE everward.wipe w SET refused = why, statement = proof, sig = signature,
        done_at = CASE WHEN signature IS NULL THEN NULL ELSE now() END
    WHERE w.tenant_id = everward.tenant() AND w.node_id = everward.context_node()
        AND w.nonce = asked AND w.done_at IS NULL;
    RETURN FOUND;
END
$$;

-- The operator's.
CREATE FUNCTION everward.set_recovery(tenant uuid, key bytea) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO everward.tenant_recovery (tenant_id, public_key) VALUES (tenant, key)
    ON CONFLICT (tenant_id) DO UPDATE SET public_key = excluded.public_key, at = now();
END
$$;

CREATE FUNCTION everward.ask_wipe(tenant uuid, node uuid) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO everward.wipe (tenant_id, node_id, nonce)
    SELECT tenant, node, sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
END
$$;

RESET ROLE;

ALTER FUNCTION everward.exchange_escrow(bytea, bytea) OWNER TO everward_definer;
ALTER FUNCTION everward.answer_wipe(bytea, text, text, bytea) OWNER TO everward_definer;
GRANT EXECUTE ON FUNCTION everward.exchange_escrow(bytea, bytea), everward.answer_wipe(bytea, text,
    text, bytea) TO everward_gateway;
