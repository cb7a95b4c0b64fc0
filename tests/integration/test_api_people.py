"""Logging in, staying in, being thrown out: sessions of the local API."""

import statistics
import time
import unittest
import uuid

from api_fixture import ANN, EVE, PASSWORD, PAT, STAFF, Client, Node, base_rows, have_server

node = None


def setUpModule():
    global node
    if not have_server():
        raise unittest.SkipTest("api_server is not built")
    node = Node(env={"API_SERVER_DELAY_S": "2"})


def tearDownModule():
    code = node.stop()
    log = node.log()
    node.close()
    if code != 0:
        raise AssertionError(f"api_server ended with {code}: {log[-4000:]}")


def attempt(name, password=PASSWORD, at=None):
    client = Client(at or node)
    reply = client.send("POST", "/api/v1/session", {"name": name, "password": password})
    client.close()
    return reply


class Login(unittest.TestCase):
    def test_a_right_password_gives_token_cookie_and_roles(self):
        reply = attempt("ann")
        self.assertEqual((reply.status, reply.json["staff"]["id"], reply.json["roles"]), (200, ANN, ["nurse"]))
        cookie = reply.headers["Set-Cookie"]
        self.assertTrue(cookie.startswith(f"__Host-everward={reply.json['token']};"))
        for word in ("Secure", "HttpOnly", "SameSite=Strict", "Path=/"):
            self.assertIn(word, cookie)

    def test_names_are_case_folded(self):
        for name in ("ANN", "Ann", "zoë", "ZOË"):
            self.assertEqual(attempt(name).status, 200, name)

    def test_wrong_password_unknown_name_and_inactive_get_one_answer_in_one_time(self):
        def measure(name, password):
            times, reply = [], None
            for _ in range(4):
                started = time.monotonic()
                reply = attempt(f"{name}{'' if name in STAFF else uuid.uuid4().hex}", password)
                times.append(time.monotonic() - started)
            answer = {k: v for k, v in reply.json.items() if k not in ("request_id", "instance")}
            return (reply.status, answer), statistics.median(times)
        wrong, t_wrong = measure("bob", "not it")
        unknown, t_unknown = measure("nobody", PASSWORD)
        inactive, t_inactive = measure("eve", PASSWORD)
        self.assertEqual(wrong[0], 401)
        self.assertEqual(wrong, unknown)
        self.assertEqual(wrong, inactive)
        self.assertLess(max(t_wrong, t_unknown, t_inactive), 3 * min(t_wrong, t_unknown, t_inactive) + 0.05)

    def test_failures_delay_also_after_a_restart_and_end(self):
        own = Node(env={"API_SERVER_DELAY_S": "4"})
        try:
            for _ in range(5):
                self.assertEqual(attempt("Ann", "wrong", own).status, 401)
            blocked = attempt("ann", at=own)
            self.assertEqual((blocked.status, blocked.code), (429, "login_delayed"))
            self.assertIn(int(blocked.headers["Retry-After"]), range(1, 5))
            own.kill()
            own.start()
            self.assertEqual(attempt("ANN", at=own).status, 429, "a restart does not forget the failures")
            self.assertEqual(attempt("bob", at=own).status, 200, "others are not held back")
            time.sleep(4.2)
            self.assertEqual(attempt("ann", at=own).status, 200)
            self.assertEqual(attempt("ann", at=own).status, 200, "the failures are forgotten")
        finally:
            own.close()

    def test_an_unknown_name_is_delayed_like_a_known_one(self):
        name = uuid.uuid4().hex
        self.assertEqual([attempt(name).status for _ in range(6)], [401] * 5 + [429])

    def test_malformed_logins_are_refused(self):
        client = Client(node)
        for body in ({}, {"name": "ann"}, {"name": 1, "password": "x"}, {"name": "ann", "password": "x" * 300},
                     {"name": "x" * 200, "password": "x"}, {"name": "ann", "password": PASSWORD, "device": "x" * 65},
                     {"name": "ann", "password": PASSWORD, "role": "doctor"}):
            reply = client.send("POST", "/api/v1/session", body)
            self.assertEqual((reply.status, reply.code), (400, "bad_login"), body)
        self.assertEqual(client.send("POST", "/api/v1/session", raw=b"x" * 20000).status, 413)
        client.close()

    def test_a_login_does_not_delay_other_requests(self):
        import threading
        ann, slow = node.login("ann"), []
        threads = [threading.Thread(target=attempt, args=("bob",)) for _ in range(4)]
        for t in threads:
            t.start()
        while any(t.is_alive() for t in threads):
            started = time.monotonic()
            self.assertEqual(ann.get("session").status, 200)
            slow.append(time.monotonic() - started)
        ann.close()
        self.assertLess(statistics.median(slow), 0.05)


