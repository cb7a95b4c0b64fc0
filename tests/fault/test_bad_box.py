"""A node's own box at its worst: a disk that fills, a clock that jumps. What was acknowledged is never lost, and it recovers by itself."""
import os
import subprocess
import time
import unittest
import uuid

import stack
from demolib.client import ApiError

LAKESIDE = "Lakeside"
DISK_BYTES = 48 << 20
FAKETIME = "/usr/lib/%s-linux-gnu/faketime/libfaketimeMT.so.1" % os.uname().machine
s = None


def setUpModule():
    global s
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()


def tearDownModule():
    s.stop()


def patient(mark, note):
    return {"family_name": mark, "note": note}


def at_centre(mark):
    return {r[0]: (r[1], int(r[2])) for r in s.db.sql(
        "postgres", "SELECT p.id, p.note, count(c.id) FROM ward.patient p JOIN everward.change c ON c.row_id = p.id "
        "WHERE family_name = '%s' GROUP BY 1, 2" % mark)}


class Disk(unittest.TestCase):
    """The node's folder on a small file system of its own."""

    def setUp(self):
        self.mark = "m" + uuid.uuid4().hex[:10]
        self.node = s.new_node("Disk", LAKESIDE)
        os.makedirs(self.node.state, 0o700)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700,size=%d" % DISK_BYTES, "tmpfs", self.node.state],
                              capture_output=True, text=True)
        if done.returncode != 0:
            self.skipTest("may not mount a small file system here: " + done.stderr.strip())
        self.addCleanup(self.unmount)
        self.node.setup()
        self.node.start()
        self.node.wait_current()
        self.filler = os.path.join(self.node.state, "filler")

    def unmount(self):
        self.node.stop()
        subprocess.run(["umount", self.node.state], check=True)

    def fill(self):
        with open(self.filler, "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"x" * 65536)
            except OSError:
                pass
            try:
                while True:
                    f.write(b"x" * 512)
            except OSError:
                pass

    def write_until_refused(self, rows):
        """The disk's last pages are used up by the writes themselves."""
        for _ in range(20000):
            note = "n" * 2000
            try:
                rows[self.node.tablet().create("patient", patient(self.mark, note))["id"]] = (note, 1)
            except ApiError as e:
                return e
        return None

    def check(self, rows):
        held = {r["id"]: r["note"] for r in self.node.tablet().all("patient", family_name="eq." + self.mark)}
        self.assertEqual(held, {i: v[0] for i, v in rows.items()})

    def test_a_full_disk_refuses_writes_loses_none_and_takes_them_again_when_there_is_room(self):
        n, rows = self.node, {}
        for i in range(50):
            rows[n.tablet().create("patient", patient(self.mark, str(i)))["id"]] = (str(i), 1)
        self.fill()
        refused = self.write_until_refused(rows)
        self.assertIsNotNone(refused, "the disk was never full")
        self.assertIn(refused.status, (503, 507))
        self.assertNotIn(self.mark, str(refused.problem))
        self.check(rows)  # reading goes on
        for _ in range(5):
            with self.assertRaises(ApiError):
                n.tablet().create("patient", patient(self.mark, "n" * 2000))
        task = s.as_app(LAKESIDE, "INSERT INTO ward.task (id, tenant_id, code, status) VALUES (gen_random_uuid(), '%s', '%s', 'requested') "
                        "RETURNING id" % (s.tenants[LAKESIDE], self.mark))[0][0]
        n.kill()  # and what a kill and a start on the full disk do
        os.truncate(self.filler, os.path.getsize(self.filler) - 65536)
        self.fill()
        n.serve()
        time.sleep(2)
        os.unlink(self.filler)
        if n.process.poll() is not None:  # it may say that it cannot start, and be started again
            n.serve()
        n.wait(lambda status: True)
        self.check(rows)
        row = n.tablet().create("patient", patient(self.mark, "after"))
        rows[row["id"]] = ("after", 1)
        n.link("up")
        n.wait_current()
        n.tablet().wait_for("/api/v1/task/" + task, 20)
        self.check(rows)
        self.assertEqual(at_centre(self.mark), rows)
        self.assertTrue(n.verify()["equal"])
        print("## full disk: %d acknowledged writes, HTTP %d %s beyond it" % (len(rows), refused.status, refused.problem.get("code")), flush=True)


class Clock(unittest.TestCase):
    """The wall clock jumps while the node runs; the monotonic one does not."""

    def setUp(self):
        if not os.path.exists(FAKETIME):
            self.skipTest("faketime is not installed (packaging/install-deps test)")
        self.mark = "m" + uuid.uuid4().hex[:10]
        self.node = s.new_node("Clock", LAKESIDE)
        self.node.setup()
        self.file = os.path.join(self.node.folder, "clock")
        self.jump(0)
        env = {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": self.file, "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
               "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}
        self.node.serve(env)
        self.node.wait_current()
        self.addCleanup(self.node.stop)

    def jump(self, seconds):
        with open(self.file + ".new", "w", encoding="utf-8") as f:
            f.write("%+d\n" % seconds)
        os.replace(self.file + ".new", self.file)

    def test_a_clock_that_jumps_loses_no_write_and_stops_no_sync(self):
        n, rows, days = self.node, {}, 86400
        jumps = (3600, -2 * days, 5 * days, -300, 0)
        for seconds in jumps:
            self.jump(seconds)
            for i in range(5):
                rows[n.new_tablet().create("patient", patient(self.mark, "%d/%d" % (seconds, i)))["id"]] = ("%d/%d" % (seconds, i), 1)
            n.wait(lambda status: status["pending"] == 0, 60)
            self.assertEqual(at_centre(self.mark), rows, "after a jump to %+d s" % seconds)
        n.wait_current()
        times = s.db.sql("postgres", "SELECT max(abs(extract(epoch FROM at - now()))) FROM everward.change c JOIN ward.patient p ON p.id = c.row_id "
                         "WHERE p.family_name = '%s'" % self.mark)
        self.assertLess(float(times[0][0]), 600, "the centre's own times do not follow the node's clock")
        self.assertTrue(n.verify()["equal"])
        print("## clock: %d jumps between -2 and +5 days, %d acknowledged writes" % (len(jumps), len(rows)), flush=True)
