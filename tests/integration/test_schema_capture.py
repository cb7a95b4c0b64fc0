"""Every way of writing a synced table is captured once, whole and in order. On a real PostgreSQL."""

import json
import re
import unittest

import pg

cluster = None
db = None
a = None
b = None
ID = "00000000-0000-7000-8000-%012d"


def setUpModule():
    global cluster, db, a, b
    cluster = pg.Cluster().start()
    db = cluster.create("capture")
    a = db.add_tenant("Alder")
    b = db.add_tenant("Birch")


def tearDownModule():
    cluster.stop()


class Case(unittest.TestCase):
    def refused(self, sqlstate, call, *args):
        with self.assertRaises(pg.SqlError) as caught:
            call(*args)
        self.assertEqual(caught.exception.sqlstate, sqlstate, caught.exception)
        return caught.exception

    def log(self, row):
        """op, rev, cols of a row's changes."""
        return [tuple(c[1:4]) for c in a.changes(row)]

    def image(self, row):
        return db.one("postgres", "SELECT image FROM everward.change WHERE row_id = '%s' ORDER BY id DESC LIMIT 1" % row)

    def task(self, number, **columns):
        names = "".join(", " + c for c in columns)
        values = "".join(", '%s'" % v for v in columns.values())
        return "INSERT INTO ward.task (id, tenant_id%s) VALUES ('%s', '%s'%s)" % (names, ID % number, a.id, values)


