"""The centre is put back to an earlier copy: what it had acknowledged and what only replicas hold comes back to it.

Real programs: everward, everward-gateway, PostgreSQL with its files copied and put back (stack.py)."""

import os
import shutil
import signal
import unittest

import stack

LAKESIDE = "Lakeside"


def setUpModule():
    if not stack.built():
        raise unittest.SkipTest("everward is not built")


class Case(unittest.TestCase):
    def setUp(self):
        self.s = stack.Stack().start()
        self.addCleanup(self.s.stop)
        self.a = self.s.node("Alder", LAKESIDE)
        self.b = self.s.node("Birch", LAKESIDE)
        self.saved = os.path.join(self.s.cluster.folder, "saved")

    def patient(self, node, name, **values):
        return node.tablet().create("patient", {"family_name": name, "given_names": "Test", "active": True, **values})["id"]

    def central(self, text):
        return self.s.db.one("postgres", text)

    def current(self, seconds=60):
        for n in (self.a, self.b):
            n.wait_current(seconds)
            n.wait(lambda st: st["cursor"] == st["head"], seconds)

    def settled(self):
        """Both current at the same cut."""
        self.current()
        head = int(self.central("SELECT head FROM everward.feed_head WHERE tenant_id = '%s'" % self.s.tenants[LAKESIDE]))
        for n in (self.a, self.b):
            n.wait(lambda st: st["cursor"] >= head and st["pending"] == 0, 60)

    def stop_centre(self):
        self.s.gateway.stop(signal.SIGTERM)
        self.s.cluster.stop(keep=True)

    def save(self):
        self.stop_centre()
        shutil.copytree(self.s.cluster.data, self.saved, symlinks=True)
        self.start_centre()

    def put_back(self, recovery=False):
        self.stop_centre()
        shutil.rmtree(self.s.cluster.data)
        shutil.move(self.saved, self.s.cluster.data)
        if recovery:  # as after a recovery to a point in time: PostgreSQL begins a timeline of its own
            open(os.path.join(self.s.cluster.data, "recovery.signal"), "w", encoding="utf-8").close()
            with open(os.path.join(self.s.cluster.data, "postgresql.auto.conf"), "a", encoding="utf-8") as f:
                f.write("restore_command = 'false'\n")
        if os.geteuid() == 0:
            for folder, _, files in os.walk(self.s.cluster.data):
                for name in [folder] + [os.path.join(folder, f) for f in files]:
                    shutil.chown(name, "postgres", "postgres")

    def start_centre(self):
        self.s.cluster.start()
        self.s.gateway.start()


