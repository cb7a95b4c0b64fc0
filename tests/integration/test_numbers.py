"""Record numbers from blocks leased to nodes: nodes that are offline give numbers that no other node gives.

Real programs: everward, everward-gateway, PostgreSQL (stack.py)."""

import os
import shutil
import signal
import threading
import time
import unittest
import uuid

import stack

TENANT, FORM = "Lakeside", ("--system", "urn:mrn", "--prefix", "LK", "--digits", "7")
DAMM = ["0317598642", "7092154863", "4206871359", "1750983426", "6123045978", "3674209581", "5869720134", "8945362017", "9438617205", "2581436790"]
s = a = b = None


def setUpModule():
    global s, a, b
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()
    s.tenant(TENANT)
    s.gateway.cli("numbers", "set", "--tenant", TENANT, *FORM)
    a, b = s.node("Alder", TENANT), s.node("Birch", TENANT)
    for n in (a, b):
        n.wait(lambda st: st["numbers_left"] > 0)


def tearDownModule():
    s.stop()


def valid(value):
    at = 0
    for c in value[2:]:
        at = int(DAMM[at][int(c)])
    return value.startswith("LK") and len(value) == 10 and at == 0


def sql(text):
    return s.db.sql("postgres", text)


def leases(n):
    return [[int(v) for v in r] for r in sql("SELECT l.incarnation, l.block, l.first, l.last FROM everward.number_lease l JOIN everward.node"
                                             " USING (tenant_id, node_id) WHERE name = '%s' ORDER BY l.first" % n.name)]


class Case(unittest.TestCase):
    def setUp(self):
        self.mark = "num" + uuid.uuid4().hex[:10]

    def patient(self, n, key=None):
        return n.tablet().create("patient", {"family_name": self.mark, "given_names": "Test", "active": True})["id"]

    def numbers(self, n):
        """patient → values, as the node shows it."""
        found = {}
        for p in n.tablet().all("patient", family_name="eq." + self.mark):
            found[p["id"]] = [i["value"] for i in n.tablet().all("patient_identifier", patient_id="eq." + p["id"])]
        return found

    def at_centre(self):
        return [(r[0], r[1]) for r in sql("SELECT p.id, i.value FROM ward.patient p LEFT JOIN ward.patient_identifier i ON i.tenant_id = p.tenant_id"
                                          " AND i.patient_id = p.id WHERE p.family_name = '%s'" % self.mark)]

    def check(self, count):
        rows = self.at_centre()
        self.assertEqual(len(rows), count, "one number each")
        self.assertEqual(len({r[1] for r in rows}), count, "no number twice")
        self.assertEqual([r[1] for r in rows if not r[1] or not valid(r[1])], [])
        self.assertEqual(sql("SELECT count(*) FROM everward.alert WHERE kind = 'record-number-shared'")[0][0], "0")
        return rows


class Numbers(Case):
    def test_two_nodes_offline_give_numbers_that_are_unique_and_check(self):
        for n in (a, b):
            n.link("down")
        for n in (a, b):
            for _ in range(30):
                self.patient(n)
        for n in (a, b):
            n.link("up")
        for n in (a, b):
            n.wait_current()
        self.check(60)
        blocks = sorted((x[2], x[3]) for n in (a, b) for x in leases(n))
        self.assertTrue(all(x[1] < y[0] for x, y in zip(blocks, blocks[1:])), blocks)

    def test_a_patient_who_comes_with_a_number_gets_no_other(self):
        person = str(uuid.uuid4())
        person = person[:14] + "7" + person[15:19] + "8" + person[20:]
        reply = a.tablet().request("POST", "/api/v1/transaction", {"writes": [
            {"op": "create", "table": "patient", "id": person, "values": {"family_name": self.mark, "active": True}},
            {"op": "create", "table": "patient_identifier", "values": {"patient_id": person, "system": "urn:mrn", "value": "typed " + self.mark}}]},
            {"Idempotency-Key": uuid.uuid4().hex})
        self.assertTrue(reply)
        self.assertEqual(self.numbers(a), {person: ["typed " + self.mark]})

    def test_a_node_killed_while_it_writes_loses_no_number_and_gives_none_twice(self):
        stop = threading.Event()
        acked = []

        def write():
            t = a.new_tablet()
            while not stop.is_set():
                try:
                    acked.append(t.create("patient", {"family_name": self.mark, "given_names": "Test", "active": True})["id"])
                except Exception:  # the node is dead: that is the point
                    return
        for _ in range(3):
            stop.clear()
            w = threading.Thread(target=write)
            w.start()
            begun = len(acked)
            end = time.monotonic() + 30
            while len(acked) < begun + 8 and time.monotonic() < end:
                time.sleep(0.005)
            a.kill()
            stop.set()
            w.join(60)
            a.start()
        a.wait_current()
        rows = self.at_centre()
        self.check(len(rows))
        self.assertLessEqual(set(acked), {r[0] for r in rows})
        used = sorted(int(r[1][2:9]) for r in rows)
        self.assertEqual(used[-1] - used[0] + 1, len(used), "none between is lost")

    def test_a_supply_that_runs_low_is_refilled(self):
        before = len(leases(b))
        end = time.monotonic() + 40
        while len(leases(b)) == before and time.monotonic() < end:
            self.patient(b)
        self.assertGreater(len(leases(b)), before)
        b.wait(lambda st: st["numbers_left"] >= 100)


