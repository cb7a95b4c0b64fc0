"""The centre's catalog moves on by one version and by several while nodes are away with full outboxes.

Real programs: everward, everward-gateway, PostgreSQL (stack.py)."""

import json
import threading
import time
import unittest

import stack

LAKESIDE = "Lakeside"
s = a = b = None
VISIT = """CREATE TABLE ward.visit (id uuid NOT NULL, tenant_id uuid NOT NULL, patient_id uuid NOT NULL, visitor text NOT NULL, seen text,
               PRIMARY KEY (tenant_id, id));
           SELECT everward.isolate('ward.visit'::regclass); ALTER TABLE ward.visit OWNER TO everward_owner;
           GRANT SELECT, INSERT, UPDATE ON ward.visit TO everward_app; SELECT everward.enable_sync('ward.visit', 'field', '{"order": 60}')"""


def setUpModule():
    global s, a, b
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()
    a, b = s.node("Alder", LAKESIDE), s.node("Birch", LAKESIDE)


def tearDownModule():
    s.stop()


def patient(node, name):
    return node.tablet().create("patient", {"family_name": name, "given_names": "Test", "active": True})["id"]


def version():
    return int(s.db.one("postgres", "SELECT version FROM everward.catalog_state"))


def centre(text):
    return s.db.one("postgres", text)


class Answers(threading.Thread):
    """A tablet that reads and writes all the while; what it was refused."""

    def __init__(self, node, row):
        super().__init__(daemon=True)
        self.tablet, self.row, self.stop, self.refused, self.wrote = node.new_tablet(), row, threading.Event(), [], 0

    def run(self):
        while not self.stop.wait(0.02):
            try:
                self.tablet.get("/api/v1/patient/" + self.row)
                self.tablet.change("patient", self.row, {"city": "City %d" % (self.wrote + 1)})
                self.wrote += 1
            except Exception as e:  # noqa: BLE001 (told at the end)
                if "stale_version" not in str(e):  # the feed may bring the row between reading and writing
                    self.refused.append(str(e))

    def end(self):
        end = time.monotonic() + 30
        while self.wrote <= 3 and time.monotonic() < end:  # a busy machine
            time.sleep(0.02)
        self.stop.set()
        self.join(10)
        self.tablet.connection.close()
        return self.refused


class Case(unittest.TestCase):
    def setUp(self):
        for n in (a, b):
            n.link("up")
            if n.one_tablet is not None and n.one_tablet.connection is not None:
                n.one_tablet.connection.close()
            n.one_tablet = None
        self.settled()

    def settled(self, seconds=60):
        for _ in range(2):
            for n in (a, b):
                n.wait(lambda st: st["state"] == "current" and st["pending"] == 0 and st["catalog_version"] == version(), seconds)
            head = int(centre("SELECT head FROM everward.feed_head WHERE tenant_id = '%s'" % s.tenants[LAKESIDE]))
            for n in (a, b):
                n.wait(lambda st: st["cursor"] >= head, seconds)


