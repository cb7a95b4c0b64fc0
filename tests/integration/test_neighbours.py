"""Nodes and a gateway of two releases: centres are upgraded first, wards one after the other, in weeks.

EVERWARD_NEIGHBOUR: the build folder of the other release (docs/HACKING.md tells how to make it); by itself this release is its own
neighbour. Real programs: everward, everward-gateway, PostgreSQL (stack.py)."""

import os
import unittest
import uuid

import gateway_client as gc
import stack

TENANT = "Lakeside"
OTHER = os.environ.get("EVERWARD_NEIGHBOUR") or gc.BUILD
s = None


def setUpModule():
    global s
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()


def tearDownModule():
    s.stop()


class Neighbours(unittest.TestCase):
    def node(self, name, of):
        n = s.new_node(name, TENANT)
        n.program = os.path.join(of, "node", "everward")
        n.setup()
        n.start()
        n.wait_current()
        return n

    def works(self, n):
        """Both ways, with the line cut in between, and equal in the end."""
        mark = "m" + uuid.uuid4().hex[:10]
        s.as_app(TENANT, "INSERT INTO ward.patient (id, tenant_id, family_name) VALUES ('%s', '%s', '%s')" % (uuid.uuid4(), s.tenants[TENANT], mark))
        n.link("down")
        rows = [n.tablet().create("patient", {"family_name": mark})["id"] for _ in range(20)]
        n.tablet().change("patient", rows[0], {"city": "Moss"})
        n.link("up")
        head = int(s.db.one("postgres", "SELECT max(head) FROM everward.feed_head"))
        n.wait(lambda st: st["state"] == "current" and st["pending"] == 0 and st["cursor"] >= head)
        self.assertEqual(len([p for p in n.tablet().all("patient") if p["family_name"] == mark]), 21)
        self.assertEqual(s.db.one("postgres", "SELECT count(*) || ' ' || count(city) FROM ward.patient WHERE family_name = '%s'" % mark), "21 1")
        self.assertEqual(n.status()["quarantined"], 0)
        self.assertTrue(n.verify()["equal"])

    def test_a_node_of_the_other_release_is_served(self):
        self.works(self.node("Alder", OTHER))

    def test_a_gateway_of_the_other_release_serves_before_this_one(self):
        """Beside each other while the gateways change places, over a database that has been migrated."""
        theirs = gc.Gateway(s.folder, s.db, name="theirs")
        theirs.program = os.path.join(OTHER, "sync", "gateway", "everward-gateway")
        ours, s.gateway = s.gateway, theirs.start()
        try:
            n = s.new_node("Birch", TENANT)
            n.setup()
            n.start()
            n.wait_current()
            self.works(n)
        finally:
            s.gateway = ours
            theirs.stop()

    def test_a_ward_is_upgraded_with_a_full_outbox(self):
        n = self.node("Cedar", OTHER)
        n.link("down")
        row = n.tablet().create("patient", {"family_name": "BeforeTheUpgrade"})["id"]
        n.stop()
        n.program = stack.EVERWARD
        n.start()
        self.assertEqual(n.tablet().get("/api/v1/patient/" + row)["sync"], "pending")
        n.link("up")
        n.wait_current()
        self.assertEqual(s.db.one("postgres", "SELECT count(*) FROM ward.patient WHERE id = '%s'" % row), "1")
        self.works(n)


if __name__ == "__main__":
    unittest.main()