class Rows(Case):
    def test_an_insert_is_one_change_with_the_whole_row(self):
        p = a.patient("O\"Brien, (\\)")
        self.assertEqual(a.changes(p)[0][:4], ["patient", "i", "1", None])
        row = db.one("postgres", "SELECT ROW(id, tenant_id, rev, site_id, family_name, given_names, birth_date, sex, deceased, deceased_at, "
                     "phone, email, address_line, city, state, postal_code, country, language, marital_status, contact_name, "
                     "contact_phone, isolation, privacy, active, note)::text FROM ward.patient WHERE id = '%s'" % p)
        self.assertEqual(self.image(p), row)

    def test_a_writer_cannot_choose_the_revision(self):
        p = ID % 200
        a.as_app("INSERT INTO ward.patient (id, tenant_id, rev) VALUES ('%s', '%s', 77)" % (p, a.id))
        a.as_app("UPDATE ward.patient SET rev = 99 WHERE id = '%s'" % p)
        a.as_app("UPDATE ward.patient SET rev = 99, city = 'x' WHERE id = '%s'" % p)
        self.assertEqual(a.as_app("SELECT rev FROM ward.patient WHERE id = '%s'" % p), [["2"]])
        self.assertEqual(self.log(p), [("i", "1", None), ("u", "2", "{14}")])

    def test_an_update_names_the_columns_that_changed(self):
        p = a.patient("Before")
        a.as_app("UPDATE ward.patient SET family_name = 'After', sex = 'female', note = NULL WHERE id = '%s'" % p)
        self.assertEqual(self.log(p)[1], ("u", "2", "{5,8}"))

    def test_an_update_that_changes_nothing_is_none_but_counts_as_done(self):
        p = a.patient("Same")
        got = a.as_app("UPDATE ward.patient SET family_name = 'Same' WHERE id = '%s' RETURNING rev" % p)
        self.assertEqual(got, [["1"]])
        self.assertEqual(len(self.log(p)), 1)
        self.assertEqual(db.one("postgres", "SELECT count(*) FROM everward.txn x WHERE NOT EXISTS "
                                "(SELECT FROM everward.change c WHERE c.tenant_id = x.tenant_id AND c.txn = x.txn)"), "0")

    def test_a_numbers_scale_is_a_difference(self):
        p = a.patient("Scale")
        o = a.as_app("INSERT INTO ward.medication_order (id, tenant_id, patient_id, dose_quantity) VALUES (gen_random_uuid(), '%s', '%s', 7.1) "
                     "RETURNING id" % (a.id, p))[0][0]
        a.as_app("UPDATE ward.medication_order SET dose_quantity = 7.10 WHERE id = '%s'" % o)
        self.assertEqual([(c[0], c[1]) for c in self.log(o)], [("i", "1"), ("u", "2")])
        self.assertIn(",7.10,", self.image(o))

    def test_json_is_kept_as_it_was_written_and_compared(self):
        p = a.patient("Json")
        o = a.as_app("INSERT INTO ward.lab_result (id, tenant_id, patient_id, results) VALUES (gen_random_uuid(), '%s', '%s', '{\"b\":1, \"a\" : 2}') "
                     "RETURNING id" % (a.id, p))[0][0]
        a.as_app("UPDATE ward.lab_result SET results = '{\"b\":1,\"a\":2}' WHERE id = '%s'" % o)
        a.as_app("UPDATE ward.lab_result SET results = '{\"b\":1,\"a\":2}' WHERE id = '%s'" % o)
        self.assertEqual([c[1] for c in self.log(o)], ["1", "2"])

    def test_id_and_tenant_cannot_change(self):
        p = a.patient("Fixed")
        self.refused("EW405", a.as_app, "UPDATE ward.patient SET id = gen_random_uuid() WHERE id = '%s'" % p)
        self.refused("EW405", db.sql, "everward_admin", "UPDATE ward.patient SET tenant_id = '%s' WHERE id = '%s'" % (b.id, p))

    def test_deleting_is_refused_with_a_way_out(self):
        p = a.patient("Stays")
        self.assertIn("Set active to false", self.refused("EW405", a.as_app, "DELETE FROM ward.patient WHERE id = '%s'" % p).text)
        a.as_app("INSERT INTO ward.note (id, tenant_id, patient_id) VALUES ('%s', '%s', '%s')" % (ID % 7, a.id, p))
        self.assertIn("entered-in-error", self.refused("EW405", a.as_app, "DELETE FROM ward.note WHERE id = '%s'" % (ID % 7)).text)
        a.as_app("DELETE FROM ward.patient WHERE false")

    def test_a_deleted_row_leaves_a_tombstone_and_comes_back_above_it(self):
        a.as_app(self.task(10, status="draft"))
        a.as_app("UPDATE ward.task SET status = 'ready' WHERE id = '%s'" % (ID % 10))
        a.as_app("DELETE FROM ward.task WHERE id = '%s'" % (ID % 10))
        self.assertRegex(self.image(ID % 10), r"^\(%s,%s,3,.*ready" % (ID % 10, a.id))
        a.as_app(self.task(10, status="again"))
        a.as_app("DELETE FROM ward.task WHERE id = '%s'" % (ID % 10))
        self.assertEqual(self.log(ID % 10), [("i", "1", None), ("u", "2", "{7}"), ("d", "3", None), ("i", "4", None), ("d", "5", None)])
        self.assertEqual(db.sql("postgres", "SELECT rev FROM everward.tombstone WHERE row_id = '%s'" % (ID % 10)), [["5"]])

    def test_a_row_that_comes_back_while_it_is_being_deleted_never_goes_below_its_tombstone(self):
        for isolation in ("READ COMMITTED", "REPEATABLE READ"):
            number = 20 if isolation == "READ COMMITTED" else 21
            a.as_app(self.task(number, status="draft"))
            with db.session("everward_app") as one, db.session("everward_app") as two:
                for s in (one, two):
                    s.sql("BEGIN ISOLATION LEVEL %s" % isolation)
                    s.sql("SET LOCAL everward.tenant_id = '%s'" % a.id)
                    s.sql("SELECT count(*) FROM ward.task")
                one.sql("DELETE FROM ward.task WHERE id = '%s'" % (ID % number))
                two.send(self.task(number, status="again"))
                db.wait_blocked()
                one.sql("COMMIT")
                self.refused("40001", two.receive)
                two.sql("ROLLBACK")
            a.as_app(self.task(number, status="again"))
            self.assertEqual([c[1] for c in self.log(ID % number)], ["1", "2", "3"])

    def test_truncate_is_refused(self):
        for role in ("everward_admin", "postgres"):
            self.refused("EW405", db.sql, role, "TRUNCATE ward.audit_event")

    def test_a_missing_patient_is_told_as_a_missing_parent(self):
        e = self.refused("23503", a.as_app, "INSERT INTO ward.observation (id, tenant_id, patient_id, code) "
                         "VALUES (gen_random_uuid(), '%s', gen_random_uuid(), 'c')" % a.id)
        self.assertIn("observation_patient_id_must_exist", e.text)
        p = a.patient("Parent")
        o = a.as_app("INSERT INTO ward.observation (id, tenant_id, patient_id, code) VALUES (gen_random_uuid(), '%s', '%s', 'c') RETURNING id"
                     % (a.id, p))[0][0]
        self.refused("23503", a.as_app, "UPDATE ward.observation SET patient_id = gen_random_uuid() WHERE id = '%s'" % o)

    def test_a_patient_written_in_the_same_transaction_is_a_parent(self):
        a.as_app("INSERT INTO ward.patient (id, tenant_id) VALUES ('%s', '%s'); INSERT INTO ward.observation (id, tenant_id, patient_id, code) "
                 "VALUES (gen_random_uuid(), '%s', '%s', 'c')" % (ID % 30, a.id, a.id, ID % 30))


