"""A node's signing key is changed while the ward writes: the centre knows it first, then the node signs with it.

Real programs: everward, everward-gateway, PostgreSQL (stack.py)."""

import base64
import json
import os
import shutil
import signal
import time
import unittest
import uuid

import gateway_client as gc
import stack
from test_audit import until, verify

LAKESIDE = "Lakeside"
s = secret = None


def setUpModule():
    global s, secret
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()
    s.tenant(LAKESIDE)
    secret = os.path.join(s.folder, "recovery-secret")
    s.gateway.cli("recovery", "make", "--tenant", LAKESIDE, "--secret-file", secret)


def tearDownModule():
    s.stop()


def one(query):
    return s.db.one("postgres", query)


class Case(unittest.TestCase):
    def setUp(self):
        self.mark = "sign" + uuid.uuid4().hex[:10]
        self.count = 0
        self.ids = set()

    def write(self, n, count=1):
        for _ in range(count):
            self.count += 1
            self.ids.add(n.tablet().create("patient", {"family_name": "%s-%d" % (self.mark, self.count), "given_names": "Test", "active": True})["id"])

    def key(self, n):
        return one("SELECT encode(public_key, 'hex') FROM everward.node WHERE name = '%s'" % n.name)

    def former(self, n):
        return [(r[0], r[1], int(r[2])) for r in s.db.sql("postgres", "SELECT encode(k.public_key, 'hex'), k.how, k.upto_seq FROM"
                " everward.node_former_key k JOIN everward.node USING (tenant_id, node_id) WHERE name = '%s' ORDER BY k.replaced_at" % n.name)]

    def pending(self, n):
        return os.path.exists(os.path.join(n.state, "keys.signing"))

    def rotated(self, n):
        until(lambda: not self.pending(n))

    def whole(self, n):
        n.wait_current()
        at = s.db.sql("postgres", "SELECT p.id, (SELECT count(*) FROM everward.change c WHERE c.row_id = p.id) FROM ward.patient p"
                      " WHERE family_name LIKE '%s-%%'" % self.mark)
        self.assertEqual({r[0] for r in at}, self.ids)
        self.assertEqual({r[1] for r in at}, {"1"}, "each change once")
        self.assertTrue(n.verify()["equal"])
        code, report = verify(n)
        self.assertEqual((code, report["broken"]), (0, None))
        until(lambda: verify(n)[1]["witness"] == "agrees")


class Rotation(Case):
    def test_the_next_key_is_in_force_at_both_ends_and_the_trail_verifies_across_it(self):
        n = s.node("Alder", LAKESIDE)
        self.write(n, 3)
        n.wait_current()
        before = self.key(n)
        escrows = "SELECT count(*) FROM everward.escrow JOIN everward.node USING (tenant_id, node_id) WHERE name = 'Alder'"
        until(lambda: int(one(escrows)) == 1)
        n.command("keys", "rotate-signing")
        self.write(n, 3)  # the ward does not notice
        self.rotated(n)
        self.assertNotEqual(self.key(n), before)
        (key, how, upto), = self.former(n)
        self.assertEqual((key, how), (before, "rotated"))
        self.assertIn(upto, range(3, 7))
        self.write(n, 2)
        self.whole(n)
        until(lambda: int(one(escrows)) == 2)  # a lost node comes back with the key it had last
        n.command("keys", "rotate-signing")
        self.rotated(n)
        self.assertEqual(len(self.former(n)), 2)
        n.kill()
        n.start()
        self.write(n)
        self.whole(n)
        self.assertNotIn("refuses this node", n.log())
        n.stop()

    def test_without_the_line_the_former_key_stays_until_the_centre_knows_the_next(self):
        n = s.node("Birch", LAKESIDE)
        n.link("down")
        before = self.key(n)
        self.write(n)
        n.command("keys", "rotate-signing")
        self.assertTrue(self.pending(n))
        self.assertEqual(n.run("keys", "rotate-signing").returncode, 75)
        self.assertEqual(n.run("keys", "rotate").returncode, 75)
        self.assertNotEqual(n.run("keys", "rewrap", "passphrase", n.config).returncode, 0)
        self.write(n)
        n.kill()
        n.start()
        self.assertEqual(self.key(n), before)
        n.link("up")
        self.rotated(n)
        self.write(n)
        self.whole(n)
        self.assertEqual(self.former(n), [(before, "rotated", 2)])
        n.stop()

    def test_an_outbox_that_the_former_key_signed_is_taken_up_to_where_the_next_took_its_place(self):
        n = s.node("Cedar", LAKESIDE)
        until(lambda: int(one("SELECT count(*) FROM everward.escrow JOIN everward.node USING (tenant_id, node_id) WHERE name = 'Cedar'")))
        n.link("down")
        self.write(n, 2)
        path = os.path.join(n.folder, "sealed")
        n.command("export-outbox", path)
        blocker = s.db.session("postgres")  # the key goes through, the changes do not
        blocker.sql("BEGIN; SELECT 1 FROM everward.node_head WHERE node_id = (SELECT node_id FROM everward.node WHERE name = 'Cedar') FOR UPDATE")
        n.command("keys", "rotate-signing")
        n.link("up")
        self.rotated(n)
        n.link("down")
        blocker.close()
        done = s.gateway.run("outbox", "accept", path, "--tenant", LAKESIDE, "--secret-file", secret, "--apply")
        self.assertEqual(done.returncode, 0, done.stderr)
        n.link("up")
        self.whole(n)
        n.stop()


