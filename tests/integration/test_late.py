"""An exported outbox is taken in at the centre: late, to be reviewed, each change once.

Real programs: everward, everward-gateway, PostgreSQL (stack.py)."""

import json
import os
import subprocess
import unittest
import uuid

import gateway_client as gc
import stack
from test_audit import until

LAKESIDE = "Lakeside"
BATCH = 1000  # EXPORT_CHANGES
s = secret = None


def setUpModule():
    global s, secret
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()
    s.tenant(LAKESIDE)
    secret = os.path.join(s.folder, "recovery-secret")
    s.gateway.cli("recovery", "make", "--tenant", LAKESIDE, "--secret-file", secret)


def tearDownModule():
    s.stop()


def one(query):
    return s.db.one("postgres", query)


def rows(query):
    return s.db.sql("postgres", query)


class Case(unittest.TestCase):
    def setUp(self):
        self.mark = "late" + uuid.uuid4().hex[:10]

    def patient(self, n=0):
        return {"family_name": "%s-%d" % (self.mark, n), "given_names": "Test", "active": True}

    def node(self, name):
        n = s.node(name, LAKESIDE)
        until(lambda: int(one("SELECT count(*) FROM everward.escrow JOIN everward.node USING (tenant_id, node_id) WHERE name = '%s'" % name)))
        return n

    def revoke(self, n):
        """Away when it happens, and refused when it comes back."""
        n.link("down")
        s.gateway.cli("node", "revoke", n.name, "--tenant", LAKESIDE)

    def export(self, n, name="sealed"):
        path = os.path.join(n.folder, name)
        n.command("export-outbox", path)
        return path

    def accept(self, path, *more, tenant=LAKESIDE, key=None):
        return s.gateway.run("outbox", "accept", path, "--tenant", tenant, "--secret-file", key or secret, "--json", *more)

    def accepted(self, path, *more):
        done = self.accept(path, *more)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def at_centre(self):
        return {r[0] for r in rows("SELECT id FROM ward.patient WHERE family_name LIKE '%s-%%'" % self.mark)}

    def flagged(self):
        return [r[0] for r in rows("SELECT a.row_id FROM everward.alert a JOIN ward.patient p ON p.id = a.patient_id"
                                   " WHERE a.kind = 'late' AND p.family_name LIKE '%s-%%' ORDER BY 1" % self.mark)]

    def report(self, name):
        listed = s.gateway.cli("audit", "report", "--tenant", LAKESIDE, "--action", "outbox_accept", "--json")
        return [r for r in json.loads(listed) if r["node"] == name]

    def everything(self):
        """What a second run must not move."""
        return rows("SELECT (SELECT count(*) FROM everward.change), (SELECT count(*) FROM everward.txn), (SELECT count(*) FROM everward.receipt),"
                    " (SELECT count(*) FROM everward.alert), (SELECT sum(last_seq) FROM everward.node_head)")


