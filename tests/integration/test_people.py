"""Who may see and do what: supervisors, wards, break-glass, decisions for a role, nodes long offline."""

import re
import statistics
import threading
import time
import unittest
import uuid

from api_fixture import ANN, CONFLICT, OTHER, PASSWORD, PAT, PIA, ROOT, WARD, Client, Node, base_rows, have_server

TEXT = "found on the floor, nobody else here"
node = None


def setUpModule():
    global node
    if not have_server():
        raise unittest.SkipTest("api_server is not built")
    node = Node()


def tearDownModule():
    code = node.stop()
    log = node.log()
    node.close()
    if code != 0:
        raise AssertionError(f"api_server ended with {code}: {log[-4000:]}")
    for word in (PASSWORD, TEXT, "Adeyemi", "Braun"):
        if word in log:
            raise AssertionError(f"{word} stands in the log")


def as_user(name, at=None):
    return (at or node).login(name)


class Wards(unittest.TestCase):
    """pia works on Ward 1, where PAT lies; OTHER does not."""

    def setUp(self):
        self.pia = as_user("pia")

    def tearDown(self):
        self.pia.close()

    def test_lists_rows_and_charts_end_at_the_ward(self):
        self.assertEqual([p["id"] for p in self.pia.get("patient").json["items"]], [PAT])
        self.assertEqual(self.pia.get(f"patient/{PAT}").status, 200)
        for path in (f"patient/{OTHER}", f"patient/{OTHER}/history", f"patients/{OTHER}/chart"):
            self.assertEqual(self.pia.get(path).code, "outside_ward", path)
        chart = self.pia.get(f"patients/{PAT}/chart").json
        self.assertEqual(chart["vitals"], [])
        self.assertIn("allergy", chart["not_permitted"])
        self.assertEqual(self.pia.get("allergy").code, "not_permitted")

    def test_writes_end_at_the_ward(self):
        body = {"patient_id": OTHER, "code": "1"}
        self.assertEqual(self.pia.post("observation", body).code, "outside_ward")
        self.assertEqual(self.pia.post("transaction", {"writes": [{"op": "create", "table": "observation", "values": body}]}).code, "outside_ward")
        self.assertEqual(self.pia.post("observation", {**body, "patient_id": PAT}).status, 201)
        bob = as_user("bob")
        etag = bob.get(f"patient/{OTHER}").json["etag"]
        bob.close()
        refused = self.pia.patch(f"patient/{OTHER}", {"phone": "1"}, etag)
        self.assertEqual((refused.code, "current" in refused.json), ("outside_ward", False))
        stale = self.pia.patch(f"patient/{OTHER}", {"phone": "1"}, '"77.0"')
        self.assertNotIn("current", stale.json)

    def test_a_board_is_for_ones_own_ward(self):
        own = self.pia.get(f"wards/{WARD}/board")
        self.assertEqual(own.status, 200)
        self.assertEqual([x["patient"]["id"] for x in own.json["stays"]], [PAT])
        elsewhere = self.pia.get(f"wards/{uuid.uuid4()}/board")
        self.assertIn((elsewhere.status, elsewhere.code), ((403, "outside_ward"), (404, "not_found")))

    def test_a_patient_who_moves_away_is_not_seen_any_more(self):
        own = Node()
        try:
            pia = as_user("pia", own)
            self.assertEqual(pia.get(f"patient/{PAT}").status, 200)
            stay = base_rows()["bed_stay"][0]
            own.feed([("u", "bed_stay", {**stay, "rev": 2, "status": "completed"})])
            self.assertEqual(pia.get(f"patient/{PAT}").code, "outside_ward")
            pia.close()
        finally:
            own.close()

    def test_a_role_without_a_place_counts_everywhere(self):
        own = Node()
        try:
            role = next(r for r in base_rows()["staff_role"] if r["staff_id"] == PIA)
            own.feed([("u", "staff_role", {**role, "rev": 2, "location_id": None})])
            pia = as_user("pia", own)
            self.assertEqual(len(pia.get("patient").json["items"]), 2)
            pia.close()
        finally:
            own.close()


