"""A node's keys: wrapped anew, in escrow, recovered on another machine, destroyed from afar.

Real programs: everward, everward-gateway, PostgreSQL (stack.py)."""

import os
import random
import shutil
import subprocess
import threading
import time
import unittest
import uuid

import gateway_client as gc
import stack
from test_audit import until, verify

LAKESIDE = "Lakeside"
s = secret = recovery_key = None


def setUpModule():
    global s, secret, recovery_key
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()
    s.tenant(LAKESIDE)
    secret = os.path.join(s.folder, "recovery-secret")
    recovery_key = s.gateway.cli("recovery", "make", "--tenant", LAKESIDE, "--secret-file", secret).split()[0]


def tearDownModule():
    s.stop()


def patient(mark, n=0):
    return {"family_name": "%s-%d" % (mark, n), "given_names": "Test", "active": True}


def at_centre(mark):
    return {r[0] for r in s.db.sql("postgres", "SELECT id FROM ward.patient WHERE family_name LIKE '%s-%%'" % mark)}


def escrows(node):
    return int(s.db.one("postgres", "SELECT count(*) FROM everward.escrow JOIN everward.node USING (tenant_id, node_id) "
                        "WHERE name = '%s' AND tenant_id = '%s'" % (node.name, s.tenants[node.tenant])))


def greet(node):
    node.link("down")
    node.link("up")


class Case(unittest.TestCase):
    def setUp(self):
        self.mark = "k" + uuid.uuid4().hex[:10]


class Escrow(Case):
    def test_a_node_whose_wrapping_key_burnt_comes_back_from_backup_escrow_and_recovery_key(self):
        self.assertEqual(os.stat(secret).st_mode & 0o777, 0o400)
        n = s.node("Alder", LAKESIDE)
        until(lambda: escrows(n) == 1)
        n.link("down")
        rows = {n.tablet().create("patient", patient(self.mark, i))["id"] for i in range(5)}
        bundle, paper = os.path.join(n.folder, "backup"), os.path.join(n.folder, "escrow")
        n.command("backup", bundle)
        printed = n.command("keys", "escrow")
        n.kill()
        shutil.rmtree(n.state)  # the wrapping key, too
        listed = s.gateway.cli("node", "escrow", "Alder", "--tenant", LAKESIDE)
        self.assertEqual(printed.split(":")[:3], listed.split(":")[:3])
        with open(paper, "w", encoding="ascii") as f:
            f.write(listed)
        self.refuse(n, bundle, paper)
        n.command("restore", bundle, "--escrow", paper, "--recovery-key", secret)
        n.start()
        self.assertEqual({r["id"] for r in n.tablet().all("patient", family_name="like.%s*" % self.mark)}, rows)
        n.link("up")
        n.wait_current()
        self.assertEqual(at_centre(self.mark), rows)
        until(lambda: verify(n)[1]["witness"] == "agrees")
        self.assertEqual(verify(n)[0], 0)
        self.assertEqual(escrows(n), 1)  # the same keys: nothing new to keep
        n.stop()

    def refuse(self, n, bundle, paper):
        other = os.path.join(n.folder, "other-secret")
        with open(other, "w", encoding="ascii") as f:
            f.write("ab" * 32)
        os.chmod(other, 0o400)
        done = n.run("restore", bundle, "--escrow", paper, "--recovery-key", other)
        self.assertEqual(done.returncode, 77, done.stderr)
        self.assertIn("recovery key does not open", done.stderr)
        broken = os.path.join(n.folder, "broken-escrow")
        with open(paper, encoding="ascii") as f, open(broken, "w", encoding="ascii") as g:
            text = f.read().strip()
            g.write(text[:-1] + ("0" if text[-1] != "0" else "1"))
        done = n.run("restore", bundle, "--escrow", broken, "--recovery-key", secret)
        self.assertEqual(done.returncode, 77, done.stderr)
        self.assertFalse(os.path.exists(os.path.join(n.state, "identity.json")))
        shutil.rmtree(n.state)

    def test_another_recovery_key_is_not_used_until_a_person_at_the_node_accepts_it(self):
        s.tenant("Hillcrest")
        s.gateway.cli("recovery", "make", "--tenant", "Hillcrest", "--secret-file", os.path.join(s.folder, "h1"))
        n = s.node("Fir", "Hillcrest")
        until(lambda: escrows(n) == 1)
        new = s.gateway.cli("recovery", "make", "--tenant", "Hillcrest", "--secret-file", os.path.join(s.folder, "h2")).split()[0]
        greet(n)
        until(lambda: "another recovery key" in n.log())
        self.assertEqual(escrows(n), 1)
        self.assertEqual(n.run("keys", "accept-recovery", "zz").returncode, 78)
        n.command("keys", "accept-recovery", new)
        greet(n)
        until(lambda: escrows(n) == 2)
        self.assertIn(new, n.command("keys", "escrow"))
        n.stop()