class Statements(Case):
    def test_many_rows_in_one_statement_are_one_change_each(self):
        a.as_app("INSERT INTO ward.location (id, tenant_id, code) SELECT gen_random_uuid(), '%s', 'many' FROM generate_series(1, 500)" % a.id)
        a.as_app("UPDATE ward.location SET name = id::text WHERE code = 'many'")
        got = db.sql("postgres", "SELECT op, count(*), count(DISTINCT row_id), count(DISTINCT txn), count(DISTINCT c.id), min(rev), max(rev) "
                     "FROM everward.change c JOIN everward.sync_table s USING (tbl) WHERE name = 'location' AND image LIKE '%many%' GROUP BY 1")
        self.assertEqual(sorted(got), [["i", "500", "500", "1", "500", "1", "1"], ["u", "500", "500", "1", "500", "2", "2"]])

    def test_several_statements_on_one_row_raise_its_revision_each(self):
        p = ID % 40
        a.as_app("INSERT INTO ward.patient (id, tenant_id) VALUES ('%s', '%s'); UPDATE ward.patient SET city = 'a' WHERE id = '%s'; "
                 "UPDATE ward.patient SET city = 'b' WHERE id = '%s'" % (p, a.id, p, p))
        got = a.changes(p)
        self.assertEqual([c[1:4] for c in got], [["i", "1", None], ["u", "2", "{14}"], ["u", "3", "{14}"]])
        self.assertEqual(len({c[4] for c in got}), 1)

    def test_insert_on_conflict_do_update_is_an_update_where_the_row_was_there(self):
        text = ("INSERT INTO ward.patient (id, tenant_id, city) SELECT id::uuid, '%s', 'up' FROM unnest(ARRAY['%s', '%s']) id "
                "ON CONFLICT (tenant_id, id) DO UPDATE SET city = EXCLUDED.city, rev = EXCLUDED.rev" % (a.id, ID % 41, ID % 42))
        a.as_app("INSERT INTO ward.patient (id, tenant_id, city) VALUES ('%s', '%s', 'old')" % (ID % 41, a.id))
        a.as_app(text)
        a.as_app(text)
        self.assertEqual(self.log(ID % 41), [("i", "1", None), ("u", "2", "{14}")])
        self.assertEqual(self.log(ID % 42), [("i", "1", None)])

    def test_insert_on_conflict_do_nothing_is_nothing(self):
        p = a.patient("There")
        a.as_app("INSERT INTO ward.patient (id, tenant_id) VALUES ('%s', '%s') ON CONFLICT DO NOTHING" % (p, a.id))
        self.assertEqual(len(self.log(p)), 1)

    def test_writable_ctes_are_captured_table_by_table(self):
        a.as_app("WITH p AS (INSERT INTO ward.patient (id, tenant_id) VALUES ('%s', '%s') RETURNING *), "
                 "q AS (INSERT INTO ward.patient (id, tenant_id) VALUES ('%s', '%s') RETURNING *) "
                 "INSERT INTO ward.location (id, tenant_id, name) SELECT id, tenant_id, 'cte' FROM p UNION ALL SELECT id, tenant_id, 'cte' FROM q"
                 % (ID % 50, a.id, ID % 51, a.id))
        for n in (50, 51):
            self.assertEqual(sorted((c[0], c[1], c[2]) for c in a.changes(ID % n)), [("location", "i", "1"), ("patient", "i", "1")])

    def test_merge_is_captured_in_all_its_arms(self):
        a.as_app(self.task(60, status="update me"))
        a.as_app(self.task(61, status="delete me"))
        a.as_app("MERGE INTO ward.task t USING (VALUES ('%s'::uuid), ('%s'), ('%s')) s (id) ON t.id = s.id AND t.tenant_id = '%s' "
                 "WHEN MATCHED AND t.status = 'delete me' THEN DELETE WHEN MATCHED THEN UPDATE SET status = 'updated' "
                 "WHEN NOT MATCHED THEN INSERT (id, tenant_id, status) VALUES (s.id, '%s', 'new')" % (ID % 60, ID % 61, ID % 62, a.id, a.id))
        self.assertEqual([self.log(ID % n)[-1][:2] for n in (60, 61, 62)], [("u", "2"), ("d", "2"), ("i", "1")])

    def test_copy_by_the_admin_is_captured(self):
        db.sql("everward_admin", "COPY ward.location (id, tenant_id, name) FROM STDIN;\n%s\t%s\tcopied\n%s\t%s\tcopied\n\\.\n"
               % (ID % 70, a.id, ID % 71, a.id))
        self.assertEqual([self.log(ID % n) for n in (70, 71)], [[("i", "1", None)]] * 2)

    def test_a_rolled_back_savepoint_leaves_nothing_and_what_follows_is_captured(self):
        a.as_app("SAVEPOINT s; INSERT INTO ward.patient (id, tenant_id) VALUES ('%s', '%s'); ROLLBACK TO s; "
                 "INSERT INTO ward.patient (id, tenant_id) VALUES ('%s', '%s'); SAVEPOINT t; "
                 "UPDATE ward.patient SET city = 'gone' WHERE id = '%s'; ROLLBACK TO t; UPDATE ward.patient SET city = 'kept' WHERE id = '%s'"
                 % (ID % 80, a.id, ID % 81, a.id, ID % 81, ID % 81))
        self.assertEqual(self.log(ID % 80), [])
        self.assertEqual(self.log(ID % 81), [("i", "1", None), ("u", "2", "{14}")])
        self.assertEqual(db.one("postgres", "SELECT count(*) FROM everward.change c WHERE NOT EXISTS (SELECT FROM everward.txn x "
                                "WHERE x.tenant_id = c.tenant_id AND x.txn = c.txn)"), "0")

    def test_a_repeatable_read_writer_is_captured(self):
        p = a.patient("RR")
        db.sql("everward_app", "BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL everward.tenant_id = '%s'; SELECT count(*) FROM ward.patient; "
               "UPDATE ward.patient SET city = 'rr' WHERE id = '%s'; COMMIT;" % (a.id, p))
        self.assertEqual(self.log(p)[-1], ("u", "2", "{14}"))

    def test_two_tenants_in_one_transaction_are_refused(self):
        both = "INSERT INTO ward.location (id, tenant_id) VALUES (gen_random_uuid(), '%s')"
        self.refused("EW400", db.sql, "everward_admin", "BEGIN; %s; %s; COMMIT;" % (both % a.id, both % b.id))
        self.refused("EW400", db.sql, "everward_admin", both % a.id + ", (gen_random_uuid(), '%s')" % b.id)
        self.refused("EW400", db.sql, "postgres", "UPDATE ward.role_permission SET actions = actions || ' x'")
        self.refused("EW400", a.as_app, both % a.id + "; SET LOCAL everward.tenant_id = '%s'; " % b.id + both % b.id)

    def test_triggers_of_other_software_are_captured_with_what_they_do(self):
        db.sql("postgres", """
            CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.country := 'set'; RETURN NEW; END $$;
            CREATE TRIGGER z_touch BEFORE INSERT OR UPDATE ON ward.patient FOR EACH ROW EXECUTE FUNCTION public.touch();
            CREATE FUNCTION public.follow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                UPDATE ward.patient SET language = 'followed' WHERE id = NEW.id AND language IS NULL;
                INSERT INTO ward.location (id, tenant_id, name) VALUES (NEW.id, NEW.tenant_id, 'followed') ON CONFLICT DO NOTHING; RETURN NULL; END $$;
            CREATE TRIGGER a_follow AFTER INSERT ON ward.patient FOR EACH ROW EXECUTE FUNCTION public.follow();""")
        try:
            p = a.patient("Triggered")
        finally:
            db.sql("postgres", "DROP FUNCTION public.touch() CASCADE; DROP FUNCTION public.follow() CASCADE")
        got = a.changes(p)
        self.assertEqual(sorted((c[0], c[1], c[2]) for c in got), [("location", "i", "1"), ("patient", "i", "1"), ("patient", "u", "2")])
        self.assertIn("followed", db.one("postgres", "SELECT image FROM everward.change WHERE row_id = '%s' AND rev = 2" % p))
        self.assertIn(",set,", db.one("postgres", "SELECT image FROM everward.change c JOIN everward.sync_table USING (tbl) "
                                      "WHERE row_id = '%s' AND rev = 1 AND name = 'patient'" % p))

    def test_a_writer_that_turns_triggers_off_is_captured_all_the_same(self):
        p = a.patient("Replica")
        db.sql("postgres", "SET session_replication_role = replica; UPDATE ward.patient SET city = 'r' WHERE id = '%s'" % p)
        self.assertEqual(self.log(p)[-1], ("u", "2", "{14}"))

    def test_the_image_does_not_depend_on_the_writers_settings(self):
        db.sql("postgres", "CREATE TABLE public.forms (id uuid, tenant_id uuid NOT NULL, at timestamptz, d date, raw bytea, n numeric, "
               "PRIMARY KEY (tenant_id, id)); SELECT everward.isolate('public.forms'); SELECT everward.enable_sync('public.forms', 'field')")
        db.sql("everward_admin", "RESET ALL")
        db.sql("postgres", "SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'; SET bytea_output = 'escape'; INSERT INTO public.forms "
               "VALUES ('%s', '%s', '2026-01-02 03:04:05.6+00', '2026-01-02', '\\x00ff', 1.50)" % (ID % 90, a.id))
        self.assertEqual(self.image(ID % 90), '(%s,%s,1,"2026-01-02 03:04:05.6+00",2026-01-02,"\\\\x00ff",1.50)' % (ID % 90, a.id))

    def test_a_wake_up_goes_out_when_a_capturing_transaction_commits(self):
        key = a.as_node("SELECT everward.wake_key()")[0][0]
        with db.session("everward_gateway") as s:
            s.sql("LISTEN everward_feed")
            a.patient("Wakes")
            text = ""
            for _ in range(50):
                s.process.stdin.write("SELECT pg_sleep(0.02);\n\\echo \x01t\n")
                s.process.stdin.flush()
                while True:
                    line = s.lines.get(timeout=10)
                    if line == "\x01t\n":
                        break
                    text += line
                if key in text:
                    break
        self.assertIn('notification "everward_feed" with payload "%s"' % key, text)

    def test_a_push_writes_its_transaction_even_if_nothing_changes(self):
        got = a.as_node("SELECT everward.push_txn('%s', 1, 42)" % a.node)
        self.assertEqual(db.sql("postgres", "SELECT origin_node, origin_inc, origin_seq FROM everward.txn WHERE txn = %s" % got[0][0]),
                         [[a.node, "1", "42"]])
        p = a.patient("Pushed")
        got = a.as_node("SELECT everward.push_txn('%s', 1, 43); UPDATE ward.patient SET city = 'p' WHERE id = '%s'" % (a.node, p))
        self.assertEqual(db.sql("postgres", "SELECT txn, origin_node, origin_inc FROM everward.change WHERE row_id = '%s' AND rev = 2" % p),
                         [[got[0][0], a.node, "1"]])
        self.refused("EW401", a.as_node, "SELECT everward.push_txn('%s', 1, 42)" % b.node)
        self.refused("EW401", db.sql, "everward_gateway", "SELECT everward.push_txn('%s', 1, 42)" % a.node)
        self.refused("EW409", a.as_node, "UPDATE ward.patient SET city = 'q' WHERE id = '%s'; SELECT everward.push_txn('%s', 1, 44)" % (p, a.node))

    def test_an_actor_is_noted_when_the_writer_names_one(self):
        p = a.patient("Actor")
        a.as_app("SET LOCAL everward.actor = '%s'; UPDATE ward.patient SET city = 'x' WHERE id = '%s'" % (ID % 99, p))
        self.assertEqual(db.sql("postgres", "SELECT actor FROM everward.change WHERE row_id = '%s' ORDER BY id" % p), [[None], [ID % 99]])


