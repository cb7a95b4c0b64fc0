"""The audit trail from the tablet to its witness at the centre: what is in it, and what a tampered one is met with.

Real programs: everward, everward-gateway, PostgreSQL (stack.py). Edits inside the store: tests/unit/node/store/test_audit.c."""

import json
import os
import shutil
import threading
import time
import unittest

import pg
import stack

LAKESIDE = "Lakeside"
s = a = None
FILES = ("node.db", "node.db-wal", "node.db-shm")


def setUpModule():
    global s, a
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()
    a = s.node("Alder", LAKESIDE)


def tearDownModule():
    s.stop()


def verify(node):
    done = node.run("audit", "verify", "--json")
    return done.returncode, json.loads(done.stdout)


def report(node, *words):
    return json.loads(node.command("audit", "report", *words, "--json"))


def copy_store(source, to):
    os.makedirs(to, exist_ok=True)
    for name in FILES:
        if os.path.exists(os.path.join(source, name)):
            shutil.copy2(os.path.join(source, name), os.path.join(to, name))
        elif os.path.exists(os.path.join(to, name)):
            os.remove(os.path.join(to, name))


def witnessed(node):
    """(entries at the centre, the newest head witnessed) of a node's present life."""
    rows = node.stack.db.sql("postgres", "SELECT (SELECT count(*) FROM everward.audit_trail t JOIN everward.node n USING (tenant_id, node_id) "
                    "WHERE n.name = '%s'), coalesce((SELECT max(w.n) FROM everward.audit_witness w JOIN everward.node n "
                    "USING (tenant_id, node_id) WHERE n.name = '%s'), 0)" % (node.name, node.name))
    return int(rows[0][0]), int(rows[0][1])


