-- 0090_person.sql - people and other software that come with an access token of the hospital's identity provider.
--
-- The gateway checks the token (issuer, signature, audience, times); the database decides whether the person it names is one of the
-- tenant's: the link between the provider's subject and a member of staff is made by an operator, and staff that are inactive,
-- revoked or past their time are out at once, whatever the token says. The tenant is sealed only for a person who is linked there.

SET LOCAL ROLE everward_owner;

CREATE TABLE everward.person (
    tenant_id uuid NOT NULL REFERENCES everward.tenant,
    issuer    text NOT NULL CHECK (issuer LIKE 'https://%'),
    subject   text NOT NULL CHECK (subject <> ''),
    staff_id  uuid NOT NULL,
    linked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, issuer, subject)
);
SELECT everward.isolate('everward.person');
GRANT SELECT ON everward.person TO everward_definer;
GRANT SELECT ON ward.staff, ward.staff_role, everward.node_head, everward.feed_head TO everward_definer;

-- The first statement of a transaction of the gateway for a person. What is wrong is never told apart.
CREATE FUNCTION everward.enter_person(issuer text, subject text, tenant uuid, OUT staff_id uuid, OUT roles text[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s record;
BEGIN
    IF coalesce(current_setting('everward.txn', true), '') <> '' THEN
        RAISE EXCEPTION 'this transaction has already written for a tenant' USING ERRCODE = 'EW400';
    END IF;
    PERFORM everward.seal(tenant, NULL);
    SELECT f.id, f.active, f.revoked_at, f.valid_until_at INTO s FROM everward.person p
        JOIN ward.staff f ON f.tenant_id = p.tenant_id AND f.id = p.staff_id
        WHERE p.tenant_id = tenant AND p.issuer = enter_person.issuer AND p.subject = enter_person.subject;
    IF NOT FOUND OR s.active IS NOT TRUE OR s.revoked_at IS NOT NULL
        OR (s.valid_until_at IS NOT NULL AND s.valid_until_at::timestamptz < now()) THEN
        RAISE EXCEPTION 'nobody of this tenant' USING ERRCODE = 'EW401';
    END IF;
    staff_id := s.id;
    SELECT coalesce(array_agg(DISTINCT r.role ORDER BY r.role), '{}') INTO roles FROM ward.staff_role r
        WHERE r.tenant_id = tenant AND r.staff_id = s.id;
END
$$;

-- The tenant's nodes as they stand, for those who look after them. Only in a tenant's context: row security does the rest.
CREATE FUNCTION everward.fleet() RETURNS TABLE (node_id uuid, name text, site text, status text, incarnation bigint, enrolled_at timestamptz,
    last_seen_at timestamptz, program_version text, acked_cut bigint, behind bigint, last_seq bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT n.node_id, n.name, s.name, n.status, n.incarnation, n.enrolled_at, n.last_seen_at, n.program_version, n.acked_cut,
        greatest(coalesce(h.head, 0) - n.acked_cut, 0), coalesce(r.last_seq, 0)
    FROM everward.node n JOIN everward.site s USING (tenant_id, site_id)
    LEFT JOIN everward.feed_head h USING (tenant_id)
    LEFT JOIN everward.node_head r ON r.tenant_id = n.tenant_id AND r.node_id = n.node_id AND r.incarnation = n.incarnation
    WHERE n.tenant_id = (SELECT everward.tenant())
    ORDER BY n.name, n.node_id
$$;

RESET ROLE;

ALTER FUNCTION everward.enter_person(text, text, uuid) OWNER TO everward_definer;
ALTER FUNCTION everward.fleet() OWNER TO everward_definer;
GRANT EXECUTE ON FUNCTION everward.enter_person(text, text, uuid), everward.fleet() TO everward_gateway;
