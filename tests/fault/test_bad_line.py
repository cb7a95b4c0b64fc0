"""The line between a node and the centre at its worst: slow, far, losing, and broken at each place in turn.

EVERWARD_LINE_CUTS: how many places of a conversation are broken in turn (15). EVERWARD_LINE_LONG: also what takes minutes.
"""
import os
import time
import unittest
import uuid

import line
import stack
from demolib.client import ApiError

LAKESIDE = "Lakeside"
CUTS = int(os.environ.get("EVERWARD_LINE_CUTS", "15"))
SLOW_S = 100
s = wire = a = None


def setUpModule():
    global s, wire, a
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()
    wire = line.Line(s.gateway.port, 7).start()
    a = s.new_node("Alder", LAKESIDE)
    a.setup(line.through(a.invite(), wire))
    a.start()
    a.wait_current()


def tearDownModule():
    s.stop()
    wire.stop()


def at_centre(mark):
    return {r[0]: (r[1], int(r[2])) for r in s.db.sql(
        "postgres", "SELECT p.id, p.note, count(c.id) FROM ward.patient p JOIN everward.change c ON c.row_id = p.id "
        "WHERE family_name = '%s' GROUP BY 1, 2" % mark)}


class BadLine(unittest.TestCase):
    def setUp(self):
        self.mark = "m" + uuid.uuid4().hex[:10]
        self.addCleanup(wire.set)
        self.addCleanup(wire.mend)

    def write(self, count, note="x"):
        return {a.tablet().create("patient", {"family_name": self.mark, "note": note})["id"] for _ in range(count)}

    def change(self, row, note):
        while True:
            try:
                return a.tablet().change("patient", row, {"note": note})
            except ApiError as e:  # between reading and changing the centre's number came
                if e.status != 412:
                    raise

    def centre_writes(self, count):
        rows = s.as_app(LAKESIDE, ";".join("INSERT INTO ward.task (id, tenant_id, code, status) VALUES (gen_random_uuid(), '%s', '%s', "
                                           "'requested') RETURNING id" % (s.tenants[LAKESIDE], self.mark) for _ in range(count)))
        return {r[0] for r in rows}

    def tasks(self):
        return {r["id"] for r in a.tablet().all("task", code="eq." + self.mark)}

    def until(self, good, seconds, what):
        end = time.monotonic() + seconds
        while not good():
            self.assertLess(time.monotonic(), end, "%s: %s" % (what, a.status()))
            time.sleep(0.2)

    def test_with_30_percent_loss_1500_ms_delay_and_16_kbit_progress_is_made_and_nothing_is_lost_or_doubled(self):
        wire.set(delay_s=1.5, rate=2000, loss=0.3)
        wire.cut()  # the open connection was made on a good line
        wire.mend()
        started, bytes_before, lost_before, opened = time.monotonic(), wire.bytes, wire.lost, wire.connections
        mine = self.write(40, "a note of some length, as people write them " * 4)
        wait = time.monotonic() - started
        theirs = self.centre_writes(20)
        self.until(lambda: set(at_centre(self.mark)) == mine, SLOW_S, "what the ward wrote")
        pushed = time.monotonic() - started
        self.until(lambda: self.tasks() == theirs, SLOW_S, "what the centre wrote")
        self.assertEqual({v[1] for v in at_centre(self.mark).values()}, {1}, "each effect once")
        print("## bad line: 40 changes at the centre after %.0f s, 20 at the ward after %.0f s (writing took %.1f s); %d bytes, %d segments "
              "lost, %d connections" % (pushed, time.monotonic() - started, wait, wire.bytes - bytes_before, wire.lost - lost_before,
                                        wire.connections - opened), flush=True)
        wire.set()
        a.link("up")
        a.wait_current()
        self.assertTrue(a.verify()["equal"])

    def test_a_line_that_breaks_at_each_segment_in_turn_loses_and_doubles_nothing(self):
        rows, broken = {}, 0
        for n in range(CUTS):
            wire.break_after(n)
            row = a.tablet().create("patient", {"family_name": self.mark, "note": "0"})
            for note in ("1", "2"):
                self.change(row["id"], note)
            rows[row["id"]] = ("2", 3)
            task = self.centre_writes(1)
            self.until(lambda: wire.broke or (a.status()["pending"] == 0 and task <= self.tasks()), 30, "break or arrival")
            broken += wire.broke
            wire.break_after(None)
            a.link("up")
            self.until(lambda: a.status()["pending"] == 0 and task <= self.tasks(), 30, "after break %d" % n)
        a.wait_current()
        self.assertEqual(at_centre(self.mark), rows)
        self.assertTrue(a.verify()["equal"])
        self.assertGreater(broken, 3)
        print("## line broken at %d places of a conversation" % broken, flush=True)

    if os.environ.get("EVERWARD_LINE_LONG"):
        def test_a_reply_that_takes_longer_than_silence_may_last_arrives(self):
            a.link("down")
            s.as_app(LAKESIDE, "INSERT INTO ward.task (id, tenant_id, code, status, note) SELECT gen_random_uuid(), '%s', '%s', "
                     "'requested', encode(sha256(g::text::bytea), 'hex') FROM generate_series(1, 8000) g"
                     % (s.tenants[LAKESIDE], self.mark))
            wire.set(rate=4000)
            started = time.monotonic()
            a.link("up")
            self.until(lambda: len(self.tasks()) == 8000, 400, "one large cut")
            took = time.monotonic() - started
            print("## one reply of 8,000 rows on 32 kbit/s: %.0f s" % took, flush=True)
            self.assertGreater(took, 85)