class Wrapping(Case):
    def test_the_wrapping_is_changed_under_a_running_node_and_the_old_one_opens_nothing(self):
        n = s.node("Birch", LAKESIDE)
        phrase = os.path.join(n.folder, "phrase")
        with open(phrase, "w", encoding="ascii") as f:
            f.write("nine bears under one bridge\n")
        os.chmod(phrase, 0o400)
        n.command("keys", "rewrap", "passphrase", phrase)
        row = n.tablet().create("patient", patient(self.mark))["id"]  # it goes on
        n.stop()
        done = n.run("serve")
        self.assertEqual(done.returncode, 77)
        self.assertIn("sealed under a passphrase", done.stderr)
        n.configure("[keys]\nsource = passphrase\npassphrase_file = %s\n" % phrase)
        n.start()
        self.assertEqual(n.tablet().get("/api/v1/patient/" + row)["id"], row)
        n.stop()

    def test_a_systemd_credential_opens_a_node(self):
        n = s.node("Cedar", LAKESIDE)
        folder = os.path.join(n.folder, "credentials")
        os.mkdir(folder, 0o700)
        with open(os.path.join(folder, "everward.key"), "w", encoding="ascii") as f:
            f.write(os.urandom(32).hex())
        os.chmod(os.path.join(folder, "everward.key"), 0o400)
        n.stop()
        os.environ["CREDENTIALS_DIRECTORY"] = folder
        try:
            n.command("keys", "rewrap", "credential")
            n.configure("[keys]\nsource = credential\n")
            n.start()
            with open("/proc/%d/limits" % n.process.pid, encoding="ascii") as f:
                core = [line.split() for line in f if line.startswith("Max core file size")][0]
            self.assertEqual(core[4:6], ["0", "0"])
            n.stop()
        finally:
            del os.environ["CREDENTIALS_DIRECTORY"]
        self.assertNotEqual(n.run("serve").returncode, 0)


class Rotation(Case):
    def write_on(self, n):
        """A writer that survives its node; its answered rows."""
        ids, ending = [], threading.Event()

        def write():
            tablet = None
            while not ending.is_set():
                try:
                    tablet = tablet or n.new_tablet()
                    ids.append(tablet.create("patient", patient(self.mark, len(ids)))["id"])
                except Exception:  # it is being killed
                    tablet = None
                    time.sleep(0.05)

        thread = threading.Thread(target=write, daemon=True)
        thread.start()

        def finish():
            ending.set()
            thread.join(60)
            return set(ids)
        return ids, finish

    def held(self, n):
        return {r["id"] for r in n.tablet().all("patient", family_name="like.%s*" % self.mark)}

    def test_the_data_key_is_changed_while_the_ward_writes_and_the_old_one_opens_nothing(self):
        n = s.node("Gale", LAKESIDE)
        until(lambda: escrows(n) == 1)
        sealed = os.path.join(n.state, "keys.sealed")
        shutil.copy2(sealed, os.path.join(n.folder, "old-keys"))
        ids, finish = self.write_on(n)
        until(lambda: len(ids) > 20)
        n.command("keys", "rotate")
        until(lambda: "nothing of the old data key is left in memory" in n.log())
        now = len(ids)
        until(lambda: len(ids) > now + 20)
        n.command("keys", "rotate")  # and once more
        rows = finish()
        self.assertLessEqual(rows, self.held(n))
        n.wait_current()
        self.assertTrue(n.verify()["equal"])
        self.assertEqual(at_centre(self.mark), self.held(n))
        greet(n)
        until(lambda: escrows(n) >= 2)
        self.assertEqual(verify(n)[0], 0)
        n.stop()
        self.assertEqual([f for f in os.listdir(n.state) if "next" in f], [])
        shutil.copy2(sealed, os.path.join(n.folder, "new-keys"))
        shutil.copy2(os.path.join(n.folder, "old-keys"), sealed)
        self.assertEqual(n.run("serve").returncode, 77)
        shutil.copy2(os.path.join(n.folder, "new-keys"), sealed)
        n.start()
        self.assertLessEqual(rows, self.held(n))
        n.stop()

    def test_a_change_of_the_data_key_that_is_killed_loses_nothing(self):
        n = s.node("Hazel", LAKESIDE)
        rng = random.Random(20261123)
        for turn in range(5):
            ids, finish = self.write_on(n)
            until(lambda: len(ids) > 5)
            change = subprocess.Popen([stack.EVERWARD, "keys", "rotate", "--config", n.config], stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL)
            time.sleep(rng.random() * 0.15)
            n.kill()
            change.wait(60)
            rows = finish()
            n.start()
            self.assertLessEqual(rows, self.held(n), "turn %d" % turn)
        n.wait_current()
        self.assertTrue(n.verify()["equal"])
        n.stop()


