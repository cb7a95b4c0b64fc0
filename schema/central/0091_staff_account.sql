-- 0091_staff_account.sql - the identity provider's names for the tenant's staff, as a synced table: the nodes need them, too.
--
-- A node lets somebody in by an access token while the line is down, so the link between the provider's subject and a member of staff
-- must be there. Written by an operator (`staff link`) or by the hospital's own software, never by a node. It takes the place of
-- everward.person, which only the gateway could see.

SET LOCAL ROLE everward_owner;

-- A synced row can only be written in its own tenant's transaction, so links can't be carried over here.
DO $$
BEGIN
    IF EXISTS (SELECT FROM everward.person) THEN
        RAISE EXCEPTION 'links between the identity provider and staff are there: `everward-gateway staff unlink` them, migrate, and link anew';
    END IF;
END
$$;

CREATE TABLE ward.staff_account (
    id        uuid NOT NULL,
    tenant_id uuid NOT NULL,
    rev       bigint NOT NULL DEFAULT 1,
    site_id   uuid,
    staff_id  uuid NOT NULL,
    issuer    text NOT NULL CHECK (issuer LIKE 'https://%'),
    subject   text NOT NULL CHECK (subject <> ''),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, issuer, subject),
    FOREIGN KEY (tenant_id, staff_id) REFERENCES ward.staff
);
CREATE INDEX ON ward.staff_account (tenant_id, staff_id);
SELECT everward.isolate('ward.staff_account');
GRANT SELECT, INSERT, UPDATE, DELETE ON ward.staff_account TO everward_app;
GRANT SELECT ON ward.staff_account TO everward_definer;

DROP TABLE everward.person;

RESET ROLE;

-- As 0090 made it; only the link comes from the synced table.
CREATE OR REPLACE FUNCTION everward.enter_person(issuer text, subject text, tenant uuid, OUT staff_id uuid, OUT roles text[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s record;
BEGIN
    IF coalesce(current_setting('everward.txn', true), '') <> '' THEN
        RAISE EXCEPTION 'this transaction has already written for a tenant' USING ERRCODE = 'EW400';
    END IF;
    PERFORM everward.seal(tenant, NULL);
    SELECT f.id, f.active, f.revoked_at, f.valid_until_at INTO s FROM ward.staff_account p
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

SELECT everward.enable_sync('ward.staff_account', 'central', '{"order": 4, "deletable": true, "indexes": [["staff_id"], ["subject"]]}');