class BreakGlass(unittest.TestCase):
    def setUp(self):
        self.node = Node()
        self.pia, self.otto = as_user("pia", self.node), as_user("otto", self.node)

    def tearDown(self):
        self.pia.close()
        self.otto.close()
        self.node.close()

    def begin(self, patient=OTHER, key=None, **change):
        return self.pia.post("break-glass", {"patient_id": patient, "reason": "emergency", "text": TEXT, **change}, key)

    def test_it_opens_one_patient_for_an_hour_and_no_more(self):
        found = self.pia.get("break-glass/patients?family_name=bra").json["items"]
        self.assertEqual([p["id"] for p in found], [OTHER])
        begun = self.begin()
        self.assertEqual(begun.status, 201, begun)
        self.assertEqual(self.pia.get(f"patient/{OTHER}").status, 200)
        chart = self.pia.get(f"patients/{OTHER}/chart")
        self.assertEqual((chart.status, chart.json["allergies"], chart.json["not_permitted"]), (200, [], []))
        banner = self.pia.get("session").json["break_glass"]
        self.assertEqual([(b["patient_id"], b["reason"]) for b in banner], [(OTHER, "emergency")])
        self.assertEqual(self.pia.get("staff").code, "not_permitted", "only what belongs to the patient")
        self.assertEqual(self.pia.post("observation", {"patient_id": OTHER, "code": "1"}).status, 201)
        self.assertEqual(self.pia.post("note", {"patient_id": OTHER, "text": "x"}).code, "not_permitted", "no more than the role writes")
        self.node.kill()
        self.node.start()
        self.pia.close()
        self.assertEqual(self.pia.get(f"patient/{OTHER}").status, 200, "it lasts over a restart")
        self.node.clock(3601)
        self.pia.close()
        pia = as_user("pia", self.node)
        self.assertEqual(pia.get(f"patient/{OTHER}").code, "outside_ward")
        self.assertEqual(pia.get("session").json["break_glass"], [])
        pia.close()

    def test_it_is_ended_early_and_then_over_at_once(self):
        entry = self.begin().json
        self.assertEqual(self.otto.send("DELETE", f"/api/v1/break-glass/{entry['id']}").status, 404, "not another's")
        self.assertEqual(self.pia.send("DELETE", f"/api/v1/break-glass/{entry['id']}").status, 204)
        self.assertEqual(self.pia.get(f"patient/{OTHER}").code, "outside_ward")

    def test_it_needs_a_reason_a_right_and_a_patient(self):
        for change, status in (({"reason": "curious"}, 422), ({"text": "short"}, 422), ({"text": "x" * 600}, 400),
                               ({"patient": str(uuid.uuid4())}, 404), ({"patient": "x"}, 422)):
            self.assertEqual(self.begin(**change).status, status, change)
        ann = as_user("ann", self.node)
        self.assertEqual(ann.post("break-glass", {"patient_id": PAT, "reason": "emergency", "text": TEXT}).code, "not_permitted")
        for query in ("", "?family_name=br", "?given_names=Uwe", "?family_name=bra&x=1"):
            self.assertEqual(self.pia.get(f"break-glass/patients{query}").status, 400, query)
        ann.close()

    def test_the_same_request_again_is_the_same_entry(self):
        key = str(uuid.uuid4())
        self.assertEqual(self.begin(key=key).json["id"], self.begin(key=key).json["id"])
        self.assertEqual(len(self.otto.get("break-glass").json["items"]), 1)

    def test_it_is_reviewed_by_another_once(self):
        entry = self.begin().json
        self.pia.get(f"patients/{OTHER}/chart")
        self.pia.post("observation", {"patient_id": OTHER, "code": "1"})
        item = self.otto.get("break-glass").json["items"][0]
        self.assertEqual((item["id"], item["staff"]["username"], item["reads"], item["writes"], item["text"]),
                         (entry["id"], "pia", 1, 1, TEXT))
        path = f"/api/v1/break-glass/{entry['id']}/review"
        self.assertEqual(self.pia.send("POST", path, {"verdict": "justified"}).code, "not_permitted")
        self.assertEqual(self.otto.send("POST", path, {"verdict": "fine"}).status, 422)
        done = self.otto.send("POST", path, {"verdict": "justified", "note": "seen"})
        self.assertEqual((done.status, done.json["review"]["verdict"], done.json["review"]["by"]), (200, "justified", "otto"))
        self.assertEqual(self.otto.send("POST", path, {"verdict": "unclear"}).code, "already_reviewed")
        self.assertEqual(self.otto.get("break-glass").json["items"], [])
        self.assertEqual(len(self.otto.get("break-glass?state=reviewed").json["items"]), 1)