class Export(Case):
    def open(self, path, out, tenant=LAKESIDE, key=None):
        return s.gateway.run("outbox", "open", path, out, "--tenant", tenant, "--secret-file", key or secret)

    def test_an_exported_outbox_is_sealed_and_the_recovery_key_alone_opens_it(self):
        n = s.node("Juniper", LAKESIDE)
        until(lambda: escrows(n) == 1)
        n.link("down")
        made = [n.tablet().create("patient", patient(self.mark, i))["id"] for i in range(3)]
        path, out = os.path.join(n.folder, "sealed"), os.path.join(n.folder, "opened")
        n.command("export-outbox", path)
        with open(path, "rb") as f:
            data = f.read()
        self.assertTrue(data.startswith(b"EWOUTBX1"))
        self.assertNotIn(b"\x28\xb5\x2f\xfd", data, "no zstd frame in the open")
        done = self.open(path, out)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(os.stat(out).st_mode & 0o777, 0o600)
        with open(out, "rb") as f:
            lines = gc.unpack(f.read())
        self.assertEqual([line["id"] for line in lines[1:-1]], made)
        self.assertNotEqual(self.open(path, out).returncode, 0, "never over a file")
        self.hostile(n, data)
        n.stop()

    def hostile(self, n, data):
        """Each with its own words, and nothing is written."""
        head, first = data[:72], data[72:76 + int.from_bytes(data[72:76], "big")]
        flip = lambda at: data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
        s.tenant("Elsewhere")
        other = os.path.join(n.folder, "other-secret")
        s.gateway.cli("recovery", "make", "--tenant", "Elsewhere", "--secret-file", other)
        bad = {"no sealed outbox": [b"", data[:71], flip(0)], "ends early": [head, head + first, data[:-1], data[:80]],
               "not in its place": [head + first + first, head + data[72 + len(first):], flip(25)], "damaged": [flip(100), flip(len(data) - 1)],
               "follows the last": [data + b"x"], "another tenant's": [flip(9)], "another recovery key": [flip(41)]}
        path, out = os.path.join(n.folder, "bad"), os.path.join(n.folder, "never")
        for words, files in bad.items():
            for i, text in enumerate(files):
                with open(path, "wb") as f:
                    f.write(text)
                done = self.open(path, out)
                self.assertEqual(done.returncode, 77, (words, i, done.stderr))
                self.assertIn(words, done.stderr, (words, i))
                self.assertFalse(os.path.exists(out))
        with open(path, "wb") as f:
            f.write(data)
        self.assertIn("another recovery key", self.open(path, out, key=other).stderr)
        self.assertIn("another tenant's", self.open(path, out, tenant="Elsewhere", key=other).stderr)


class Wipe(Case):
    def wiped(self, n):
        code = n.process.wait(90)
        n.process = n.one_tablet = None
        self.assertEqual(code, 0)
        left = os.listdir(n.state)
        self.assertNotIn("keys.sealed", left)
        self.assertNotIn("wrapping.key", left)
        proof = s.db.sql("postgres", "SELECT length(sig) FROM everward.wipe JOIN everward.node USING (tenant_id, node_id) "
                         "WHERE name = '%s' AND done_at IS NOT NULL" % n.name)
        self.assertEqual([r[0] for r in proof], ["64"])
        done = n.run("serve")
        self.assertEqual(done.returncode, 77)
        self.assertIn("was wiped", done.stderr)

    def refusal(self, n):
        return s.db.one("postgres", "SELECT coalesce(max(refused), '-') FROM everward.wipe JOIN everward.node USING (tenant_id, node_id) "
                        "WHERE name = '%s' AND done_at IS NULL" % n.name)

    def begin(self, name):
        """Asked for while a change waits and cannot go out: its head at the centre is locked."""
        n = s.node(name, LAKESIDE)
        n.tablet().create("patient", patient(self.mark))
        n.wait_current()
        n.link("down")
        n.tablet().create("patient", patient(self.mark, 1))
        s.gateway.cli("node", "wipe", name, "--tenant", LAKESIDE)
        lock = s.db.session("postgres")
        lock.sql("BEGIN; SELECT 1 FROM everward.node_head WHERE node_id = (SELECT node_id FROM everward.node WHERE name = '%s') FOR UPDATE"
                 % name)
        return n, lock

    def test_a_wipe_waits_for_what_is_unsent_and_then_leaves_a_proof(self):
        n, lock = self.begin("Dogwood")
        n.link("up")
        until(lambda: "neither acknowledged nor exported" in self.refusal(n))
        self.assertTrue(os.path.exists(os.path.join(n.state, "keys.sealed")))
        third = n.tablet().create("patient", patient(self.mark, 2))["id"]  # and the ward works on
        lock.close()
        n.wait_current()
        self.assertIn(third, at_centre(self.mark))
        greet(n)
        self.wiped(n)
        self.assertEqual(len(at_centre(self.mark)), 3)

    def test_what_was_exported_does_not_hold_a_wipe_up(self):
        n, lock = self.begin("Elm")
        n.command("export-outbox", os.path.join(n.folder, "outbox"))
        n.link("up")
        self.wiped(n)
        lock.close()


if __name__ == "__main__":
    unittest.main()
