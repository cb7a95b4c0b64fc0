"""What the centre cannot apply: it stops nothing else, is kept and shown, and goes on with what waits for it.

Real programs: everward, everward-gateway, PostgreSQL (stack.py)."""

import time
import unittest
import uuid

import stack
from demolib.client import ApiError

LAKESIDE = "Lakeside"
s = a = None
WRITES, POISON_AT = 10_000, 6_543


def setUpModule():
    global s, a
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()
    a = s.node("Alder", LAKESIDE)


def tearDownModule():
    s.stop()


def key():
    return {"Idempotency-Key": str(uuid.uuid4())}


class Quarantine(unittest.TestCase):
    def setUp(self):
        self.mark = "q" + uuid.uuid4().hex[:10]
        a.link("up")
        a.wait_current()
        s.db.sql("postgres", "ALTER TABLE ward.patient ADD CONSTRAINT no_999 CHECK (phone <> '+1999') NOT VALID")
        self.addCleanup(s.db.sql, "postgres", "ALTER TABLE ward.patient DROP CONSTRAINT IF EXISTS no_999")

    def allow(self):
        s.db.sql("postgres", "ALTER TABLE ward.patient DROP CONSTRAINT no_999")

    def patient(self, phone, n=0):
        return a.tablet().create("patient", {"family_name": "%s-%d" % (self.mark, n), "given_names": "T", "active": True, "phone": phone})

    def at_centre(self):
        return int(s.db.one("postgres", "SELECT count(*) FROM ward.patient WHERE family_name LIKE '%s-%%'" % self.mark))

    def held(self):
        return a.tablet().get("/api/v1/quarantine")["items"]

    def settle(self):
        """Whatever a test left: given up."""
        for q in self.held():
            a.tablet().request("POST", "/api/v1/quarantine/%s/drop" % q["seq"], {"reason": "a test is over"}, key())

    def test_the_centre_is_told_that_somebody_has_to_look(self):
        """For the fleet page: at once when it begins, at the latest a minute after it has ended."""
        def told():
            return s.db.sql("postgres", "SELECT attention, quarantined, disk_free_bytes > 0, reported_at > now() - interval '2 minutes' FROM everward.node_report")

        def wait(for_this):
            end = time.monotonic() + 30
            while told() != for_this and time.monotonic() < end:
                time.sleep(0.1)
            self.assertEqual(told(), for_this)

        wait([["f", "0", "t", "t"]])
        self.patient("+1999")
        wait([["t", "1", "t", "t"]])
        self.settle()
        wait([["f", "0", "t", "t"]])

    def test_one_poison_change_in_ten_thousand_stops_nothing_else(self):
        there = a.tablet().create("patient", {"family_name": "there", "given_names": "T", "active": True})["id"]
        a.wait_current()
        a.link("down")
        poison = None
        for at in range(0, WRITES, 500):
            writes = [{"op": "create", "table": "patient", "values": {"family_name": "%s-%d" % (self.mark, i), "given_names": "T", "active": True}}
                      for i in range(at, at + 500) if i != POISON_AT]
            a.tablet().request("POST", "/api/v1/transaction", {"writes": writes}, key())
            if at <= POISON_AT < at + 500:
                poison = self.patient("+1999", POISON_AT)["id"]
            if at == 0:
                a.tablet().change("patient", there, {"phone": "+1999"})
        a.tablet().change("patient", there, {"city": "Bergen"})  # some batches behind, made while the first is under way
        started = time.monotonic()
        a.link("up")
        status = a.wait(lambda st: st["quarantined"] == 3 and st["pending"] == 3)
        self.assertEqual(status["state"], "attention")
        print("quarantine: %d changes with two poisons in %.2f s" % (WRITES, time.monotonic() - started))
        self.assertEqual(self.at_centre(), WRITES - 1)
        held = self.held()
        self.assertEqual([q["id"] for q in held], [there, poison, there])
        self.assertEqual(held[0]["reason"], "held behind seq " + held[2]["seq"])
        self.assertEqual(s.db.one("postgres", "SELECT count(*) FROM ward.patient WHERE id = '%s' AND city IS NULL AND rev = 1" % there), "1")
        self.assertEqual(a.tablet().get("/api/v1/patient/" + poison)["sync"], "quarantined")
        self.allow()
        a.command("quarantine", "retry", "all")
        a.wait_current()
        self.assertEqual(self.at_centre(), WRITES)
        self.assertTrue(a.verify()["equal"])

    def test_what_waits_for_a_quarantined_row_goes_on_with_it(self):
        a.link("down")
        person = self.patient("+1999")["id"]
        seen = a.tablet().create("observation", {"patient_id": person, "code": "8867-4", "value_decimal": "72"})["id"]
        a.tablet().change("patient", person, {"city": "Bergen"})
        free = self.patient("+1555", 1)["id"]
        a.link("up")
        a.wait(lambda st: st["quarantined"] == 3)
        self.assertEqual([r[0] for r in s.db.sql("postgres", "SELECT id FROM ward.patient WHERE family_name LIKE '%s-%%'" % self.mark)], [free])
        held = {(q["table"], q["op"]): q for q in self.held()}
        first = held["patient", "create"]
        self.assertEqual((first["sqlstate"], first["constraint"]), ("23514", "no_999"))
        self.assertEqual(held["observation", "create"]["reason"], "held behind seq %s" % first["seq"])
        self.assertEqual(held["patient", "update"]["reason"], "held behind seq %s" % first["seq"])
        self.assertNotIn(self.mark, str(held), "patient data")
        self.allow()
        done = a.tablet().request("POST", "/api/v1/quarantine/%s/retry" % first["seq"], None, key())[0]
        self.assertEqual(done["changes"], 3)
        a.wait_current()
        self.assertEqual(self.held(), [])
        self.assertEqual(s.db.one("postgres", "SELECT city FROM ward.patient WHERE id = '%s'" % person), "Bergen")
        self.assertEqual(s.db.one("postgres", "SELECT count(*) FROM ward.observation WHERE id = '%s'" % seen), "1")

    def test_a_row_that_names_a_quarantined_one_without_a_foreign_key_waits_in_the_same_batch(self):
        s.db.sql("postgres", "ALTER TABLE ward.encounter ADD CONSTRAINT no_poison CHECK (reason_text <> 'poison') NOT VALID")
        self.addCleanup(s.db.sql, "postgres", "ALTER TABLE ward.encounter DROP CONSTRAINT IF EXISTS no_poison")
        self.addCleanup(self.settle)
        person = self.patient("+1555")["id"]
        a.wait_current()
        a.link("down")
        visit = {"patient_id": person, "class_code": "AMB", "status": "in-progress", "started_at": "2026-11-23T06:00:00Z"}
        visits = [a.tablet().create("encounter", dict(visit, reason_text=why))["id"] for why in ("poison", "cough")]
        seen = [a.tablet().create("observation", {"patient_id": person, "encounter_id": v, "code": "8867-4", "value_decimal": "72"})["id"]
                for v in visits]
        a.link("up")
        a.wait(lambda st: st["quarantined"] == 2 and st["last_seq"] == st["acked_seq"])
        held = {q["id"]: q for q in self.held()}
        self.assertEqual(held[seen[0]]["reason"], "held behind seq " + held[visits[0]]["seq"])
        there = "SELECT count(*) FROM ward.observation WHERE id IN ('%s', '%s')" % tuple(seen)
        self.assertEqual(s.db.one("postgres", there), "1")
        s.db.sql("postgres", "ALTER TABLE ward.encounter DROP CONSTRAINT no_poison")
        a.command("quarantine", "retry", held[visits[0]]["seq"])
        a.wait_current()
        self.assertEqual(s.db.one("postgres", there), "2")

    def test_what_comes_in_later_batches_waits_with_what_it_stands_on(self):
        """Same row, a row that a held one would have made, and a row behind that: each pushed after the receipt that refused the first."""
        self.addCleanup(self.settle)
        person = self.patient("+1555")["id"]
        a.wait_current()
        a.tablet().change("patient", person, {"phone": "+1999"})
        a.wait(lambda st: st["quarantined"] == 1 and st["last_seq"] == st["acked_seq"])
        a.tablet().change("patient", person, {"city": "Bergen"})
        a.wait(lambda st: st["quarantined"] == 2)
        newcomer = self.patient("+1999", 1)["id"]
        a.wait(lambda st: st["quarantined"] == 3)
        visit = a.tablet().create("encounter", {"patient_id": newcomer, "class_code": "AMB", "status": "in-progress",
                                                "started_at": "2026-11-23T06:00:00Z"})["id"]
        a.wait(lambda st: st["quarantined"] == 4)
        seen = a.tablet().create("observation", {"patient_id": newcomer, "encounter_id": visit, "code": "8867-4", "value_decimal": "72"})["id"]
        a.wait(lambda st: st["quarantined"] == 5)
        free = self.patient("+1666", 2)["id"]
        a.wait(lambda st: st["quarantined"] == 5 and st["last_seq"] == st["acked_seq"])
        one = s.db.one
        self.assertEqual(one("postgres", "SELECT coalesce(city, '') || phone FROM ward.patient WHERE id = '%s'" % person), "+1555")
        self.assertEqual(one("postgres", "SELECT (SELECT count(*) FROM ward.encounter WHERE id = '%s') + (SELECT count(*) FROM ward.observation "
                             "WHERE id = '%s')" % (visit, seen)), "0")
        self.assertEqual(one("postgres", "SELECT count(*) FROM ward.patient WHERE id = '%s'" % free), "1")
        held = self.held()
        phone = min((q["seq"] for q in held if q["id"] == person), key=int)
        made = [q["seq"] for q in held if q["id"] == newcomer][0]
        self.assertEqual({(q["table"], q["reason"]) for q in held if q["sqlstate"] != "23514"},
                         {("patient", "held behind seq " + phone), ("encounter", "held behind seq " + made), ("observation", "held behind seq " + made)})
        row = a.tablet().get("/api/v1/patient/" + person)
        self.assertEqual((row["city"], row["phone"], row["sync"]), ("Bergen", "+1999", "quarantined"))
        self.allow()
        self.assertEqual(a.tablet().request("POST", "/api/v1/quarantine/%s/retry" % made, None, key())[0]["changes"], 3)
        a.wait(lambda st: st["quarantined"] == 2 and st["last_seq"] == st["acked_seq"])
        self.assertEqual(a.tablet().request("POST", "/api/v1/quarantine/%s/retry" % phone, None, key())[0]["changes"], 2)
        a.wait_current()
        self.assertEqual(one("postgres", "SELECT city || phone FROM ward.patient WHERE id = '%s'" % person), "Bergen+1999")
        self.assertEqual(one("postgres", "SELECT count(*) FROM ward.observation WHERE id = '%s' AND encounter_id = '%s'" % (seen, visit)), "1")
        self.assertTrue(a.verify()["equal"])

    def test_a_retry_before_the_cause_is_mended_comes_back_and_loses_nothing(self):
        person = self.patient("+1999")["id"]
        a.wait(lambda st: st["quarantined"] == 1)
        before = self.held()[0]["seq"]
        a.command("quarantine", "retry", before)
        a.wait(lambda st: st["last_seq"] > int(before) and st["quarantined"] == 1 and st["pending"] == 1 and st["last_seq"] == st["acked_seq"])
        after = self.held()[0]
        self.assertEqual(after["id"], person)
        self.assertGreater(int(after["seq"]), int(before))
        self.assertEqual(a.tablet().get("/api/v1/patient/" + person)["phone"], "+1999")
        self.settle()

    def test_a_change_given_up_goes_and_a_repeated_request_is_answered_alike(self):
        person = self.patient("+1555")["id"]
        a.wait_current()
        a.tablet().change("patient", person, {"phone": "+1999"})
        a.wait(lambda st: st["quarantined"] == 1)
        path, same = "/api/v1/quarantine/%s/drop" % self.held()[0]["seq"], key()
        first = a.tablet().request("POST", path, {"reason": "typed on the wrong line"}, same)[0]
        again, headers = a.tablet().request("POST", path, {"reason": "typed on the wrong line"}, same)
        self.assertEqual((first["changes"], again["changes"], headers["Idempotency-Replayed"]), (1, 1, "true"))
        with self.assertRaises(ApiError) as gone:
            a.tablet().request("POST", path, {"reason": "again"}, key())
        self.assertEqual((gone.exception.status, gone.exception.problem["code"]), (404, "not_found"))
        a.wait_current()
        self.assertEqual(a.tablet().get("/api/v1/patient/" + person)["phone"], "+1555")

    def test_bad_requests_change_nothing(self):
        self.patient("+1999")
        a.wait(lambda st: st["quarantined"] == 1)
        seq = self.held()[0]["seq"]
        for path, body, status, code in (("x/retry", None, 400, "invalid_seq"), ("999999999/retry", None, 404, "not_found"),
                                         (seq + "/drop", {}, 422, "invalid_value"), (seq + "/drop", {"reason": "r", "x": 1}, 422, "unknown_column"),
                                         (seq + "/drop", {"reason": 7}, 422, "invalid_value")):
            with self.assertRaises(ApiError) as refused:
                a.tablet().request("POST", "/api/v1/quarantine/" + path, body, key())
            self.assertEqual((refused.exception.status, refused.exception.problem["code"]), (status, code), path)
        with self.assertRaises(ApiError) as refused:
            a.tablet().request("POST", "/api/v1/quarantine/%s/retry" % seq)
        self.assertEqual(refused.exception.problem["code"], "idempotency_key_required")
        self.assertEqual([q["seq"] for q in self.held()], [seq])
        self.settle()

    def test_verify_compares_and_mends_beneath_a_held_change(self):
        person, other = self.patient("+1555")["id"], self.patient("+1555", 1)["id"]
        a.wait_current()
        a.tablet().change("patient", person, {"phone": "+1999"})
        a.wait(lambda st: st["quarantined"] == 1)
        self.assertEqual(a.verify()["mended"], 0)
        triggers = "".join("ALTER TABLE ward.patient ENABLE ALWAYS TRIGGER zzzz_everward_%s; " % t
                           for t in ("insert", "update", "delete", "rev", "row", "truncate"))
        s.db.sql("postgres", "BEGIN; ALTER TABLE ward.patient DISABLE TRIGGER USER; UPDATE ward.patient SET city = 'Moss' WHERE id IN ('%s', '%s'); "
                 "%s COMMIT" % (person, other, triggers))
        report = a.verify()
        self.assertEqual((report["equal"], report["mended"]), (True, 2), report)
        row = a.tablet().get("/api/v1/patient/" + person)
        self.assertEqual((row["city"], row["phone"], row["sync"]), ("Moss", "+1999", "quarantined"))
        self.settle()


if __name__ == "__main__":
    unittest.main()
