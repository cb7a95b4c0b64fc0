"""The situations that the design names, each from two wards and the centre through the real daemons.

Real programs: everward, everward-gateway, PostgreSQL (stack.py). A test says which situation by its name."""

import contextlib
import datetime
import json
import time
import unittest
import uuid

import stack
from demolib.client import ApiError

LAKESIDE = "Lakeside"
s = a = b = None


def setUpModule():
    global s, a, b
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()
    a, b = s.node("Alder", LAKESIDE), s.node("Birch", LAKESIDE)


def tearDownModule():
    s.stop()


def at(hours=0):
    """An instant as a tablet writes it."""
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


class Situation(unittest.TestCase):
    def setUp(self):
        self.mark = "s" + uuid.uuid4().hex[:10]
        for n in (a, b):
            n.link("up")
            n.wait_current()

    # ---- two wards, apart and together

    def apart(self):
        for n in (a, b):
            n.link("down")

    def together(self):
        """Alder's changes arrive first."""
        for n in (a, b):
            n.link("up")
            n.wait_current()
        head = max(n.status()["head"] for n in (a, b))
        for n in (a, b):
            n.wait(lambda st: st["cursor"] >= head)

    def patient(self, n=0):
        row = a.tablet().create("patient", {"family_name": "%s-%d" % (self.mark, n), "given_names": "Test", "active": True,
                                            "birth_date": "1950-01-01"})["id"]
        a.wait_current()
        b.tablet().wait_for("/api/v1/patient/" + row, 10)
        return row

    def order(self, person):
        order = a.tablet().create("medication_order", {"patient_id": person, "status": "active", "intent": "order", "display": "Morphine",
                                                       "dose_quantity": "5", "dose_unit": "mg", "route": "iv"})["id"]
        slot = a.tablet().create("dose_slot", {"order_id": order, "patient_id": person, "due_at": at(), "number": 1})["id"]
        a.wait_current()
        b.tablet().wait_for("/api/v1/dose_slot/" + slot, 10)
        return order, slot

    def give(self, node, person, order, slot, **more):
        return node.tablet().create("medication_administration", {"patient_id": person, "order_id": order, "slot_id": slot, "status": "completed",
                                                                  "display": "Morphine", "dose_quantity": "5", "dose_unit": "mg", **more})["id"]

    def event(self, node, person, order, action):
        return node.tablet().create("order_event", {"order_id": order, "patient_id": person, "action": action})["id"]

    def chart(self, node, person):
        return node.tablet().get("/api/v1/patients/%s/chart" % person)

    def alerts(self, person, kind, count=1):
        """The patient's alerts of a kind, the same on both wards."""
        end = time.monotonic() + 10
        while True:
            seen = [sorted((x["id"], x["row_id"], x["other_id"]) for x in self.chart(n, person)["alerts"] if x["kind"] == kind) for n in (a, b)]
            if seen[0] == seen[1] and len(seen[0]) == count or time.monotonic() > end:
                break
            time.sleep(0.05)
        self.assertEqual(seen[0], seen[1])
        self.assertEqual(len(seen[0]), count, seen)
        return seen[0]

    def both(self, table, ids):
        for n in (a, b):
            for i in ids:
                n.tablet().wait_for("/api/v1/%s/%s" % (table, i), 10)

    def equal(self):
        for n in (a, b):
            self.assertTrue(n.verify()["equal"], n.name)

    # ---- the situations

    def test_two_tablets_give_one_slot_on_one_lan(self):
        person = self.patient()
        order, slot = self.order(person)
        given = [self.give(a, person, order, slot), self.give(a, person, order, slot)]
        self.together()
        self.both("medication_administration", given)
        (_, row, other), = self.alerts(person, "double-dose")
        self.assertEqual({row, other}, set(given))

    def test_two_tablets_give_one_slot_at_two_sites(self):
        person = self.patient()
        order, slot = self.order(person)
        self.apart()
        given = [self.give(a, person, order, slot), self.give(b, person, order, slot)]
        self.together()
        self.both("medication_administration", given)
        (alert, row, other), = self.alerts(person, "double-dose")
        self.assertEqual({row, other}, set(given))
        a.tablet().create("alert_ack", {"alert_id": alert, "note": "patient seen"})
        self.assertEqual([x for x in self.chart(a, person)["alerts"] if x["id"] == alert], [], "closed for who has seen it")
        self.equal()

    def test_a_dose_that_was_corrected_is_no_double_dose(self):
        person = self.patient()
        order, slot = self.order(person)
        first = self.give(a, person, order, slot)
        self.give(a, person, order, slot, corrects_id=first)
        self.together()
        self.alerts(person, "double-dose", 0)

    def test_stop_at_the_centre_while_the_edge_gives(self):
        person = self.patient()
        order, slot = self.order(person)
        self.apart()
        s.as_app(LAKESIDE, "INSERT INTO ward.order_event (id, tenant_id, order_id, patient_id, action, effective_at, recorded_at) VALUES "
                 "(gen_random_uuid(), '%s', '%s', '%s', 'stop', '%s', '%s')" % (s.tenants[LAKESIDE], order, person, at(-1), at(-1)))
        given = self.give(a, person, order, slot)
        self.together()
        self.both("medication_administration", [given])
        self.alerts(person, "given-after-stop")
        for n in (a, b):
            self.assertEqual([o["state"] for o in self.chart(n, person)["orders"] if o["id"] == order], [])

    def test_a_dose_given_before_the_stop_raises_nothing(self):
        person = self.patient()
        order, slot = self.order(person)
        self.apart()
        self.give(a, person, order, slot, effective_at=at(-2))
        self.event(b, person, order, "stop")
        self.together()
        self.alerts(person, "given-after-stop", 0)

    def test_hold_then_a_resume_that_had_not_seen_the_hold(self):
        person = self.patient()
        order, _ = self.order(person)
        first = self.event(a, person, order, "hold")
        a.wait_current()
        b.tablet().wait_for("/api/v1/order_event/" + first, 10)
        self.apart()
        unseen = self.event(a, person, order, "hold")
        self.event(b, person, order, "resume")  # ends the first hold, and knows nothing of the second
        self.together()
        for n in (a, b):
            n.tablet().wait_for("/api/v1/order_event/" + unseen, 10)
            self.assertEqual([o["state"] for o in self.chart(n, person)["orders"]], ["on-hold"], n.name)
        last = self.event(b, person, order, "resume")
        b.wait_current()
        a.tablet().wait_for("/api/v1/order_event/" + last, 10)
        for n in (a, b):
            self.assertEqual([o["state"] for o in self.chart(n, person)["orders"]], ["active"], n.name)

    def test_allergy_added_here_while_none_known_is_confirmed_there(self):
        person = self.patient()
        self.apart()
        a.tablet().create("allergy", {"patient_id": person, "kind": "allergy", "clinical_status": "active", "display": "Penicillin"})
        b.tablet().create("allergy", {"patient_id": person, "kind": "none-known", "verification_status": "confirmed"})
        self.assertEqual([self.chart(n, person)["allergy_state"] for n in (a, b)], ["allergic", "none-known"])
        self.together()
        for n in (a, b):
            chart = self.chart(n, person)
            self.assertEqual((chart["allergy_state"], len(chart["allergies"])), ("allergic", 2), n.name)

    def test_an_allergy_ended_here_while_it_is_confirmed_there_stays_live_until_a_person_chooses(self):
        person = self.patient()
        row = a.tablet().create("allergy", {"patient_id": person, "kind": "allergy", "clinical_status": "inactive", "display": "Latex"})["id"]
        a.wait_current()
        b.tablet().wait_for("/api/v1/allergy/" + row, 10)
        self.apart()
        a.tablet().change("allergy", row, {"clinical_status": "resolved"})
        b.tablet().change("allergy", row, {"clinical_status": "active"})
        self.together()
        for n in (a, b):
            self.assertEqual(n.tablet().get("/api/v1/allergy/" + row)["clinical_status"], "active")
            c, = self.chart(n, person)["conflicts"]
            self.assertEqual((c["live"], c["incoming"]), ({"clinical_status": "active"}, {"clinical_status": "resolved"}))

    def test_birth_date_corrected_on_both_sides(self):
        person = self.patient()
        self.apart()
        a.tablet().change("patient", person, {"birth_date": "1951-01-01"})
        b.tablet().change("patient", person, {"birth_date": "1952-01-01"})
        self.together()
        for n in (a, b):
            self.assertEqual(n.tablet().get("/api/v1/patient/" + person)["birth_date"], "1951-01-01")
            c, = self.chart(n, person)["conflicts"]
            self.assertEqual((c["decide_role"], c["incoming"]["birth_date"]), ("registrar", "1952-01-01"))

    def test_same_record_number_from_two_sites(self):
        one, two = self.patient(1), self.patient(2)
        self.apart()
        for n, person in ((a, one), (b, two)):
            n.tablet().create("patient_identifier", {"patient_id": person, "system": "urn:mrn", "value": self.mark})
        self.together()
        self.alerts(two, "record-number-shared")
        for n in (a, b):
            self.assertEqual(len(list(n.tablet().all("patient_identifier", value="eq." + self.mark))), 2)

    def test_patient_linked_at_the_centre_while_the_edge_charts_on_the_other_id(self):
        one, two = self.patient(1), self.patient(2)
        self.apart()
        s.as_app(LAKESIDE, "INSERT INTO ward.patient_link (id, tenant_id, patient_id, other_patient_id, action) VALUES "
                 "(gen_random_uuid(), '%s', '%s', '%s', 'link')" % (s.tenants[LAKESIDE], one, two))
        charted = a.tablet().create("observation", {"patient_id": two, "code": "8867-4", "value_decimal": "61"})["id"]
        self.together()
        self.both("observation", [charted])
        for n in (a, b):
            self.assertEqual([(x["patient_id"], x["action"]) for x in n.tablet().all("patient_link", other_patient_id="eq." + two)], [(one, "link")])
        self.equal()

    def test_discharge_against_new_vitals(self):
        person = self.patient()
        stay = a.tablet().create("encounter", {"patient_id": person, "status": "in-progress", "class_code": "IMP"})["id"]
        a.wait_current()
        b.tablet().wait_for("/api/v1/encounter/" + stay, 10)
        self.apart()
        a.tablet().change("encounter", stay, {"status": "finished"})
        charted = b.tablet().create("observation", {"patient_id": person, "encounter_id": stay, "code": "8867-4", "value_decimal": "88"})["id"]
        b.tablet().change("encounter", stay, {"status": "onleave"})
        self.together()
        self.both("observation", [charted])
        for n in (a, b):
            n.tablet().wait_for("/api/v1/encounter/" + stay, 10, lambda r: r["status"] == "finished")
            self.assertEqual(self.chart(n, person)["conflicts"], [], "the safer state stood; nobody has to choose")
        self.alerts(person, "state-clash")

    def test_bed_claimed_twice(self):
        bed = str(uuid.uuid4())
        s.as_app(LAKESIDE, "INSERT INTO ward.location (id, tenant_id, kind, name, active) VALUES ('%s', '%s', 'bed', '%s', true)"
                 % (bed, s.tenants[LAKESIDE], self.mark))
        one, two = self.patient(1), self.patient(2)
        for n in (a, b):
            n.tablet().wait_for("/api/v1/location/" + bed, 10)
        self.apart()
        stays = [n.tablet().create("bed_stay", {"patient_id": p, "location_id": bed, "status": "active", "started_at": at(-1)})["id"]
                 for n, p in ((a, one), (b, two))]
        self.together()
        self.both("bed_stay", stays)
        self.alerts(two, "bed-shared")
        for n in (a, b):
            self.assertEqual({x["patient_id"] for x in n.tablet().all("bed_stay", location_id="eq." + bed)}, {one, two}, "both are shown")

    def test_lab_result_corrected_after_it_was_acknowledged(self):
        person, result = self.patient(), str(uuid.uuid4())
        s.as_app(LAKESIDE, "INSERT INTO ward.lab_result (id, tenant_id, patient_id, status, display, conclusion) VALUES ('%s', '%s', '%s', 'final', "
                 "'Potassium', '4.1')" % (result, s.tenants[LAKESIDE], person))
        a.tablet().wait_for("/api/v1/lab_result/" + result, 10)
        a.tablet().create("result_ack", {"lab_result_id": result, "patient_id": person})
        a.wait_current()
        s.as_app(LAKESIDE, "UPDATE ward.lab_result SET status = 'corrected', conclusion = '6.9' WHERE id = '%s'" % result)
        for n in (a, b):
            n.tablet().wait_for("/api/v1/lab_result/" + result, 10, lambda r: r["conclusion"] == "6.9")
        self.alerts(person, "corrected-after-ack")

    def test_charted_on_the_wrong_patient_undone_after_sync(self):
        wrong, right = self.patient(1), self.patient(2)
        first = a.tablet().create("observation", {"patient_id": wrong, "code": "8867-4", "value_decimal": "150"})["id"]
        self.together()
        b.tablet().create("observation", {"patient_id": wrong, "code": "8867-4", "status": "entered-in-error", "corrects_id": first})
        b.tablet().create("observation", {"patient_id": right, "code": "8867-4", "value_decimal": "150"})
        self.together()
        for n in (a, b):
            n.tablet().wait_for("/api/v1/patients/%s/chart" % right, 10, lambda c: len(c["vitals"]) == 1)
            self.assertEqual([v for v in self.chart(n, wrong)["vitals"] if v["last"]["id"] == first] if self.chart(n, wrong)["vitals"] else [], [], n.name)
            n.tablet().get("/api/v1/observation/" + first)  # both stay, for ever

    def reviewed(self, person):
        """The rows for which the centre asks for a review; every replica holds the request. No login is needed."""
        where = "FROM everward.alert WHERE kind = 'access-ended' AND patient_id = '%s'" % person
        rows = s.db.one("postgres", "SELECT '=' || coalesce(string_agg(row_id::text, ' '), '') " + where)[1:].split()
        self.together()
        self.equal()
        return rows

    @contextlib.contextmanager
    def access_ended(self, when):
        s.as_app(LAKESIDE, "UPDATE ward.staff SET revoked_at = '%s' WHERE username = '%s'" % (when, stack.USER))
        try:
            yield
        finally:
            s.as_app(LAKESIDE, "UPDATE ward.staff SET revoked_at = NULL WHERE username = '%s'" % stack.USER)
            for n in (a, b):
                end = time.monotonic() + 10
                n.one_tablet.connection.close()
                n.one_tablet = None
                while n.one_tablet is None and time.monotonic() < end:
                    try:
                        n.one_tablet = n.new_tablet()
                    except ApiError:
                        time.sleep(0.2)

    def test_facts_written_by_a_nurse_whose_access_had_meanwhile_been_revoked(self):
        person = self.patient()
        self.apart()
        charted = a.tablet().create("observation", {"patient_id": person, "code": "8867-4", "value_decimal": "70"})["id"]
        with self.access_ended(at(-1)):
            self.together()
            self.assertEqual(s.db.one("postgres", "SELECT count(*) FROM ward.observation WHERE id = '%s'" % charted), "1")
            with self.assertRaises(ApiError):
                a.new_tablet()
            self.assertEqual(self.reviewed(person), [charted])
        (_, row, _), = self.alerts(person, "access-ended")
        self.assertEqual(row, charted, "and on both wards")

    def test_facts_written_before_the_access_ended_need_no_review_though_they_arrive_after(self):
        person = self.patient()
        self.apart()
        charted = a.tablet().create("observation", {"patient_id": person, "code": "8867-4", "value_decimal": "70"})["id"]
        time.sleep(1.1)  # at() knows whole seconds
        with self.access_ended(at()):
            self.together()
            self.assertEqual(s.db.one("postgres", "SELECT count(*) FROM ward.observation WHERE id = '%s'" % charted), "1")
            self.assertEqual(self.reviewed(person), [])

    def test_a_tablets_clock_14_hours_ahead(self):
        person = self.patient()
        self.apart()
        ahead = at(14)
        a.tablet().create("observation", {"patient_id": person, "code": "8867-4", "value_decimal": "71", "effective_at": ahead})
        a.tablet().change("patient", person, {"phone": "1"})
        b.tablet().change("patient", person, {"phone": "2"})
        self.together()
        for n in (a, b):
            row, = n.tablet().all("observation", patient_id="eq." + person)
            self.assertEqual(row["effective_at"], ahead, "kept as it was written")
            self.assertEqual(n.tablet().get("/api/v1/patient/" + person)["phone"], "1", "the order of arrival decides, no clock")
            self.assertEqual(len(self.chart(n, person)["conflicts"]), 1)


if __name__ == "__main__":
    unittest.main()
