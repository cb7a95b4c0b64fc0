"""A storm: node, gateway and PostgreSQL are killed at random while wards and other software write and the line flaps.

Every author keeps a list of what was acknowledged, and repeats what was not, under the same key. In the end: each acknowledged
write is at both nodes and at the centre, with the last acknowledged value, once; the centre's log has each effect once.
EVERWARD_STORM_S: seconds of storm (10). EVERWARD_SEED: its seed, else from the clock; printed.
"""
import http.client
import os
import random
import signal
import threading
import time
import unittest
import uuid

import line
import pg
import stack
from demolib.client import ApiError

LAKESIDE = "Lakeside"
STORM_S = float(os.environ.get("EVERWARD_STORM_S", "10"))
SEED = int(os.environ.get("EVERWARD_SEED", str(int(time.time()))))
WARDS = ("Alder", "Birch")
TABLETS = 3  # at each
CALM_S = 90
GONE = (OSError, http.client.HTTPException, ValueError)  # whatever it is, nothing was acknowledged


class Ward(threading.Thread):
    """A tablet that makes patients and changes them; an unanswered request is repeated until it is answered."""

    def __init__(self, node, name, seed):
        super().__init__(daemon=True)
        self.node, self.name_, self.rng = node, name, random.Random(seed)
        self.rows = []  # [id, mark, last acknowledged note, acknowledged changes]
        self.ending, self.tablet, self.repeats, self.refused = threading.Event(), None, 0, []

    def until_answered(self, request):
        """request(tablet), with one key, again and again; None if the node refuses."""
        while True:
            try:
                self.tablet = self.tablet or self.node.new_tablet()
                return request(self.tablet)
            except ApiError as e:
                if e.status == 412:
                    return None  # the centre's number came meanwhile: it is read and tried anew
                if e.status not in (429, 503):
                    self.refused.append(str(e))
                    return None
            except GONE:
                self.tablet = None
            self.repeats += 1
            time.sleep(0.03)

    def create(self):
        mark, key = "%s-%d" % (self.name_, len(self.rows)), str(uuid.uuid4())
        row = self.until_answered(lambda t: t.create("patient", {"family_name": mark, "note": "0", "active": True}, key=key))
        if row:
            self.rows.append([row["id"], mark, "0", 0])

    def change(self):
        row = self.rng.choice(self.rows)
        path, key, note = "/api/v1/patient/" + row[0], str(uuid.uuid4()), str(row[3] + 1)
        etag = self.until_answered(lambda t: t.request("GET", path))
        if etag is None:
            return
        send = {"If-Match": etag[1]["ETag"], "Idempotency-Key": key}
        if self.until_answered(lambda t: t.request("PATCH", path, {"note": note}, send)):
            row[2], row[3] = note, row[3] + 1

    def run(self):
        while not self.ending.is_set():
            if self.rows and self.rng.random() < 0.4:
                self.change()
            else:
                self.create()


class Other(threading.Thread):
    """Other software at the centre, in SQL: a commit that was answered is acknowledged, one that was not is looked up."""

    def __init__(self, s, name):
        super().__init__(daemon=True)
        self.s, self.name_, self.rows, self.ending, self.unsure = s, name, {}, threading.Event(), 0

    def run(self):
        n = 0
        while not self.ending.is_set():
            n += 1
            row = str(uuid.uuid4())
            text = "INSERT INTO ward.task (id, tenant_id, code, status, note) VALUES ('%s', '%s', '%s', 'requested', '%d')" % (
                row, self.s.tenants[LAKESIDE], self.name_, n)
            if self.rows and n % 3 == 0:
                row = random.Random(n).choice(list(self.rows))
                text = "UPDATE ward.task SET note = '%d' WHERE id = '%s'" % (n, row)
            try:
                self.s.as_app(LAKESIDE, text)
                self.rows[row] = {str(n)}
            except pg.SqlError:
                self.unsure += 1  # it may have been done
                if row in self.rows:
                    self.rows[row].add(str(n))
                time.sleep(0.05)