class Accept(Case):
    def test_the_outbox_of_a_revoked_node_comes_to_every_ward_and_asks_for_a_review(self):
        a, b = self.node("Alder"), self.node("Birch")
        known = a.tablet().create("patient", self.patient())
        a.wait_current()
        self.revoke(a)
        made = [a.tablet().create("patient", self.patient(i))["id"] for i in range(1, 4)]
        seen = a.tablet().create("observation", {"patient_id": known["id"], "code": "8867-4", "value_decimal": "72", "status": "final"})["id"]
        a.tablet().change("patient", known["id"], {"phone": "555 0100"})
        a.link("up")
        until(lambda: "revoked" in a.log() or "no longer enrolled" in a.log())
        path = self.export(a)
        before = self.everything()
        dry = self.accepted(path)
        self.assertEqual((dry["status"], dry["changes"], dry["inserts"], dry["updates"], dry["applied"], dry["known"]), ("revoked", 5, 4, 1, 0, 0))
        self.assertEqual(self.everything(), before, "a dry run moves nothing")
        done = self.accepted(path, "--apply")
        self.assertEqual((done["applied"], done["known"], done["quarantined"]), (5, 0, []))
        self.assertEqual(self.at_centre(), {known["id"], *made})
        self.assertEqual(one("SELECT phone FROM ward.patient WHERE id = '%s'" % known["id"]), "555 0100")
        flags = sorted([known["id"], seen, *made])
        self.assertEqual(self.flagged(), flags)
        author = one("SELECT recorded_by FROM ward.observation WHERE id = '%s'" % seen)
        self.assertEqual({r[0] for r in rows("SELECT for_staff::text FROM everward.alert WHERE kind = 'late' AND row_id = '%s'" % seen)},
                         {'["%s"]' % author})
        self.assertEqual(rows("SELECT DISTINCT n.name FROM everward.change c JOIN everward.node n ON n.node_id = c.origin_node"
                              " WHERE c.row_id = '%s'" % seen), [["Alder"]])
        b.wait_current()
        until(lambda: {r["id"] for r in b.tablet().all("patient", family_name="like.%s*" % self.mark)} == {known["id"], *made})
        until(lambda: sorted(r["row_id"] for r in b.tablet().all("alert", kind="eq.late") if r["row_id"] in flags) == flags)
        chart = b.tablet().get("/api/v1/patients/%s/chart" % known["id"])
        self.assertIn("late", [alert["kind"] for alert in chart["alerts"]])
        after = self.everything()
        again = self.accepted(path, "--apply")
        self.assertEqual((again["applied"], again["known"]), (0, 5))
        self.assertEqual(self.everything(), after, "each change at most once")
        report = self.report("Alder")
        self.assertEqual([r["outcome"] for r in report], ["ok"] * 2)
        self.assertIn("5 taken in, 0 known", report[1]["detail"])
        self.assertTrue(b.verify()["equal"])
        a.stop()
        b.stop()

    def test_what_had_arrived_before_is_known_by_number_and_the_node_hears_of_the_rest(self):
        n = self.node("Cedar")
        n.tablet().create("patient", self.patient())
        n.wait_current()
        n.link("down")
        made = [n.tablet().create("patient", self.patient(i))["id"] for i in range(1, 3)]
        early = self.export(n, "early")
        made.append(n.tablet().create("patient", self.patient(3))["id"])
        late = self.export(n, "late")
        self.assertEqual(self.accepted(early, "--apply")["applied"], 2)
        done = self.accepted(late, "--apply")
        self.assertEqual((done["known"], done["applied"]), (2, 1))
        self.assertEqual(self.flagged(), sorted(made))
        n.link("up")  # it was never revoked: a stick was quicker than the line
        n.wait_current()
        self.assertEqual(len(self.at_centre()), 4)
        self.assertTrue(n.verify()["equal"])
        self.assertEqual(self.accepted(early, "--apply")["applied"], 0)
        n.stop()

    def test_a_change_that_the_centre_refuses_is_listed_and_stops_no_other(self):
        n = self.node("Dogwood")
        self.revoke(n)
        made = [n.tablet().create("patient", self.patient(i))["id"] for i in range(5)]
        path = self.export(n)
        rows("ALTER TABLE ward.patient ADD CONSTRAINT poison CHECK (family_name <> '%s-2')" % self.mark)
        try:
            for _ in range(2):  # known: it is listed again
                done = self.accepted(path, "--apply")
                self.assertEqual([(q["table"], q["row"]) for q in done["quarantined"]], [("patient", made[2])])
                self.assertIn("does not allow this value", done["quarantined"][0]["reason"])
        finally:
            rows("ALTER TABLE ward.patient DROP CONSTRAINT poison")
        self.assertEqual(self.at_centre(), {*made} - {made[2]})
        self.assertEqual(self.flagged(), sorted({*made} - {made[2]}))
        n.stop()