class Gateway(Case):
    def enrolled(self):
        n = gc.Node(s.gateway, "raw")
        n.enrol(s.gateway.cli("node", "invite", "raw", "--tenant", LAKESIDE, "--site", "North"))
        n.catalog = json.loads(n.request("GET", "/sync/v1/catalog")[1])["version"]
        return n

    def patient(self, n):
        return n.insert("patient", {"family_name": self.mark, "given_names": "Test"})

    def test_the_former_key_counts_under_batches_up_to_its_last_change_and_in_no_token(self):
        n = self.enrolled()
        self.assertEqual(n.push([self.patient(n)])[0], 200)
        old, old_token = n.secret_key, n.token()
        n.public_key, n.secret_key = gc.client(["key"]).decode().split()
        s.db.sql("postgres", "BEGIN; INSERT INTO everward.node_former_key (tenant_id, node_id, public_key, incarnation, upto_seq, how)"
                 " SELECT tenant_id, node_id, public_key, 1, 2, 'rotated' FROM everward.node WHERE node_id = '%s';"
                 " UPDATE everward.node SET public_key = decode('%s', 'hex') WHERE node_id = '%s'; COMMIT"
                 % (n.node, base64.urlsafe_b64decode(n.public_key + "=").hex(), n.node))
        n.token_text = None
        until(lambda: n.request("GET", "/sync/v1/catalog")[0] == 200)  # a key just read is not asked for again for a second
        self.assertEqual(n.request("GET", "/sync/v1/catalog", token=old_token)[0], 401)
        self.assertEqual(n.push([self.patient(n)], sk=old)[0], 200)
        status, reply = n.push([self.patient(n)], sk=old)
        self.assertEqual((status, reply["code"]), (400, "bad_signature"))
        n.seq -= 1
        self.assertEqual(n.push([self.patient(n)])[0], 200)

    def test_a_key_that_does_not_sign_its_own_registration_is_not_taken(self):
        n = self.enrolled()
        before = one("SELECT encode(public_key, 'hex') FROM everward.node WHERE node_id = '%s'" % n.node)
        body = {"format": "everward-rotate/1", "last_seq": 0, "public_key": gc.client(["key"]).decode().split()[0], "sig": gc.b64(b"s" * 64),
                "next_sig": gc.b64(b"s" * 64)}
        for changed, code in (({}, "bad_signature"), ({"public_key": n.public_key}, "bad_signature"), ({"last_seq": -1}, "bad_body"),
                              ({"format": "everward-rotate/9"}, "bad_body"), ({"sig": "x"}, "bad_body")):
            status, reply = n.request("POST", "/sync/v1/rotate", json.dumps({**body, **changed}))
            self.assertEqual((status, json.loads(reply)["code"]), (400, code), changed)
        self.assertEqual(one("SELECT encode(public_key, 'hex') FROM everward.node WHERE node_id = '%s'" % n.node), before)


class Killed(Case):
    def test_it_is_killed_at_moments_all_over_it_and_goes_on(self):
        n = s.node("Dogwood", LAKESIDE)
        for turn, delay in enumerate((0, 5, 10, 20, 40, 80, 200, 1000)):
            self.write(n)
            if not self.pending(n):
                n.command("keys", "rotate-signing")
            time.sleep(delay / 1000)
            n.kill()
            n.start()
            self.write(n)
        self.rotated(n)
        self.whole(n)
        self.assertGreaterEqual(len(self.former(n)), 1)
        n.stop()

    def test_the_centre_knows_the_next_key_and_the_node_was_not_told(self):
        n = s.node("Elm", LAKESIDE)
        self.write(n)
        n.wait_current()
        old = os.path.join(n.folder, "old.sealed")
        shutil.copy2(os.path.join(n.state, "keys.sealed"), old)
        n.command("keys", "rotate-signing")
        self.rotated(n)
        n.kill()
        for gateway_knows_nothing in (False, True):  # its cache of keys is empty after a restart
            shutil.copy2(os.path.join(n.state, "keys.sealed"), os.path.join(n.state, "keys.signing"))
            shutil.copy2(old, os.path.join(n.state, "keys.sealed"))
            if gateway_knows_nothing:
                s.gateway.stop(signal.SIGKILL)
                s.gateway.start()
            n.start()
            self.write(n)
            self.rotated(n)
            self.whole(n)
            self.assertEqual(len(self.former(n)), 1)
            n.kill()
        self.assertNotIn("refuses this node", n.log())

    def test_the_gateway_dies_right_behind_it(self):
        n = s.node("Fir", LAKESIDE)
        for _ in range(3):
            n.command("keys", "rotate-signing")
            time.sleep(0.02)
            s.gateway.stop(signal.SIGKILL)
            self.write(n)
            s.gateway.start()
            self.rotated(n)
        self.whole(n)
        self.assertEqual(len(self.former(n)), 3)
        n.stop()

    def test_a_node_put_back_from_a_backup_of_before_comes_back_by_an_invite(self):
        n = s.node("Gale", LAKESIDE)
        self.write(n)
        n.wait_current()
        n.stop()
        old = os.path.join(n.folder, "old")
        shutil.copytree(n.state, old)
        n.start()
        n.command("keys", "rotate-signing")
        self.rotated(n)
        n.kill()
        shutil.rmtree(n.state)
        os.rename(old, n.state)
        n.command("setup", s.gateway.cli("node", "invite", "Gale", "--tenant", LAKESIDE, "--keep-outbox"), "--keep-outbox")
        n.start()
        self.write(n)
        self.whole(n)
        self.assertEqual([f[1] for f in self.former(n)], ["rotated", "readmitted"])
        n.stop()


if __name__ == "__main__":
    unittest.main()