class Moments(Case):
    def test_moments_of_every_precision_are_taken_and_others_refused(self):
        for good in ("2024", "2024-02", "2024-02-29", "2024-02-29T08:00:00Z", "2024-02-29T08:00:00.000+02:00", "2024-02-29T08:00:00-11:30", "2024-02-29T08:00:00.000-05:00",
                     "2024-02-29T08:00:00.123456Z", "1890-01-01", "2024-02-29T08:00:00.5+14:00"):
            with self.subTest(good):
                self.assertEqual(db.one("everward_app", "SELECT '%s'::everward.moment" % good), good)
        for bad in ("", "24", "2024-2", "2024-02-29T08:00", "2024-02-29T08:00:00", "2024-02-29 08:00:00Z", "2024-02-30T08:00:00Z",
                    "2024-13-01T08:00:00.000Z", "now", "infinity", "2024-02-29T 8:00:00Z", "2024-02-29T08:00:00.000 Z", "20x4-02-29T08:00:00Z",
                    "2024-02-29T08:00:00.000+02:00 ", "2024-02-29T08:00:00z", "2024-02-29T25:00:00Z", "2024-02-29T08:00:00.00xZ",
                    "2024-02-29T+8:00:00Z", "2024-02-29T08:-1:00Z", "+024-02-29T08:00:00Z", "2024-0a-29T08:00:00Z", "2024-02-29T08:00:00.000+xx:00",
                    "2024-02-29T08:00:00+02:0b"):
            with self.subTest(bad), self.assertRaises(pg.SqlError) as caught:
                db.one("everward_app", "SELECT '%s'::everward.moment" % bad)
            self.assertIn(caught.exception.sqlstate, ("23514", "22007", "22008", "22009"))