class Moved(Case):
    def test_by_one_version_with_columns_added(self):
        shared, busy = patient(a, "Shared"), patient(a, "Busy")
        self.settled()
        a.link("down")
        b.link("down")
        for i in range(40):
            patient(a, "A-%d" % i)
            patient(b, "B-%d" % i)
        b.tablet().change("patient", shared, {"city": "Moss"})
        before = version()
        s.db.sql("postgres", "ALTER TABLE ward.patient ADD COLUMN nickname text, ADD COLUMN level text NOT NULL DEFAULT 'plain';"
                             "SELECT everward.refresh_sync('ward.patient')")
        self.assertEqual(version(), before + 1)
        s.as_app(LAKESIDE, "UPDATE ward.patient SET nickname = 'Sha' WHERE id = '%s'" % shared)
        busy_tablet = Answers(a, busy)
        busy_tablet.start()
        a.link("up")
        b.link("up")
        b.kill()  # in the middle of it, as likely as not
        b.start()
        for n in (a, b):
            n.wait(lambda st: st["catalog_version"] == version(), 60)
        self.assertEqual(busy_tablet.end(), [])
        self.assertGreater(busy_tablet.wrote, 3)
        self.settled()
        for n in (a, b):
            row = n.tablet().get("/api/v1/patient/" + shared)
            self.assertEqual((row["nickname"], row["level"], row["city"]), ("Sha", "plain", "Moss"))
            levels = {r["level"] for r in n.tablet().all("patient")}
            self.assertEqual(levels, {"plain"}, "back-filled, also where no row has changed")
            self.assertTrue(n.verify()["equal"])
        self.assertEqual(centre("SELECT count(*) FROM ward.patient WHERE family_name ~ '^[AB]-'"), "80")
        self.assertEqual(centre("SELECT city FROM ward.patient WHERE id = '%s'" % busy), "City %d" % busy_tablet.wrote)
        a.tablet().change("patient", shared, {"nickname": "Shay"})
        self.settled()
        self.assertEqual(b.tablet().get("/api/v1/patient/" + shared)["nickname"], "Shay")

    def test_by_several_versions_with_a_table_and_another_class(self):
        shared = patient(a, "Several")
        note = a.tablet().create("note", {"patient_id": shared, "kind": "progress", "body": "before"})["id"]
        self.settled()
        a.link("down")
        b.link("down")
        mine = [patient(b, "Away-%d" % i) for i in range(20)]
        a.tablet().change("note", note, {"body": "by Alder"})
        before = version()
        s.db.sql("postgres", VISIT)
        tenant = s.tenants[LAKESIDE]
        s.as_app(LAKESIDE, "INSERT INTO ward.visit SELECT gen_random_uuid(), '%s', '%s', 'Visitor ' || n FROM generate_series(1, 30) n" % (tenant, shared))
        s.db.sql("postgres", "ALTER TABLE ward.visit ADD COLUMN badge text; SELECT everward.refresh_sync('ward.visit')")
        s.db.sql("postgres", "SELECT everward.enable_sync('ward.note', 'field', (SELECT options FROM everward.sync_table WHERE name = 'note'))")
        s.db.sql("postgres", "INSERT INTO ward.role_permission (id, tenant_id, role, table_name, actions) VALUES "
                             "(gen_random_uuid(), '%s', 'nurse', 'visit', 'read create update')" % tenant)
        self.assertGreaterEqual(version(), before + 3)
        s.as_app(LAKESIDE, "UPDATE ward.visit SET badge = 'green' WHERE visitor = 'Visitor 7'")
        for n in (a, b):
            n.link("up")
        a.kill()
        a.start()
        self.settled()
        for n in (a, b):
            visits = list(n.tablet().all("visit"))
            self.assertEqual(len(visits), 30)
            self.assertEqual([v["badge"] for v in visits if v["visitor"] == "Visitor 7"], ["green"])
            self.assertTrue(n.verify()["equal"])
            self.assertEqual(n.status()["quarantined"], 0)
            for row in mine:
                n.tablet().get("/api/v1/patient/" + row)
        self.assertEqual(centre("SELECT body FROM ward.note WHERE id = '%s'" % note), "by Alder")
        b.tablet().create("visit", {"patient_id": shared, "visitor": "From Birch"})
        self.settled()
        self.assertEqual(centre("SELECT count(*) FROM ward.visit WHERE visitor = 'From Birch'"), "1")

    def test_what_was_written_to_a_column_that_is_gone_is_kept_and_named(self):
        row = patient(a, "Gone")
        self.settled()
        s.db.sql("postgres", "ALTER TABLE ward.patient ADD COLUMN pet text; SELECT everward.refresh_sync('ward.patient')")
        for n in (a, b):
            n.link("down")
            n.link("up")
        self.settled()
        a.link("down")
        a.tablet().change("patient", row, {"pet": "Parrot"})
        other = patient(a, "GoesThrough")
        s.db.sql("postgres", "ALTER TABLE ward.patient DROP COLUMN pet; SELECT everward.refresh_sync('ward.patient')")
        a.link("up")
        status = a.wait(lambda st: st["quarantined"] == 1, 30)
        self.assertEqual(status["state"], "attention")
        item = json.loads(a.command("quarantine", "list", "--json"))[0]
        self.assertIn("has no column", item["reason"])
        self.assertEqual(centre("SELECT count(*) FROM ward.patient WHERE id = '%s'" % other), "1", "nothing else waits for it")
        a.command("quarantine", "drop", str(item["seq"]))
        self.settled()
        self.assertTrue(a.verify()["equal"])


class Neighbours(Case):
    def test_a_node_of_a_version_that_knows_no_lives_is_served(self):
        """The header of a push without `timeline` and `former`, as the release before this one wrote it."""
        import gateway_client as gc
        old = gc.Node(s.gateway, "Old")
        status, reply = old.enrol(s.gateway.cli("node", "invite", "Old", "--tenant", LAKESIDE, "--site", "North"))
        self.assertEqual(status, 200, reply)
        old.catalog = 1
        status, reply = old.push([old.insert("patient", {"family_name": "OfAnOldNode"})])
        old.close()
        self.assertEqual(status, 200, reply)
        self.assertEqual(centre("SELECT count(*) FROM ward.patient WHERE family_name = 'OfAnOldNode'"), "1")

    def test_a_format_of_another_version_is_refused_by_its_name(self):
        import gateway_client as gc
        new = gc.Node(s.gateway, "New")
        new.enrol(s.gateway.cli("node", "invite", "New", "--tenant", LAKESIDE, "--site", "North"))
        status, data = new.request("POST", "/sync/v1/hello", json.dumps({"format": "everward-hello/2"}))
        new.close()
        reply = json.loads(data)
        self.assertEqual((status, reply["code"]), (400, "unsupported_format"))
        self.assertIn("everward-hello/1", reply["detail"])


if __name__ == "__main__":
    unittest.main()