class Restored(Case):
    def test_what_a_restored_centre_lost_comes_back_from_the_nodes(self):
        a, b = self.a, self.b
        shared = self.patient(a, "Shared", city="Before")
        self.settled()
        self.save()

        # of the window that is lost: two nodes, and another application
        mine = self.patient(a, "LostOfA")
        b.tablet().wait_for("/api/v1/patient/" + shared, 10)
        b.tablet().change("patient", shared, {"city": "LostOfB"})
        self.settled()
        self.s.as_app(LAKESIDE, "INSERT INTO ward.patient (id, tenant_id, family_name, given_names) VALUES "
                                "('0190a000-0000-7000-8000-000000000001', '%s', 'LostOfTheApp', 'Test')" % self.s.tenants[LAKESIDE])
        self.s.as_app(LAKESIDE, "UPDATE ward.patient SET phone = '555 0100' WHERE id = '%s'" % shared)
        a.wait(lambda _: a.tablet().get("/api/v1/patient/" + shared)["phone"], 30)
        a.tablet().wait_for("/api/v1/patient/0190a000-0000-7000-8000-000000000001", 10)
        leaning = a.tablet().create("note", {"patient_id": "0190a000-0000-7000-8000-000000000001", "kind": "progress",
                                             "body": "leans on a row that only the app had written"})["id"]
        self.settled()
        a.link("down")
        waiting = self.patient(a, "StillWaiting")
        a.tablet().change("patient", shared, {"given_names": "Waiting"})

        self.put_back(recovery=True)
        self.start_centre()
        self.assertEqual(self.central("SELECT count(*) FROM ward.patient WHERE family_name LIKE 'Lost%'"), "0")
        a.link("up")
        b.link("up")
        self.settled()
        self.assertEqual(a.wait(lambda st: st["quarantined"] == 0)["quarantined"], 0)
        self.settled()
        got = {r[0] for r in self.s.db.sql("postgres", "SELECT family_name FROM ward.patient")}
        self.assertEqual(got, {"Shared", "LostOfA", "LostOfTheApp", "StillWaiting"})
        self.assertEqual(self.s.db.sql("postgres", "SELECT city, phone, given_names FROM ward.patient WHERE id = '%s'" % shared),
                         [["LostOfB", "555 0100", "Waiting"]])
        self.assertEqual(self.central("SELECT count(*) FROM ward.note WHERE id = '%s'" % leaning), "1")
        self.assertEqual(self.central("SELECT count(*) FROM everward.conflict"), "0", "nobody wrote in between")
        for n in (a, b):
            self.assertTrue(n.verify()["equal"])
            for row in (mine, waiting, shared):
                n.tablet().get("/api/v1/patient/" + row)

    def test_what_was_written_since_is_not_overwritten_by_what_was_lost(self):
        a, b = self.a, self.b
        shared = self.patient(a, "Shared", city="Before")
        order = a.tablet().create("note", {"patient_id": shared, "kind": "progress", "body": "before"})["id"]
        self.settled()
        self.save()
        for body in ("lost 1", "lost 2", "lost 3"):
            b.tablet().wait_for("/api/v1/note/" + order, 10)
            b.tablet().change("note", order, {"body": body})
            self.settled()
        self.put_back()
        self.start_centre()
        a.link("down")
        a.link("up")
        self.assertIn("timeline renew", b.wait_state("attention", 60)["reason"])
        self.s.gateway.cli("timeline", "renew")
        # four writes of the new life: their revisions pass those of the lost one
        for i in range(4):
            self.s.as_app(LAKESIDE, "UPDATE ward.note SET body = 'since %d' WHERE id = '%s'" % (i, order))
        for n in (a, b):
            n.link("down")
            n.link("up")
        self.settled()
        conflicts = self.s.db.sql("postgres", "SELECT state FROM everward.conflict WHERE row_id = '%s'" % order)
        self.assertTrue(conflicts, "the lost text and the new one stand against each other")
        sides = self.s.db.sql("postgres", "SELECT c::text FROM everward.conflict c WHERE row_id = '%s'" % order)
        self.assertIn("since 3", str(sides))
        self.assertIn("lost 3", str(sides))
        for n in (a, b):
            self.assertTrue(n.verify()["equal"])

    def test_what_was_lost_comes_back_to_rows_that_were_written_since(self):
        a, b = self.a, self.b
        shared = self.patient(a, "Shared", city="Before")
        self.settled()
        self.save()
        made = self.patient(a, "MadeInTheWindow")  # by one node, changed by another and by the app
        for row in (shared, made):
            b.tablet().wait_for("/api/v1/patient/" + row, 30)
            b.tablet().change("patient", row, {"city": "LostOfB"})
        self.settled()
        self.s.as_app(LAKESIDE, "UPDATE ward.patient SET phone = '555 0100' WHERE id IN ('%s', '%s')" % (shared, made))
        for n in (a, b):
            n.wait(lambda _, n=n: all(n.tablet().get("/api/v1/patient/" + row)["phone"] for row in (shared, made)), 30)
        for n in (a, b):
            n.link("down")
        self.put_back(recovery=True)
        self.start_centre()
        # another column, often enough that the row's revision passes the one that was lost
        for i in range(4):
            self.s.as_app(LAKESIDE, "UPDATE ward.patient SET given_names = 'Since %d' WHERE id = '%s'" % (i, shared))
        a.link("up")
        a.wait(lambda st: st["cursor"] == st["head"] and st["pending"] == 0, 60)
        b.link("up")
        self.settled()
        self.assertEqual(self.central("SELECT count(*) FROM everward.conflict"), "0", "no column was written twice")
        self.assertEqual(self.s.db.sql("postgres", "SELECT family_name, city, phone, given_names FROM ward.patient ORDER BY family_name"),
                         [["MadeInTheWindow", "LostOfB", "555 0100", "Test"], ["Shared", "LostOfB", "555 0100", "Since 3"]])
        for n in (a, b):
            self.assertTrue(n.verify()["equal"])


if __name__ == "__main__":
    unittest.main()