class Storm:
    def __init__(self, s, wire, rng):
        self.s, self.wire, self.rng, self.count = s, wire, rng, dict.fromkeys(("node", "gateway", "postgres", "backend", "line"), 0)

    def kill_node(self):
        n = self.s.nodes[self.rng.choice(WARDS)]
        n.kill()
        n.serve()

    def kill_gateway(self):
        self.s.gateway.stop(signal.SIGKILL)
        self.s.gateway.serve()

    def kill_postgres(self):
        with open(os.path.join(self.s.cluster.data, "postmaster.pid"), encoding="utf-8") as f:
            os.kill(int(f.readline()), signal.SIGKILL)
        end = time.monotonic() + 20
        while True:  # its processes see that it is gone, and go too
            try:
                self.s.cluster.start()
                return
            except RuntimeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def kill_backend(self):
        """One of its processes: PostgreSQL then ends all others and recovers."""
        pids = self.s.db.sql("postgres", "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' "
                             "AND usename = 'everward_gateway'")
        if pids:
            os.kill(int(self.rng.choice(pids)[0]), signal.SIGKILL)

    def kill_line(self):
        self.wire.cut()
        time.sleep(self.rng.random() * 1.5)
        self.wire.mend()

    def revive(self):
        """Like systemd: what ended by itself is started again, and must have ended by our hand or for want of a database."""
        for n in self.s.nodes.values():
            if n.process.poll() is not None:
                raise AssertionError("%s ended by itself: %s" % (n.name, n.log()[-2000:]))
        if self.s.gateway.process.poll() is not None:
            self.s.gateway.serve()

    def rage(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.revive()
            what = self.rng.choices(list(self.count), (5, 3, 1, 1, 5))[0]
            try:
                getattr(self, "kill_" + what)()
                self.count[what] += 1
            except pg.SqlError:
                pass  # it still recovers
            time.sleep(self.rng.random() * 1.5)


class KillStorm(unittest.TestCase):
    def setUp(self):
        if not stack.built():
            self.skipTest("everward is not built")
        print("## seed %d, %g s" % (SEED, STORM_S), flush=True)
        self.s = stack.Stack().start()
        self.addCleanup(self.s.stop)
        self.wire = line.Line(self.s.gateway.port, SEED).start()
        self.addCleanup(self.wire.stop)
        for name in WARDS:
            n = self.s.new_node(name, LAKESIDE)
            n.setup(line.through(n.invite(), self.wire))
            n.start()
            n.wait_current()

    def calm(self, wards, other):
        for author in (*wards, other):
            author.ending.set()
        for author in (*wards, other):
            author.join(60)
            self.assertFalse(author.is_alive(), "still without an answer")
        self.s.gateway.stop()
        self.s.gateway.start()
        for name in WARDS:
            self.s.nodes[name].wait(lambda status: True)
            self.s.nodes[name].link("up")
        for name in WARDS:
            self.s.nodes[name].wait_current(CALM_S)

    def wait_equal(self, node, table, want):
        """The rows of the authors as the node shows them."""
        end = time.monotonic() + CALM_S
        while True:
            got = {r["id"]: r["note"] for r in node.tablet().all(table)}
            wrong = {i: (got.get(i), sorted(v)) for i, v in want.items() if got.get(i) not in v}
            if not wrong or time.monotonic() > end:
                return got, wrong
            time.sleep(0.2)

    def check_centre(self, wards):
        rows = self.s.db.sql("postgres", "SELECT id, family_name, note FROM ward.patient")
        held = {r[0]: r for r in rows}
        marks = [r[1] for r in rows]
        self.assertEqual(len(marks), len(set(marks)), "a patient was made twice")
        effects = dict(self.s.db.sql("postgres", "SELECT row_id, count(*) FROM everward.change c JOIN everward.sync_table s "
                                     "USING (tbl) WHERE s.name = 'patient' GROUP BY row_id"))
        for row, mark, note, changes in (r for w in wards for r in w.rows):
            self.assertIn(row, held, "lost at the centre: " + mark)
            self.assertEqual(held[row][1:], [mark, note], "the last acknowledged value")
            self.assertEqual(int(effects[row]), 1 + changes, "each effect once: " + mark)
        self.assertEqual(len(rows), sum(len(w.rows) for w in wards), "nothing but what was acknowledged")

    def test_nothing_acknowledged_is_lost_or_done_twice_in_a_storm_of_kills(self):
        wards = [Ward(self.s.nodes[n], "%s-%d" % (n, i), SEED + i) for n in WARDS for i in range(TABLETS)]
        other = Other(self.s, "centre")
        for author in (*wards, other):
            author.start()
        storm = Storm(self.s, self.wire, random.Random(SEED))
        storm.rage(STORM_S)
        self.calm(wards, other)
        self.assertEqual([r for w in wards for r in w.refused], [])
        self.check_centre(wards)
        patients = {r[0]: {r[2]} for w in wards for r in w.rows}
        for name in WARDS:
            n = self.s.nodes[name]
            got, wrong = self.wait_equal(n, "patient", patients)
            self.assertEqual(wrong, {}, name)
            self.assertEqual(set(got), set(patients), name)
            self.assertEqual(self.wait_equal(n, "task", other.rows)[1], {}, name)
            self.assertTrue(n.verify()["equal"], name)
            self.assertEqual(n.status()["quarantined"], 0)
        self.assertGreater(len(patients), 20)
        print("## %d kills and cuts %s; %d patients, %d changes, %d rows of other software acknowledged and checked; %d repeats" % (
            sum(storm.count.values()), storm.count, len(patients), sum(r[3] for w in wards for r in w.rows), len(other.rows),
            sum(w.repeats for w in wards)), flush=True)
