"""What a move of the centre's catalog must not get stuck on, beside test_catalog_moves.py: kills, tables and columns that go, an old gateway.

Real programs: everward, everward-gateway, PostgreSQL (stack.py). The table is one of another application's."""

import time
import unittest
import uuid

import gateway_client as gc
import stack

LAKESIDE = "Lakeside"
ROWS = 120
s = a = b = None


def admin(text):
    return s.db.sql("postgres", text)


def setUpModule():
    global s, a, b
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()
    tenant = s.tenant(LAKESIDE)
    new_table("wound")
    s.as_app(LAKESIDE, "; ".join("INSERT INTO ward.role_permission (id, tenant_id, role, table_name, actions) VALUES "
                                 "(gen_random_uuid(), '%s', 'nurse', '%s', 'read create update')" % (tenant, t) for t in ("wound",)))
    a, b = s.node("Alder", LAKESIDE), s.node("Birch", LAKESIDE)


def tearDownModule():
    s.stop()


def new_table(name, cls="field"):
    admin("CREATE TABLE public.%(n)s (id uuid NOT NULL, tenant_id uuid NOT NULL, mark text, size int, note text, PRIMARY KEY (tenant_id, id));"
          "GRANT SELECT, INSERT, UPDATE ON public.%(n)s TO everward_app;"
          "SELECT everward.isolate('public.%(n)s'); SELECT everward.enable_sync('public.%(n)s', '%(c)s')" % {"n": name, "c": cls})


def version():
    return int(s.db.one("postgres", "SELECT version FROM everward.catalog_state"))


class CatalogAway(unittest.TestCase):
    def setUp(self):
        self.mark = "m" + uuid.uuid4().hex[:10]
        for n in (a, b):
            n.link("up")
            n.wait_current()

    def apart(self):
        for n in (a, b):
            n.link("down")

    def follows(self, node):
        head = int(s.db.one("postgres", "SELECT max(head) FROM everward.feed_head"))
        node.wait(lambda st: st["state"] == "current" and st["pending"] == 0 and st["catalog_version"] == version() and st["cursor"] >= head)

    def together(self):
        for n in (a, b):
            n.link("up")
        for _ in range(2):  # what the second brought has to reach the first
            for n in (a, b):
                self.follows(n)

    def equal(self):
        for n in (a, b):
            self.assertTrue(n.verify()["equal"], n.name)

    def write(self, node, table="wound", rows=ROWS):
        t = node.tablet()
        return [t.create(table, {"mark": self.mark, "size": i, "note": "n%d" % i})["id"] for i in range(rows)]

    def at_centre(self, ids, table="wound"):
        wanted = ",".join("'%s'" % i for i in ids)
        return int(s.db.one("postgres", "SELECT count(*) FROM public.%s WHERE id IN (%s)" % (table, wanted)))

    def test_a_column_that_is_synced_no_longer_holds_up_only_what_sets_it(self):
        self.apart()
        admin("ALTER TABLE public.wound ADD COLUMN colour text; SELECT everward.refresh_sync('public.wound')")
        self.together()
        self.apart()
        plain = self.write(a)
        sets_it = a.tablet().create("wound", {"mark": self.mark, "colour": "red"})["id"]
        after = self.write(a, rows=10)
        admin("ALTER TABLE public.wound DROP COLUMN colour; SELECT everward.refresh_sync('public.wound')")
        for n in (a, b):
            n.link("up")
        a.wait(lambda st: st["catalog_version"] == version() and st["quarantined"] == 1 and st["pending"] == 1)
        self.assertEqual(self.at_centre(plain + after), len(plain + after), "nothing else waits")
        self.assertEqual(self.at_centre([sets_it]), 0)
        self.assertEqual(a.tablet().get("/api/v1/wound/" + sets_it)["sync"], "quarantined", "what could not go is still shown")
        held, = a.tablet().get("/api/v1/quarantine")["items"]
        self.assertEqual(held["reason"], "wound has no column of the name the change gives")
        admin("ALTER TABLE public.wound ADD COLUMN colour text; SELECT everward.refresh_sync('public.wound')")
        self.apart()
        for n in (a, b):
            n.link("up")
        a.command("quarantine", "retry", "all")
        self.together()
        self.assertEqual(s.db.one("postgres", "SELECT colour FROM public.wound WHERE id = '%s'" % sets_it), "red", "mended, it goes as it was written")
        b.tablet().wait_for("/api/v1/wound/" + sets_it, 10, lambda x: x["colour"] == "red")
        self.equal()

    def test_a_table_that_is_synced_no_longer_stops_no_fill_that_waits_for_it(self):
        self.apart()
        new_table("passing")
        admin("REVOKE SELECT ON public.passing FROM everward_gateway")
        ids = self.write(a, rows=5)
        a.link("up")
        a.wait(lambda st: st["catalog_version"] == version())
        time.sleep(0.5)  # the fill has been refused at least once
        admin("SELECT everward.disable_sync('public.passing')")
        self.together()
        self.assertEqual(self.at_centre(ids), len(ids))
        self.equal()

    def test_another_gateway_gives_no_page_of_a_catalog_that_is_over(self):
        """What it keeps in memory is as old as its last question; a node may have heard of the new one elsewhere."""
        tenant = s.tenants[LAKESIDE]
        row = str(uuid.uuid4())
        other = gc.Gateway(s.folder, s.db, name="gw2").start()
        try:
            n = gc.Node(other)
            n.enrol(other.cli("node", "invite", "Cedar", "--tenant", LAKESIDE, "--site", "North"))
            s.as_app(LAKESIDE, "INSERT INTO public.wound (id, tenant_id, mark) VALUES ('%s', '%s', '%s')" % (row, tenant, self.mark))
            page = "/sync/v1/bootstrap?table=wound"
            self.assertEqual(gc.unpack(n.request("GET", page)[1])[0]["catalog"], version())
            admin("ALTER TABLE public.wound ADD COLUMN late text DEFAULT 'here'; SELECT everward.refresh_sync('public.wound')")
            lines = gc.unpack(n.request("GET", page)[1])
            self.assertEqual(lines[0]["catalog"], version())
            self.assertEqual([x[-1] for x in lines[1:-1] if x[0] == row], ["here"])
        finally:
            other.stop()

    def test_a_node_killed_at_any_step_of_the_change_goes_on(self):
        kept = self.write(a, rows=30)
        self.together()
        for step in range(6):
            a.link("down")
            kept += self.write(a, rows=20)
            name = "k%d_%s" % (step, self.mark)
            admin("ALTER TABLE public.wound ADD COLUMN %s text DEFAULT '%s'; SELECT everward.refresh_sync('public.wound')" % (name, name))
            a.link("up")
            if step > 0:
                end = time.monotonic() + 10
                while '"%s"' % version() not in a.log() and a.status().get("catalog_version") != version() and time.monotonic() < end:
                    pass
                time.sleep(0.015 * (step - 1))
            a.kill()
            a.start()
            a.link("up")
            self.follows(a)
            rows = {x["id"]: x for x in a.tablet().all("wound", mark="eq." + self.mark)}
            self.assertEqual(set(rows), set(kept))
            self.assertEqual({x[name] for x in rows.values()}, {name}, "step %d" % step)
        self.assertEqual(self.at_centre(kept), len(kept))
        self.together()
        self.equal()


if __name__ == "__main__":
    unittest.main()
