"""One tenant never sees another: row security, the sealed context, the roles. On a real PostgreSQL."""

import unittest

import pg

cluster = None
db = None
a = None
b = None


def setUpModule():
    global cluster, db, a, b
    cluster = pg.Cluster().start()
    db = cluster.create("isolation")
    a = db.add_tenant("Alder")
    b = db.add_tenant("Birch")
    a.patient("Canary of Alder")
    b.patient("Canary of Birch")


def tearDownModule():
    cluster.stop()


class Case(unittest.TestCase):
    def refused(self, sqlstate, call, *args):
        with self.assertRaises(pg.SqlError) as caught:
            call(*args)
        self.assertEqual(caught.exception.sqlstate, sqlstate, caught.exception)
        return caught.exception


class Tables(Case):
    def test_every_table_with_a_tenant_has_forced_row_security_and_the_one_policy(self):
        bad = db.sql("postgres", """
            SELECT c.oid::regclass, c.relrowsecurity, c.relforcerowsecurity,
                   (SELECT array_agg(pg_get_expr(p.polqual, p.polrelid) || p.polcmd::text) FROM pg_policy p WHERE p.polrelid = c.oid)
            FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = 'tenant_id' AND NOT t.attisdropped
            WHERE c.relnamespace IN ('ward'::regnamespace, 'everward'::regnamespace) AND c.relkind IN ('r', 'p')
              AND NOT (c.relrowsecurity AND c.relforcerowsecurity AND 1 = (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid)
                       AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND everward.is_tenant_policy(p, 'tenant_id')))""")
        self.assertEqual(bad, [])
        count = db.one("postgres", "SELECT count(*) FROM pg_policy")
        self.assertGreater(int(count), 35)

    def test_a_table_that_someone_forgot_to_isolate_is_found(self):
        found = db.sql("postgres", """
            BEGIN; CREATE TABLE ward.forgotten (tenant_id uuid);
            SELECT c.relname FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = 'tenant_id'
            WHERE c.relnamespace = 'ward'::regnamespace AND c.relkind = 'r' AND NOT c.relforcerowsecurity; ROLLBACK;""")
        self.assertEqual(found, [["forgotten"]])

    def test_every_key_and_foreign_key_begins_with_the_tenant(self):
        bad = db.sql("postgres", """
            SELECT k.conrelid::regclass, k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
            JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = 'tenant_id'
            WHERE c.relnamespace IN ('ward'::regnamespace, 'everward'::regnamespace) AND k.contype IN ('p', 'u', 'f')
              AND k.conkey[1] <> t.attnum""")
        self.assertEqual(bad, [])

    def test_no_view_hides_the_reader_from_row_security(self):
        self.assertEqual(db.sql("postgres", """
            SELECT c.relname FROM pg_class c WHERE c.relnamespace IN ('ward'::regnamespace, 'everward'::regnamespace)
            AND c.relkind IN ('v', 'm') AND NOT coalesce('security_invoker=true' = ANY (c.reloptions), false)"""), [])


