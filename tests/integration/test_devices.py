"""Tablets: paired once, known by name, revoked; PIN, locking and idle times on them."""

import hashlib
import plistlib
import ssl
import unittest
import uuid
from xml.etree import ElementTree

from api_fixture import PASSWORD, Client, Node, have_server

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
    for word in (PASSWORD, "470815", *secrets):
        if word in log:
            raise AssertionError("a secret stands in the log")


secrets = []


def once(at, method, path, body=None, headers=None, token=None):
    client = Client(at, token)
    reply = client.send(method, f"/api/v1/{path}", body, headers)
    client.close()
    return reply


class Tablet:
    """A device with its secret."""

    def __init__(self, at, name=None, kind="tablet"):
        self.node, self.name = at, name or f"tablet {uuid.uuid4().hex[:8]}"
        ivo = at.login("ivo")
        offer = ivo.send("POST", "/api/v1/devices/pairing", {"name": self.name, "class": kind})
        ivo.close()
        assert offer.status == 201, offer
        claim = once(at, "POST", "devices", {"token": offer.json["token"]})
        assert claim.status == 201, claim
        self.secret, self.id, self.cookie = claim.json["device_token"], claim.json["device"]["id"], claim.headers["Set-Cookie"]
        secrets.extend([self.secret, offer.json["token"], offer.json["code"]])

    def send(self, method, path, body=None, token=None):
        return once(self.node, method, path, body, {"X-Everward-Device": self.secret}, token)

    def login(self, name="ann", pin=None):
        reply = self.send("POST", "session", {"name": name, "password": PASSWORD})
        assert reply.status == 200, reply
        token = reply.json["token"]
        secrets.append(token)
        if pin:
            done = self.send("PUT", "session/pin", {"pin": pin, "password": PASSWORD}, token)
            assert done.status == 204, done
        return token, reply