class Supervisors(unittest.TestCase):
    def test_a_supervisor_opens_a_name_that_failed_too_often(self):
        own = Node()
        try:
            ivo = as_user("ivo", own)
            for _ in range(5):
                client = Client(own)
                client.send("POST", "/api/v1/session", {"name": "ann", "password": "wrong"})
                client.close()
            item = next(u for u in ivo.get("users").json["items"] if u["username"] == "ann")
            self.assertEqual((item["failures"], item["roles"], item["usable"]), (5, ["nurse"], True))
            self.assertIsNotNone(item["delayed_until"])
            with self.assertRaises(RuntimeError):
                as_user("ann", own)
            self.assertEqual(ivo.send("POST", f"/api/v1/users/{ANN}/unlock", {"reason": "stood beside her"}).status, 204)
            as_user("ann", own).close()
            ivo.close()
        finally:
            own.close()

    def test_who_is_sent_away_is_out_at_once(self):
        ivo, ann = as_user("ivo"), as_user("ann")
        self.assertEqual(ann.send("POST", f"/api/v1/users/{ANN}/logout", {"reason": "x"}).code, "not_permitted")
        ended = ivo.send("POST", f"/api/v1/users/{ANN}/logout", {"reason": "lost badge"})
        self.assertGreaterEqual(ended.json["ended"], 1)
        self.assertEqual(ann.get("patient").status, 401)
        me = ivo.get("session").json["staff"]["id"]
        self.assertEqual(ivo.send("POST", f"/api/v1/users/{me}/unlock", {"reason": "x"}).code, "own_login")
        self.assertEqual(ivo.send("POST", f"/api/v1/users/{uuid.uuid4()}/unlock", {"reason": "x"}).status, 404)
        ivo.close()
        ann.close()

    def test_the_list_has_a_number_that_grows_with_a_revocation(self):
        own = Node()
        try:
            ivo = as_user("ivo", own)
            before = ivo.get("users").json["list_number"]
            row = next(r for r in base_rows()["staff"] if r["id"] == ANN)
            own.feed([("u", "staff", {**row, "rev": 2, "revoked_at": "2026-01-01T00:00:00Z"})])
            deadline = time.monotonic() + 5
            while ivo.get("users").json["list_number"] == before:
                self.assertLess(time.monotonic(), deadline)
            item = next(u for u in ivo.get("users").json["items"] if u["username"] == "ann")
            self.assertEqual((item["usable"], item["revoked_at"]), (False, "2026-01-01T00:00:00Z"))
            ivo.close()
        finally:
            own.close()


class Decisions(unittest.TestCase):
    def test_a_conflict_is_for_its_role_or_for_who_may_decide_about_the_table(self):
        own = Node()
        try:
            own.feed([("u", "conflict", {**base_rows()["conflict"][0], "rev": 2, "decide_role": "pharmacist"})])
            dora, bob = as_user("dora", own), as_user("bob", own)
            body = {"choice": "live", "reason": "asked", "seen_rev": 3}
            self.assertEqual(dora.post(f"conflicts/{CONFLICT}/resolution", body).code, "not_your_decision")
            self.assertEqual(bob.post(f"conflicts/{CONFLICT}/resolution", body).status, 201)
            dora.close()
            bob.close()
        finally:
            own.close()


class Offline(unittest.TestCase):
    """The node has no centre at all; its clock is moved."""

    def test_staff_work_on_a_node_that_was_alone_for_35_days(self):
        own = Node()
        try:
            own.clock(35 * 86400 - 60)
            ann = as_user("ann", own)
            self.assertEqual(ann.post("observation", {"patient_id": PAT, "code": "1"}).status, 201)
            ann.close()
            own.clock(35 * 86400 + 3600)
            client = Client(own)
            reply = client.send("POST", "/api/v1/session", {"name": "ann", "password": PASSWORD})
            client.close()
            self.assertEqual((reply.status, reply.code), (403, "offline_credentials_expired"))
        finally:
            own.close()

    def test_a_login_takes_less_than_a_second(self):
        times = []
        for _ in range(3):
            started = time.monotonic()
            as_user("ann").close()
            times.append(time.monotonic() - started)
        self.assertLess(statistics.median(times), 1.0)

    def test_argon2_does_not_hold_up_other_requests(self):
        ann, slow = as_user("ann"), []
        threads = [threading.Thread(target=lambda: as_user("bob").close()) for _ in range(4)]
        for t in threads:
            t.start()
        while any(t.is_alive() for t in threads):
            started = time.monotonic()
            ann.get("session")
            slow.append(time.monotonic() - started)
        ann.close()
        print(f"\nbeside 4 logins: {len(slow)} requests, median {statistics.median(slow) * 1000:.1f} ms, longest {max(slow) * 1000:.1f} ms", end="")
        self.assertLess(statistics.median(slow), 0.02)


