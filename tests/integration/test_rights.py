"""Default rights are rows: a tenant that was there before gets what a later schema brings, and what a hospital took away stays away."""

import glob
import hashlib
import os
import shutil
import tempfile
import unittest

import gateway_client as gc
import pg

cluster = db = gw = folder = None


def apply(after, upto):
    """The released migrations between, noted as `everward-gateway migrate` notes them."""
    for path in sorted(glob.glob(os.path.join(pg.MIGRATIONS, "[0-9]*.sql"))):
        name = os.path.basename(path)
        if not after < name[:4] <= upto:
            continue
        with open(path, "rb") as f:
            text = f.read()
        sha = hashlib.sha256(text).hexdigest()
        db.sql("postgres", "BEGIN; %s; INSERT INTO everward.migration (name, sha256) VALUES ('%s', '%s'); COMMIT;"
               % (text.decode(), name, sha))


def setUpModule():
    global cluster, db, gw, folder
    folder = tempfile.mkdtemp(prefix="ew-rights-", dir="/tmp")
    cluster = pg.Cluster().start()
    db = cluster.create("rights", migrate=False)
    gw = gc.Gateway(folder, db)


def tearDownModule():
    cluster.stop()
    shutil.rmtree(folder, ignore_errors=True)


def rights(tenant, role, table):
    got = db.sql("postgres", "SELECT 'are ' || actions FROM ward.role_permission WHERE tenant_id = '%s' AND role = '%s' AND table_name = '%s'"
                 % (tenant, role, table))
    return set(got[0][0].split()[1:]) if got else None


class Rights(unittest.TestCase):
    def test_tenants_that_exist_get_what_is_new_and_nothing_that_was_taken_away(self):
        add = lambda name: db.one("everward_admin", "SELECT everward.add_tenant('%s')" % name)
        apply("", "0021")
        first = add("First")                       # neither device nor "resolve" for doctors
        apply("0021", "0050")
        second = add("Second")
        db.sql("postgres", "UPDATE ward.role_permission SET actions = 'read' WHERE tenant_id = '%s' AND role = 'charge_nurse' "
               "AND table_name = 'device'" % second)
        db.sql("postgres", "UPDATE ward.role_permission SET actions = '' WHERE tenant_id = '%s' AND role = 'nurse' "
               "AND table_name = 'break_glass'" % second)
        db.sql("postgres", "UPDATE ward.role_permission SET actions = 'read' WHERE tenant_id = '%s' AND role = 'doctor' "
               "AND table_name = 'note'" % second)
        said = gw.cli("migrate")
        self.assertIn("tenant %s: " % first, said)
        self.assertIn("tenant %s: " % second, said)
        new = add("Third")
        for t in (first, new):
            self.assertEqual(rights(t, "charge_nurse", "device"), {"read", "create"})
            self.assertEqual(rights(t, "nurse", "break_glass"), {"create"})
            self.assertIn("resolve", rights(t, "doctor", "allergy"))
            self.assertEqual(rights(t, "nurse", "alert_ack"), {"read", "create"})
        self.assertEqual(rights(second, "charge_nurse", "device"), {"read"}, "as the hospital has it")
        self.assertEqual(rights(second, "nurse", "break_glass"), set(), "the hospital took it away")
        self.assertEqual(rights(second, "doctor", "note"), {"read", "resolve"}, "0051 is new to it, the rest stays away")
        every = "SELECT role, table_name, everward.actions_union(actions, '') FROM ward.role_permission WHERE tenant_id = '%s' ORDER BY 1, 2"
        self.assertEqual(db.sql("postgres", every % first), db.sql("postgres", every % new), "an old tenant stands as a new one")

        self.assertNotIn("tenant ", gw.cli("migrate"), "once")
        db.sql("postgres", "INSERT INTO everward.default_right VALUES ('doctor', 'note', 'delete'), ('registrar', 'note', 'read')")
        gw.cli("migrate")
        self.assertEqual(rights(second, "doctor", "note"), {"read", "resolve", "delete"})
        self.assertEqual(rights(first, "registrar", "note"), {"read"})
        db.sql("postgres", "UPDATE ward.role_permission SET actions = '' WHERE tenant_id = '%s' AND role = 'registrar' AND table_name = 'note'" % first)
        gw.cli("migrate")
        self.assertEqual(rights(first, "registrar", "note"), set())
        found = gw.run("doctor")
        self.assertEqual(found.returncode, 0, found.stdout + found.stderr)


if __name__ == "__main__":
    unittest.main()
