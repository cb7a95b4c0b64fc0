"""Planted faults: whatever opens the wall between tenants, or lets a change pass by the capture, is found from the catalog.

Real programs: everward-gateway, PostgreSQL. Each fault is planted, found by `everward-gateway doctor`, and taken back."""

import json
import os
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integration"))
import gateway_client as gc  # noqa: E402
import pg  # noqa: E402

POLICY = "CREATE POLICY tenant ON ward.patient USING (tenant_id = (SELECT everward.tenant())) WITH CHECK (tenant_id = (SELECT everward.tenant()))"

# name: (check that must find it, fault, how it is taken back)
FAULTS = {
    "row security switched off": ("rls-enabled", "ALTER TABLE ward.patient DISABLE ROW LEVEL SECURITY", "ALTER TABLE ward.patient ENABLE ROW LEVEL SECURITY"),
    "row security not forced": ("rls-forced", "ALTER TABLE ward.note NO FORCE ROW LEVEL SECURITY", "ALTER TABLE ward.note FORCE ROW LEVEL SECURITY"),
    "not forced on a table of our own": ("rls-forced", "ALTER TABLE everward.node NO FORCE ROW LEVEL SECURITY",
                                         "ALTER TABLE everward.node FORCE ROW LEVEL SECURITY"),
    "a policy that was dropped": ("policy-missing", "DROP POLICY tenant ON ward.patient", POLICY),
    "a policy that lets everything through": ("policy-form", "ALTER POLICY tenant ON ward.patient USING (true)",
                                              "ALTER POLICY tenant ON ward.patient USING (tenant_id = (SELECT everward.tenant()))"),
    "a policy that lets anything be written": ("policy-form", "ALTER POLICY tenant ON ward.patient WITH CHECK (true)",
                                               "ALTER POLICY tenant ON ward.patient WITH CHECK (tenant_id = (SELECT everward.tenant()))"),
    "a policy by a plain setting": ("policy-form", "ALTER POLICY tenant ON ward.patient USING (tenant_id = current_setting('everward.tenant_id')::uuid)",
                                    "ALTER POLICY tenant ON ward.patient USING (tenant_id = (SELECT everward.tenant()))"),
    "a second, wider policy": ("policy-count", "CREATE POLICY wide ON ward.patient FOR SELECT TO everward_app USING (true)", "DROP POLICY wide ON ward.patient"),
    "a policy for reading alone": ("policy-form", "DROP POLICY tenant ON ward.note; CREATE POLICY tenant ON ward.note FOR SELECT USING (tenant_id = "
                                   "(SELECT everward.tenant()))", "DROP POLICY tenant ON ward.note; " + POLICY.replace("ward.patient", "ward.note")),
    "a forgotten table": ("rls-enabled", "CREATE TABLE ward.forgotten (id uuid, tenant_id uuid NOT NULL); ALTER TABLE ward.forgotten OWNER TO everward_owner",
                          "DROP TABLE ward.forgotten"),
    "a forgotten partition": ("policy-missing", "CREATE TABLE ward.part (id uuid, tenant_id uuid NOT NULL) PARTITION BY LIST (tenant_id); SELECT "
                              "everward.isolate('ward.part'); ALTER TABLE ward.part OWNER TO everward_owner; CREATE TABLE public.part_1 PARTITION OF ward.part "
                              "DEFAULT", "DROP TABLE ward.part"),
    "a child elsewhere": ("rls-enabled", "CREATE TABLE public.child () INHERITS (ward.specimen)", "DROP TABLE public.child"),
    "rows without a tenant": ("tenant-nullable", "ALTER TABLE everward.alert DROP CONSTRAINT alert_pkey; ALTER TABLE everward.alert ALTER tenant_id DROP NOT NULL",
                              "ALTER TABLE everward.alert ADD PRIMARY KEY (tenant_id, id)"),
    "a unique key over all tenants": ("unique-key", "CREATE UNIQUE INDEX everywhere ON ward.patient_identifier (value)", "DROP INDEX ward.everywhere"),
    "a unique key with the tenant last": ("unique-key", "ALTER TABLE ward.staff ADD CONSTRAINT late UNIQUE (username, tenant_id)",
                                          "ALTER TABLE ward.staff DROP CONSTRAINT late"),
    "a foreign key across tenants": ("foreign-key", "CREATE UNIQUE INDEX p_id ON ward.patient (id); ALTER TABLE ward.task ADD CONSTRAINT across FOREIGN KEY "
                                     "(patient_id) REFERENCES ward.patient (id)", "ALTER TABLE ward.task DROP CONSTRAINT across; DROP INDEX ward.p_id"),
    "an exclusion over all tenants": ("exclusion", "ALTER TABLE ward.bed_stay ADD CONSTRAINT one EXCLUDE USING btree (location_id WITH =)",
                                      "ALTER TABLE ward.bed_stay DROP CONSTRAINT one"),
    "a definer function with an open path": ("definer-path", "ALTER FUNCTION everward.enter_node(uuid, bytea) RESET search_path",
                                             "ALTER FUNCTION everward.enter_node(uuid, bytea) SET search_path = pg_catalog, pg_temp"),
    "a definer function of the owner": ("definer-owner", "ALTER FUNCTION everward.node_key(uuid) OWNER TO everward_owner",
                                        "ALTER FUNCTION everward.node_key(uuid) OWNER TO everward_definer; GRANT EXECUTE ON FUNCTION everward.node_key(uuid) "
                                        "TO everward_gateway"),
    "a function that runs as a superuser": ("definer-mighty", "CREATE FUNCTION public.peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = "
                                            "pg_catalog, pg_temp AS 'SELECT count(*) FROM ward.patient'", "DROP FUNCTION public.peek()"),
    "a function for everybody": ("function-public", "GRANT EXECUTE ON FUNCTION everward.wake_key() TO PUBLIC",
                                 "REVOKE EXECUTE ON FUNCTION everward.wake_key() FROM PUBLIC"),
    "the seal in the gateway's hand": ("seal-callable", "GRANT EXECUTE ON FUNCTION everward.seal(uuid, uuid) TO everward_gateway",
                                       "REVOKE EXECUTE ON FUNCTION everward.seal(uuid, uuid) FROM everward_gateway"),
    "another tenant function": ("tenant-function", "CREATE TABLE public.kept AS SELECT pg_get_functiondef('everward.tenant()'::regprocedure) AS def; "
                                "CREATE OR REPLACE FUNCTION everward.tenant() RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER AS "
                                "$$SELECT current_setting('everward.tenant_id')::uuid$$",
                                "DO $do$ BEGIN EXECUTE (SELECT def FROM public.kept); END $do$; DROP TABLE public.kept"),
    "a leakproof function": ("leakproof", "CREATE FUNCTION public.sly(text) RETURNS boolean LANGUAGE sql IMMUTABLE LEAKPROOF AS 'SELECT true'",
                             "DROP FUNCTION public.sly(text)"),
    "a view that reads as its owner": ("view", "CREATE VIEW public.everyone AS SELECT * FROM ward.patient", "DROP VIEW public.everyone"),
    "a materialized view": ("materialized-view", "CREATE MATERIALIZED VIEW public.kept_rows AS SELECT * FROM ward.patient",
                            "DROP MATERIALIZED VIEW public.kept_rows"),
    "a rewrite rule": ("rule", "CREATE RULE also AS ON INSERT TO ward.note DO ALSO NOTIFY somebody", "DROP RULE also ON ward.note"),
    "a gateway that passes by row security": ("role-mighty", "ALTER ROLE everward_gateway BYPASSRLS", "ALTER ROLE everward_gateway NOBYPASSRLS"),
    "a definer that passes by row security": ("role-mighty", "ALTER ROLE everward_definer BYPASSRLS", "ALTER ROLE everward_definer NOBYPASSRLS"),
    "an owner who may log in": ("role-login", "ALTER ROLE everward_owner LOGIN", "ALTER ROLE everward_owner NOLOGIN"),
    "an application among the owners": ("role-member", "GRANT everward_owner TO everward_app", "REVOKE everward_owner FROM everward_app"),
    "a gateway among the applications": ("role-member", "GRANT everward_app TO everward_gateway", "REVOKE everward_app FROM everward_gateway"),
    "a table of the gateway's own": ("owner", "ALTER TABLE ward.task OWNER TO everward_gateway", "ALTER TABLE ward.task OWNER TO everward_owner"),
    "a table for everybody": ("grant-public", "GRANT SELECT ON ward.patient TO PUBLIC", "REVOKE SELECT ON ward.patient FROM PUBLIC"),
    "the right to truncate": ("grant-dangerous", "GRANT TRUNCATE ON ward.patient TO everward_app", "REVOKE TRUNCATE ON ward.patient FROM everward_app"),
    "the right to refer": ("grant-dangerous", "GRANT REFERENCES ON ward.patient TO everward_gateway", "REVOKE REFERENCES ON ward.patient FROM everward_gateway"),
    "an application in the registry": ("grant-internal", "GRANT SELECT ON everward.node TO everward_app", "REVOKE SELECT ON everward.node FROM everward_app"),
    "an application in the log": ("grant-internal", "GRANT SELECT ON everward.change TO everward_app", "REVOKE SELECT ON everward.change FROM everward_app"),
    "the key of the seal": ("grant-secret", "GRANT SELECT ON everward.secret TO everward_gateway", "REVOKE SELECT ON everward.secret FROM everward_gateway"),
    "a schema in which anybody makes tables": ("grant-schema", "GRANT CREATE ON SCHEMA ward TO everward_app", "REVOKE CREATE ON SCHEMA ward FROM everward_app"),
    "tables to come for everybody": ("grant-default", "ALTER DEFAULT PRIVILEGES FOR ROLE everward_owner IN SCHEMA ward GRANT SELECT ON TABLES TO PUBLIC",
                                     "ALTER DEFAULT PRIVILEGES FOR ROLE everward_owner IN SCHEMA ward REVOKE SELECT ON TABLES FROM PUBLIC"),
    "a capture that was switched off": ("capture-trigger", "ALTER TABLE ward.observation DISABLE TRIGGER zzzz_everward_update",
                                        "ALTER TABLE ward.observation ENABLE ALWAYS TRIGGER zzzz_everward_update"),
    "a capture that replication passes by": ("capture-trigger", "ALTER TABLE ward.observation ENABLE TRIGGER zzzz_everward_insert",
                                             "ALTER TABLE ward.observation ENABLE ALWAYS TRIGGER zzzz_everward_insert"),
    "a capture that was dropped": ("capture-trigger", "ALTER TABLE ward.task RENAME TO t; ALTER TRIGGER zzzz_everward_delete ON ward.t RENAME TO gone; "
                                   "ALTER TABLE ward.t RENAME TO task", "ALTER TRIGGER gone ON ward.task RENAME TO zzzz_everward_delete"),
    "sessions that begin in a tenant": ("setting", "ALTER ROLE everward_app SET everward.tenant_id = '018f0000-0000-7000-8000-000000000001'",
                                        "ALTER ROLE everward_app RESET everward.tenant_id"),
    "sessions that replicate": ("setting", "ALTER ROLE everward_app SET session_replication_role = 'replica'",
                                "ALTER ROLE everward_app RESET session_replication_role"),
    "a publication": ("publication", "CREATE PUBLICATION out_of_here FOR TABLE ward.patient", "DROP PUBLICATION out_of_here"),
}

