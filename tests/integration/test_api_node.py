"""The local API of real nodes under a real gateway and PostgreSQL: what the ward sees before, during and after an outage."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import unittest
import uuid

import stack
from api_fixture import Client, Events

LAKESIDE = "Lakeside"
SEEN_S = 20
s = a = b = None


def setUpModule():
    global s, a, b
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()
    a, b = s.node("Alder", LAKESIDE), s.node("Birch", LAKESIDE)


def tearDownModule():
    s.stop()


def client(node, name=stack.USER, password=stack.PASSWORD):
    import ssl

    class Target:
        port = node.port
        context = ssl.create_default_context(cafile=os.path.join(node.state, "tls", "ca.crt"))
    c = Client(Target)
    reply = c.send("POST", "/api/v1/session", {"name": name, "password": password})
    if reply.status != 200:
        raise RuntimeError(f"login: {reply}")
    c.token = reply.json["token"]
    return c


def until(good, seconds=SEEN_S):
    end = time.monotonic() + seconds
    while True:
        value = good()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError("not within %s s; last: %r" % (seconds, value))
        time.sleep(0.02)


class Ward(unittest.TestCase):
    def setUp(self):
        self.at_a, self.at_b = client(a), client(b)

    def tearDown(self):
        self.at_a.close()
        self.at_b.close()
        for node in (a, b):
            if not node.status()["link_open"]:
                node.link("up")
            node.wait_current()

    def patient(self, **more):
        row = self.at_a.post("patient", {"family_name": "Test " + uuid.uuid4().hex, "active": True, **more})
        if row.status == 403:  # the tests' roles may not register patients: the admissions office does
            new = str(uuid.uuid4())
            s.as_app(LAKESIDE, "INSERT INTO ward.patient (id, tenant_id, family_name, active, phone) VALUES ('%s', '%s', 'Test', true, %s)"
                     % (new, s.tenants[LAKESIDE], "'%s'" % more["phone"] if "phone" in more else "NULL"))
            return new
        return row.json["id"]

    def everywhere(self, path):
        for c in (self.at_a, self.at_b):
            until(lambda c=c: (r := c.get(path)).status == 200 and r.json["sync"] == "acknowledged")

    def test_a_write_is_pending_here_then_acknowledged_and_seen_at_the_other_ward_with_its_exact_digits(self):
        patient = self.patient()
        self.everywhere(f"patient/{patient}")
        body = {"patient_id": patient, "code": "8867-4", "value_decimal": "173.930141375981180", "effective_at": "2026-11-23T08:00:00.10+02:00",
                "value_json": {"a": [1, "x"]}}
        row = self.at_a.post("observation", body)
        self.assertEqual((row.status, row.json["sync"]), (201, "pending"))
        path = f"observation/{row.json['id']}"
        self.everywhere(path)
        for c in (self.at_a, self.at_b):
            got = c.get(path).json
            for k, v in body.items():
                self.assertEqual(got[k], v)
        self.assertEqual(s.db.sql("postgres", "SELECT value_decimal::text, effective_at FROM ward.observation WHERE id = '%s'" % row.json["id"]),
                         [["173.930141375981180", "2026-11-23T08:00:00.10+02:00"]])

    def test_an_event_tells_the_other_ward(self):
        patient = self.patient()
        self.everywhere(f"patient/{patient}")
        stream = Events(self.at_b, "?tables=task")
        row = self.at_a.post("task", {"patient_id": patient, "description": "weigh"}).json
        event = stream.wait(lambda e: e[1] == "row" and e[2]["id"] == row["id"], SEEN_S)
        stream.close()
        self.assertEqual((event[2]["local"], event[2]["sync"]), (False, "acknowledged"))

    def test_the_ward_works_with_the_line_down_and_says_so(self):
        patient = self.patient()
        self.everywhere(f"patient/{patient}")
        a.link("down")
        a.wait_state("offline")
        offline = client(a)
        self.assertEqual(offline.get("/readyz").status, 200)
        self.assertEqual(offline.get("sync").json["state"], "offline")
        row = offline.post("observation", {"patient_id": patient, "code": "1"})
        self.assertEqual(row.status, 201)
        self.assertEqual(offline.get(f"patients/{patient}/chart").json["vitals"][0]["last"]["sync"], "pending")
        self.assertNotEqual(row.headers["Data-As-Of"], "never")
        offline.close()

    def test_two_wards_change_one_field_and_a_nurse_decides_offline(self):
        patient = self.patient(phone="000")
        self.everywhere(f"patient/{patient}")
        for node, c, phone in ((a, self.at_a, "111"), (b, self.at_b, "222")):
            node.link("down")
            node.wait_state("offline")
            etag = c.get(f"patient/{patient}").json["etag"]
            self.assertEqual(c.patch(f"patient/{patient}", {"phone": phone}, etag).status, 200)
        for node in (a, b):
            node.link("up")
            node.wait_current()
        conflict = until(lambda: self.at_b.get(f"patient/{patient}/conflicts").json["items"])[0]
        until(lambda: self.at_a.get(f"patient/{patient}/conflicts").json["items"])
        self.assertEqual(self.at_b.get(f"patient/{patient}").json["sync"], "contested")
        self.assertEqual((conflict["live"], conflict["incoming"], conflict["base"], conflict["state"]),
                         ({"phone": "111"}, {"phone": "222"}, {"phone": "000"}, "open"))
        b.link("down")
        b.wait_state("offline")
        done = self.at_b.post(f"conflicts/{conflict['id']}/resolution",
                              {"choice": "incoming", "reason": "asked the patient", "seen_rev": conflict["row"]["rev"]})
        self.assertEqual((done.status, done.json["state"]), (201, "resolving"), done)
        self.assertEqual(self.at_b.get(f"patient/{patient}").json["phone"], "222")
        b.link("up")
        for c in (self.at_a, self.at_b):
            until(lambda c=c: c.get(f"conflicts/{conflict['id']}").json["state"] == "resolved")
            until(lambda c=c: (r := c.get(f"patient/{patient}").json)["phone"] == "222" and r["sync"] == "acknowledged")

    def test_a_tablet_is_paired_and_people_are_looked_after_from_the_command_line(self):
        def said(*words):
            return json.loads(a.command(*words, "--json"))
        name = "tablet " + uuid.uuid4().hex[:6]
        offer = said("pair", name, "shared")
        anybody = Client(self.at_a.node)
        claim = anybody.send("POST", "/api/v1/devices", {"code": offer["code"]})
        self.assertEqual((claim.status, claim.json["device"]["class"]), (201, "shared"))
        secret = {"X-Everward-Device": claim.json["device_token"]}
        login = anybody.send("POST", "/api/v1/session", {"name": stack.USER, "password": stack.PASSWORD}, secret)
        self.assertEqual(login.json["device"], name)
        listed = next(d for d in said("pair", "list") if d["name"] == name)
        self.assertEqual((listed["paired_by"], listed["revoked_at"]), ("command line", None))
        people = next(u for u in said("users", "list") if u["username"] == stack.USER)
        self.assertEqual((people["state"], people["sessions"] >= 1), ("good", True))
        said("pair", "revoke", name)
        anybody.token = login.json["token"]
        self.assertEqual(anybody.get("session").status, 401)
        bad = anybody.send("POST", "/api/v1/session", {"name": stack.USER, "password": "wrong"})
        anybody.token = None
        self.assertEqual(bad.status, 401)
        failures = lambda: next(u for u in said("users", "list") if u["username"] == stack.USER)["failures"]
        self.assertEqual(failures(), 1)
        said("users", "unlock", stack.USER.upper())
        self.assertEqual(failures(), 0)
        anybody.close()

    def test_who_is_revoked_at_the_centre_is_out_and_kept_out(self):
        name = "temp." + uuid.uuid4().hex[:8]
        s.gateway.cli("staff", "add", "--tenant", LAKESIDE, "--username", name, "--name", "Temp Berg", "--role", "nurse",
                      "--password-file", "-", input=stack.PASSWORD + "\n")
        until(lambda: self.at_a.get(f"staff?username=eq.{name}").json["items"])
        temp = client(a, name)
        self.assertEqual(temp.get("patient").status, 200)
        s.as_app(LAKESIDE, "UPDATE ward.staff SET active = false WHERE username = '%s'" % name)
        until(lambda: temp.get("patient").status == 401)
        self.assertRaises(RuntimeError, client, a, name)
        temp.close()

    def test_a_refusal_of_the_centre_counts_although_the_list_here_has_not_heard_of_it(self):
        name = "gone." + uuid.uuid4().hex[:8]
        s.gateway.cli("staff", "add", "--tenant", LAKESIDE, "--username", name, "--name", "Gone Berg", "--role", "nurse",
                      "--password-file", "-", input=stack.PASSWORD + "\n")
        until(lambda: self.at_a.get(f"staff?username=eq.{name}").json["items"])
        client(a, name).close()
        with s.db.session("postgres") as holder:
            holder.sql("BEGIN; LOCK TABLE everward.cut IN ACCESS EXCLUSIVE MODE")  # no news reaches a node now
            s.as_app(LAKESIDE, "UPDATE ward.staff SET revoked_at = '2026-01-01T00:00:00Z' WHERE username = '%s'" % name)
            a.wait(lambda status: status["online"])
            self.assertRaises(RuntimeError, client, a, name)
            listed = json.loads(a.command("users", "list", "--json"))
            self.assertEqual(next(u["state"] for u in listed if u["username"] == name), "failed logins", "the list has not heard")
            holder.sql("COMMIT")
        report = json.loads(a.command("audit", "report", "action", "login", "--json"))
        self.assertEqual(report[0]["detail"], "refused by the centre")

    def test_without_the_line_the_nodes_own_list_decides_in_less_than_a_second(self):
        a.link("down")
        a.wait_state("offline")
        started = time.monotonic()
        client(a).close()
        self.assertLess(time.monotonic() - started, 1)
        a.link("up")

    def test_a_session_outlives_a_power_cut(self):
        key = str(uuid.uuid4())
        patient = self.patient()
        self.everywhere(f"patient/{patient}")
        first = self.at_a.post("observation", {"patient_id": patient, "code": "1"}, key=key)
        a.kill()
        a.start()
        self.at_a.close()
        end = time.monotonic() + 30
        while True:  # 503: it is starting, says when to come again
            again = self.at_a.post("observation", {"patient_id": patient, "code": "1"}, key=key)
            if again.status != 503 or time.monotonic() > end:
                break
            time.sleep(0.1)
        self.assertEqual((again.status, again.body), (201, first.body))


@unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
class Certificate(unittest.TestCase):
    def make(self, folder, name):
        """A hospital's own pair; its DER."""
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3", "-subj",
                        f"/CN={name}", "-addext", "subjectAltName=DNS:localhost", "-keyout", f"{folder}/new.key", "-out",
                        f"{folder}/new.crt"], check=True, capture_output=True, timeout=30)
        with open(f"{folder}/new.crt", encoding="ascii") as f:
            der = ssl.PEM_cert_to_DER_cert(f.read())
        os.rename(f"{folder}/new.crt", f"{folder}/own.crt")
        os.rename(f"{folder}/new.key", f"{folder}/own.key")
        return der

    def shown(self, port):
        context = ssl._create_unverified_context()
        with socket.create_connection(("127.0.0.1", port), 5) as raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
            return tls.getpeercert(binary_form=True)

    def test_the_hospitals_own_pair_is_used_and_taken_anew_when_it_changes(self):
        folder = os.path.join(s.folder, "own")
        os.makedirs(folder, exist_ok=True)
        first = self.make(folder, "first")
        text = open(a.config, encoding="utf-8").read()
        self.addCleanup(lambda: (a.stop(), open(a.config, "w", encoding="utf-8").write(text), a.start()))
        with open(a.config, "w", encoding="utf-8") as f:
            f.write(text.replace("[api]", f"[api]\ncertificate = {folder}/own.crt\nkey = {folder}/own.key", 1))
        a.stop()
        a.start()
        self.assertEqual(self.shown(a.port), first)
        second = self.make(folder, "second")
        until(lambda: self.shown(a.port) == second)
        with open(f"{folder}/own.key", "w", encoding="ascii") as f:
            f.write("not a key\n")
        until(lambda: "reload_failed" in a.log())
        self.assertEqual(self.shown(a.port), second, "the old pair stays in use")


if __name__ == "__main__":
    unittest.main()