class Exhausted(Case):
    def test_used_up_patients_are_written_and_numbered_later(self):
        n = s.node("Cedar", TENANT)
        n.wait(lambda st: st["numbers_left"] > 0)
        n.link("down")
        left = n.status()["numbers_left"]
        for _ in range(left + 3):
            self.patient(n)
        st = n.wait(lambda st: st["numbers_left"] == 0 and st["numbers_owed"] == 3)
        self.assertEqual(st["state"], "attention")
        self.assertIn("no record numbers", st["reason"])
        n.link("up")
        n.wait(lambda st: st["numbers_owed"] == 0 and st["numbers_left"] > 0)
        n.wait_current()
        self.check(left + 3)


class Lives(Case):
    def test_a_restored_node_gives_no_number_that_it_gave_after_the_backup(self):
        n = s.node("Dogwood", TENANT)
        n.wait(lambda st: st["numbers_left"] > 0)
        copy = os.path.join(s.folder, "dogwood-copy")
        n.stop()
        shutil.copytree(n.state, copy)
        n.start()
        n.wait_current()
        for _ in range(10):
            self.patient(n)
        n.wait_current()
        n.kill()
        shutil.rmtree(n.state)
        shutil.move(copy, n.state)
        n.start()
        n.wait(lambda st: st["state"] == "attention")
        n.command("rejoin")
        n.wait_current()
        n.wait(lambda st: st["numbers_left"] > 0)
        for _ in range(10):
            self.patient(n)
        n.wait_current()
        self.check(20)
        self.assertEqual([x[0] for x in leases(n)], [1, 2])


class Lease(Case):
    def test_a_lost_reply_neither_burns_nor_doubles_a_block(self):
        tenant = s.tenants[TENANT]
        node = sql("SELECT node_id FROM everward.node WHERE name = 'Alder'")[0][0]
        block = max(x[1] for x in leases(a)) + 1
        ask = ("BEGIN; SELECT everward.seal('%s', '%s'); SELECT first, last FROM everward.lease_numbers((SELECT incarnation FROM everward.node"
               " WHERE node_id = '%s'), %d, 100); COMMIT;" % (tenant, node, node, block))
        self.assertEqual(sql(ask)[-1], sql(ask)[-1])
        self.assertEqual(len(leases(a)), block)

    def test_a_number_that_others_typed_is_stepped_over(self):
        after = int(sql("SELECT next_number FROM everward.number_scheme")[0][0])
        person = str(uuid.uuid4())
        s.as_app(TENANT, "INSERT INTO ward.patient (tenant_id, id, family_name) VALUES ('%s', '%s', '%s'); INSERT INTO ward.patient_identifier"
                 " (tenant_id, id, patient_id, system, value) VALUES ('%s', gen_random_uuid(), '%s', 'urn:mrn', 'LK%07d0')"
                 % (s.tenants[TENANT], person, self.mark, s.tenants[TENANT], person, after + 20))
        n = s.node("Elm", TENANT)
        n.wait(lambda st: st["numbers_left"] > 0)
        self.assertGreater(leases(n)[0][2], after + 20)

    def test_a_centre_that_was_put_back_leaves_out_what_it_may_have_forgotten(self):
        node = sql("SELECT node_id, tenant_id FROM everward.node WHERE name = 'Birch'")[0]
        ask = ("BEGIN; SELECT everward.seal('%s', '%s'); SELECT first, last FROM everward.lease_numbers((SELECT incarnation FROM everward.node"
               " WHERE node_id = '%s'), %d, 100); ROLLBACK;")
        block = max(x[1] for x in leases(b)) + 1
        plain = int(sql(ask % (node[1], node[0], node[0], block))[-1][0])
        later = int(sql("UPDATE everward.number_scheme SET timeline = gen_random_uuid(); " + ask % (node[1], node[0], node[0], block + 1))[-1][0])
        sql("UPDATE everward.number_scheme SET timeline = (SELECT id FROM everward.timeline)")
        self.assertGreaterEqual(later, plain + 200 * 2)

    def test_killed_gateways_lease_each_block_once(self):
        s.gateway.stop(signal.SIGKILL)
        n = b
        for _ in range(5):
            self.patient(n)
        s.gateway.start()
        n.wait_current()
        for x in (a, b):
            self.assertEqual([y[1] for y in leases(x)], list(range(1, len(leases(x)) + 1)))
        self.check(5)


if __name__ == "__main__":
    unittest.main()
