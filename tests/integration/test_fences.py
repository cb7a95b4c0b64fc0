"""A node put back to an old copy of its files, and a second machine under its identity: fenced, and nothing written is lost.

Real programs: everward, everward-gateway, PostgreSQL (stack.py)."""

import os
import re
import shutil
import time
import unittest

import stack

LAKESIDE = "Lakeside"
s = a = None


def setUpModule():
    global s, a
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()
    a = s.node("Alder", LAKESIDE)


def tearDownModule():
    s.stop()


def write(mark):
    return a.tablet().create("patient", {"family_name": mark, "given_names": "Test", "active": True})["id"]


def at_centre(mark):
    return int(s.db.one("postgres", "SELECT count(*) FROM ward.patient WHERE family_name = '%s'" % mark))


class Log(unittest.TestCase):
    """First of the three that use the node after it: they go on with a log that begins later."""

    def test_what_was_acknowledged_ninety_days_ago_leaves_the_log_and_nothing_else_does(self):
        for i in range(5):
            write("Aged-%d" % i)
        a.wait_current()
        a.stop()
        count = "SELECT count(*) FROM _change"
        before = int(a.store_sql(count))
        days = ("WITH RECURSIVE d(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM d WHERE n < %d) INSERT INTO _contact (day, acked, audited) "
                "SELECT n, (SELECT value FROM _meta WHERE name = '_acked'), 0 FROM d")
        a.store_sql("DELETE FROM _contact; " + days % 89)
        a.start()  # today is the 90th: one short
        a.wait(lambda st: st["state"] == "current")
        write("Young")
        a.wait_current()
        a.stop()
        self.assertEqual(int(a.store_sql(count)), before + 1)
        self.assertNotIn("acknowledged 90 days of contact ago", a.log())

        a.store_sql("INSERT INTO _contact (day, acked, audited) VALUES (90, 0, 0)")
        a.start()
        end = time.monotonic() + 60
        while "acknowledged 90 days of contact ago" not in a.log():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.1)
        a.kill()
        self.assertEqual(int(a.store_sql(count)), 2)  # the last of the old ones, and the young one
        a.start()
        write("After")
        a.wait_current()
        self.assertEqual((at_centre("Aged-0"), at_centre("After")), (1, 1))
        self.assertTrue(a.verify()["equal"])

        # a centre put back to before what is kept: a fence that says so, and nothing changes
        head = "UPDATE everward.node_head SET last_seq = %s WHERE node_id = '%s'"
        a.link("down")
        a.wait_state("offline")
        status = a.status()
        s.db.sql("postgres", head % (1, status["node_id"]))
        a.link("up")
        fenced = a.wait_state("attention")
        self.assertIn("sync.keep_days", fenced["reason"])
        self.assertEqual(fenced["acked_seq"], status["acked_seq"])
        s.db.sql("postgres", head % (status["acked_seq"], status["node_id"]))
        a.link("down")
        a.link("up")
        a.wait_current()


class OldCopy(unittest.TestCase):
    def test_a_node_put_back_behind_the_centre_is_fenced_and_keeps_what_it_writes(self):
        old, new = os.path.join(a.folder, "old"), os.path.join(a.folder, "new")
        a.stop()
        shutil.copytree(a.state, old, symlinks=True)
        a.start()
        write("Former")
        a.wait_current()
        a.stop()
        os.rename(a.state, new)
        os.rename(old, a.state)

        a.start()
        fenced = a.wait_state("attention")
        self.assertIn("Nothing is deleted", fenced["reason"])
        kept = write("Unsent")
        self.assertGreaterEqual(a.status()["pending"], 1)
        a.kill()
        a.start()
        self.assertEqual(a.wait_state("attention")["pending"], 1)
        self.assertEqual([r["id"] for r in a.tablet().all("patient", family_name="like.Unsent*")], [kept])
        self.assertEqual((at_centre("Former"), at_centre("Unsent")), (1, 0))

        a.stop()  # the true one comes back: the fence has moved nothing at the centre
        os.rename(a.state, old)
        os.rename(new, a.state)
        a.start()
        write("Later")
        a.wait_current()
        self.assertEqual((at_centre("Former"), at_centre("Later")), (1, 1))


