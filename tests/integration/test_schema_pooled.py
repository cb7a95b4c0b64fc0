"""A pool in transaction mode (PgBouncer, one server connection for all) carries nothing from one transaction to the next."""

import os
import shutil
import subprocess
import time
import unittest

import pg

cluster = None
db = None
pool = None
process = None
a = None
b = None


def setUpModule():
    global cluster, db, pool, process, a, b
    if shutil.which("pgbouncer") is None:
        raise unittest.SkipTest("pgbouncer is not installed")
    cluster = pg.Cluster().start()
    db = cluster.create("pooled")
    a = db.add_tenant("Alder")
    b = db.add_tenant("Birch")
    a.patient("Of Alder")
    b.patient("Of Birch")
    folder = os.path.join(cluster.folder, "pool")
    os.mkdir(folder)
    port = pg.free_port()
    with open(os.path.join(folder, "users"), "w") as f:
        f.write('"everward_gateway" ""\n')
    with open(os.path.join(folder, "ini"), "w") as f:
        f.write("[databases]\n* = host=%s port=%d\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port=%d\nunix_socket_dir=%s\nauth_type=trust\n"
                "auth_file=%s/users\npool_mode=transaction\ndefault_pool_size=1\nserver_reset_query=\nlogfile=%s/log\n"
                % (cluster.folder, cluster.port, port, folder, folder, folder))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    process = subprocess.Popen(pg.as_server_user(["pgbouncer", "-q", os.path.join(folder, "ini")]),
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    class Pool:
        pass

    place = Pool()
    place.folder, place.port = folder, port
    pool = pg.Database(place, "pooled")
    for _ in range(100):
        try:
            pool.one("everward_gateway", "SELECT 1")
            break
        except pg.SqlError:
            time.sleep(0.05)


def tearDownModule():
    process.terminate()
    process.wait()
    cluster.stop()


class Pooled(unittest.TestCase):
    def test_both_clients_share_one_connection(self):
        with pool.session("everward_gateway") as one, pool.session("everward_gateway") as two:
            self.assertEqual(one.sql("SELECT pg_backend_pid()"), two.sql("SELECT pg_backend_pid()"))

    def test_a_tenant_ends_with_its_transaction(self):
        with pool.session("everward_gateway") as one, pool.session("everward_gateway") as two:
            for _ in range(3):
                for session, tenant in ((one, a), (two, b)):
                    session.sql("BEGIN")
                    session.sql(tenant.enter())
                    self.assertEqual(session.sql("SELECT family_name FROM ward.patient"), [["Of " + tenant.name]])
                    session.sql("SELECT everward.sequence_feed()")
                    session.sql("SELECT everward.push_txn('%s', 1, 1)" % tenant.node)
                    session.sql("COMMIT")
                    for any_one in (one, two):
                        self.assertEqual(any_one.sql("SELECT count(*) FROM ward.patient"), [["0"]])

    def test_a_stolen_context_opens_nothing_on_the_same_connection(self):
        with pool.session("everward_gateway") as one, pool.session("everward_gateway") as two:
            one.sql("BEGIN")
            one.sql(a.enter())
            stolen = one.sql("SELECT current_setting('everward.context')")[0][0]
            one.sql("COMMIT")
            two.sql("BEGIN")
            two.sql("SELECT set_config('everward.context', '%s', true)" % stolen)
            self.assertEqual(two.sql("SELECT count(*) FROM ward.patient"), [["0"]])
            two.sql("COMMIT")

    def test_a_broken_transaction_leaves_no_tenant(self):
        with pool.session("everward_gateway") as one, pool.session("everward_gateway") as two:
            one.sql("BEGIN")
            one.sql(a.enter())
            with self.assertRaises(pg.SqlError):
                one.sql("SELECT 1 / 0")
            one.sql("ROLLBACK")
            self.assertEqual(two.sql("SELECT count(*) FROM ward.patient"), [["0"]])

    def test_no_lock_outlives_its_transaction(self):
        with pool.session("everward_gateway") as one:
            one.sql("BEGIN")
            one.sql(a.enter())
            one.sql("SELECT everward.sequence_feed()")
            self.assertEqual(db.one("postgres", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "1")
            one.sql("COMMIT")
            self.assertEqual(db.one("postgres", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "0")


if __name__ == "__main__":
    unittest.main()