class Roles(Case):
    def test_the_gateway_and_the_definer_own_no_table_and_do_not_bypass(self):
        self.assertEqual(db.sql("postgres", """
            SELECT r.rolname FROM pg_roles r WHERE r.rolname IN ('everward_gateway', 'everward_definer', 'everward_app', 'everward_monitor')
            AND (r.rolbypassrls OR r.rolsuper OR r.rolcreaterole
                 OR EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid)
                 OR EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid))"""), [])

    def test_definer_functions_fix_their_search_path(self):
        self.assertEqual(db.sql("postgres", """
            SELECT p.oid::regprocedure FROM pg_proc p WHERE p.prosecdef AND p.pronamespace = 'everward'::regnamespace
            AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)"""), [])

    def test_the_public_may_call_nothing_but_tenant(self):
        for role, want in (("everward_app", ["tenant"]), ("everward_monitor", ["counts", "tenant"])):
            got = db.sql("postgres", "SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'everward'::regnamespace "
                         "AND has_function_privilege('%s', p.oid, 'EXECUTE') ORDER BY 1" % role)
            self.assertEqual([g[0] for g in got], want)

    def test_monitoring_sees_counts_and_no_rows(self):
        got = db.sql("everward_monitor", "SELECT tenant, nodes_enrolled > 0, head FROM everward.counts() ORDER BY 1")
        self.assertEqual({g[0] for g in got}, {a.id, b.id})
        self.assertEqual({g[1] for g in got}, {"t"})
        self.assertEqual(db.sql("everward_monitor", "BEGIN; SELECT count(*) FROM everward.counts(); SELECT everward.tenant(); COMMIT;")[-1], [None])
        for table in ("ward.patient", "everward.change", "everward.node", "everward.tenant", "everward.conflict"):
            self.refused("42501", db.sql, "everward_monitor", "SELECT * FROM " + table)

    def test_the_gateway_may_call_this_and_no_more(self):
        got = db.sql("postgres", """
            SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'everward'::regnamespace
            AND has_function_privilege('everward_gateway', p.oid, 'EXECUTE') ORDER BY 1""")
        self.assertEqual([g[0] for g in got], [
            "answer_wipe", "begin_incarnation", "catalog", "close_fleet", "constant_default", "context_node", "digest", "enrol", "enter_fleet", "enter_late", "enter_node", "enter_person", "exchange_escrow", "fleet", "fleet_page", "image_sql", "lease_numbers", "life_began", "maintain", "node_key",
            "node_seen", "open_fleet", "push_txn", "readmission_key", "readmit", "renew_timeline", "rotate_key", "sequence_feed", "take_audit", "take_report", "tenant", "timeline", "wake_key"])

    def test_the_gateway_cannot_read_the_key_of_the_seal(self):
        for table in ("everward.secret", "everward.node_of", "everward.token_of", "everward.node", "everward.invite"):
            self.refused("42501", db.sql, "everward_gateway", "SELECT * FROM " + table)

    def test_the_gateway_cannot_seal_or_make_a_mac(self):
        self.refused("42501", a.as_node, "SELECT everward.seal('%s', NULL)" % b.id)
        self.refused("42501", a.as_node, "SELECT everward.mac('context', 'x')")
        self.refused("42501", a.as_node, "SELECT everward.begin_txn('%s', NULL, NULL, NULL)" % b.id)

    def test_the_gateway_can_neither_write_nor_forget_the_log(self):
        for statement in ("INSERT INTO everward.change SELECT * FROM everward.change", "DELETE FROM everward.change",
                          "INSERT INTO everward.txn SELECT * FROM everward.txn", "UPDATE everward.txn SET txn = txn",
                          "DELETE FROM everward.cut", "UPDATE everward.feed_head SET head = 0", "DELETE FROM everward.receipt",
                          "UPDATE everward.receipt SET last_seq = 0", "TRUNCATE everward.change",
                          "SELECT * FROM everward.change_p0", "ALTER TABLE ward.patient DISABLE TRIGGER ALL",
                          "SET session_replication_role = replica", "SET ROLE everward_definer", "SET ROLE everward_owner",
                          "SET SESSION AUTHORIZATION postgres", "CREATE TABLE everward.mine ()", "CREATE TABLE ward.mine ()"):
            with self.subTest(statement):
                self.refused("42501", a.as_node, statement)


