"""A node that was let go, or lost its identity, comes back by a new invite with what it holds: nothing lost, nothing doubled.

Real programs: everward, everward-gateway, PostgreSQL (stack.py)."""

import os
import shutil
import subprocess
import time
import unittest
import uuid

import stack
from test_audit import until, verify

LAKESIDE = "Lakeside"
s = None


def setUpModule():
    global s
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()
    s.tenant(LAKESIDE)


def tearDownModule():
    s.stop()


def one(query):
    return s.db.one("postgres", query)


def rows(query):
    return s.db.sql("postgres", query)


class Case(unittest.TestCase):
    def setUp(self):
        self.mark = "back" + uuid.uuid4().hex[:10]
        self.count = 0

    def patient(self):
        self.count += 1
        return {"family_name": "%s-%d" % (self.mark, self.count), "given_names": "Test", "active": True}

    def write(self, n, count=1):
        return [n.tablet().create("patient", self.patient())["id"] for _ in range(count)]

    def invite(self, n):
        return s.gateway.cli("node", "invite", n.name, "--tenant", n.tenant, "--keep-outbox")

    def come_back(self, n, invite=None):
        return n.command("setup", invite or self.invite(n), "--keep-outbox")

    def revoked(self, name):
        """Four patients at the centre, one of which it does not know to be there; then revoked, and three more."""
        n = s.node(name, LAKESIDE)
        first = self.write(n, 3)
        n.wait_current()
        n.link("down")
        s.gateway.cli("node", "revoke", name, "--tenant", LAKESIDE)
        return n, first, self.write(n, 3)

    def whole(self, n, ids, late):
        """Each once at the centre, those written late flagged, and the replica equal."""
        n.link("up")
        n.wait_current()
        at = rows("SELECT p.id, p.rev, (SELECT count(*) FROM everward.change c WHERE c.row_id = p.id) FROM ward.patient p"
                  " WHERE family_name LIKE '%s-%%'" % self.mark)
        self.assertEqual({r[0] for r in at}, set(ids))
        self.assertEqual({tuple(r[1:]) for r in at}, {("1", "1")}, "each change once")
        flagged = rows("SELECT a.row_id FROM everward.alert a JOIN ward.patient p ON p.id = a.row_id WHERE a.kind = 'late'"
                       " AND p.family_name LIKE '%s-%%'" % self.mark)
        self.assertEqual(sorted(f[0] for f in flagged), sorted(late))
        self.assertTrue(n.verify()["equal"])
        code, report = verify(n)
        self.assertEqual((code, report["broken"]), (0, None))
        until(lambda: verify(n)[1]["witness"] == "agrees")
        self.assertEqual(one("SELECT count(*) FROM everward.node WHERE name = '%s'" % n.name), "1")


class Back(Case):
    def test_a_revoked_node_comes_back_with_its_outbox_by_an_invite_that_says_so(self):
        n, first, late = self.revoked("Alder")
        n.link("up")
        until(lambda: "no longer enrolled" in n.log() or "revoked" in n.log())
        n.stop()
        key = one("SELECT encode(public_key, 'hex') FROM everward.node WHERE name = 'Alder'")
        plain = n.run("setup", n.invite(), "--keep-outbox")
        self.assertEqual(plain.returncode, 77, plain.stderr)
        self.assertIn("does not let this node come back", plain.stderr)
        self.assertIn("Alder is set up", self.come_back(n))
        self.assertNotEqual(one("SELECT encode(public_key, 'hex') FROM everward.node WHERE name = 'Alder'"), key)
        self.assertEqual(rows("SELECT encode(k.public_key, 'hex'), k.how FROM everward.node_former_key k JOIN everward.node USING (tenant_id, node_id)"
                              " WHERE name = 'Alder'"), [[key, "readmitted"]])
        self.assertEqual([f for f in os.listdir(n.state) if f.endswith((".next", ".signing"))], [])
        n.start()
        self.whole(n, first + late, late)
        after = self.write(n)  # what it writes from now on is like any other's
        self.whole(n, first + late + after, late)
        n.stop()

    def test_a_node_that_lost_its_identity_comes_back_and_what_had_arrived_unheard_is_not_doubled(self):
        n = s.node("Birch", LAKESIDE)
        first = self.write(n, 2)
        n.wait_current()
        n.link("down")
        old = os.path.join(n.folder, "old")
        first += self.write(n, 2)
        n.stop()
        shutil.copytree(n.state, old)
        n.start()
        n.link("up")
        n.wait_current()
        n.kill()
        shutil.rmtree(n.state)
        os.rename(old, n.state)  # the receipt of the last two is lost, and so is who it is
        os.remove(os.path.join(n.state, "identity.json"))
        os.remove(os.path.join(n.state, "ticket"))
        self.assertNotEqual(n.run("serve").returncode, 0)
        self.come_back(n)
        n.start()
        self.whole(n, first, [])
        self.whole(n, first + self.write(n), [])
        n.stop()

    def test_an_update_that_had_arrived_is_not_sent_again_over_what_came_after(self):
        n = s.node("Cedar", LAKESIDE)
        row = self.write(n)[0]
        n.wait_current()
        n.link("down")
        n.stop()
        n.start()
        n.tablet().change("patient", row, {"phone": "555 0100"})
        old = os.path.join(n.folder, "old")
        n.stop()
        shutil.copytree(n.state, old)
        n.start()
        n.link("up")
        n.wait_current()
        n.kill()
        s.as_app(LAKESIDE, "UPDATE ward.patient SET phone = '555 0199' WHERE id = '%s'" % row)
        shutil.rmtree(n.state)
        os.rename(old, n.state)
        s.gateway.cli("node", "revoke", "Cedar", "--tenant", LAKESIDE)
        self.come_back(n)
        n.start()
        n.link("up")
        n.wait_current()
        self.assertEqual(rows("SELECT phone, rev FROM ward.patient WHERE id = '%s'" % row), [["555 0199", "3"]])
        self.assertEqual(one("SELECT count(*) FROM everward.conflict WHERE row_id = '%s'" % row), "0")
        until(lambda: n.tablet().get("/api/v1/patient/" + row)["phone"] == "555 0199")
        n.stop()

    def test_invites_that_are_foreign_used_or_for_others_change_nothing(self):
        n, first, late = self.revoked("Dogwood")
        n.stop()
        other = s.new_node("Elm", LAKESIDE)
        mine = self.invite(n)
        done = other.run("setup", mine)
        self.assertEqual(done.returncode, 77, done.stderr)
        self.assertIn("comes back with what it holds", done.stderr)
        s.node("Fir", "Hillcrest").stop()
        for words, invite in (("does not let this node", self.invite(s.nodes["Fir"])), ("does not know this invite", mine[:-2] + "xx")):
            done = n.run("setup", invite, "--keep-outbox")
            self.assertEqual(done.returncode, 77, words + done.stderr)
            self.assertIn(words, done.stderr)
        self.assertEqual(one("SELECT status FROM everward.node WHERE name = 'Dogwood'"), "revoked")
        thief = s.nodes["Fir"]  # has the invite, but not the node's key
        done = thief.run("setup", mine, "--keep-outbox")
        self.assertEqual(done.returncode, 77, done.stderr)
        self.come_back(n, mine)
        done = n.run("setup", mine, "--keep-outbox")
        self.assertEqual(done.returncode, 77)
        self.assertIn("has been used", done.stderr)
        for f in ("keys.signing", "ticket.next"):  # of the attempt that was refused
            os.remove(os.path.join(n.state, f))
        n.start()
        self.whole(n, first + late, late)
        done = n.run("setup", mine, "--keep-outbox")
        self.assertIn("stop it first", done.stderr)
        n.stop()