# Routes that decide without a session, and why.
OPEN = {("GET", "/"): "no data", ("GET", "/healthz"): "no data", ("GET", "/readyz"): "no data", ("GET", "/metrics"): "loopback",
        ("GET", "/openapi.json"): "the shape alone", ("POST", "/api/v1/session"): "name and password",
        ("POST", "/api/v1/devices"): "an offer", ("GET", "/api/v1/devices/self"): "the device's secret",
        ("GET", "/auth/oidc"): "no data", ("GET", "/auth/oidc/start"): "the provider asks who it is",
        ("GET", "/auth/oidc/callback"): "a state, its browser's cookie, and the provider's ID token"}
STATIC = re.compile(r"^/(trust.*|pair|app.*|assets.*|static.*|sw\.js|manifest.*|favicon.*|ui.*|\{file\}|.*\.(js|css|svg|html|webmanifest|png|ico))$")


class Routes(unittest.TestCase):
    def routes(self):
        with open(f"{ROOT}/node/api/server.c", encoding="utf-8") as f:
            text = f.read()
        table = text[text.index("net_http_route routes[]"):]
        table = table[:table.index("};")]
        return re.findall(r'\{"([A-Z]+)",\s*"([^"]+)"', table)

    def test_no_route_answers_without_an_authentication_decision(self):
        anybody, asked = Client(node), 0
        for method, path in self.routes():
            if (method, path) in OPEN or (method == "GET" and STATIC.match(path)):
                self.assertNotIn("/api/v1/", path.replace("/api/v1/session", "").replace("/api/v1/devices", ""), path)
                continue
            concrete = path.replace("{table}", "patient").replace("{id}", PAT).replace("{seq}", "1")
            body = None if method in ("GET", "DELETE") else {}
            reply = anybody.send(method, concrete, body, {"Idempotency-Key": "x"} if body is not None else {})
            self.assertEqual((reply.status, reply.code), (401, "not_logged_in"), (method, path))
            asked += 1
        anybody.close()
        self.assertGreater(asked, 30)

    # free: what needs no role, because it shows nothing or only what is one's own. A new route is put here on purpose or not at all.
    def test_a_person_without_a_role_may_nothing_but_be_logged_in(self):
        own = Node()
        try:
            role = next(r for r in base_rows()["staff_role"] if r["staff_id"] == ANN)
            own.feed([("d", "staff_role", {**role, "rev": 2})])
            ann, free = as_user("ann", own), {"/api/v1/session", "/api/v1/session/pin", "/api/v1/session/lock", "/api/v1/session/unlock",
                                              "/api/v1/sync", "/api/v1/events", "/api/v1/break-glass", "/api/v1/break-glass/{id}",
                                              "/api/v1/break-glass/reasons", "/api/v1/devices/self", "/api/v1/quarantine",
                                              "/api/v1/sync/history"}
            for method, path in self.routes():
                if (method, path) in OPEN or path in free or not path.startswith("/api/v1/"):
                    continue
                concrete = path.replace("{table}", "task").replace("{id}", PAT).replace("{seq}", "1")
                body = None if method in ("GET", "DELETE") else {}
                reply = ann.send(method, concrete, body, {"Idempotency-Key": str(uuid.uuid4()), "If-Match": '"1.0"'})
                self.assertIn(reply.status, (400, 403, 404), (method, path, reply))
                self.assertNotEqual(reply.status // 100, 2)
            ann.close()
        finally:
            own.close()


if __name__ == "__main__":
    unittest.main()