class Context(Case):
    def test_without_a_tenant_nothing_is_visible(self):
        for role in ("everward_gateway", "everward_app"):
            tables = db.sql("postgres", """
                SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = 'tenant_id'
                WHERE n.nspname IN ('ward', 'everward') AND c.relkind IN ('r', 'p')
                AND has_table_privilege('%s', c.oid, 'SELECT')""" % role)
            self.assertGreater(len(tables), 20)
            for (table,) in tables:
                with self.subTest(table=table, role=role):
                    self.assertEqual(db.one(role, "SELECT count(*) FROM %s" % table), "0")

    def test_without_a_tenant_nothing_can_be_written(self):
        for role in ("everward_gateway", "everward_app"):
            self.refused("42501", db.sql, role, "INSERT INTO ward.location (id, tenant_id) VALUES (gen_random_uuid(), '%s')" % a.id)
            db.sql(role, "UPDATE ward.patient SET city = 'x'; DELETE FROM ward.task;")
        self.assertEqual(db.one("postgres", "SELECT count(*) FROM ward.patient WHERE city = 'x'"), "0")

    def test_a_node_sees_its_own_tenant_alone(self):
        self.assertEqual(a.as_node("SELECT family_name FROM ward.patient"), [["Canary of Alder"]])
        self.assertEqual(b.as_node("SELECT family_name FROM ward.patient"), [["Canary of Birch"]])
        self.assertEqual(a.as_node("SELECT count(*) FROM everward.change WHERE image LIKE '%Birch%'"), [["0"]])

    def test_another_tenants_row_cannot_be_written_or_taken_over(self):
        self.refused("42501", a.as_node, "INSERT INTO ward.location (id, tenant_id) VALUES (gen_random_uuid(), '%s')" % b.id)
        self.refused("EW405", a.as_node, "UPDATE ward.patient SET tenant_id = '%s'" % b.id)
        self.assertEqual(a.as_node("UPDATE ward.patient SET city = 'x' WHERE tenant_id = '%s' RETURNING 1" % b.id), [])

    def test_another_tenants_patient_cannot_be_named(self):
        foreign = b.patient("Named")
        for table, columns, values in (("observation", "code", "'c'"), ("allergy", "code", "'c'")):
            self.refused("23503", a.as_node, "INSERT INTO ward.%s (id, tenant_id, patient_id, %s) VALUES (gen_random_uuid(), '%s', '%s', %s)"
                         % (table, columns, a.id, foreign, values))

    def test_the_same_id_in_two_tenants_tells_neither_of_the_other(self):
        same = b.patient("Same id")
        a.as_node("INSERT INTO ward.patient (id, tenant_id, family_name) VALUES ('%s', '%s', 'Mine')" % (same, a.id))
        got = a.as_node("INSERT INTO ward.patient (id, tenant_id, family_name) VALUES ('%s', '%s', 'x') "
                        "ON CONFLICT (tenant_id, id) DO UPDATE SET note = 'n' RETURNING family_name" % (same, a.id))
        self.assertEqual(got, [["Mine"]])
        self.assertEqual(b.as_node("SELECT family_name, note FROM ward.patient WHERE id = '%s'" % same), [["Same id", None]])
        a.as_app("UPDATE ward.patient SET active = false WHERE id = '%s'" % same)

    def test_a_wrong_ticket_and_an_unknown_node_are_told_the_same(self):
        wrong = self.refused("EW401", db.sql, "everward_gateway", "SELECT everward.enter_node('%s', 'guess')" % a.node)
        none = self.refused("EW401", db.sql, "everward_gateway", "SELECT everward.enter_node(gen_random_uuid(), 'guess')")
        self.assertEqual(wrong.message, none.message)
        self.refused("EW401", db.sql, "everward_gateway", "SELECT everward.enter_node('%s', NULL)" % a.node)
        self.refused("EW401", db.sql, "everward_gateway", "SELECT everward.enter_node(NULL, 'guess')")

    def test_after_a_wrong_ticket_nothing_is_left_open(self):
        with db.session("everward_gateway") as s:
            s.sql("BEGIN")
            s.sql("SAVEPOINT s")
            self.refused("EW401", s.sql, "SELECT everward.enter_node('%s', 'guess')" % a.node)
            s.sql("ROLLBACK TO s")
            self.assertEqual(s.sql("SELECT count(*) FROM ward.patient"), [["0"]])

    def test_the_context_ends_with_its_transaction(self):
        with db.session("everward_gateway") as s:
            s.sql("BEGIN")
            s.sql(a.enter())
            self.assertNotEqual(s.sql("SELECT count(*) FROM ward.patient"), [["0"]])
            s.sql("COMMIT")
            self.assertEqual(s.sql("SELECT count(*) FROM ward.patient"), [["0"]])

    def test_a_context_set_by_hand_opens_nothing(self):
        guesses = [b.id, "%s,,9999999999," % b.id + "0" * 64, "%s,%s,9999999999," % (b.id, b.node) + "f" * 64, "0" * 64, "x", ","]
        for guess in guesses:
            for scope in ("true", "false"):
                got = db.sql("everward_gateway", "BEGIN; SELECT set_config('everward.context', '%s', %s) IS NULL; "
                             "SELECT count(*) FROM ward.patient; COMMIT;" % (guess, scope))
                self.assertEqual(got[-1], ["0"], guess)

    def test_a_true_context_with_another_tenant_in_it_opens_nothing(self):
        got = a.as_node("SELECT set_config('everward.context', replace(current_setting('everward.context'), '%s', '%s'), true) IS NULL; "
                        "SELECT count(*) FROM ward.patient" % (a.id, b.id))
        self.assertEqual(got[-1], ["0"])

    def test_a_true_context_does_not_hold_in_another_transaction_or_connection(self):
        with db.session("everward_gateway") as s:
            s.sql("BEGIN")
            s.sql(a.enter())
            stolen = s.sql("SELECT current_setting('everward.context')")[0][0]
            s.sql("COMMIT")
            s.sql("BEGIN")
            s.sql("SELECT set_config('everward.context', '%s', true)" % stolen)
            self.assertEqual(s.sql("SELECT count(*) FROM ward.patient"), [["0"]])
            s.sql("COMMIT")
        got = db.sql("everward_gateway", "SET everward.context = '%s'; SELECT count(*) FROM ward.patient" % stolen)
        self.assertEqual(got, [["0"]])

    def test_the_plain_setting_is_for_trusted_software_alone(self):
        ask = "SET everward.tenant_id = '%s'; SELECT count(*) > 0 FROM ward.patient" % a.id
        self.assertEqual(db.one("everward_app", ask), "t")
        self.assertEqual(db.one("everward_gateway", ask), "f")
        self.refused("42501", db.sql, "everward_monitor", ask)

    def test_a_transaction_number_set_by_hand_is_refused(self):
        for guess in ("1,%s,,,%s" % (a.id, "0" * 64), "x"):
            self.refused("EW403", a.as_node, "SELECT set_config('everward.txn', '%s', true) IS NULL; "
                         "UPDATE ward.patient SET city = 'x'" % guess)

    def test_an_origin_is_taken_from_the_node_that_entered_alone(self):
        patient = a.patient("Origin")
        for node in (b.node, a.node):
            a.as_node("SELECT set_config('everward.origin', '%s,1,5', true) IS NULL; UPDATE ward.patient SET note = '%s' WHERE id = '%s'"
                      % (node, node, patient))
        a.as_app("SELECT set_config('everward.origin', '%s,1,5', true) IS NULL; UPDATE ward.patient SET note = 'app' WHERE id = '%s'"
                 % (a.node, patient))
        got = db.sql("postgres", "SELECT origin_node, origin_inc FROM everward.change WHERE row_id = '%s' ORDER BY id" % patient)
        self.assertEqual(got, [[None, None], [None, None], [a.node, "1"], [None, None]])

    def test_the_wake_key_differs_by_tenant_and_tells_nothing(self):
        key = a.as_node("SELECT everward.wake_key()")[0][0]
        self.assertRegex(key, "^[0-9a-f]{16}$")
        self.assertNotEqual(key, b.as_node("SELECT everward.wake_key()")[0][0])
        self.assertEqual(key, a.as_node("SELECT everward.wake_key()")[0][0])