class Killed(Case):
    def test_setup_is_killed_again_and_again_until_it_is_through(self):
        n, first, late = self.revoked("Gale")
        n.stop()
        invite, turns = self.invite(n), 0
        for delay in (2, 5, 8, 12, 16, 20, 25, 30, 40, 50, 60, 80):
            run = subprocess.Popen([stack.EVERWARD, "setup", invite, "--keep-outbox", "--config", n.config], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
            time.sleep(delay / 1000)
            run.kill()
            if run.wait(30) == 0 or os.path.exists(os.path.join(n.state, "identity.next")):
                break
            turns += 1
        if turns == 12 or not self.through(n):
            n.run("setup", invite, "--keep-outbox")
        n.start()  # whatever is left to do
        self.whole(n, first + late, late)
        n.stop()

    def through(self, n):
        return os.path.exists(os.path.join(n.state, "identity.next")) or not os.path.exists(os.path.join(n.state, "keys.signing"))

    def test_whatever_of_the_switch_was_done_when_it_died_the_next_start_finishes_it(self):
        n, first, late = self.revoked("Hazel")
        n.stop()
        before = os.path.join(n.folder, "before")
        shutil.copytree(n.state, before)
        invite = self.invite(n)
        self.come_back(n, invite)
        after = os.path.join(n.folder, "after")
        os.rename(n.state, after)
        steps = (("node.db", "node.db"), ("keys.signing", "keys.sealed"), ("ticket.next", "ticket"), ("identity.next", "identity.json"))
        for done in range(len(steps)):
            shutil.rmtree(n.state, ignore_errors=True)
            shutil.copytree(before, n.state)
            for i, (waits, place) in enumerate(steps):
                if i < done:
                    shutil.copy2(os.path.join(after, place), os.path.join(n.state, place))
                elif i > 0:
                    shutil.copy2(os.path.join(after, place), os.path.join(n.state, waits))
            n.start()
            self.assertEqual([f for f in os.listdir(n.state) if f.endswith((".next", ".signing"))], [], done)
            if done + 1 < len(steps):
                n.kill()  # the line is still closed
        self.whole(n, first + late, late)
        n.stop()

    def test_the_reply_is_lost_and_the_same_invite_gets_it_again(self):
        n, first, late = self.revoked("Iris")
        n.stop()
        before = os.path.join(n.folder, "before")
        shutil.copytree(n.state, before)
        invite = self.invite(n)
        self.come_back(n, invite)
        for waits, place in (("keys.signing", "keys.sealed"), ("ticket.next", "ticket")):
            shutil.copy2(os.path.join(n.state, place), os.path.join(before, waits))
        shutil.rmtree(n.state)
        os.rename(before, n.state)
        self.come_back(n, invite)
        n.start()
        self.whole(n, first + late, late)
        n.stop()


if __name__ == "__main__":
    unittest.main()