class Sessions(unittest.TestCase):
    def test_without_a_session_nothing_is_told(self):
        anybody = Client(node)
        for token in (None, "x", "A" * 43, "A" * 5000, "\u00e9".encode().decode("latin-1")):
            anybody.token = token
            for path in ("patient", f"patient/{PAT}", f"patients/{PAT}/chart", "conflicts", "sync", "events", "session"):
                reply = anybody.get(path)
                self.assertEqual((reply.status, reply.code), (401, "not_logged_in"), (token, path))
                self.assertIn("WWW-Authenticate", reply.headers)
        self.assertEqual(anybody.post("observation", {"patient_id": PAT}).status, 401)
        self.assertEqual(anybody.send("GET", "/api/v1/patient", headers={"Authorization": "Basic YTpi"}).status, 401)
        anybody.close()

    def test_logging_out_ends_the_session_at_once(self):
        ann = node.login("ann")
        self.assertEqual(ann.send("DELETE", "/api/v1/session").status, 204)
        self.assertEqual(ann.get("session").status, 401)
        ann.close()

    def test_a_cookie_counts_but_not_from_another_site(self):
        token = attempt("ann").json["token"]
        client = Client(node)
        cookie = {"Cookie": f"theme=dark; __Host-everward={token}; x=y"}
        self.assertEqual(client.send("GET", "/api/v1/session", headers=cookie).status, 200)
        own = f"https://localhost:{node.port}"
        body = {"patient_id": PAT, "code": "1"}
        for headers, status in (({}, 403), ({"Origin": "https://evil.example"}, 403), ({"Sec-Fetch-Site": "cross-site"}, 403),
                                ({"Sec-Fetch-Site": "same-site", "Origin": own}, 403), ({"Origin": "null"}, 403),
                                ({"Origin": own + ".evil.example"}, 403), ({"Origin": own}, 201),
                                ({"Sec-Fetch-Site": "same-origin"}, 201)):
            reply = client.send("POST", "/api/v1/observation", body, {"Idempotency-Key": str(uuid.uuid4()), **cookie, **headers})
            self.assertEqual(reply.status, status, (headers, reply))
        client.close()

    def test_an_idle_session_ends(self):
        own = Node(env={"API_SERVER_IDLE_S": "3"})
        try:
            ann = own.login("ann")
            for _ in range(4):  # together longer than the limit
                time.sleep(1)
                self.assertEqual(ann.get("session").status, 200)
            time.sleep(4)
            self.assertEqual(ann.get("session").status, 401)
        finally:
            own.close()


class Revoking(unittest.TestCase):
    """Each with a node of its own: what the centre sends stays."""

    def setUp(self):
        self.node = Node()
        self.rows = base_rows()

    def tearDown(self):
        self.node.close()

    def staff(self, **change):
        row = next(r for r in self.rows["staff"] if r["id"] == ANN)
        return ("u", "staff", {**row, "rev": 2, **change})

    def until(self, good, seconds=5):
        deadline = time.monotonic() + seconds
        while not good():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def test_who_turns_inactive_is_out(self):
        for change in ({"active": "f"},):
            ann = self.node.login("ann")
            self.node.feed([self.staff(**change)])
            self.until(lambda a=ann: a.get("session").status == 401)
            self.assertEqual(attempt("ann", at=self.node).status, 401)
            ann.close()

    def test_a_revocation_and_an_end_of_validity_count(self):
        self.node.feed([self.staff(revoked_at="2026-01-01T00:00:00Z")])
        self.assertEqual(attempt("ann", at=self.node).status, 401)
        self.node.feed([("u", "staff", {**self.staff()[2], "rev": 3, "valid_until_at": "2026-01"})])
        self.assertEqual(attempt("ann", at=self.node).status, 401)
        self.node.feed([("u", "staff", {**self.staff()[2], "rev": 4, "valid_until_at": "2099-01-01", "revoked_at": "2098"})])
        self.assertEqual(attempt("ann", at=self.node).status, 200)

    def test_a_changed_permission_counts_for_those_who_are_in(self):
        ann = self.node.login("ann")
        self.assertEqual(ann.get("lab_result").status, 403)
        row = next(r for r in self.rows["role_permission"] if r["role"] == "nurse" and r["table_name"] == "patient")
        self.node.feed([("u", "role_permission", {**row, "rev": 2, "table_name": "lab_result"})])
        self.until(lambda: ann.get("lab_result").status == 200)
        self.assertEqual(ann.get("patient").status, 403)
        ann.close()

    def test_a_role_that_is_taken_away_takes_its_rights(self):
        ann = self.node.login("ann")
        row = next(r for r in self.rows["staff_role"] if r["staff_id"] == ANN)
        self.node.feed([("d", "staff_role", {**row, "rev": 2})])
        self.until(lambda: ann.get("patient").status == 403)
        self.assertEqual(ann.get("session").json["roles"], [])
        ann.close()


if __name__ == "__main__":
    unittest.main()
