-- 0150_numbers.sql - record numbers that nodes may give while the line is down: blocks leased in advance.
--
-- A number is prefix, digits of a fixed width, and Damm's check digit (sync/core/number.h); it stands in ward.patient_identifier
-- under the scheme's system. A leased number is never leased again, whether or not it was given. next_number only rises.

SET LOCAL ROLE everward_owner;

CREATE TABLE everward.number_scheme (
    tenant_id   uuid PRIMARY KEY REFERENCES everward.tenant,
    system      text NOT NULL,
    prefix      text NOT NULL CHECK (length(prefix) <= 16),
    digits      int NOT NULL CHECK (digits BETWEEN 4 AND 15),
    next_number bigint NOT NULL DEFAULT 1 CHECK (next_number >= 0),
    timeline    uuid -- the centre's life in which the last block was leased
);

-- block: the node's n-th of this life; it asks for the n-th, so that asking again gives the same one. A gap: a block of before
-- the centre was put back, which it has forgotten.
CREATE TABLE everward.number_lease (
    tenant_id   uuid NOT NULL,
    node_id     uuid NOT NULL,
    incarnation bigint NOT NULL,
    block       bigint NOT NULL CHECK (block >= 1),
    system      text NOT NULL,
    prefix      text NOT NULL,
    digits      int NOT NULL,
    first       bigint NOT NULL,
    last        bigint NOT NULL,
    leased_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, node_id, incarnation, block),
    FOREIGN KEY (tenant_id, node_id) REFERENCES everward.node
);
SELECT everward.isolate('everward.number_scheme'::regclass);
SELECT everward.isolate('everward.number_lease'::regclass);
GRANT SELECT, UPDATE ON everward.number_scheme TO everward_definer;
GRANT SELECT, INSERT ON everward.number_lease TO everward_definer;
GRANT SELECT ON ward.patient_identifier TO everward_definer;

-- The n-th block of the node that entered; no row: the tenant has no scheme. What others have typed in already is stepped over.
-- The scheme's row is the lock that parts the nodes of a tenant.
CREATE FUNCTION everward.lease_numbers(inc bigint, block bigint, size bigint)
RETURNS TABLE (system text, prefix text, digits int, first bigint, last bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t uuid := everward.tenant();
    me uuid := everward.context_node();
    s everward.number_scheme%ROWTYPE;
    present bigint;
    a bigint;
    b bigint;
    taken bigint;
BEGIN
    SELECT x.incarnation INTO present FROM everward.node x WHERE x.tenant_id = t AND x.node_id = me;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no node has entered this transaction' USING ERRCODE = 'EW401';
    END IF;
    IF inc IS DISTINCT FROM present THEN
        RAISE EXCEPTION 'incarnation % is not the present one', inc USING ERRCODE = 'EW409';
    END IF;
    SELECT * INTO s FROM everward.number_scheme x WHERE x.tenant_id = t FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT l.system, l.prefix, l.digits, l.first, l.last FROM everward.number_lease l
        WHERE l.tenant_id = t AND l.node_id = me AND l.incarnation = inc AND l.block = lease_numbers.block;
    IF FOUND THEN
        RETURN;
    END IF;
    IF block <= coalesce((SELECT max(l.block) FROM everward.number_lease l WHERE l.tenant_id = t AND l.node_id = me
        AND l.incarnation = inc), 0) THEN
        RAISE EXCEPTION 'block % does not follow', block USING ERRCODE = 'EW409';
    END IF;
    size := least(greatest(size, 100), 20000);
    a := s.next_number;
    IF s.timeline <> (SELECT l.id FROM everward.timeline l) THEN
        -- This centre was put back. Which blocks it has forgotten is not known here: two of the largest are left out for each node.
        a := a + 2 * (SELECT count(*) FROM everward.node x WHERE x.tenant_id = t)
            * (SELECT coalesce(max(l.last - l.first + 1), 0) FROM everward.number_lease l WHERE l.tenant_id = t);
    END IF;
    LOOP
        b := least(a + size, (10::numeric ^ s.digits)::bigint) - 1;
        IF b < a THEN
            RAISE EXCEPTION 'the record numbers are used up' USING ERRCODE = 'EW410';
        END IF;
        SELECT max(substr(i.value, length(s.prefix) + 1, s.digits)::bigint) INTO taken FROM ward.patient_identifier i
        WHERE i.tenant_id = t AND i.system IS NOT DISTINCT FROM s.system AND starts_with(i.value, s.prefix)
            AND CASE WHEN length(i.value) = length(s.prefix) + s.digits + 1
                AND substr(i.value, length(s.prefix) + 1) ~ '^[0-9]+$'
                THEN substr(i.value, length(s.prefix) + 1, s.digits)::bigint BETWEEN a AND b ELSE false END;
        EXIT WHEN taken IS NULL;
        a := taken + 1;
    END LOOP;
    UPDATE everward.number_scheme x SET next_number = b + 1, timeline = (SELECT l.id FROM everward.timeline l)
    WHERE x.tenant_id = t;
    INSERT INTO everward.number_lease (tenant_id, node_id, incarnation, block, system, prefix, digits, first, last)
    VALUES (t, me, inc, lease_numbers.block, s.system, s.prefix, s.digits, a, b);
    RETURN QUERY SELECT s.system, s.prefix, s.digits, a, b;
END
$$;

RESET ROLE;

ALTER FUNCTION everward.lease_numbers(bigint, bigint, bigint) OWNER TO everward_definer;
REVOKE EXECUTE ON FUNCTION everward.lease_numbers(bigint, bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION everward.lease_numbers(bigint, bigint, bigint) TO everward_gateway;