class Both(Case):
    def test_a_node_that_comes_back_after_its_outbox_was_taken_in_sends_only_the_rest(self):
        n = self.node("Gale")
        self.revoke(n)
        made = [n.tablet().create("patient", self.patient(i))["id"] for i in range(3)]
        path = self.export(n)
        self.assertEqual(self.accepted(path, "--apply")["applied"], 3)
        made.append(n.tablet().create("patient", self.patient(3))["id"])
        later = self.export(n, "later")
        n.stop()
        n.command("setup", s.gateway.cli("node", "invite", "Gale", "--tenant", LAKESIDE, "--keep-outbox"), "--keep-outbox")
        n.start()
        n.link("up")
        n.wait_current()
        self.assertEqual(rows("SELECT DISTINCT p.rev FROM ward.patient p WHERE p.family_name LIKE '%s-%%'" % self.mark), [["1"]])
        self.assertEqual(self.at_centre(), set(made))
        self.assertEqual(self.flagged(), sorted(made), "each once")
        self.assertTrue(n.verify()["equal"])
        before = self.everything()
        for file in (path, later):  # of a life that is over: the node has brought it itself
            done = self.accept(file, "--apply")
            self.assertEqual(done.returncode, 77, done.stderr)
            self.assertIn("is of life 1 of the node", done.stderr)
        self.assertEqual(self.everything(), before)
        n.stop()