class Rejoin(unittest.TestCase):
    def test_a_node_put_back_to_an_old_copy_goes_on_in_its_next_life(self):
        """The old copy was taken while changes waited; the former life pushed those and more; the ward wrote on the old one."""
        old, new = os.path.join(a.folder, "old-2"), os.path.join(a.folder, "new-2")
        a.wait_current()
        a.link("down")
        edited = write("Edited")
        a.stop()
        shutil.copytree(a.state, old, symlinks=True)
        a.start()
        a.tablet().change("patient", edited, {"city": "Former"})
        write("OfTheFormerLife")
        a.link("up")
        a.wait_current()
        a.stop()
        os.rename(a.state, new)
        os.rename(old, a.state)

        a.start()
        a.tablet().change("patient", edited, {"city": "Later"})
        write("OfTheOldCopy")
        self.assertNotEqual(a.run("rejoin").returncode, 0, "the line is down: nobody knows of a fence yet")
        a.link("up")
        self.assertIn("everward rejoin", a.wait_state("attention")["reason"])
        a.command("rejoin")
        a.kill()  # in the middle of it, as likely as not
        a.start()
        status = a.wait_current()
        self.assertEqual(status["incarnation"] in (2, 3), True)
        self.assertEqual([at_centre(m) for m in ("Edited", "OfTheFormerLife", "OfTheOldCopy")], [1, 1, 1])
        self.assertTrue(a.tablet().all("patient", family_name="eq.OfTheFormerLife"), "what the former life had pushed is back")
        self.assertTrue(a.verify()["equal"])
        live = s.db.one("postgres", "SELECT city FROM ward.patient WHERE id = '%s'" % edited)
        contests = int(s.db.one("postgres", "SELECT count(*) FROM everward.conflict WHERE row_id = '%s'" % edited))
        self.assertTrue(live == "Later" or contests == 1, "neither city went silently")

        a.stop()  # the newer copy runs after all: it is another machine now
        os.rename(a.state, old)
        os.rename(new, a.state)
        a.start()
        self.assertIn("another life", a.wait_state("attention")["reason"])
        write("OfTheNewerCopy")
        self.assertEqual(a.status()["pending"], 1)
        a.command("rejoin")
        self.assertGreater(a.wait_current()["incarnation"], status["incarnation"])
        self.assertEqual(at_centre("OfTheNewerCopy"), 1)
        self.assertTrue(a.verify()["equal"])

    def test_b_database_older_than_the_identity_beside_it_rejoins_by_itself(self):
        before = a.wait_current()["incarnation"]
        a.stop()
        with open(os.path.join(a.state, "identity.json"), encoding="utf-8") as f:
            text = f.read()
        with open(os.path.join(a.state, "identity.json"), "w", encoding="utf-8") as f:
            f.write(re.sub(r'"incarnation":\d+', '"incarnation":%d' % (before + 1), text))
        a.start()
        write("AfterTheImage")
        a.wait(lambda st: st["incarnation"] > before)
        a.wait_current()
        self.assertEqual(at_centre("AfterTheImage"), 1)


class Clone(unittest.TestCase):
    def test_a_second_machine_under_one_identity_is_fenced_and_keeps_its_unsent_facts(self):
        a.stop()
        clone = s.new_node("Alder-clone", LAKESIDE)
        shutil.copytree(a.state, clone.state, symlinks=True)
        a.start()
        write("First")
        a.wait_current()
        clone.start()
        fenced = clone.wait_state("attention")
        self.assertIn("a clone of it", fenced["reason"])  # or another life, once one of them has rejoined
        clone.tablet().create("patient", {"family_name": "Second", "given_names": "Test", "active": True})
        self.assertEqual(clone.status()["pending"], 1)
        write("Third")
        a.wait_current()
        self.assertEqual((at_centre("First"), at_centre("Second"), at_centre("Third")), (1, 0, 1))
        out = os.path.join(clone.folder, "outbox")
        clone.command("export-outbox", out)
        self.assertGreater(os.path.getsize(out), 0)


class Absent(unittest.TestCase):
    def test_a_node_behind_a_compacted_feed_comes_back_by_the_pages_with_its_outbox(self):
        """Sixty days away, in effect: the feed has been forgotten beyond its cursor."""
        away = s.node("Absent", LAKESIDE)
        draft = a.tablet().create("task", {"code": "gone meanwhile", "status": "draft"})["id"]
        a.wait_current()
        away.tablet().wait_for("/api/v1/task/" + draft, 10)
        away.link("down")
        mine = away.tablet().create("patient", {"family_name": "Outbox", "given_names": "Test", "active": True})["id"]
        theirs = [write("Meanwhile-%d" % i) for i in range(3)]
        a.wait_current()
        s.as_app(LAKESIDE, "DELETE FROM ward.task WHERE id = '%s'" % draft)
        s.as_app(LAKESIDE, "UPDATE ward.patient SET city = 'Moss' WHERE id = '%s'" % theirs[0])
        a.wait(lambda st: st["cursor"] == st["head"] and st["pending"] == 0)

        kept = s.gateway.cli("--json", "feed", "compact", "--tenant", LAKESIDE, "--keep-days", "0")
        self.assertNotIn("Meanwhile", kept)
        tail = "SELECT tail FROM everward.feed_head WHERE tenant_id = '%s'" % s.tenants[LAKESIDE]
        self.assertLessEqual(int(s.db.one("postgres", tail)), away.status()["cursor"], "what a node lacks stays")
        s.gateway.cli("feed", "compact", "--tenant", LAKESIDE, "--keep-days", "0", "--all-the-same")
        self.assertGreater(int(s.db.one("postgres", tail)), away.status()["cursor"])

        away.link("up")
        away.kill()  # in the middle of it, as likely as not
        away.start()
        away.wait_current(60)
        away.wait(lambda st: st["replica_equal"] is True, 60)
        for n in (a, away):
            n.tablet().wait_for("/api/v1/patient/" + mine, 10)
            self.assertEqual(n.tablet().get("/api/v1/patient/" + theirs[0])["city"], "Moss")
            self.assertEqual([r["id"] for r in n.tablet().all("task", code="eq.gone meanwhile".replace(" ", "%20"))], [])
        self.assertEqual(int(s.db.one("postgres", "SELECT count(*) FROM ward.patient WHERE id = '%s'" % mine)), 1)


if __name__ == "__main__":
    unittest.main()
