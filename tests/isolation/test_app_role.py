"""Other applications of the hospital (role everward_app), directly and through PgBouncer in transaction mode with one server connection:
from the catalog for every table and action. And faults planted into the database, each of which these probes must find.

Real programs: PostgreSQL, PgBouncer."""

import json
import os
import shutil
import subprocess
import time
import unittest

import canaries
import pg

cluster = db = pool = process = a = b = foreign = None
APP = "everward_app"


def setUpModule():
    global cluster, db, a, b, foreign
    cluster = pg.Cluster().start()
    db = cluster.create("apps")
    a, b = db.add_tenant("Alder"), db.add_tenant("Birch " + canaries.mark())
    a.patient("Own")
    b.patient(canaries.mark())
    foreign = canaries.Foreign(db, b.id).fill().collect()
    start_pool()


def start_pool():
    global pool, process
    if shutil.which("pgbouncer") is None:
        return
    folder = os.path.join(cluster.folder, "pool")
    os.mkdir(folder)
    port = pg.free_port()
    with open(os.path.join(folder, "users"), "w") as f:
        f.write('"everward_app" ""\n')
    with open(os.path.join(folder, "ini"), "w") as f:
        f.write("[databases]\n* = host=%s port=%d\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port=%d\nunix_socket_dir=%s\nauth_type=trust\n"
                "auth_file=%s/users\npool_mode=transaction\ndefault_pool_size=1\nserver_reset_query=\nlogfile=%s/log\n"
                % (cluster.folder, cluster.port, port, folder, folder, folder))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    process = subprocess.Popen(pg.as_server_user(["pgbouncer", "-q", os.path.join(folder, "ini")]),
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    place = type("Pool", (), {"folder": folder, "port": port})()
    pool = pg.Database(place, "apps")
    for _ in range(100):
        try:
            pool.one(APP, "SELECT 1")
            return
        except pg.SqlError:
            time.sleep(0.05)


def tearDownModule():
    if process is not None:
        process.terminate()
        process.wait()
    cluster.stop()


# ---- probes: each gives a list of what leaked; empty is good -----------------------------------------------------------------

def tables(privilege, role=APP):
    """Every table, view and partition of every schema on which the role has the privilege."""
    return [r[0] for r in db.sql("postgres", "SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                                 "WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast' "
                                 "AND has_schema_privilege('%s', n.oid, 'USAGE') AND has_table_privilege('%s', c.oid, '%s') ORDER BY 1" % (role, role, privilege))]


def leaked(text):
    return sorted(foreign.found_in(text, b.id))


def run_all(transactions, end="COMMIT"):
    """Each in a transaction of its own, on one connection; an error ends that one alone. Everything that came back, errors too."""
    text = "".join("BEGIN;\n%s;\n%s;\n" % (t, end) for t in transactions)
    done = subprocess.run(db.psql(APP, "-v", "ON_ERROR_STOP=0", "-f", "-"), input=text, capture_output=True, text=True)
    return done.stdout + done.stderr


def as_alder(text):
    return "SET LOCAL everward.tenant_id = '%s';\n%s" % (a.id, text)


def probe_reading():
    """All that the role can select, as tenant Alder: no value of Birch."""
    return leaked(run_all(as_alder("SELECT translate(x::text, E'\\n', ' ') FROM %s x" % t) for t in tables("SELECT")))


def probe_nobody():
    """Without a tenant, or with a garbled one: nothing of a table that has one."""
    has_tenant = {r[1] for r in db.sql("postgres", canaries.TABLES)}
    asks = ["%s;\nSELECT 'leak of %s after %s' FROM %s LIMIT 1" % (context, t, n, t) for t in tables("SELECT") if t in has_tenant
            for n, context in enumerate(("SELECT 1", "SET LOCAL everward.tenant_id = ''", "SET LOCAL everward.tenant_id = 'x'",
                                         "SET LOCAL everward.context = '%s'" % b.id,
                                         "SET LOCAL everward.tenant_id = '00000000-0000-0000-0000-000000000000'"))]
    return [line for line in run_all(asks).split("\n") if line.startswith("leak of")]


def probe_writing():
    """Updates, deletes, inserts and TRUNCATE as Alder never touch Birch."""
    before = foreign.dump()
    asks = []
    for t in sorted(set(tables("UPDATE") + tables("DELETE") + tables("INSERT"))):
        asks += [as_alder(x) for x in ("UPDATE %s SET tenant_id = tenant_id WHERE tenant_id = '%s'" % (t, b.id), "DELETE FROM %s WHERE tenant_id = '%s'" % (t, b.id),
                                       "UPDATE %s SET tenant_id = '%s'" % (t, b.id), "INSERT INTO %s SELECT * FROM %s WHERE tenant_id = '%s'" % (t, t, b.id),
                                       "TRUNCATE %s" % t)]
    hits = leaked(run_all(asks))
    after = foreign.dump()
    return hits + ["%s changed" % t for t in before if before[t] != after.get(t)]


def probe_inserting():
    """A row for Birch, written as Alder, is refused."""
    try:
        db.sql(APP, "BEGIN; SET LOCAL everward.tenant_id = '%s'; INSERT INTO ward.location (id, tenant_id) VALUES (gen_random_uuid(), '%s'); ROLLBACK" % (a.id, b.id))
    except pg.SqlError as e:
        return leaked(e.text)
    return ["a row of another tenant was taken"]


def probe_pushed_down():
    """A function that tells what it is given, in the condition, before the policy has spoken; in a view, an operator and a sort too."""
    tell = ("CREATE FUNCTION pg_temp.tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$BEGIN RAISE NOTICE 'told %', $1; RETURN true; END$$;\n"
            "CREATE FUNCTION pg_temp.tell2(text, text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS "
            "$$BEGIN RAISE NOTICE 'told %', $1; RETURN true; END$$;\n"
            "CREATE OPERATOR pg_temp.<<< (leftarg = text, rightarg = text, procedure = pg_temp.tell2);\nCREATE TEMP VIEW seen AS SELECT * FROM ward.patient")
    return leaked(run_all([tell] + [as_alder(ask % t) for t in tables("SELECT") + ["pg_temp.seen"] for ask in (
        "SELECT count(*) FROM %s x WHERE pg_temp.tell(x::text)", "SELECT count(*) FROM %s x WHERE x::text OPERATOR(pg_temp.<<<) 'a'",
        "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM %s x WHERE pg_temp.tell(x::text); FETCH ALL c; CLOSE c")]))


def probe_errors():
    """Unique and foreign keys on Birch's values, and casts that fail on a row: no error text quotes or betrays them."""
    patient = foreign.rows["ward.patient"][0]["id"]
    text = run_all(as_alder(x) for x in (
        "INSERT INTO ward.patient (id, tenant_id, family_name) VALUES ('%s', '%s', 'x'); ROLLBACK; BEGIN" % (patient, a.id),
        "INSERT INTO ward.observation (id, tenant_id, patient_id, code) VALUES (gen_random_uuid(), '%s', '%s', 'c')" % (a.id, patient),
        "INSERT INTO ward.allergy (id, tenant_id, patient_id) VALUES (gen_random_uuid(), '%s', '%s')" % (a.id, patient),
        "SELECT family_name::int FROM ward.patient", "SELECT 1 FROM ward.patient ORDER BY note::int"))
    return leaked(text.replace(patient, "")) + (["a unique key knows Birch's row"] if "23505" in text else [])


def probe_copy():
    return leaked(run_all(as_alder("COPY (SELECT * FROM %s) TO STDOUT" % t) for t in tables("SELECT"))) + allowed((
        "COPY ward.patient TO '/tmp/x'", "COPY ward.patient FROM PROGRAM 'true'", "SELECT lo_import('/etc/passwd')", "SELECT pg_read_file('PG_VERSION')",
        "SELECT lo_export(1, '/tmp/x')"))


def allowed(texts):
    said = run_all(("%s;\nSELECT 'allowed: %d'" % (t, n) for n, t in enumerate(texts)), "ROLLBACK")
    return [t for n, t in enumerate(texts) if "allowed: %d\n" % n in said]


def probe_powers():
    """What would step out of the tenant: roles, replication, triggers, large objects, other sessions."""
    return allowed(("SET LOCAL ROLE everward_owner", "SET LOCAL ROLE everward_gateway", "SET LOCAL ROLE everward_definer", "SET LOCAL ROLE everward_admin", "SET LOCAL ROLE postgres",
                 "SET LOCAL SESSION AUTHORIZATION everward_admin", "SET LOCAL session_replication_role = replica", "ALTER TABLE ward.patient DISABLE ROW LEVEL SECURITY",
                 "ALTER TABLE ward.patient DISABLE TRIGGER ALL", "CREATE POLICY p ON ward.patient USING (true)", "CREATE VIEW ward.v AS SELECT 1",
                 "CREATE VIEW public.v AS SELECT 1", "SELECT everward.seal('%s', NULL)" % b.id, "SELECT everward.enter_node('%s', 'x')" % b.node,
                 "SELECT everward.wake_key_of('%s')" % b.id, "SELECT * FROM everward.counts()", "SELECT * FROM pg_statistic", "SELECT * FROM pg_authid",
                 "SELECT everward.digest(1, NULL, NULL)", "SELECT everward.sequence_feed()"))


def probe_statistics():
    """What the planner has collected of everybody's values must not be readable under row security."""
    db.sql("postgres", "ANALYZE")
    shown = db.sql(APP, "SET everward.tenant_id = '%s'; SELECT translate(s::text, E'\\n', ' ') FROM pg_stats s; SELECT e::text FROM pg_stats_ext e" % a.id)
    return leaked("\n".join(r[0] or "" for r in shown))


PROBES = (probe_reading, probe_nobody, probe_writing, probe_inserting, probe_pushed_down, probe_errors, probe_copy, probe_powers, probe_statistics)


class Directly(unittest.TestCase):
    def test_what_the_role_may_touch_was_found_in_the_catalog(self):
        self.assertGreater(len(tables("SELECT")), 25)
        self.assertGreater(len(tables("UPDATE")), 20)

    def test_bypassing_row_security_by_request_is_an_error(self):
        self.assertNotEqual(db.sql(APP, "SET row_security = on; SELECT 1"), [])
        with self.assertRaises(pg.SqlError):
            db.sql(APP, "SET row_security = off; SET everward.tenant_id = '%s'; SELECT * FROM ward.patient" % a.id)

    def test_a_notification_tells_no_tenant(self):
        with db.session(APP) as s:
            s.sql("LISTEN everward_feed")
            b.patient(canaries.mark())
            time.sleep(0.2)
            s.send("SELECT 1")
            got = json.dumps(s.receive())
        self.assertNotIn(b.id, got)


for _probe in PROBES:
    def _test(self, probe=_probe):
        self.assertEqual(probe(), [], probe.__doc__)
    setattr(Directly, "test_as_the_app_role_" + _probe.__name__.removeprefix("probe_"), _test)


@unittest.skipIf(shutil.which("pgbouncer") is None, "pgbouncer is not installed")
class Pooled(unittest.TestCase):
    def two(self):
        one, two = pool.session(APP), pool.session(APP)
        self.addCleanup(one.close)
        self.addCleanup(two.close)
        self.assertEqual(one.sql("SELECT pg_backend_pid()"), two.sql("SELECT pg_backend_pid()"))
        return one, two

    def seen(self, session):
        return session.sql("SELECT count(*) FROM ward.patient")[0][0]

    def enter(self, tenant):
        return "SET LOCAL everward.tenant_id = '%s'" % tenant.id

    def test_a_tenant_ends_with_its_transaction_however_it_ends(self):
        one, two = self.two()
        for end in ("COMMIT", "ROLLBACK"):
            for tenant in (a, b):
                one.sql("BEGIN")
                one.sql(self.enter(tenant))
                self.assertNotEqual(self.seen(one), "0")
                one.sql(end)
                self.assertEqual((self.seen(one), self.seen(two)), ("0", "0"))
        one.sql("BEGIN")
        one.sql(self.enter(b))
        with self.assertRaises(pg.SqlError):
            one.sql("SELECT 1 / 0")
        one.sql("ROLLBACK")
        self.assertEqual(self.seen(two), "0")

    def test_a_statement_prepared_by_one_tenant_gives_the_other_its_own_rows_alone(self):
        one, two = self.two()
        one.sql("BEGIN")
        one.sql(self.enter(b))
        one.sql("PREPARE everyone AS SELECT family_name FROM ward.patient")
        one.sql("EXECUTE everyone")
        one.sql("COMMIT")
        two.sql("BEGIN")
        two.sql(self.enter(a))
        for _ in range(7):  # by then the plan is a generic one
            self.assertEqual(leaked(json.dumps(two.sql("EXECUTE everyone"))), [])
        two.sql("COMMIT")
        self.assertEqual(two.sql("EXECUTE everyone"), [])
        two.sql("DEALLOCATE everyone")

    def test_two_tenants_that_take_turns_on_one_connection_see_their_own(self):
        one, two = self.two()
        for _ in range(10):
            for session, tenant, other in ((one, a, b), (two, b, a)):
                session.sql("BEGIN")
                session.sql(self.enter(tenant))
                self.assertEqual(session.sql("SELECT DISTINCT tenant_id FROM ward.patient"), [[tenant.id]])
                session.sql("COMMIT")


# What stays open on a server connection whose client does not use SET LOCAL: SECURITY.md says so. Shown here so that it stays true.
@unittest.skipIf(shutil.which("pgbouncer") is None, "pgbouncer is not installed")
class NotProtected(unittest.TestCase):
    def test_an_application_that_sets_its_tenant_for_the_session_gives_it_to_the_next_client_of_the_pool(self):
        with pool.session(APP) as one, pool.session(APP) as two:
            one.sql("SET everward.tenant_id = '%s'" % a.id)
            self.assertNotEqual(two.sql("SELECT count(*) FROM ward.patient"), [["0"]])
            two.sql("RESET everward.tenant_id")
            self.assertEqual(one.sql("SELECT count(*) FROM ward.patient"), [["0"]])


# name: (fault, taken back, the probe that must see it)
PLANTS = {
    "row security switched off": ("ALTER TABLE ward.note DISABLE ROW LEVEL SECURITY", "ALTER TABLE ward.note ENABLE ROW LEVEL SECURITY", probe_reading),
    "nothing but the policy gone": ("ALTER POLICY tenant ON ward.task USING (true)", "ALTER POLICY tenant ON ward.task USING (tenant_id = (SELECT everward.tenant()))",
                                    probe_reading),
    "a second policy": ("CREATE POLICY wide ON ward.allergy FOR SELECT USING (true)", "DROP POLICY wide ON ward.allergy", probe_nobody),
    "a policy that nobody's tenant passes": ("ALTER POLICY tenant ON ward.encounter USING (tenant_id = (SELECT everward.tenant()) OR everward.tenant() IS NULL)",
                                             "ALTER POLICY tenant ON ward.encounter USING (tenant_id = (SELECT everward.tenant()))", probe_nobody),
    "writing unchecked": ("ALTER POLICY tenant ON ward.location WITH CHECK (true); ALTER TABLE ward.location DISABLE TRIGGER USER",
                          "ALTER POLICY tenant ON ward.location WITH CHECK (tenant_id = (SELECT everward.tenant())); SELECT everward_test.triggers('ward.location')",
                          probe_inserting),
    "a role that passes by": ("ALTER ROLE everward_app BYPASSRLS", "ALTER ROLE everward_app NOBYPASSRLS", probe_reading),
    "the owner's view": ("CREATE VIEW ward.everyone AS SELECT * FROM ward.patient; GRANT SELECT ON ward.everyone TO everward_app", "DROP VIEW ward.everyone",
                         probe_reading),
    "a materialized view": ("CREATE MATERIALIZED VIEW ward.kept AS SELECT * FROM ward.patient; GRANT SELECT ON ward.kept TO everward_app",
                            "DROP MATERIALIZED VIEW ward.kept", probe_copy),
    "the map of all nodes": ("GRANT SELECT ON everward.node_of TO everward_app", "REVOKE SELECT ON everward.node_of FROM everward_app", probe_reading),
    "the owner's powers": ("GRANT everward_owner TO everward_app", "REVOKE everward_owner FROM everward_app", probe_powers),
    "everybody's counts": ("GRANT EXECUTE ON FUNCTION everward.counts() TO everward_app", "REVOKE EXECUTE ON FUNCTION everward.counts() FROM everward_app",
                          probe_powers),
    "a table that tells in a condition": ("ALTER TABLE ward.condition DISABLE ROW LEVEL SECURITY", "ALTER TABLE ward.condition ENABLE ROW LEVEL SECURITY", probe_pushed_down),
}


class Planted(unittest.TestCase):
    """The test of the test: each fault is seen by the probe that is there for it, and is gone afterwards."""

    def test_each_planted_fault_is_found(self):
        self.assertGreaterEqual(len(PLANTS), 10)
        db.sql("postgres", "CREATE SCHEMA everward_test; CREATE FUNCTION everward_test.triggers(t regclass) RETURNS void LANGUAGE plpgsql AS $$DECLARE r record; "
               "BEGIN FOR r IN SELECT tgname FROM pg_trigger WHERE tgrelid = t AND NOT tgisinternal LOOP "
               "EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', t, r.tgname); END LOOP; END$$")
        for name, (fault, back, probe) in PLANTS.items():
            with self.subTest(name):
                db.sql("postgres", fault)
                try:
                    self.assertNotEqual(probe(), [], "%s does not see it" % probe.__name__)
                finally:
                    db.sql("postgres", back)
        db.sql("postgres", "DROP SCHEMA everward_test CASCADE")
        self.assertEqual(probe_reading() + probe_inserting() + probe_powers(), [])
        print("app role: %d planted faults found" % len(PLANTS))


if __name__ == "__main__":
    unittest.main()