class Broken(Case):
    def test_a_run_that_is_killed_between_two_batches_is_finished_by_the_next_one(self):
        n = self.node("Elm")
        held = n.tablet().create("patient", self.patient())
        n.wait_current()
        self.revoke(n)
        for i in range(1, BATCH + 1):
            n.tablet().create("patient", self.patient(i))
        n.tablet().change("patient", held["id"], {"phone": "555 0101"})  # in the second batch
        path = self.export(n)
        head = "SELECT last_seq FROM everward.node_head JOIN everward.node USING (tenant_id, node_id) WHERE name = 'Elm'"
        start = int(one(head))
        lock = s.db.session("postgres")
        lock.sql("BEGIN; SELECT 1 FROM ward.patient WHERE id = '%s' FOR UPDATE" % held["id"])
        run = subprocess.Popen([gc.PROGRAM, "--config", s.gateway.config, "outbox", "accept", path, "--tenant", LAKESIDE, "--secret-file", secret,
                                "--apply"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: int(one(head)) == start + BATCH)
        until(lambda: int(one("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'everward_gateway'")))
        run.kill()
        run.wait(30)
        lock.close()
        until(lambda: not int(one("SELECT count(*) FROM pg_stat_activity WHERE usename = 'everward_gateway' AND state LIKE 'idle in%'")))
        self.assertEqual(len(self.at_centre()), BATCH + 1)
        done = self.accepted(path, "--apply")
        self.assertEqual((done["known"], done["applied"]), (BATCH, 1))
        self.assertEqual(one("SELECT phone FROM ward.patient WHERE id = '%s'" % held["id"]), "555 0101")
        self.assertEqual(len(self.flagged()), BATCH + 1)
        self.assertEqual(one("SELECT count(*) FROM everward.change c JOIN ward.patient p ON p.id = c.row_id WHERE p.family_name LIKE '%s-%%'"
                             % self.mark), str(BATCH + 2))
        self.assertEqual(self.accepted(path, "--apply")["applied"], 0)
        self.assertEqual([r["outcome"] for r in self.report("Elm")], ["ok", "ok", "broken off"])
        n.stop()

    def test_files_that_are_foreign_damaged_or_cut_and_other_keys_change_nothing(self):
        n = self.node("Fir")
        n.link("down")
        n.tablet().create("patient", self.patient())
        path = self.export(n)
        with open(path, "rb") as f:
            data = f.read()
        flip = lambda at: data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
        s.tenant("Elsewhere")
        other = os.path.join(n.folder, "other-secret")
        s.gateway.cli("recovery", "make", "--tenant", "Elsewhere", "--secret-file", other)
        before = self.everything()
        bad = os.path.join(n.folder, "bad")
        for words, text in {"no sealed outbox": b"", "ends early": data[:-1], "damaged": flip(100), "not in its place": flip(25),
                            "another tenant's": flip(9), "follows the last": data + b"x"}.items():
            with open(bad, "wb") as f:
                f.write(text)
            done = self.accept(bad, "--apply")
            self.assertEqual((done.returncode, done.stdout), (77, ""), words)
            self.assertIn(words, done.stderr)
        for done, words in ((self.accept(path, "--apply", key=other), "another recovery key"),
                            (self.accept(path, "--apply", tenant="Elsewhere", key=other), "another tenant's")):
            self.assertEqual(done.returncode, 77)
            self.assertIn(words, done.stderr)
        rows("UPDATE everward.node SET public_key = sha256('another') WHERE name = 'Fir'")
        done = self.accept(path, "--apply")
        self.assertEqual(done.returncode, 77)
        self.assertIn("the signature is not this node's", done.stderr)
        self.assertEqual(self.everything(), before)
        self.assertEqual(one("SELECT count(*) FROM everward.late_accept JOIN everward.node USING (tenant_id, node_id) WHERE name = 'Fir'"), "0")
        n.kill()


class Permit(Case):
    def test_the_gateway_enters_for_a_node_by_an_operators_permit_alone(self):
        node, tenant = rows("SELECT node_id, tenant_id FROM everward.node LIMIT 1")[0]
        enter = "SELECT everward.enter_late('%s', '%s')"
        make = ("INSERT INTO everward.late_accept (tenant_id, node_id, permit_hash, file_sha256, incarnation, first_seq, last_seq, expires_at, done_at)"
                " VALUES ('%s', '%s', sha256('%s'), sha256(''), 1, 1, 1, %s, %s)")
        for word, expires, done in (("old", "now() - interval '1 s'", "NULL"), ("used", "now() + interval '1 h'", "now()")):
            rows(make % (tenant, node, word, expires, done))
            with self.assertRaisesRegex(Exception, "permitted"):
                s.db.sql("everward_gateway", enter % (node, word))
        with self.assertRaisesRegex(Exception, "permitted"):
            s.db.sql("everward_gateway", enter % (node, "guess"))
        rows(make % (tenant, node, "good", "now() + interval '1 h'", "NULL"))
        s.db.sql("everward_gateway", enter % (node, "good"))
        with self.assertRaisesRegex(Exception, "permission denied"):
            s.db.sql("everward_gateway", make % (tenant, node, "mine", "now()", "NULL"))
        rows("DELETE FROM everward.late_accept WHERE file_sha256 = sha256('')")


class Restored(Case):
    """Last: the centre begins another life."""

    def test_a_file_of_the_centres_former_life_overwrites_nothing_that_was_written_since(self):
        n = self.node("Hazel")
        seen, moved = (n.tablet().create("patient", self.patient(i)) for i in range(2))
        n.wait_current()
        self.revoke(n)
        for row in (seen, moved):
            n.tablet().change("patient", row["id"], {"phone": "555 0102"})
        path = self.export(n)
        n.kill()
        s.gateway.cli("timeline", "renew")
        s.as_app(LAKESIDE, "UPDATE ward.patient SET phone = '555 0199' WHERE id = '%s'" % moved["id"])
        done = self.accepted(path, "--apply")
        self.assertEqual((done["applied"], done["contested"]), (2, 1))
        phone = "SELECT phone FROM ward.patient WHERE id = '%s'"
        self.assertEqual((one(phone % seen["id"]), one(phone % moved["id"])), ("555 0102", "555 0199"))
        self.assertEqual(one("SELECT incoming->>'phone' FROM everward.conflict WHERE row_id = '%s' AND state = 'open'" % moved["id"]), "555 0102")
        self.assertEqual(self.flagged(), sorted([seen["id"], moved["id"]]))


if __name__ == "__main__":
    unittest.main()
