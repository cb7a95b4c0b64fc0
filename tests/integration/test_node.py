"""Two wards of one hospital and a stranger, through outages: what was acknowledged arrives, once, and all end equal.

Real programs: everward, everward-gateway, PostgreSQL (stack.py)."""

import json
import os
import random
import signal
import threading
import time
import unittest
import uuid

import gateway_client as gc
import stack

LAKESIDE, HILLCREST = "Lakeside", "Hillcrest"
s = a = b = c = None


def setUpModule():
    global s, a, b, c
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()
    a, b, c = s.node("Alder", LAKESIDE), s.node("Birch", LAKESIDE), s.node("Cedar", HILLCREST)


def tearDownModule():
    s.stop()


def count(where, table="ward.patient"):
    return int(s.db.one("postgres", "SELECT count(*) FROM %s WHERE %s" % (table, where)))


def patient(mark, n=0):
    return {"family_name": "%s-%d" % (mark, n), "given_names": "Test", "active": True}


def at_centre(mark):
    """The marked patients the centre holds, and how often each."""
    return {r[0]: int(r[1]) for r in s.db.sql("postgres", "SELECT id, count(*) FROM ward.patient WHERE family_name LIKE '%s-%%' "
                                              "GROUP BY id" % mark)}


def held(node, mark):
    return {r["id"] for r in node.tablet().all("patient", family_name="like.%s*" % mark)}


class Writer(threading.Thread):
    """Writes patients until told to stop; remembers what was answered with success. Survives its node."""

    def __init__(self, node, mark):
        super().__init__(daemon=True)
        self.node, self.mark, self.acknowledged, self.ending, self.errors = node, mark, [], threading.Event(), 0

    def run(self):
        tablet, n = None, 0
        while not self.ending.is_set():
            try:
                tablet = tablet or self.node.new_tablet()
                self.acknowledged.append(tablet.create("patient", patient(self.mark, n))["id"])
                n += 1
            except Exception:  # the node is down: whatever it is, nothing was acknowledged
                self.errors += 1
                tablet = None
                time.sleep(0.05)

    def finish(self):
        self.ending.set()
        self.join(60)
        return set(self.acknowledged)


