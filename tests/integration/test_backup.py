"""everward backup and restore: the whole node in one sealed file, made beside its work, and back on an empty machine.

Real programs: everward, everward-gateway, PostgreSQL (stack.py)."""

import json
import os
import random
import re
import shutil
import threading
import unittest
import uuid

import stack
from demolib.client import ApiError, Tablet
from test_audit import until, verify, witnessed

LAKESIDE = "Lakeside"
s = None


def setUpModule():
    global s
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()


def tearDownModule():
    s.stop()


def patient(mark, n=0):
    return {"family_name": "%s-%d" % (mark, n), "given_names": "Test", "active": True}


def held(node, mark):
    return {r["id"] for r in node.tablet().all("patient", family_name="like.%s*" % mark)}


def at_centre(mark):
    return {r[0]: int(r[1]) for r in s.db.sql("postgres", "SELECT id, count(*) FROM ward.patient WHERE family_name LIKE '%s-%%' "
                                              "GROUP BY id" % mark)}


def machine_lost(node):
    """Everything but the wrapping key, of which there is a copy elsewhere."""
    node.kill()
    key = os.path.join(node.folder, "key-in-the-safe")
    shutil.copy2(os.path.join(node.state, "wrapping.key"), key)
    shutil.rmtree(node.state)
    os.mkdir(node.state, 0o700)
    shutil.copy2(key, os.path.join(node.state, "wrapping.key"))


class Backup(unittest.TestCase):
    def setUp(self):
        self.mark = "b" + uuid.uuid4().hex[:10]

    def test_a_node_comes_back_with_what_it_had_not_sent_and_sends_it(self):
        n = s.node("Alder", LAKESIDE)
        n.link("down")
        ids, ending = [], threading.Event()

        def write():
            tablet = n.new_tablet()
            while not ending.is_set():
                ids.append(tablet.create("patient", patient(self.mark, len(ids)))["id"])

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        until(lambda: len(ids) > 50)
        before = set(ids)  # answered before the backup began
        bundle = os.path.join(n.folder, "backup")
        said = json.loads(n.command("backup", bundle, "--verify", "--json"))
        ending.set()
        writer.join(30)
        self.assertTrue(said["verified"])
        machine = n.tablet().get("/api/v1/machine")
        self.assertEqual((machine["backup_verified"], machine["keys_source"], machine["events"][0]["action"]), (True, "file", "backup"))
        self.assertEqual(machine["backup_at"], machine["events"][0]["at"])
        self.assertGreater(machine["disk_bytes"], machine["disk_free_bytes"])
        self.assertLess(machine["certificate_not_after"], machine["authority_not_after"])
        self.assertGreaterEqual(said["unsent"], len(before))
        self.assertEqual(os.stat(bundle).st_mode & 0o777, 0o600)
        self.assertEqual([f for f in os.listdir(n.folder) if f.startswith("backup")], ["backup"])
        with open(bundle, "rb") as f:
            sealed = f.read()
        for secret in (self.mark, "Nadia", "PRIVATE KEY", open(os.path.join(n.state, "ticket"), encoding="ascii").read().strip()):
            self.assertNotIn(secret.encode(), sealed)
        machine_lost(n)
        n.command("restore", bundle)
        n.start()
        self.assertLessEqual(before, held(n, self.mark))
        n.link("up")
        n.wait_current()
        self.assertEqual(at_centre(self.mark), {i: 1 for i in held(n, self.mark)})
        self.assertTrue(n.verify()["equal"])
        until(lambda: verify(n)[1]["witness"] == "agrees")
        self.assertEqual(verify(n)[0], 0)
        n.stop()

    def test_one_asked_for_at_the_console_goes_where_the_node_is_configured(self):
        n = s.node("Console", LAKESIDE)
        s.gateway.cli("staff", "add", "--tenant", LAKESIDE, "--username", "ivo", "--name", "Ivo Lund", "--role", "it_support", "--password-file", "-",
                      input=stack.PASSWORD + "\n")
        until(lambda: "ivo" in n.command("users", "list", "--json"))
        ivo = Tablet("127.0.0.1", n.port, os.path.join(n.state, "tls", "ca.crt"), "ivo", stack.PASSWORD)
        with self.assertRaises(ApiError) as refused:
            n.tablet().request("POST", "/api/v1/machine/backup", {})
        self.assertEqual(refused.exception.status, 403)
        before = ivo.get("/api/v1/machine")["backup_at"]
        self.assertEqual(ivo.request("POST", "/api/v1/machine/backup", {})[0], {"started": True})
        until(lambda: ivo.get("/api/v1/machine")["backup_at"] != before)
        made, = [f for f in os.listdir(n.folder) if re.fullmatch(r"everward-[0-9a-f]{8}-[0-9T:-]{19}Z\.backup", f)]
        self.assertEqual(os.stat(os.path.join(n.folder, made)).st_mode & 0o777, 0o600)
        self.assertTrue(ivo.get("/api/v1/machine")["backup_verified"])
        ivo.connection.close()
        n.stop()
        with open(n.config, encoding="utf-8") as f:
            text = f.read()
        with open(n.config, "w", encoding="utf-8") as f:
            f.write(text.replace("export_dirs = " + n.folder, "export_dirs = " + os.path.join(n.folder, "gone")))
        n.start()
        ivo = Tablet("127.0.0.1", n.port, os.path.join(n.state, "tls", "ca.crt"), "ivo", stack.PASSWORD)
        ivo.request("POST", "/api/v1/machine/backup", {})
        until(lambda: ivo.get("/api/v1/machine")["events"][0]["outcome"] == "failed")
        ivo.connection.close()

    def test_entries_written_after_the_backup_stay_at_the_centre_and_the_restore_is_told_there(self):
        n = s.node("Birch", LAKESIDE)
        bundle = os.path.join(n.folder, "backup")
        n.command("backup", bundle)
        for _ in range(5):
            list(n.tablet().all("patient"))
        entries = verify(n)[1]["entries"]
        until(lambda: min(witnessed(n)) >= entries)
        machine_lost(n)
        n.command("restore", bundle)
        n.start()
        n.wait_current()
        until(lambda: verify(n)[1]["witness"] == "agrees")
        self.assertEqual(verify(n)[0], 0)
        alarms = s.gateway.cli("audit", "alarms", "--tenant", LAKESIDE)
        self.assertIn("restored", [w for line in alarms.splitlines() if "Birch" in line for w in line.split()])
        kept = int(s.db.one("postgres", "SELECT count(*) FROM everward.audit_trail t JOIN everward.node d USING (tenant_id, node_id) "
                            "WHERE d.name = 'Birch' AND t.life = 1"))
        self.assertGreaterEqual(kept, entries)
        n.stop()

    def test_a_node_restored_from_before_its_last_push_does_not_go_on_as_if_nothing_were(self):
        n = s.node("Cedar", LAKESIDE)
        bundle = os.path.join(n.folder, "backup")
        n.command("backup", bundle)
        row = n.tablet().create("patient", patient(self.mark))["id"]
        n.wait_current()
        machine_lost(n)
        n.command("restore", bundle)
        n.start()
        later = n.tablet().create("patient", patient(self.mark))["id"]
        status = n.wait_current()
        self.assertEqual(status["incarnation"], 2, "it began its next life by itself")
        n.tablet().wait_for("/api/v1/patient/" + row, 20)
        self.assertTrue(n.verify()["equal"])
        self.assertEqual(at_centre(self.mark), {row: 1, later: 1})
        n.stop()