cluster = db = gateway = folder = None


def setUpModule():
    global cluster, db, gateway, folder
    if not os.access(gc.PROGRAM, os.X_OK):
        raise unittest.SkipTest("everward-gateway is not built")
    cluster = pg.Cluster()
    cluster.start()
    folder = tempfile.mkdtemp(prefix="ew-lint-")
    db = cluster.create("lint", migrate=False)
    gateway = gc.Gateway(folder, db)
    gateway.cli("migrate")


def tearDownModule():
    gateway.stop()
    cluster.stop()
    shutil.rmtree(folder, ignore_errors=True)


def batches():
    """Faults that are planted together: one of a check at most, so that each is found for itself."""
    some = []
    for name, (check, fault, _) in FAULTS.items():
        alone = "POLICY" in fault or check == "tenant-function"
        for batch in some:
            if not alone and check not in batch and not batch.get("alone"):
                batch[check] = name
                break
        else:
            some.append({check: name, **({"alone": True} if alone else {})})
    return some


def findings():
    done = gateway.run("--json", "doctor")
    return done.returncode, json.loads(done.stdout)


class Doctor(unittest.TestCase):
    def test_a_database_as_it_was_migrated_has_no_finding(self):
        code, found = findings()
        self.assertEqual([f for f in found if f["check"] != "minor-version"], [])
        self.assertEqual(code, 0)

    def test_every_planted_fault_is_found_and_told_with_a_fix(self):
        self.assertGreaterEqual(len(FAULTS), 30)
        for batch in batches():
            names = [name for check, name in batch.items() if check != "alone"]
            for name in names:
                db.sql("postgres", "BEGIN; %s; COMMIT" % FAULTS[name][1])
            code, found = findings()
            for name in reversed(names):
                db.sql("postgres", "BEGIN; %s; COMMIT" % FAULTS[name][2])
            for name in names:
                with self.subTest(name):
                    self.assertIn(FAULTS[name][0], {f["check"] for f in found})
            self.assertTrue(all(f["what"] and f["fix"] for f in found))
            self.assertEqual(code, 77)
        self.assertEqual(findings()[0], 0, "a fault was not taken back")
        print("lint: %d planted faults found" % len(FAULTS))

    def test_a_table_of_other_software_under_sync_is_looked_at_too(self):
        db.sql("postgres", "CREATE TABLE public.beds (id uuid NOT NULL, tenant_id uuid NOT NULL, name text, PRIMARY KEY (tenant_id, id)); "
               "ALTER TABLE public.beds OWNER TO everward_owner; SELECT everward.isolate('public.beds'); GRANT ALL ON public.beds TO everward_owner; "
               "SELECT everward.enable_sync('public.beds', 'field')")
        self.assertEqual(findings()[0], 0, findings()[1])
        db.sql("postgres", "ALTER TABLE public.beds NO FORCE ROW LEVEL SECURITY")
        self.assertIn(("rls-forced", "beds"), {(f["check"], f["what"].split(".")[-1]) for f in findings()[1]})
        db.sql("postgres", "ALTER TABLE public.beds FORCE ROW LEVEL SECURITY; SELECT everward.disable_sync('public.beds'); DROP TABLE public.beds")

    def test_a_gateway_does_not_serve_a_database_that_leaks(self):
        db.sql("postgres", "ALTER TABLE ward.patient DISABLE ROW LEVEL SECURITY")
        try:
            done = gateway.run("serve", timeout=30)
            self.assertEqual(done.returncode, 77)
            self.assertIn("rls-enabled", done.stderr)
            self.assertIn("everward-gateway doctor", done.stderr)
        finally:
            db.sql("postgres", "ALTER TABLE ward.patient ENABLE ROW LEVEL SECURITY")
        gateway.start()
        self.assertEqual(gateway.stop(), 0)

    def test_for_people_each_check_is_a_line(self):
        done = gateway.run("doctor")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"(?m)^ok +policy-form$")
        self.assertRegex(done.stdout, r"(?m)^0 leaks, \d warnings$")


if __name__ == "__main__":
    unittest.main()
