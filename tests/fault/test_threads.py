"""The node under load with ThreadSanitizer: 20 tablets write and read, events stream, the checkpointer works beside the writer, and it
ends in order. EVERWARD_TSAN_S: seconds of load (8). And both daemons, with AddressSanitizer's leak check, end without a leak."""
import glob
import http.client
import os
import ssl
import subprocess
import threading
import time
import unittest

import gateway_client as gc
import stack
from demolib.client import ApiError, Tablet

LAKESIDE = "Lakeside"
LOAD_S = float(os.environ.get("EVERWARD_TSAN_S", "8"))
TABLETS = 20
TSAN = os.path.join(stack.gc.ROOT, "build", "tsan")


class Load(threading.Thread):
    def __init__(self, node, number, until):
        super().__init__(daemon=True)
        self.node, self.number, self.until, self.token = node, number, until, node.tablet().token
        self.writes, self.reads, self.error = 0, 0, None

    def run(self):
        try:
            tablet = Tablet("127.0.0.1", self.node.port, os.path.join(self.node.state, "tls", "ca.crt"))
            tablet.token = self.token
            note = "n" * 3000  # so that the log is soon large enough for the checkpointer
            while time.monotonic() < self.until:
                row = tablet.create("patient", {"family_name": "load-%d" % self.number, "note": note})
                self.writes += 1
                tablet.get("/api/v1/patient/" + row["id"])
                tablet.get("/api/v1/patient?family_name=eq.load-%d&limit=20" % self.number)
                if self.writes % 5 == 0:
                    tablet.change("patient", row["id"], {"note": "changed"})
                self.reads += 2
        except ApiError as e:
            if e.status not in (412, 429):
                self.error = str(e)
        except Exception as e:  # whatever it is, it is a finding
            self.error = repr(e)


def listen(node, until):
    """An event stream like a ward's screen; how much came."""
    context = ssl.create_default_context(cafile=os.path.join(node.state, "tls", "ca.crt"))
    c = http.client.HTTPSConnection("127.0.0.1", node.port, timeout=5, context=context)
    c.request("GET", "/api/v1/events", headers={"Authorization": "Bearer " + node.tablet().token})
    reply, got = c.getresponse(), 0
    while time.monotonic() < until:
        try:
            got += len(reply.read1(65536))
        except OSError:
            break
    c.close()
    return got


class Threads(unittest.TestCase):
    def load(self, s, node, seconds, tablets):
        node.tablet()  # the one login
        until = time.monotonic() + seconds
        load = [Load(node, i, until) for i in range(tablets)]
        for t in load:
            t.start()
        events = listen(node, until)
        for t in load:
            t.join(60)
        self.assertEqual([t.error for t in load if t.error], [])
        self.assertGreater(events, 0)
        self.assertGreater(sum(t.writes for t in load), tablets)
        node.wait_current(60)
        self.assertEqual(int(s.db.one("postgres", "SELECT count(*) FROM ward.patient WHERE family_name LIKE 'load-%'")),
                         sum(t.writes for t in load))
        return sum(t.writes for t in load), sum(t.reads for t in load)

    def test_the_node_under_load_has_no_data_race(self):
        done = subprocess.run(["cmake", "--preset", "tsan"], cwd=gc.ROOT, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        done = subprocess.run(["cmake", "--build", "--preset", "tsan", "-j", str(os.cpu_count()), "--target", "everward"], cwd=gc.ROOT,
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout[-2000:])
        with stack.Stack() as s:
            node = s.new_node("Alder", LAKESIDE)
            node.setup()
            report = os.path.join(node.folder, "tsan")
            kept = stack.EVERWARD
            stack.EVERWARD = os.path.join(TSAN, "node", "everward")
            try:
                node.serve({"TSAN_OPTIONS": "log_path=%s:history_size=4:exitcode=66" % report})
            finally:
                stack.EVERWARD = kept
            node.wait_current(60)
            writes, reads = self.load(s, node, LOAD_S, TABLETS)
            self.assertTrue(node.verify()["equal"])
            code = node.stop()
            found = "".join(open(path, encoding="utf-8").read() for path in glob.glob(report + ".*"))
            self.assertTrue(found == "", found[:8000])
            self.assertEqual(code, 0)
            print("## ThreadSanitizer: %d writes, %d reads by %d tablets, no race" % (writes, reads, TABLETS), flush=True)

    def test_both_daemons_end_without_a_leak(self):
        """Under AddressSanitizer a leak makes the exit code another one."""
        with stack.Stack() as s:
            node = s.node("Alder", LAKESIDE)
            self.load(s, node, 3, 5)
            self.assertEqual(node.stop(), 0, node.log()[-3000:])
            self.assertEqual(s.gateway.stop(), 0)
            with open(s.gateway.log_path, encoding="utf-8") as f:
                log = f.read() + node.log()
            self.assertNotIn("LeakSanitizer", log)
            self.assertNotIn("runtime error", log)