class Enabling(Case):
    HOSPITAL = """
        CREATE TABLE public.%(name)s (%(key)s uuid NOT NULL, %(tenant)s uuid NOT NULL, name varchar(40), weight numeric(5,2),
            kind text CHECK (kind IN ('in', 'out''s')), seen timestamptz, PRIMARY KEY (%(tenant)s, %(key)s));
        SELECT everward.isolate('public.%(name)s', '%(tenant)s');"""

    def test_everything_that_is_missing_is_said_at_once(self):
        db.sql("postgres", "CREATE TABLE public.broken (nr int PRIMARY KEY, \"Name\" text, place point, rev text)")
        e = self.refused("EW422", db.sql, "postgres", "SELECT everward.enable_sync('public.broken', 'factual', "
                         "'{\"colour\": 1, \"columns\": {\"nope\": {}}}')")
        for word in ("class 'factual'", "lacks the key column id", "lacks the tenant column tenant_id", "unique index on (tenant_id, id)",
                     "rev must be bigint", "column place has type point", '"Name"', "row security", "lacks the policy", "option colour",
                     "column nope"):
            self.assertIn(word, e.text)
        self.assertEqual(db.sql("postgres", "SELECT 1 FROM everward.sync_table WHERE table_name = 'broken'"), [])

    def test_each_single_fault_is_named(self):
        def table(name, ddl=""):
            db.sql("postgres", self.HOSPITAL % {"name": name, "key": "id", "tenant": "tenant_id"} + ddl)
            return "SELECT everward.enable_sync('public.%s', 'field')" % name
        faults = {
            "lets in more": "CREATE POLICY wide ON public.f1 USING (true)",
            "must be enabled and forced": "ALTER TABLE public.f2 NO FORCE ROW LEVEL SECURITY",
            "must be uuid NOT NULL": "ALTER TABLE public.f3 DROP CONSTRAINT f3_pkey; ALTER TABLE public.f3 ALTER id DROP NOT NULL; "
                                     "CREATE UNIQUE INDEX ON public.f3 (tenant_id, id)",
            "would run after": "CREATE TRIGGER zzzzz BEFORE UPDATE ON public.f4 FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "rewrite rule": "CREATE RULE r AS ON DELETE TO public.f5 DO INSTEAD NOTHING",
            "neither partitioned nor inherited": "CREATE TABLE public.f6c () INHERITS (public.f6)",
            "permanent, logged": "ALTER TABLE public.f7 SET UNLOGGED",
        }
        for n, (word, ddl) in enumerate(faults.items(), 1):
            with self.subTest(word):
                e = self.refused("EW422", db.sql, "postgres", table("f%d" % n, ddl))
                self.assertIn(word, e.message)
                self.assertNotIn(";", e.message)
        e = self.refused("EW422", db.sql, "postgres", table("patient"))
        self.assertIn("called patient already", e.message)

    def test_a_foreign_table_with_its_own_names_is_synced(self):
        db.sql("postgres", self.HOSPITAL % {"name": "visits", "key": "visit_id", "tenant": "clinic"} +
               "CREATE TABLE public.unused (); GRANT ALL ON public.visits TO everward_app;")
        a.as_app("INSERT INTO public.visits VALUES ('%s', '%s', 'old', 1)" % (ID % 100, a.id))
        t = db.one("postgres", "SELECT everward.enable_sync('public.visits', 'field', '{\"name\": \"visit\", \"key\": \"visit_id\", "
                   "\"tenant\": \"clinic\", \"order\": 60, \"indexes\": [[\"name\"]], \"columns\": {\"weight\": {\"class\": \"review\"}}}')")
        a.as_app("UPDATE public.visits SET weight = 2 WHERE name = 'old'; INSERT INTO public.visits VALUES ('%s', '%s', 'new')" % (ID % 101, a.id))
        self.assertEqual([(c[0], c[1], c[2], c[3]) for c in a.changes(ID % 100)], [("visit", "u", "2", "{5}")])
        self.assertEqual(len(a.changes(ID % 101)), 1)
        doc = json.loads(a.as_node("SELECT everward.catalog()")[0][0])
        entry = [x for x in doc["tables"] if x["name"] == "visit"][0]
        self.assertEqual(entry["tbl"], int(t))
        self.assertEqual([(c["ord"], c["name"], c["type"], c["class"]) for c in entry["columns"]],
                         [(4, "name", "text", None), (5, "weight", "decimal", "review"), (6, "kind", "text", None), (7, "seen", "instant", None)])
        self.assertEqual(entry["columns"][2]["allowed"], ["in", "out's"])
        self.assertEqual(entry["indexes"], [["name"]])

    def test_a_table_put_under_sync_while_writers_run_loses_nothing(self):
        db.sql("postgres", self.HOSPITAL % {"name": "busy", "key": "id", "tenant": "tenant_id"} + "GRANT ALL ON public.busy TO everward_app;")
        insert = "INSERT INTO public.busy VALUES (gen_random_uuid(), '%s', '%%s')" % a.id
        with db.session("everward_app") as early, db.session("postgres") as admin, db.session("everward_app") as late:
            for s in (early, late):
                s.sql("BEGIN")
                s.sql("SET LOCAL everward.tenant_id = '%s'" % a.id)
            early.sql(insert % "early")
            admin.send("SELECT everward.enable_sync('public.busy', 'field')")
            db.wait_blocked()
            late.send(insert % "late")
            db.wait_blocked(2)
            early.sql("COMMIT")
            admin.receive()
            late.receive()
            late.sql("COMMIT")
        rows = dict(a.as_app("SELECT name, rev FROM public.busy"))
        self.assertEqual(rows, {"early": "1", "late": "1"})
        logged = db.sql("postgres", "SELECT split_part(image, ',', 4) FROM everward.change JOIN everward.sync_table USING (tbl) WHERE name = 'busy'")
        self.assertEqual(logged, [["late"]])

    def test_a_column_added_later_gets_the_next_ordinal_and_a_dropped_one_keeps_its_place(self):
        db.sql("postgres", self.HOSPITAL % {"name": "grows", "key": "id", "tenant": "tenant_id"} + "GRANT ALL ON public.grows TO everward_app;"
               "SELECT everward.enable_sync('public.grows', 'field')")
        before = int(db.one("postgres", "SELECT version FROM everward.catalog_state"))
        a.as_app("INSERT INTO public.grows VALUES ('%s', '%s', 'x')" % (ID % 110, a.id))
        db.sql("postgres", "ALTER TABLE public.grows ADD COLUMN more text")
        a.as_app("UPDATE public.grows SET name = 'y' WHERE id = '%s'" % (ID % 110))
        self.assertEqual(int(db.one("postgres", "SELECT everward.refresh_sync('public.grows')")), before + 1)
        self.assertEqual(int(db.one("postgres", "SELECT everward.refresh_sync('public.grows')")), before + 1)
        a.as_app("UPDATE public.grows SET more = 'm' WHERE id = '%s'" % (ID % 110))
        db.sql("postgres", "ALTER TABLE public.grows DROP COLUMN weight; SELECT everward.refresh_sync('public.grows')")
        a.as_app("UPDATE public.grows SET more = 'n' WHERE id = '%s'" % (ID % 110))
        self.assertEqual(self.log(ID % 110), [("i", "1", None), ("u", "2", "{4}"), ("u", "3", "{8}"), ("u", "4", "{8}")])
        self.assertTrue(self.image(ID % 110).endswith(",4,y,,,,n)"), self.image(ID % 110))
        doc = json.loads(a.as_node("SELECT everward.catalog()")[0][0])
        self.assertEqual(doc["version"], before + 2)
        columns = [x for x in doc["tables"] if x["name"] == "grows"][0]["columns"]
        self.assertEqual([(c["ord"], c["name"], c["api"]) for c in columns],
                         [(4, "name", "rw"), (5, "dropped_5", "hidden"), (6, "kind", "rw"), (7, "seen", "rw"), (8, "more", "rw")])

    def test_the_values_of_a_new_column_can_be_sent_to_the_nodes(self):
        db.sql("postgres", self.HOSPITAL % {"name": "fills", "key": "id", "tenant": "tenant_id"} + "GRANT ALL ON public.fills TO everward_app, "
               "everward_owner; SELECT everward.enable_sync('public.fills', 'field')")
        a.as_app("INSERT INTO public.fills VALUES ('%s', '%s', 'x'), ('%s', '%s', 'y')" % (ID % 150, a.id, ID % 151, a.id))
        b.as_app("INSERT INTO public.fills VALUES ('%s', '%s', 'z')" % (ID % 152, b.id))
        db.sql("postgres", "SET session_replication_role = replica; ALTER TABLE public.fills ADD COLUMN more text; "
               "SELECT everward.refresh_sync('public.fills'); ALTER TABLE public.fills DISABLE TRIGGER ALL; "
               "UPDATE public.fills SET more = 'm' WHERE name <> 'y'; ALTER TABLE public.fills ENABLE ALWAYS TRIGGER zzzz_everward_row; "
               "ALTER TABLE public.fills ENABLE ALWAYS TRIGGER zzzz_everward_update")
        self.assertEqual(db.one("everward_admin", "SELECT everward.backfill('public.fills', '%s', '{more}')" % a.id), "1")
        self.assertEqual(self.log(ID % 150), [("i", "1", None), ("u", "2", "{}")])
        self.assertTrue(self.image(ID % 150).endswith(",m)"))
        self.assertEqual([len(self.log(ID % 151)), len(b.changes(ID % 152))], [1, 1])

    def test_a_widened_check_reaches_the_catalog_and_a_changed_type_is_refused(self):
        db.sql("postgres", self.HOSPITAL % {"name": "wider", "key": "id", "tenant": "tenant_id"} + "SELECT everward.enable_sync('public.wider', 'field')")
        before = int(db.one("postgres", "SELECT version FROM everward.catalog_state"))
        db.sql("postgres", "ALTER TABLE public.wider DROP CONSTRAINT wider_kind_check; ALTER TABLE public.wider ADD CHECK (kind IN ('in', 'out', 'up'))")
        self.assertEqual(int(db.one("postgres", "SELECT everward.refresh_sync('public.wider')")), before + 1)
        self.assertEqual(db.one("postgres", "SELECT allowed FROM everward.sync_column k JOIN everward.sync_table s USING (tbl) "
                                "WHERE s.name = 'wider' AND k.name = 'kind'"), "{in,out,up}")
        e = self.refused("EW422", db.sql, "postgres", "ALTER TABLE public.wider ALTER weight TYPE text; SELECT everward.refresh_sync('public.wider')")
        self.assertIn("column weight was synced as decimal and is text now", e.message)

    def test_a_table_taken_out_of_sync_is_free_again_and_comes_back_with_its_number(self):
        db.sql("postgres", self.HOSPITAL % {"name": "comes", "key": "id", "tenant": "tenant_id"} + "GRANT ALL ON public.comes TO everward_app;")
        t = db.one("postgres", "SELECT everward.enable_sync('public.comes', 'field')")
        a.as_app("INSERT INTO public.comes VALUES ('%s', '%s', 'x')" % (ID % 120, a.id))
        db.sql("postgres", "SELECT everward.disable_sync('public.comes')")
        a.as_app("UPDATE public.comes SET name = 'silent'")
        a.as_app("DELETE FROM public.comes")
        self.assertEqual(len(self.log(ID % 120)), 1)
        self.assertEqual(db.sql("postgres", "SELECT proname FROM pg_proc WHERE proname LIKE 't%s\\_%%'" % t), [])
        self.assertNotIn("comes", [x["name"] for x in json.loads(a.as_node("SELECT everward.catalog()")[0][0])["tables"]])
        self.assertEqual(db.one("postgres", "SELECT everward.enable_sync('public.comes', 'field')"), t)
        a.as_app("INSERT INTO public.comes VALUES ('%s', '%s', 'x')" % (ID % 121, a.id))
        self.assertEqual(len(self.log(ID % 121)), 1)

    def test_a_generated_column_does_not_make_every_update_a_change(self):
        db.sql("postgres", self.HOSPITAL % {"name": "gen", "key": "id", "tenant": "tenant_id"} + "ALTER TABLE public.gen ADD COLUMN "
               "double_weight numeric GENERATED ALWAYS AS (weight * 2) STORED; GRANT ALL ON public.gen TO everward_app; "
               "SELECT everward.enable_sync('public.gen', 'field')")
        a.as_app("INSERT INTO public.gen VALUES ('%s', '%s', 'x', 2)" % (ID % 130, a.id))
        a.as_app("UPDATE public.gen SET name = 'x'")
        a.as_app("UPDATE public.gen SET weight = 3")
        self.assertEqual(self.log(ID % 130), [("i", "1", None), ("u", "2", "{5,8}")])

    def test_columns_named_like_the_captures_own_words_do_no_harm(self):
        db.sql("postgres", "CREATE TABLE public.odd (id uuid, tenant_id uuid NOT NULL, t text, x text, n text, r text, o text, \"values\" json, "
               "txn int, op text, \"user\" text, PRIMARY KEY (tenant_id, id)); SELECT everward.isolate('public.odd'); "
               "GRANT ALL ON public.odd TO everward_app; SELECT everward.enable_sync('public.odd', 'field', '{\"deletable\": true}')")
        a.as_app("INSERT INTO public.odd (id, tenant_id, t, x) VALUES ('%s', '%s', 't', 'x')" % (ID % 140, a.id))
        a.as_app("UPDATE public.odd SET n = 'n', r = 'r', o = 'o', \"user\" = 'u'")
        a.as_app("DELETE FROM public.odd")
        self.assertEqual([c[:2] for c in self.log(ID % 140)], [("i", "1"), ("u", "2"), ("d", "3")])