class Enrolment(Case):
    def enrol(self, token, key="key", ticket="t"):
        return db.sql("everward_gateway", "SELECT node_id, tenant_name, site_name, incarnation FROM everward.enrol('%s', sha256('%s'), 'n', "
                      "sha256('%s'))" % (token, key, ticket))[0]

    def test_an_invite_serves_once_and_repeats_its_answer_to_the_same_key(self):
        a.invite("once")
        first = self.enrol("once")
        self.assertEqual(first[1:], ["Alder", "Site of Alder", "1"])
        self.assertEqual(self.enrol("once", ticket="second"), first)
        db.sql("everward_gateway", "SELECT everward.enter_node('%s', 'second')" % first[0])
        self.refused("EW401", db.sql, "everward_gateway", "SELECT everward.enter_node('%s', 't')" % first[0])
        self.refused("EW409", self.enrol, "once", "another key")

    def test_an_unknown_and_an_expired_invite_are_refused(self):
        self.refused("EW401", self.enrol, "never made")
        a.invite("old", ttl="-1 second")
        self.refused("EW410", self.enrol, "old")

    def test_enrolling_opens_no_tenant(self):
        a.invite("open")
        got = db.sql("everward_gateway", "BEGIN; SELECT 1 FROM everward.enrol('open', sha256('k'), 'n', sha256('t')); "
                     "SELECT count(*) FROM ward.patient; COMMIT;")
        self.assertEqual(got[-1], ["0"])

    def test_a_revoked_node_is_kept_out_and_its_key_says_so(self):
        node = a.enrol("lost tablet", "t")
        db.sql("everward_admin", "SELECT everward.revoke_node('%s', '%s')" % (a.id, node))
        self.refused("EW403", db.sql, "everward_gateway", "SELECT everward.enter_node('%s', 't')" % node)
        self.assertEqual(db.sql("everward_gateway", "SELECT tenant_id, status FROM everward.node_key('%s')" % node), [[a.id, "revoked"]])

    def test_asking_for_a_nodes_key_leaves_the_tenant_as_it_was(self):
        got = a.as_node("SELECT count(*) FROM everward.node_key('%s'); SELECT everward.tenant()" % b.node)
        self.assertEqual(got, [["1"], [a.id]])
        got = db.sql("everward_gateway", "BEGIN; SELECT count(*) FROM everward.node_key('%s'); SELECT everward.tenant(); COMMIT;" % b.node)
        self.assertEqual(got, [["1"], [None]])

    def test_an_incarnation_follows_the_present_one(self):
        node = a.enrol("restored", "t")
        enter = "BEGIN; SELECT FROM everward.enter_node('%s', 't'); " % node
        begin = "SELECT everward.begin_incarnation(%s, 1, 0, NULL, decode(repeat('00', 32), 'hex')); "
        db.sql("everward_gateway", enter + begin % 2 + begin % 2 + "COMMIT;")  # the answer may have been lost
        self.assertEqual(db.sql("everward_gateway", "SELECT incarnation FROM everward.enter_node('%s', 't')" % node), [["2"]])
        for inc in ("1", "5000", "NULL"):
            self.refused("EW409", db.sql, "everward_gateway", enter + begin % inc + "COMMIT;")

    def test_a_life_begins_behind_a_change_that_the_centre_holds_and_no_other(self):
        node = a.enrol("other", "t")
        enter = "BEGIN; SELECT FROM everward.enter_node('%s', 't'); " % node
        for after, link in ((1, "0011223344556677"), (7, ""), (9000000000, "00")):
            self.refused("EW409", db.sql, "everward_gateway", enter + "SELECT everward.begin_incarnation(2, 1, %d, decode('%s', 'hex'), "
                         "decode(repeat('00', 32), 'hex')); COMMIT;" % (after, link))
        self.assertEqual(db.sql("everward_gateway", "SELECT incarnation FROM everward.enter_node('%s', 't')" % node), [["1"]])


if __name__ == "__main__":
    unittest.main()