class Refused(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.n = s.node("Dogwood", LAKESIDE)
        cls.bundle = os.path.join(cls.n.folder, "backup")
        cls.n.stop()
        cls.n.command("backup", cls.bundle)  # without the daemon, too
        cls.key = os.path.join(cls.n.folder, "key")
        shutil.copy2(os.path.join(cls.n.state, "wrapping.key"), cls.key)

    def restore(self, bundle, key=None):
        state = os.path.join(self.n.folder, "s" + uuid.uuid4().hex[:8])
        os.mkdir(state, 0o700)
        shutil.copy2(key or self.key, os.path.join(state, "wrapping.key"))
        done = self.n.run("restore", bundle, "--state-dir", state)
        whole = os.path.exists(os.path.join(state, "identity.json"))
        shutil.rmtree(state)
        return done, whole

    def test_a_bundle_that_was_changed_anywhere_is_refused(self):
        with open(self.bundle, "rb") as f:
            good = f.read()
        header = good.index(b"\n", 10) + 1
        sizes = json.loads(good[10:header])
        box, store = header + sizes["keys_bytes"], header + sizes["keys_bytes"] + sizes["box_bytes"]
        self.assertEqual(len(good), store + sizes["store_bytes"])
        rng = random.Random(20261123)
        places = [3, good.index(b'"last_seq":') + 11, header + 60, box + 30, store + 10, store + 5000, len(good) - 1]
        places += [rng.randrange(len(good)) for _ in range(8)]
        for at in places:
            bad = bytearray(good)
            bad[at] ^= 1
            self.refused(bytes(bad), "byte %d" % at)
        self.refused(good[:-1], "cut off")
        self.refused(good + b"x", "lengthened")
        done, whole = self.restore(self.bundle)
        self.assertEqual((done.returncode, whole), (0, True), done.stderr)

    def refused(self, content, what):
        path = os.path.join(self.n.folder, "bad")
        with open(path, "wb") as f:
            f.write(content)
        done, whole = self.restore(path)
        self.assertNotEqual(done.returncode, 0, what)
        self.assertFalse(whole, what)
        self.assertTrue(done.stderr.startswith("everward: "), (what, done.stderr))

    def test_another_wrapping_key_is_refused_and_says_so(self):
        other = os.path.join(self.n.folder, "other")
        with open(other, "w", encoding="ascii") as f:
            f.write("ab" * 32 + "\n")
        os.chmod(other, 0o400)
        done, whole = self.restore(self.bundle, other)
        self.assertEqual((done.returncode, whole), (77, False))
        self.assertIn("wrong key", done.stderr)

    def test_nothing_is_ever_overwritten(self):
        done = self.n.run("backup", self.bundle)
        self.assertEqual(done.returncode, 77)
        self.assertIn("exists already", done.stderr)
        done = self.n.run("restore", self.bundle)
        self.assertEqual(done.returncode, 77)
        self.assertIn("belongs to a node already", done.stderr)
        self.assertEqual(self.n.run("backup", "relative").returncode, 64)


if __name__ == "__main__":
    unittest.main()