class Journey(unittest.TestCase):
    def setUp(self):
        self.mark = "m" + uuid.uuid4().hex[:10]
        for n in (a, b, c):
            if n.process is None:
                n.start()
            n.link("up")
            n.wait_current()

    def all_arrive(self, acknowledged, nodes=None):
        """Everywhere, once; nothing but them."""
        for n in nodes or (a, b):
            n.wait_current()
        self.assertEqual(at_centre(self.mark), {i: 1 for i in acknowledged})
        for n in nodes or (a, b):
            end = time.monotonic() + 30
            while held(n, self.mark) != acknowledged and time.monotonic() < end:
                time.sleep(0.05)
            self.assertEqual(held(n, self.mark), acknowledged, n.name)

    def test_a_write_at_one_ward_arrives_at_the_centre_and_at_the_other_ward(self):
        row = a.tablet().create("patient", patient(self.mark))
        took = b.tablet().wait_for("/api/v1/patient/" + row["id"], 20)
        self.assertLess(took, 5)
        self.all_arrive({row["id"]})
        status = a.wait_current()
        self.assertEqual(status["last_seq"], status["acked_seq"])
        self.assertIsNotNone(status["last_push_at"])

    def test_another_programs_sql_at_the_centre_arrives_at_both_wards(self):
        row = s.as_app(LAKESIDE, "INSERT INTO ward.task (id, tenant_id, code, status) VALUES (gen_random_uuid(), '%s', '%s', 'requested') "
                       "RETURNING id" % (s.tenants[LAKESIDE], self.mark))[0][0]
        for n in (a, b):
            n.tablet().wait_for("/api/v1/task/" + row, 20)
        s.as_app(LAKESIDE, "UPDATE ward.task SET status = 'accepted' WHERE id = '%s'" % row)
        for n in (a, b):
            n.tablet().wait_for("/api/v1/task/" + row, 20, lambda r: r["status"] == "accepted")
        s.as_app(LAKESIDE, "DELETE FROM ward.task WHERE id = '%s'" % row)
        for n in (a, b):
            end = time.monotonic() + 20
            while list(n.tablet().all("task", code="eq." + self.mark)) and time.monotonic() < end:
                time.sleep(0.05)
            self.assertEqual(list(n.tablet().all("task", code="eq." + self.mark)), [], n.name)

    def test_a_stranger_sees_nothing_of_it(self):
        row = a.tablet().create("patient", patient(self.mark))
        b.tablet().wait_for("/api/v1/patient/" + row["id"], 20)
        own = c.tablet().create("patient", patient(self.mark, 1))
        c.wait_current()
        self.assertEqual(held(c, self.mark), {own["id"]})
        self.assertEqual(held(b, self.mark), {row["id"]})

    def test_with_the_line_down_both_wards_go_on_and_end_equal(self):
        for n in (a, b):
            n.link("down")
            self.assertIn("link up", n.wait_state("offline")["reason"])
        wrote = {n: {n.tablet().create("patient", patient(self.mark, i))["id"] for i in range(25)} for n in (a, b)}
        self.assertEqual(a.status()["pending"], 25)
        self.assertEqual(at_centre(self.mark), {})
        a.stop()
        a.start()  # the line stays as it was left
        self.assertEqual(a.run("status").returncode, 1)
        self.assertEqual(a.status()["pending"], 25)
        self.assertEqual(held(a, self.mark), wrote[a])
        for n in (a, b):
            n.link("up")
        self.all_arrive(wrote[a] | wrote[b])
        for n in (a, b):
            self.assertTrue(n.verify()["equal"])
            self.assertIs(n.status()["replica_equal"], True)

    def test_a_killed_gateway_stops_nobody_and_nothing_is_done_twice(self):
        writer = Writer(a, self.mark)
        writer.start()
        rng = random.Random(int(os.environ.get("EVERWARD_SEED", "1")))
        for _ in range(4):
            time.sleep(rng.random())
            s.gateway.stop(signal.SIGKILL)
            time.sleep(0.3)
            s.gateway.start()
        acknowledged = writer.finish()
        self.assertGreater(len(acknowledged), 20)
        self.assertEqual(writer.errors, 0, "the ward noticed")
        self.all_arrive(acknowledged)

    def test_a_node_killed_while_writing_loses_nothing_it_acknowledged(self):
        rng = random.Random(int(os.environ.get("EVERWARD_SEED", "2")))
        writer = Writer(a, self.mark)
        writer.start()
        for _ in range(5):
            time.sleep(0.2 + rng.random())
            a.kill()
            a.start()
        acknowledged = writer.finish()
        a.wait_current()
        arrived = at_centre(self.mark)
        self.assertGreater(len(acknowledged), 20)
        self.assertEqual(acknowledged - set(arrived), set(), "lost")
        self.assertEqual({n for n in arrived.values()}, {1}, "twice")
        # what was on its way when the node died may have been written without an answer: then it is everywhere
        self.all_arrive(set(arrived))
        self.assertTrue(a.verify()["equal"])

    def test_postgresql_killed_under_the_gateway_is_an_outage_like_any_other(self):
        writer = Writer(a, self.mark)
        writer.start()
        time.sleep(0.5)
        s.cluster._run(["pg_ctl", "-D", s.cluster.data, "-m", "fast", "-w", "stop"])
        time.sleep(0.5)
        s.cluster.start()
        time.sleep(0.5)
        acknowledged = writer.finish()
        self.assertEqual(writer.errors, 0)
        self.all_arrive(acknowledged)

    def test_a_node_that_starts_without_a_centre_serves_its_ward(self):
        row = a.tablet().create("patient", patient(self.mark))
        self.all_arrive({row["id"]})
        a.stop()
        s.gateway.stop()
        try:
            a.start()
            a.wait_state("offline")
            self.assertEqual(held(a, self.mark), {row["id"]})
            more = a.tablet().create("patient", patient(self.mark, 1))
            self.assertEqual(a.status()["pending"], 1)
        finally:
            s.gateway.start()
        a.command("link", "up")
        self.all_arrive({row["id"], more["id"]})

    def test_stopping_takes_seconds_although_a_long_poll_is_open(self):
        started = time.monotonic()
        self.assertEqual(a.stop(), 0)
        self.assertLess(time.monotonic() - started, 3)

    def test_verify_finds_and_mends_what_changed_behind_the_feeds_back(self):
        made = [b.tablet().create("task", {"code": self.mark, "status": "requested", "note": str(i)})["id"] for i in range(3)]
        b.wait_current()
        a.wait_current()
        changed, removed, kept = made
        more = str(uuid.uuid4())
        s.db.sql("postgres", "BEGIN; ALTER TABLE ward.task DISABLE TRIGGER USER; UPDATE ward.task SET note = 'x' WHERE id = '%s'; "
                 "DELETE FROM ward.task WHERE id = '%s'; INSERT INTO ward.task (id, tenant_id, rev, code, status) VALUES "
                 "('%s', '%s', 1, '%s', 'requested'); %s COMMIT" % (changed, removed, more, s.tenants[LAKESIDE], self.mark, "".join(
                     "ALTER TABLE ward.task ENABLE ALWAYS TRIGGER zzzz_everward_%s; " % t
                     for t in ("insert", "update", "delete", "rev", "row", "truncate"))))
        self.assertEqual({r["id"]: r["note"] for r in b.tablet().all("task", code="eq." + self.mark)}, dict(zip(made, "012")))
        report = b.verify()
        self.assertEqual((report["equal"], report["mended"]), (True, 3), report)
        self.assertEqual({r["id"]: r["note"] for r in b.tablet().all("task", code="eq." + self.mark)},
                         {changed: "x", kept: "2", more: None})
        self.assertEqual(b.verify()["mended"], 0)
        self.assertTrue(a.verify()["equal"])

    def test_a_change_the_centre_cannot_apply_is_kept_shown_and_can_be_retried_or_dropped(self):
        a.link("down")
        forbidden, kept, blind = (a.tablet().create("patient", {**patient(self.mark, i), "phone": p})["id"]
                                  for i, p in enumerate(("+1999", "+1555", "+1999")))
        s.db.sql("postgres", "ALTER TABLE ward.patient ADD CONSTRAINT no_999 CHECK (phone <> '+1999') NOT VALID")
        try:
            a.link("up")
            status = a.wait(lambda st: st["quarantined"] == 2)
            self.assertEqual(status["state"], "attention")
            self.assertEqual(a.run("status").returncode, 2)
            self.assertEqual(at_centre(self.mark), {kept: 1})
            self.assertEqual(held(a, self.mark), {forbidden, kept, blind})  # what the ward typed still shows
            listed = json.loads(a.command("quarantine", "list", "--json"))
            self.assertEqual({q["id"] for q in listed}, {forbidden, blind})
            self.assertEqual({(q["sqlstate"], q["constraint"]) for q in listed}, {("23514", "no_999")})
            self.assertNotIn(self.mark, json.dumps(listed), "patient data")
        finally:
            s.db.sql("postgres", "ALTER TABLE ward.patient DROP CONSTRAINT no_999")
        seq = {q["id"]: str(q["seq"]) for q in listed}
        a.command("quarantine", "retry", seq[forbidden])
        a.command("quarantine", "drop", seq[blind])
        self.assertEqual(a.run("quarantine", "drop", "999999").returncode, 69)
        self.all_arrive({forbidden, kept})
        self.assertEqual(a.status()["quarantined"], 0)

    def test_the_outbox_as_a_file_holds_what_waits_and_is_what_a_push_would_be(self):
        a.link("down")
        made = [a.tablet().create("patient", patient(self.mark, i))["id"] for i in range(3)]
        path = os.path.join(a.folder, "outbox-%s.zst" % self.mark)
        a.command("export-outbox", path)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        with open(path, "rb") as f:
            lines = gc.unpack(f.read())
        self.assertEqual(lines[0]["format"], "everward-push/1")
        self.assertEqual([line["id"] for line in lines[1:-1]], made)
        self.assertEqual(lines[-1]["count"], 3)
        self.assertNotEqual(a.run("export-outbox", path).returncode, 0)  # never over a file

    def test_the_fields_of_status_are_those_that_are_promised(self):
        promised = {"state", "tenant_id", "node_id", "incarnation", "timeline", "pending", "oldest_pending_at", "last_seq", "acked_seq",
                    "cursor", "head", "quarantined", "conflicts_open", "last_push_at", "last_pull_at", "clock_offset_ms",
                    "catalog_version", "replica_equal", "verified_at"}
        status = a.status()
        self.assertEqual(promised - set(status), set())
        self.assertEqual(status["tenant_id"], s.tenants[LAKESIDE])
        self.assertEqual(a.run("status").returncode, 0)

    def test_garbage_on_the_control_socket_changes_nothing(self):
        import socket
        for text in (b"\n", b"{}\n", b"{\"command\":1}\n", b"{\"command\":\"sing\"}\n", b"[" * 200 + b"\n", b"\xff\xfe\n",
                     b"{\"command\":\"quarantine_drop\",\"seq\":\"x\"}\n", b"x" * 200000):
            with socket.socket(socket.AF_UNIX) as k:
                k.settimeout(10)
                k.connect(os.path.join(a.state, "control.sock"))
                try:
                    k.sendall(text)
                    k.shutdown(socket.SHUT_WR)
                    reply = k.recv(65536)
                except ConnectionError:
                    reply = b""
                if reply:
                    self.assertIn("error", json.loads(reply))
        self.assertEqual(os.stat(os.path.join(a.state, "control.sock")).st_mode & 0o777, 0o600)
        a.wait_current()


if __name__ == "__main__":
    unittest.main()