def until(what, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = what()
        if value:
            return value
        time.sleep(0.1)
    raise TimeoutError("it did not come true within %s s" % seconds)


def all_witnessed(node):
    entries = verify(node)[1]["entries"]  # asking is an entry, too: once
    until(lambda: min(witnessed(node)) >= entries)


class Trail(unittest.TestCase):
    def setUp(self):
        if a.process is None:
            a.start()
        self.tablet = a.tablet()

    def test_each_thing_done_is_an_entry_with_who_and_which_patient(self):
        row = self.tablet.create("patient", {"family_name": "Trailing", "given_names": "Test", "active": True})
        self.tablet.get("/api/v1/patient/" + row["id"])
        self.tablet.get("/api/v1/patients/%s/chart" % row["id"])
        self.tablet.get("/api/v1/patients/%s/chart?purpose=print" % row["id"])
        list(self.tablet.all("patient", family_name="like.Trail*"))
        with self.assertRaises(Exception):
            self.tablet.create("lab_result", {"code": "x"})
        with self.assertRaises(Exception):
            stack.Tablet("127.0.0.1", a.port, os.path.join(a.state, "tls", "ca.crt"), stack.USER, "wrong")
        a.command("export-outbox", os.path.join(a.folder, "outbox"))
        entries = report(a)
        kinds = {(e["action"], e["outcome"]) for e in entries}
        for wanted in [("login", "ok"), ("login", "refused"), ("read", "ok"), ("chart", "ok"), ("print", "ok"), ("search", "ok"), ("refused", "refused"), ("write", "ok"),
                       ("export", "ok"), ("sync", "ok"), ("start", "ok")]:
            self.assertIn(wanted, kinds)
        seen = report(a, "patient", row["id"])
        self.assertEqual({e["action"] for e in seen}, {"write", "read", "chart", "print"})
        self.assertEqual({e["username"] for e in seen}, {stack.USER})
        self.assertNotIn("Trailing", json.dumps(entries))

    def test_the_centre_has_every_entry_and_witnesses_the_head(self):
        for _ in range(20):
            list(self.tablet.all("location"))
        all_witnessed(a)
        code, said = verify(a)
        self.assertEqual((code, said["whole"], said["witness"], said["broken"]), (0, True, "agrees", None))
        self.assertGreaterEqual(said["signed_heads"], 1)
        self.assertEqual(s.db.sql("postgres", "SELECT kind FROM everward.audit_alarm JOIN everward.node USING (tenant_id, node_id) "
                                  "WHERE name = 'Alder'"), [])
        gaps = s.db.one("postgres", "SELECT count(*) FROM (SELECT n - lag(n, 1, 0::bigint) OVER (PARTITION BY node_id, life "
                        "ORDER BY n) AS d FROM everward.audit_trail) x WHERE d <> 1")
        self.assertEqual(gaps, "0")
        listed = s.gateway.cli("audit", "report", "--tenant", LAKESIDE, "--action", "login")
        self.assertIn(stack.USER, listed)

    def test_not_even_the_databases_owner_changes_what_the_centre_keeps(self):
        all_witnessed(a)
        for text in ("DELETE FROM everward.audit_trail", "UPDATE everward.audit_trail SET action = 'x'", "TRUNCATE everward.audit_trail",
                     "DELETE FROM everward.audit_witness", "DELETE FROM everward.audit_alarm"):
            with self.assertRaises(pg.SqlError) as refused:
                s.db.sql("postgres", text)
            self.assertIn("EW405", str(refused.exception))

    def test_another_tenant_sees_none_of_it(self):
        all_witnessed(a)
        s.tenant("Stranger")
        rows = s.as_app("Stranger", "SELECT count(*) FROM everward.audit_trail")
        self.assertEqual(rows, [["0"]])
        self.assertNotEqual(s.as_app(LAKESIDE, "SELECT count(*) FROM everward.audit_trail"), [["0"]])

    def test_a_read_that_was_answered_is_in_the_trail_after_kill_9(self):
        row = self.tablet.create("patient", {"family_name": "Killed", "given_names": "Test", "active": True})
        answered, ending = [], threading.Event()

        def read():
            try:
                tablet = a.new_tablet()
                while not ending.is_set():
                    tablet.get("/api/v1/patient/" + row["id"])
                    answered.append(1)
            except Exception:  # killed
                return

        readers = [threading.Thread(target=read, daemon=True) for _ in range(3)]
        for r in readers:
            r.start()
        until(lambda: len(answered) > 60)
        a.kill()
        ending.set()
        for r in readers:
            r.join(30)
        a.start()
        seen = [e for e in report(a, "patient", row["id"]) if e["action"] == "read"]
        self.assertGreaterEqual(len(seen), len(answered))
        self.assertEqual(verify(a)[0], 0)


class PutBack(unittest.TestCase):
    def test_an_old_copy_put_back_is_refused_by_the_witness_and_shown(self):
        b = s.node("Birch", LAKESIDE)
        until(lambda: verify(b)[1]["witness"] == "agrees")
        b.stop()
        old, new = os.path.join(b.folder, "old"), os.path.join(b.folder, "new")
        copy_store(b.state, old)
        b.start()
        for _ in range(5):
            list(b.tablet().all("patient"))  # only looked at: no change of the outbox tells of it
        all_witnessed(b)
        b.stop()
        copy_store(b.state, new)
        copy_store(old, b.state)
        b.start()
        status = b.wait_state("attention")
        self.assertIn("audit", status["reason"])
        code, said = verify(b)
        self.assertEqual((code, said["whole"], said["witness"]), (2, False, "refused"))
        alarms = s.gateway.cli("audit", "alarms", "--tenant", LAKESIDE)
        self.assertTrue("behind" in alarms or "forked" in alarms, alarms)
        kept = witnessed(b)
        self.assertGreater(kept[0], said["entries"] - 5)
        b.stop()
        copy_store(new, b.state)  # the true one again: nothing is wrong any more, the alarm stays
        b.start()
        until(lambda: verify(b)[1]["witness"] == "agrees")
        b.wait_current()
        self.assertIn("Birch", s.gateway.cli("audit", "alarms", "--tenant", LAKESIDE))
        b.stop()


class Trimmed(unittest.TestCase):
    def test_old_entries_that_the_centre_has_leave_the_node_behind_a_checkpoint(self):
        if a.process is None:
            a.start()
        for _ in range(20):
            list(a.tablet().all("location"))
        all_witnessed(a)
        a.stop()
        a.store_sql("DELETE FROM _contact; WITH RECURSIVE d(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM d WHERE n < 400) "
                    "INSERT INTO _contact (day, acked, audited) SELECT n, 0, (SELECT value FROM _meta WHERE name = '_audit_sent') FROM d")
        had = int(a.store_sql("SELECT value FROM _meta WHERE name = '_audit_sent'"))
        self.assertGreater(had, 20)
        a.start()
        until(lambda: verify(a)[1].get("trimmed_to") == had)
        until(lambda: "audit_trimmed" in a.log())
        code, said = verify(a)
        self.assertEqual((code, said["whole"], said["broken"]), (0, True, None))
        self.assertIn("signed checkpoint at entry %d" % had, a.command("audit", "verify"))
        self.assertGreater(min(e["n"] for e in report(a)), had)
        all_witnessed(a)
        self.assertGreater(witnessed(a)[0], had)  # the centre keeps them all
        a.kill()
        first = a.store_sql("SELECT min(n) FROM _audit")
        self.assertEqual(int(first), had + 1)
        a.store_sql("DROP TRIGGER _audit_delete; DELETE FROM _audit WHERE n = " + first)
        a.start()
        code, said = verify(a)
        self.assertEqual((code, said["whole"]), (2, False))
        self.assertIn("audit entry %s is not what was written" % first, said["broken"])


if __name__ == "__main__":
    unittest.main()