class Pairing(unittest.TestCase):
    def offer(self, **body):
        ivo = node.login("ivo")
        reply = ivo.send("POST", "/api/v1/devices/pairing", {"name": uuid.uuid4().hex[:12], "class": "tablet", **body})
        ivo.close()
        return reply

    def claim(self, **body):
        return once(node, "POST", "devices", body)

    def test_a_code_pairs_one_device_however_it_is_typed_and_only_once(self):
        offer = self.offer(name="Bed 4")
        self.assertEqual(offer.json["url"], f"https://localhost:{node.port}/pair#{offer.json['token']}")
        typed = offer.json["code"].replace("-", " ").lower()
        first = self.claim(code=typed)
        self.assertEqual((first.status, first.json["device"]["name"], first.json["device"]["class"]), (201, "Bed 4", "tablet"))
        for word in ("__Host-everward-device=", "Secure", "HttpOnly", "SameSite=Strict", "Path=/"):
            self.assertIn(word, first.headers["Set-Cookie"])
        for again in ({"code": typed}, {"token": offer.json["token"]}):
            reply = self.claim(**again)
            self.assertEqual((reply.status, reply.code), (401, "pairing_failed"))

    def test_wrong_codes_and_tokens_get_one_answer(self):
        for body in ({"code": "0000-0000"}, {"code": "x"}, {"token": "A" * 43}, {"token": ""}, {"code": "U" * 8}):
            reply = self.claim(**body)
            self.assertEqual((reply.status, reply.code), (401, "pairing_failed"), body)
        for body in ({}, {"token": "a", "code": "b"}, {"token": 1}, {"code": "x", "class": "shared"}):
            self.assertEqual(self.claim(**body).status, 400, body)

    def test_an_offer_is_over_after_ten_minutes(self):
        own = Node()
        try:
            ivo = own.login("ivo")
            offer = ivo.send("POST", "/api/v1/devices/pairing", {"name": "late", "class": "tablet"}).json
            own.clock(601)
            reply = once(own, "POST", "devices", {"code": offer["code"]})
            ivo.close()
            self.assertEqual((reply.status, reply.code), (401, "pairing_failed"))
        finally:
            own.close()

    def test_only_who_may_pairs_lists_and_revokes(self):
        ann = node.login("ann")
        for method, path, body in (("POST", "devices/pairing", {"name": "x", "class": "tablet"}), ("GET", "devices", None), ("GET", "machine", None),
                                   ("PATCH", f"devices/{uuid.uuid4()}", {"name": "y"}), ("DELETE", f"devices/{uuid.uuid4()}", None)):
            self.assertEqual(ann.send(method, f"/api/v1/{path}", body).code, "not_permitted", (method, path))
        ann.close()

    def test_names_are_given_once(self):
        tablet = Tablet(node)
        self.assertEqual(self.offer(name=tablet.name).code, "device_name_taken")
        for name in ("", " x", "a\nb", "x" * 65):
            self.assertIn(self.offer(name=name).status, (400, 422), name)
        self.assertEqual(self.offer(**{"class": "phone"}).status, 422)

    def test_a_device_is_listed_changed_and_revoked_and_then_out_at_once(self):
        tablet = Tablet(node)
        token, login = tablet.login()
        self.assertEqual((login.json["device"], login.json["device_id"], login.json["device_class"], login.json["idle_timeout_s"]),
                         (tablet.name, tablet.id, "tablet", 300))
        self.assertEqual(tablet.send("GET", "devices/self").json["device"]["name"], tablet.name)
        ivo = node.login("ivo")
        item = next(d for d in ivo.get("devices").json["items"] if d["id"] == tablet.id)
        self.assertEqual((item["paired_by"], item["sessions"], item["revoked_at"]), ("ivo", 1, None))
        new = ivo.send("PATCH", f"/api/v1/devices/{tablet.id}", {"name": tablet.name + " b", "class": "shared"})
        self.assertEqual((new.status, new.json["class"]), (200, "shared"))
        me = tablet.send("GET", "session", token=token).json
        self.assertEqual((me["device"], me["idle_timeout_s"]), (tablet.name + " b", 120))
        self.assertEqual(ivo.send("DELETE", f"/api/v1/devices/{tablet.id}").status, 204)
        self.assertEqual(tablet.send("GET", "session", token=token).status, 401)
        self.assertEqual(tablet.send("GET", "devices/self").code, "not_paired")
        self.assertIsNone(tablet.send("POST", "session", {"name": "ann", "password": PASSWORD}).json["device_id"])
        self.assertEqual(ivo.send("DELETE", f"/api/v1/devices/{tablet.id}").status, 404)
        ivo.close()


