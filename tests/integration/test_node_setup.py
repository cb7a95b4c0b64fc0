"""Setting a node up and starting it when something is wrong: a precise word, the right exit code, nothing half done.

Real programs: everward, everward-gateway, PostgreSQL (stack.py)."""

import calendar
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
import unittest
import urllib.request

import gateway_client as gc
import stack

LAKESIDE = "Lakeside"
USAGE, UNAVAILABLE, AGAIN, REFUSED, CONFIG = 64, 69, 75, 77, 78
s = ready = None
number = 0


def setUpModule():
    global s, ready
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()
    ready = s.node("Alder", LAKESIDE)
    ready.stop()


def tearDownModule():
    s.stop()


def new_node():
    global number
    number += 1
    return s.new_node("Ward%d" % number, LAKESIDE)


def nodes_enrolled(name):
    return int(s.db.one("postgres", "SELECT count(*) FROM everward.node WHERE name = '%s'" % name))


class Setup(unittest.TestCase):
    def refused(self, done, code, *words):
        self.assertEqual(done.returncode, code, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertEqual(done.stdout, "")

    def test_what_setup_leaves_is_for_its_owner_only(self):
        n = new_node()
        n.setup()
        self.assertEqual(os.stat(n.state).st_mode & 0o777, 0o700)
        for folder, _, files in os.walk(n.state):
            for f in files:
                self.assertIn(os.stat(os.path.join(folder, f)).st_mode & 0o777, (0o600, 0o400), f)

    def test_an_invite_that_is_not_one_is_refused_before_anything_is_done(self):
        n = new_node()
        good = n.invite()
        for bad in ("", "ew1:", "hello", good[:-1].replace("ew1", "ew2"), "ew1:127.0.0.1:0:" + "0" * 64 + ":abc",
                    good.replace(":", ""), "ew1:h:99999:" + "0" * 64 + ":abc", "ew1::443:" + "0" * 64 + ":abc", good.rsplit(":", 1)[0],
                    "ew1:" + "h" * 5000 + ":443:" + "0" * 64 + ":abc"):
            done = n.run("setup", bad)
            self.assertIn(done.returncode, (USAGE, CONFIG), (bad[:80], done.stderr))
        self.assertEqual(n.run("setup").returncode, USAGE)
        self.assertFalse(os.path.exists(n.state))

    def test_an_invite_nobody_made_is_refused(self):
        n = new_node()
        head, token = n.invite().rsplit(":", 1)
        self.refused(n.run("setup", head + ":" + token[::-1]), REFUSED, "invite")
        self.assertEqual(nodes_enrolled(n.name), 0)

    def test_an_invite_that_was_used_is_refused_to_another_node(self):
        first, second = new_node(), new_node()
        invite = first.invite()
        first.setup(invite)
        self.refused(second.run("setup", invite, "--name", second.name), REFUSED, "used")
        self.assertEqual((nodes_enrolled(first.name), nodes_enrolled(second.name)), (1, 0))

    def test_an_expired_invite_is_refused(self):
        n = new_node()
        invite = n.invite()
        s.db.sql("postgres", "UPDATE everward.invite SET expires_at = now() - interval '1 second'")
        self.refused(n.run("setup", invite), REFUSED, "expired")

    def test_a_gateway_with_another_ca_gets_no_secret(self):
        n = new_node()
        parts = n.invite().split(":")
        parts[3] = "%064x" % (int(parts[3], 16) ^ 1)
        before = s.gateway.metrics()
        self.refused(n.run("setup", ":".join(parts)), REFUSED, "fingerprint", "nothing secret was sent")
        self.assertEqual(nodes_enrolled(n.name), 0)
        self.assertLessEqual(s.gateway.metrics().get("requests_total", 0) - before.get("requests_total", 0), 2)

    def test_nobody_at_the_address_is_said_and_can_be_tried_again(self):
        n = new_node()
        invite = n.invite()
        parts = invite.split(":")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            parts[2] = str(free.getsockname()[1])
        self.refused(n.run("setup", ":".join(parts)), UNAVAILABLE)
        n.setup(invite)

    def test_setup_killed_at_any_moment_goes_on_with_the_same_invite(self):
        seed = int(os.environ.get("EVERWARD_SEED", "7"))
        rng = random.Random(seed)
        for _ in range(3):
            n = new_node()
            invite = n.invite()
            for _ in range(12):
                p = subprocess.Popen([stack.EVERWARD, "setup", invite, "--name", n.name, "--config", n.config],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                try:
                    p.wait(rng.random() * 0.08)
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.wait()
            if not os.path.exists(os.path.join(n.state, "identity.json")):
                n.setup(invite)
            self.assertEqual(nodes_enrolled(n.name), 1, "seed %d" % seed)
            n.start()
            n.wait_current()
            n.stop()

    def test_setup_a_second_time_is_refused_and_the_node_stays_what_it_is(self):
        self.refused(ready.run("setup", ready.invite()), REFUSED, "set up already")
        ready.start()
        ready.wait_current()
        ready.stop()


class Serve(unittest.TestCase):
    def refused(self, node, code, *words):
        done = node.run("serve", timeout=20)
        self.assertEqual(done.returncode, code, done.stderr)
        last = done.stderr.strip().splitlines()[-1]
        for word in words:
            self.assertIn(word, done.stderr, last)

    def test_a_node_that_is_not_set_up_says_how(self):
        self.refused(new_node(), UNAVAILABLE, "everward setup")

    def test_a_second_one_on_the_same_folder_is_refused(self):
        ready.start()
        try:
            self.refused(ready, REFUSED, "another everward runs")
            self.assertIn(ready.status()["state"], ("current", "syncing", "offline"))
        finally:
            ready.stop()

    def test_a_port_that_is_taken_is_named(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", ready.port))
            taken.listen()
            self.refused(ready, UNAVAILABLE, str(ready.port))

    def test_a_wrong_key_opens_nothing_and_harms_nothing(self):
        path = os.path.join(ready.state, "wrapping.key")
        shutil.move(path, path + ".right")
        try:
            with open(path, "w") as f:
                f.write("ab" * 32)
            os.chmod(path, 0o400)
            self.refused(ready, REFUSED, "key")
            os.unlink(path)
            self.assertNotEqual(ready.run("serve").returncode, 0)
        finally:
            shutil.move(path + ".right", path)
        self.starts()

    def starts(self):
        ready.start()
        ready.wait_current()
        self.assertEqual(ready.stop(), 0)

    def test_a_damaged_store_is_said_and_nothing_is_written_to_it(self):
        files = [os.path.join(ready.state, f) for f in ("node.db", "node.db-wal") if os.path.exists(os.path.join(ready.state, f))]
        damaged = {}
        for path in files:
            shutil.copy(path, path + ".whole")
            with open(path, "rb") as f:
                whole = f.read()
            damaged[path] = whole[:100] + bytes(x ^ 0x55 for x in whole[100:])
            with open(path, "wb") as f:
                f.write(damaged[path])
        try:
            self.refused(ready, UNAVAILABLE, "damaged")
            with open(files[0], "rb") as f:
                self.assertEqual(f.read(), damaged[files[0]])
        finally:
            for path in files:
                shutil.move(path + ".whole", path)
        self.starts()

    def test_a_folder_that_others_may_read_is_refused(self):
        os.chmod(ready.state, 0o755)
        try:
            self.refused(ready, REFUSED, "chmod 700")
        finally:
            os.chmod(ready.state, 0o700)

    def test_a_setting_that_does_not_exist_is_named_with_file_and_line(self):
        n = new_node()
        n.configure("prot = 5\n")
        self.refused(n, CONFIG, "everward.conf", "prot", "port")
        self.assertEqual(n.run("config", "check").returncode, CONFIG)
        n.configure("port = 700000\n")
        self.refused(n, CONFIG, "port")

    def test_the_configuration_tells_where_each_value_comes_from(self):
        text = ready.command("config", "show", "--origin")
        self.assertIn("everward.conf:", [line for line in text.splitlines() if line.startswith("api.port")][0])
        self.assertIn("default", text)

    def test_commands_without_a_daemon_say_that_it_does_not_run(self):
        for words in (("status",), ("verify",), ("link", "down"), ("quarantine",), ("conflicts",)):
            done = ready.run(*words)
            self.assertEqual(done.returncode, UNAVAILABLE, words)
            self.assertIn("everward serve", done.stderr)

    def test_words_it_does_not_know_are_refused_with_help(self):
        for words in (("sing",), ("link", "sideways"), ("quarantine", "eat", "3"), ("status", "--jsn")):
            self.assertEqual(ready.run(*words).returncode, USAGE, words)
        self.assertIn("export-outbox", ready.command("--help"))
        self.assertIn("everward 0", ready.command("version"))

    def test_a_hangup_takes_the_new_certificate_into_use(self):
        n = new_node()
        n.setup()
        n.start()
        tls = os.path.join(n.state, "tls")

        def shown():
            context = ssl.create_default_context(cafile=os.path.join(tls, "ca.crt"))
            with socket.create_connection(("127.0.0.1", n.port), 10) as k, \
                    context.wrap_socket(k, server_hostname="127.0.0.1") as t:
                return t.getpeercert(True)
        before = shown()
        other = new_node()
        other.setup()
        for f in os.listdir(tls):
            shutil.copy(os.path.join(other.state, "tls", f), os.path.join(tls, f))
        n.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 10
        after = None
        while time.monotonic() < end and after in (None, before):
            try:
                after = shown()
            except OSError:
                time.sleep(0.05)
        self.assertNotEqual(after, before)
        n.stop()

    def old_certificate(self, tls, began, ends):
        """A leaf of the node's own CA that began and ends so many days from now, with the names of the one in place."""
        at = lambda days: time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() + days * 86400))
        template = os.path.join(s.folder, "template")
        with open(template, "w", encoding="ascii") as f:
            f.write(f'cn = "127.0.0.1"\ndns_name = "localhost"\nip_address = "127.0.0.1"\nsigning_key\ntls_www_server\n'
                    f'activation_date = "{at(began)}"\nexpiration_date = "{at(ends)}"\n')
        subprocess.run(["certtool", "--generate-certificate", "--template", template, "--load-privkey", f"{tls}/server.key",
                        "--load-ca-certificate", f"{tls}/ca.crt", "--load-ca-privkey", f"{tls}/ca.key", "--outfile",
                        f"{tls}/server.crt"], check=True, capture_output=True, timeout=30)

    def days_left(self, n):
        """Of the certificate that a tablet which trusts the CA is shown; a verified handshake, or an error."""
        context = ssl.create_default_context(cafile=os.path.join(n.state, "tls", "ca.crt"))
        with socket.create_connection(("127.0.0.1", n.port), 10) as k, context.wrap_socket(k, server_hostname="127.0.0.1") as t:
            return (ssl.cert_time_to_seconds(t.getpeercert()["notAfter"]) - time.time()) / 86400

    @unittest.skipUnless(shutil.which("certtool"), "certtool is not installed")
    def test_the_certificate_is_renewed_early_under_the_same_ca_and_without_a_restart(self):
        n = new_node()
        n.setup()
        tls = os.path.join(n.state, "tls")
        with open(os.path.join(tls, "ca.crt"), "rb") as f:
            ca = f.read()
        self.old_certificate(tls, -250, 147)
        n.start()
        self.assertLess(self.days_left(n), 148, "more than a third is left")
        self.old_certificate(tls, -270, 127)
        n.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 10
        while time.monotonic() < end and self.days_left(n) < 390:
            time.sleep(0.05)
        self.assertGreater(self.days_left(n), 390)
        with open(os.path.join(tls, "ca.crt"), "rb") as f:
            self.assertEqual(f.read(), ca)
        with urllib.request.urlopen(f"https://127.0.0.1:{n.port}/metrics",
                                    context=ssl.create_default_context(cafile=os.path.join(tls, "ca.crt")), timeout=10) as reply:
            told = re.search(rb"^everward_lan_certificate_end_timestamp_seconds (\d+)$", reply.read(), re.M)
        self.assertAlmostEqual(int(told.group(1)), time.time() + 397 * 86400, delta=600)
        n.stop()
        self.old_certificate(tls, -400, -3)
        n.start()
        self.assertGreater(self.days_left(n), 390, "a node that slept for too long")
        n.stop()
        # killed between the two files: a key that is not this certificate's
        shutil.copy(os.path.join(tls, "ca.key"), os.path.join(tls, "server.key"))
        n.start()
        self.assertGreater(self.days_left(n), 390)
        n.stop()

    def test_systemd_is_told_when_it_is_ready_and_when_it_stops(self):
        path = os.path.join(s.folder, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as k:
            k.bind(path)
            k.settimeout(20)
            os.environ["NOTIFY_SOCKET"] = path
            try:
                ready.serve()
            finally:
                del os.environ["NOTIFY_SOCKET"]
            self.assertEqual(k.recv(100), b"READY=1")
            self.assertEqual(ready.run("status", "--json").returncode in (0, 1), True)
            ready.stop()
            self.assertEqual(k.recv(100), b"STOPPING=1")


class Revoked(unittest.TestCase):
    def test_a_revoked_node_keeps_its_ward_working_and_deletes_nothing(self):
        n = new_node()
        n.setup()
        n.start()
        n.wait_current()
        first = n.tablet().create("patient", {"family_name": "kept", "given_names": "x", "active": True})["id"]
        node_id = n.wait_current()["node_id"]
        s.gateway.cli("node", "revoke", node_id, "--tenant", LAKESIDE)
        second = n.tablet().create("patient", {"family_name": "kept too", "given_names": "x", "active": True})["id"]
        status = n.wait_state("attention")
        self.assertEqual(status["pending"], 1)
        self.assertIn("refuses", status["reason"])
        for row in (first, second):
            n.tablet().get("/api/v1/patient/" + row)
        path = os.path.join(n.folder, "outbox.zst")
        n.command("export-outbox", path)
        with open(path, "rb") as f:
            self.assertEqual(gc.unpack(f.read())[1]["id"], second)
        n.stop()
        n.start()
        self.assertEqual(n.wait_state("attention")["pending"], 1)
        n.stop()


class Training(unittest.TestCase):
    """A node to practise on: never anything else, whatever is done to its folder."""

    @classmethod
    def setUpClass(cls):
        cls.n = s.training("Practice")

    @classmethod
    def tearDownClass(cls):
        cls.n.stop()

    def tablet(self, who="nurse"):
        return stack.Tablet("127.0.0.1", self.n.port, os.path.join(self.n.state, "tls", "ca.crt"), who, self.n.password)

    def again(self, done, *words, code=REFUSED):
        self.assertEqual(done.returncode, code, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_everybody_it_named_logs_in_and_it_says_what_it_is(self):
        for who in ("nurse", "doctor", "charge", "pharmacist", "registrar"):
            self.assertTrue(self.tablet(who).get("/api/v1/session")["training"])
        status = self.n.status()
        self.assertTrue(status["training"] and status["complete"])
        self.assertEqual((status["tenant"], status["link_open"], status["online"]), ("TRAINING", False, False))
        self.assertIn("training node", status["reason"])
        patients = self.tablet().get("/api/v1/patient")["items"]
        self.assertEqual(len(patients), 10)
        newest = max(o["effective_at"] for o in self.tablet().get("/api/v1/observation?limit=500")["items"])
        age = time.time() - calendar.timegm(time.strptime(newest[:19], "%Y-%m-%dT%H:%M:%S"))
        self.assertLess(abs(age), 26 * 3600)  # its present is ours

    def test_what_is_entered_stays_here_and_its_cookie_is_another(self):
        n, t = self.n, self.tablet()
        patient = t.get("/api/v1/patient")["items"][0]["id"]
        before = n.status()["pending"]
        t.create("note", {"patient_id": patient, "body": "practice", "status": "draft"})
        n.wait(lambda st: st["pending"] == before + 1)
        self.assertEqual(n.status()["acked_seq"], 0)
        headers = t.request("POST", "/api/v1/session", {"name": "nurse", "password": n.password})[1]
        self.assertTrue(headers["Set-Cookie"].startswith("__Host-everward-training="))
        t.token, token = None, headers["Set-Cookie"].split("=")[1].split(";")[0]
        with self.assertRaises(stack.ApiError):  # under the name that real nodes use it counts for nothing
            t.request("GET", "/api/v1/session", headers={"Cookie": "__Host-everward=" + token})

    def test_no_command_gives_it_a_line(self):
        n = self.n
        self.again(n.run("link", "up"), "training node", "another, empty state folder")
        self.again(n.run("rejoin"), "training node")
        self.again(n.run("backup", os.path.join(n.folder, "b.ewb")), "no backups")
        self.assertFalse(os.path.exists(os.path.join(n.folder, "b.ewb")))
        self.again(n.run("training"), "delete its folder")

    def test_no_invite_and_no_edited_file_gives_it_a_line(self):
        n = self.n
        path = os.path.join(n.state, "identity.json")
        invite = s.gateway.cli("node", "invite", "Practice", "--tenant", LAKESIDE, "--site", "North").strip()
        n.stop()
        try:
            with open(path, encoding="utf-8") as f:
                mine = f.read()
            self.again(n.run("setup", invite), "set up already")
            self.again(n.run("setup", invite, "--keep-outbox"), "training node")
            with open(os.path.join(ready.state, "identity.json"), encoding="utf-8") as f:
                real = f.read()
            for text in (real, mine.replace('"gateway_url":""', '"gateway_url":"https://127.0.0.1:1"')):
                with open(path, "w", encoding="utf-8") as f:
                    f.write(text)
                self.again(n.run("serve"), "names a gateway", "training node")
            os.unlink(path)
            self.again(n.run("setup", invite), "training node")
            self.assertFalse(os.path.exists(path))
            self.assertEqual(nodes_enrolled("Practice"), 0)
        finally:
            with open(path, "w", encoding="utf-8") as f:
                f.write(mine)
            os.chmod(path, 0o600)
            n.start()

    def test_a_real_node_does_not_become_one(self):
        self.again(ready.run("training"), "holds a node")
        path = os.path.join(ready.state, "identity.json")
        with open(path, encoding="utf-8") as f:
            mine = f.read()
        try:
            with open(path, "w", encoding="utf-8") as f:
                f.write(re.sub('"gateway_url":"[^"]*"', '"gateway_url":""', mine))
            self.again(ready.run("serve"), "no training node")
        finally:
            with open(path, "w", encoding="utf-8") as f:
                f.write(mine)


if __name__ == "__main__":
    unittest.main()