class Reference(Case):
    def test_the_ward_tables_have_the_columns_of_the_contract(self):
        with open(pg.ROOT + "/docs/CENTRAL.md", encoding="utf-8") as f:
            text = f.read()
        blocks = re.findall(r"```\n(patient .*?)```", text, re.S) + re.findall(r"```\n(conflict .*?)```", text, re.S)
        self.assertEqual(len(blocks), 2)
        clinical = ["effective_at", "recorded_at", "recorded_by", "performed_by", "device_id", "clock_state", "source"]
        entries = re.findall(r"^(\w+) +\(([^)]*)\) +(.*(?:\n .*)*)", "".join(blocks), re.M)
        self.assertEqual(len(entries), 28)
        doc = {x["name"]: x for x in json.loads(a.as_node("SELECT everward.catalog()")[0][0])["tables"]}
        for name, about, body in entries:
            with self.subTest(name):
                body = re.sub(r"in\s*\([^)]*\)|\([^)]*\)|\[[^\]]*\]|NOT unique.*", "", body.replace("\n", " "))
                words = [w.split()[0].rstrip("!") for w in re.split(r"[,;]|(?=\+clinical)", body) if w.split()]
                want = ["site_id"] + [c for w in words for c in (clinical if w == "+clinical" else [w])]
                self.assertEqual([c["name"] for c in doc[name]["columns"]], want)
                self.assertEqual(doc[name]["class"], re.split(r"[, ]", about)[0])
                for c in doc[name]["columns"]:
                    if c["name"].endswith("_at") or c["name"] == "birth_date":
                        self.assertEqual(c["type"], "moment", c["name"])

    def test_a_tenant_begins_with_permissions_that_deny_what_they_do_not_name(self):
        got = dict(((r, t), set(x.split())) for r, t, x in a.as_app("SELECT role, table_name, actions FROM ward.role_permission"))
        self.assertEqual({r for r, _ in got}, {"nurse", "charge_nurse", "doctor", "pharmacist", "registrar", "it_support", "privacy_officer"})
        self.assertEqual(got["nurse", "observation"], {"read", "create"})
        self.assertNotIn("create", got["nurse", "medication_order"])
        self.assertIn("create", got["doctor", "medication_order"])
        for role in ("charge_nurse", "doctor"):
            self.assertIn("resolve", got[role, "conflict"])
            self.assertIn("create", got[role, "conflict_resolution"])
        self.assertNotIn("resolve", got["nurse", "conflict"])
        self.assertFalse({t for r, t in got if r == "it_support"} & {"patient", "observation", "note", "encounter"})
        known = {x["name"] for x in json.loads(a.as_node("SELECT everward.catalog()")[0][0])["tables"]}
        self.assertLessEqual({t for _, t in got}, known | {"device", "login", "break_glass"})  # 0050: rights on what is no table
        self.assertLessEqual(set().union(*got.values()), {"read", "create", "update", "delete", "resolve"})

    def test_a_digest_tells_equal_ranges_from_different_ones(self):
        t = db.one("postgres", "SELECT tbl FROM everward.sync_table WHERE name = 'staff'")
        for n in (1, 2, 3):
            a.as_app("INSERT INTO ward.staff (id, tenant_id, username) VALUES ('%s', '%s', 'u%d')" % (ID % n, a.id, n))
        ask = "SELECT * FROM everward.digest(%s, %%s, %%s)" % t
        whole = a.as_node(ask % ("NULL", "NULL"))[0]
        one, rest = (a.as_node(ask % r)[0] for r in (("NULL", "'%s'" % (ID % 2)), ("'%s'" % (ID % 2), "NULL")))
        self.assertEqual((whole[0], one[0], rest[0]), ("3", "1", "2"))
        self.assertEqual("%016x" % (int(one[1], 16) ^ int(rest[1], 16)), whole[1])
        self.assertEqual(a.as_node(ask % ("'%s'" % (ID % 8), "NULL"))[0], ["0", "0" * 16])
        image = self.image(ID % 1)
        import hashlib
        self.assertEqual(one[1], hashlib.sha256(image.encode()).hexdigest()[:16])
        a.as_app("UPDATE ward.staff SET active = true WHERE id = '%s'" % (ID % 3))
        self.assertNotEqual(a.as_node(ask % ("NULL", "NULL"))[0][1], whole[1])
        self.assertEqual(b.as_node(ask % ("NULL", "NULL"))[0][0], "0")


if __name__ == "__main__":
    unittest.main()