class Pins(unittest.TestCase):
    def setUp(self):
        self.tablet = Tablet(node)

    def test_a_locked_session_answers_nothing_until_its_pin(self):
        token, _ = self.tablet.login(pin="470815")
        self.assertEqual(self.tablet.send("POST", "session/lock", {}, token).status, 204)
        for method, path, body in (("GET", "patient", None), ("GET", "sync", None), ("GET", "devices", None), ("GET", "events", None),
                                   ("POST", "observation", {}), ("PUT", "session/pin", {"pin": "470816", "password": PASSWORD})):
            self.assertEqual(self.tablet.send(method, path, body, token).code, "session_locked", (method, path))
        me = self.tablet.send("GET", "session", token=token)
        self.assertEqual((me.status, me.json["locked"], me.json["pin_set"]), (200, True, True))
        self.assertEqual(self.tablet.send("POST", "session/unlock", {"pin": "470815"}, token).json["locked"], False)
        self.assertEqual(self.tablet.send("GET", "patient", token=token).status, 200)

    def test_three_wrong_pins_end_the_session_also_over_a_restart(self):
        own = Node()
        try:
            tablet = Tablet(own)
            token, _ = tablet.login(pin="470815")
            tablet.send("POST", "session/lock", {}, token)
            first = tablet.send("POST", "session/unlock", {"pin": "1357"}, token)
            self.assertEqual((first.status, first.code, first.json["attempts_left"]), (401, "pin_failed", 2))
            own.kill()
            own.start()
            self.assertEqual(tablet.send("GET", "patient", token=token).code, "session_locked", "a restart does not unlock")
            self.assertEqual(tablet.send("POST", "session/unlock", {"pin": "1357"}, token).json["attempts_left"], 1)
            self.assertEqual(tablet.send("POST", "session/unlock", {"pin": "1357"}, token).code, "not_logged_in")
            self.assertEqual(tablet.send("POST", "session/unlock", {"pin": "470815"}, token).status, 401)
        finally:
            own.close()

    def test_a_pin_is_worth_nothing_on_another_device(self):
        token, _ = self.tablet.login(pin="470815")
        self.tablet.send("POST", "session/lock", {}, token)
        other = Tablet(node)
        self.assertEqual(other.send("POST", "session/unlock", {"pin": "470815"}, token).code, "not_paired")
        self.assertEqual(once(node, "POST", "session/unlock", {"pin": "470815"}, token=token).code, "not_paired")
        self.assertEqual(self.tablet.send("POST", "session/unlock", {"pin": "470815"}, token).status, 200)

    def test_weak_pins_wrong_passwords_and_unpaired_devices_are_refused(self):
        token, _ = self.tablet.login()
        for pin in ("1234", "4321", "7777", "123", "12a4", "1" * 13, "456789"):
            reply = self.tablet.send("PUT", "session/pin", {"pin": pin, "password": PASSWORD}, token)
            self.assertIn(reply.code, ("weak_pin", "bad_login"), pin)
        self.assertEqual(self.tablet.send("PUT", "session/pin", {"pin": "4708", "password": "no"}, token).code, "login_failed")
        ann = node.login("bob")
        self.assertEqual(ann.send("PUT", "/api/v1/session/pin", {"pin": "4708", "password": PASSWORD}).code, "not_paired")
        ann.close()

    def test_without_a_pin_locking_ends_the_session(self):
        token, _ = self.tablet.login("bob")
        self.assertEqual(self.tablet.send("POST", "session/lock", {}, token).status, 204)
        self.assertEqual(self.tablet.send("GET", "session", token=token).status, 401)

    def test_idle_locks_a_paired_device_and_the_shift_ends_it(self):
        own = Node()
        try:
            tablet = Tablet(own)
            token, _ = tablet.login(pin="470815")
            bob, _ = tablet.login("bob")
            own.clock(301)
            self.assertEqual(tablet.send("GET", "patient", token=token).code, "session_locked")
            self.assertEqual(tablet.send("GET", "patient", token=bob).code, "not_logged_in", "without a PIN idle is over")
            self.assertEqual(tablet.send("POST", "session/unlock", {"pin": "470815"}, token).status, 200)
            own.clock(12 * 3600 + 10)
            self.assertEqual(tablet.send("POST", "session/unlock", {"pin": "470815"}, token).code, "not_logged_in")
        finally:
            own.close()


class Trust(unittest.TestCase):
    def test_anybody_gets_the_authoritys_certificate_in_each_form_and_nothing_else(self):
        with open(f"{node.folder}/ca.pem", encoding="ascii") as f:
            pem = f.read()
        der = ssl.PEM_cert_to_DER_cert(pem)
        digest = hashlib.sha256(der).hexdigest().upper()
        fingerprint = ":".join(digest[i:i + 2] for i in range(0, 64, 2))
        client = Client(node)
        page = client.get("/trust")
        self.assertIn(fingerprint, page.body.decode())
        self.assertIn("<svg", page.body.decode())
        self.assertEqual(client.get("/trust/info").json["fingerprint"], fingerprint)
        self.assertEqual(client.get("/trust/ca.crt").body.decode(), pem)
        profile = plistlib.loads(client.get("/trust/ca.mobileconfig").body)
        self.assertEqual(profile["PayloadContent"][0]["PayloadContent"], der)
        ElementTree.fromstring(client.get("/trust/qr.svg").body)
        evil = client.send("GET", "/trust", headers={"Host": 'x"><script>alert(1)</script>'})
        self.assertNotIn(b"<script>", evil.body)
        self.assertNotIn(b"alert(1)</", evil.body)
        self.assertEqual(evil.body.count(b"<script"), 1)  # the test's own, by its address
        client.close()


if __name__ == "__main__":
    unittest.main()
