"""Cuts: whole committed transactions, none lost, none twice, no gap, no row backwards. On a real PostgreSQL."""

import random
import threading
import unittest

import pg

cluster = None
db = None
SEED = random.randrange(1 << 30)


def setUpModule():
    global cluster, db
    print("seed %d" % SEED, flush=True)
    cluster = pg.Cluster().start()
    db = cluster.create("sequencing")


def tearDownModule():
    cluster.stop()


class Case(unittest.TestCase):
    def cuts(self, tenant):
        return [(int(c), int(t)) for c, t in db.sql("postgres", "SELECT cut, txn FROM everward.cut WHERE tenant_id = '%s' ORDER BY 1, 2" % tenant.id)]

    def check(self, tenant):
        """What must hold of a tenant whenever nobody writes and it has been sequenced."""
        head = tenant.sequence()
        numbers = sorted({c for c, _ in self.cuts(tenant)})
        self.assertEqual(numbers, list(range(1, head + 1)), "gap")
        self.assertEqual(db.sql("postgres", "SELECT txn FROM everward.txn x WHERE tenant_id = '%s' AND 1 <> (SELECT count(*) FROM everward.cut c "
                                "WHERE c.tenant_id = x.tenant_id AND c.txn = x.txn)" % tenant.id), [], "lost or twice")
        self.assertEqual(db.sql("postgres", """
            SELECT * FROM (SELECT c.tbl, c.row_id, c.rev, k.cut, lag(k.cut) OVER (PARTITION BY c.tbl, c.row_id ORDER BY c.rev) AS before,
                           lag(c.rev) OVER (PARTITION BY c.tbl, c.row_id ORDER BY c.rev) AS rev_before
                           FROM everward.change c JOIN everward.cut k USING (tenant_id, txn) WHERE tenant_id = '%s') x
            WHERE before > cut OR rev <> rev_before + 1""" % tenant.id), [], "a row goes backwards or misses a revision")
        return head


class Cuts(Case):
    def test_nothing_new_makes_no_cut(self):
        t = db.add_tenant("Quiet")
        head = self.check(t)
        self.assertEqual(t.sequence(), head)
        self.assertEqual(t.as_node("SELECT everward.sequence_feed(); SELECT everward.sequence_feed()"), [[str(head)], [str(head)]])

    def test_a_transaction_that_commits_late_is_found_later(self):
        t = db.add_tenant("Late")
        head = t.sequence()
        with db.session("everward_app") as late:
            late.sql("BEGIN")
            late.sql("SET LOCAL everward.tenant_id = '%s'" % t.id)
            late.sql("INSERT INTO ward.location (id, tenant_id) VALUES (gen_random_uuid(), '%s')" % t.id)
            for n in range(3):
                t.patient("After %d" % n)
                self.assertEqual(t.sequence(), head + n + 1)
            late.sql("COMMIT")
        self.assertEqual(t.sequence(), head + 4)
        self.check(t)

    def test_a_transaction_that_rolls_back_is_in_no_cut(self):
        t = db.add_tenant("Back")
        head = t.sequence()
        with db.session("everward_app") as s:
            s.sql("BEGIN")
            s.sql("SET LOCAL everward.tenant_id = '%s'" % t.id)
            s.sql("INSERT INTO ward.location (id, tenant_id) VALUES (gen_random_uuid(), '%s')" % t.id)
            self.assertEqual(t.sequence(), head)
            s.sql("ROLLBACK")
        self.assertEqual(t.sequence(), head)
        self.check(t)

    def test_a_long_transaction_elsewhere_holds_nobody_up(self):
        t, other = db.add_tenant("Here"), db.add_tenant("Elsewhere")
        head = t.sequence()
        with db.session("everward_app") as s:
            s.sql("BEGIN ISOLATION LEVEL REPEATABLE READ")
            s.sql("SET LOCAL everward.tenant_id = '%s'" % other.id)
            s.sql("INSERT INTO ward.location (id, tenant_id) VALUES (gen_random_uuid(), '%s')" % other.id)
            t.patient()
            self.assertEqual(t.sequence(), head + 1)
            s.sql("COMMIT")

    def test_a_transaction_that_sequences_and_then_writes_is_not_lost(self):
        t = db.add_tenant("Both")
        t.patient()
        t.as_node("SELECT everward.sequence_feed(); INSERT INTO ward.location (id, tenant_id) VALUES (gen_random_uuid(), '%s')" % t.id)
        t.as_node("INSERT INTO ward.location (id, tenant_id) VALUES (gen_random_uuid(), '%s'); SELECT everward.sequence_feed(); "
                  "INSERT INTO ward.location (id, tenant_id) VALUES (gen_random_uuid(), '%s')" % (t.id, t.id))
        self.check(t)

    def test_while_another_sequences_the_old_head_is_given_after_a_short_wait(self):
        t = db.add_tenant("Locked")
        head = t.sequence()
        with db.session("everward_gateway") as s:
            s.sql("BEGIN")
            s.sql(t.enter())
            s.sql("SELECT everward.sequence_feed()")
            t.patient()
            self.assertEqual(t.sequence(), head)
            late = db.start_sql("everward_gateway", "BEGIN; %s SELECT everward.sequence_feed(); COMMIT;" % t.enter())
            db.wait_blocked()
            s.sql("COMMIT")
            self.assertEqual(late.finish(), [[str(head + 1)]])

    def test_a_repeatable_read_transaction_may_not_sequence(self):
        t = db.add_tenant("RR")
        with self.assertRaises(pg.SqlError) as caught:
            db.sql("everward_gateway", "BEGIN ISOLATION LEVEL REPEATABLE READ; %s SELECT everward.sequence_feed();" % t.enter())
        self.assertEqual(caught.exception.sqlstate, "EW409")

    def test_without_a_tenant_nothing_is_sequenced(self):
        with self.assertRaises(pg.SqlError) as caught:
            db.sql("everward_gateway", "SELECT everward.sequence_feed();")
        self.assertEqual(caught.exception.sqlstate, "EW401")

    def test_a_long_run_is_split_over_cuts_and_no_transaction_is(self):
        t = db.add_tenant("Long")
        head = t.sequence()
        insert = "INSERT INTO ward.location (id, tenant_id) SELECT gen_random_uuid(), '%s' FROM generate_series(1, %d)"
        for rows in (2000, 2000, 2000, 12000, 1, 1, 4000):
            db.sql("everward_admin", insert % (t.id, rows))
        self.assertEqual(self.check(t), head + 3)  # 6000, 12000 and 4002 changes: a cut closes at 5000
        self.assertEqual(db.sql("postgres", "SELECT txn FROM everward.cut WHERE tenant_id = '%s' GROUP BY txn HAVING count(*) > 1" % t.id), [])

    def test_a_split_run_keeps_the_order_in_which_rows_were_locked(self):
        t = db.add_tenant("Split")
        p = t.patient("Contended")
        t.sequence()
        bulk = "INSERT INTO ward.location (id, tenant_id) SELECT gen_random_uuid(), '%s' FROM generate_series(1, 6000)" % t.id
        with db.session("everward_app") as early:
            early.sql("BEGIN")
            early.sql("SET LOCAL everward.tenant_id = '%s'" % t.id)
            early.sql(bulk)  # its number is lower than the next one's, its update of the patient comes after
            t.as_app("UPDATE ward.patient SET city = 'first' WHERE id = '%s'; %s" % (p, bulk))
            early.sql("UPDATE ward.patient SET city = 'second' WHERE id = '%s'" % p)
            early.sql("COMMIT")
        self.check(t)
        got = db.sql("postgres", "SELECT rev, cut FROM everward.change JOIN everward.cut USING (tenant_id, txn) WHERE row_id = '%s' ORDER BY rev" % p)
        self.assertLess(int(got[1][1]), int(got[2][1]), "the test must split these two")

    def test_when_the_cluster_has_changed_every_transaction_without_a_cut_is_taken(self):
        t = db.add_tenant("Moved")
        t.patient()
        t.sequence()
        for change in ("identity = 'another cluster'", "snap_xmax = '999999999999'::xid8", "identity = NULL, snap_xmax = NULL, snap_running = NULL"):
            with self.subTest(change):
                t.patient()
                # as after a restore: the recorded snapshot says nothing about the xids of today
                db.sql("postgres", "UPDATE everward.feed_head SET %s WHERE tenant_id = '%s'" % (change, t.id))
                db.sql("postgres", "UPDATE everward.txn SET xid = '1'::xid8 WHERE tenant_id = '%s'" % t.id)
                head = self.check(t)
                self.assertEqual(t.sequence(), head)
                t.patient()
                self.assertEqual(self.check(t), head + 1)

    def test_a_moved_cluster_begins_a_new_timeline_once(self):
        before = db.one("everward_gateway", "SELECT everward.timeline()")
        self.assertEqual(db.one("everward_gateway", "SELECT everward.renew_timeline()"), "f")
        db.sql("postgres", "UPDATE everward.timeline SET identity = 'elsewhere'")
        self.assertEqual(db.one("everward_gateway", "SELECT everward.renew_timeline()"), "t")
        self.assertEqual(db.one("everward_gateway", "SELECT everward.renew_timeline()"), "f")
        self.assertNotEqual(db.one("everward_gateway", "SELECT everward.timeline()"), before)


class Writers(Case):
    def test_eight_writers_that_commit_when_they_like_lose_nothing(self):
        t = db.add_tenant("Eight")
        rnd = random.Random(SEED)
        rows = [t.patient("Row %d" % n) for n in range(6)]
        scripts = []
        for w in range(8):
            parts = ["SET everward.tenant_id = '%s';" % t.id]
            for n in range(25):
                picked = sorted(rnd.sample(rows, rnd.randint(1, 3)))  # sorted: no deadlocks
                parts.append("BEGIN%s;" % (" ISOLATION LEVEL READ COMMITTED"))
                if rnd.random() < 0.3:
                    parts.append("INSERT INTO ward.location (id, tenant_id) VALUES (gen_random_uuid(), '%s');" % t.id)
                for row in picked:
                    parts.append("UPDATE ward.patient SET city = '%d-%d' WHERE id = '%s'; SELECT pg_sleep(%.4f);" % (w, n, row, rnd.random() * 0.01))
                parts.append("SELECT pg_sleep(%.4f);" % (rnd.random() ** 4 * 0.05))
                parts.append("ROLLBACK;" if rnd.random() < 0.15 else "COMMIT;")
            scripts.append("\n".join(parts))
        running = [db.start_sql("everward_app", s) for s in scripts]
        heads = []
        stop = threading.Event()

        def sequence():
            with db.session("everward_gateway") as s:
                while not stop.is_set():
                    s.sql("BEGIN")
                    s.sql(t.enter())
                    heads.append(int(s.sql("SELECT everward.sequence_feed()")[0][0]))
                    s.sql("COMMIT")
                    stop.wait(0.005)

        threads = [threading.Thread(target=sequence) for _ in range(2)]
        for x in threads:
            x.start()
        try:
            for r in running:
                r.finish()
        finally:
            stop.set()
            for x in threads:
                x.join()
        self.check(t)
        self.assertGreater(max(heads), 20, "the sequencer must have run while they wrote")
        revs = dict(db.sql("postgres", "SELECT id, rev FROM ward.patient WHERE tenant_id = '%s'" % t.id))
        for row in rows:
            logged = db.one("postgres", "SELECT max(rev) FROM everward.change WHERE row_id = '%s'" % row)
            self.assertEqual(revs[row], logged)

    def test_a_cursor_by_transaction_number_would_have_lost_some(self):
        """The fault put in: what a plain number as cursor misses, the cuts do not."""
        t = db.add_tenant("Naive")
        with db.session("everward_app") as late:
            late.sql("BEGIN")
            late.sql("SET LOCAL everward.tenant_id = '%s'" % t.id)
            late.sql("INSERT INTO ward.location (id, tenant_id) VALUES (gen_random_uuid(), '%s')" % t.id)
            t.patient()
            ask = "SELECT max(txn) FROM everward.txn WHERE tenant_id = '%s'" % t.id
            naive = int(db.one("postgres", ask))
            before = t.sequence()
            late.sql("COMMIT")
        self.assertEqual(int(db.one("postgres", ask)), naive)
        self.assertEqual(t.sequence(), before + 1)


class Compaction(Case):
    def test_cuts_go_when_every_node_has_passed_them_and_not_before(self):
        t = db.add_tenant("Compact")
        for n in range(3):
            t.patient("P%d" % n)
            t.sequence()
        other = t.enrol("second node", "t2")
        t.as_node("SELECT everward.node_seen(3, '0.1')")
        compact = "SELECT everward.compact('%s', %d)"
        with self.assertRaises(pg.SqlError) as caught:
            db.sql("everward_admin", compact % (t.id, 2))
        self.assertEqual(caught.exception.sqlstate, "EW409")
        db.sql("everward_gateway", "BEGIN; SELECT FROM everward.enter_node('%s', 't2'); SELECT everward.node_seen(2, '0.1'); COMMIT;" % other)
        self.assertGreater(int(db.one("everward_admin", compact % (t.id, 2))), 0)
        self.assertEqual(db.sql("postgres", "SELECT head, tail FROM everward.feed_head WHERE tenant_id = '%s'" % t.id), [["3", "2"]])
        self.assertEqual(sorted({c for c, _ in self.cuts(t)}), [3])
        self.assertEqual(db.one("postgres", "SELECT count(*) FROM everward.change c WHERE tenant_id = '%s' AND NOT EXISTS "
                                "(SELECT FROM everward.cut k WHERE k.tenant_id = c.tenant_id AND k.txn = c.txn)" % t.id), "0")
        t.patient("P4")
        self.assertEqual(t.sequence(), 4)
        with self.assertRaises(pg.SqlError):
            db.sql("everward_admin", compact % (t.id, 6))


class Partitions(Case):
    def test_maintain_makes_the_next_ranges_and_isolates_them(self):
        names = "SELECT relname FROM pg_class WHERE relname ~ '^(txn|change)_p\\d+$' AND relrowsecurity AND relforcerowsecurity ORDER BY 1"
        self.assertEqual([r[0] for r in db.sql("postgres", names)], ["change_p0", "change_p1", "change_p2", "txn_p0", "txn_p1", "txn_p2"])
        self.assertEqual(db.one("everward_gateway", "SELECT everward.maintain()"), "0")
        db.sql("postgres", "SELECT setval('everward.change_id', 35000000)")
        t = db.add_tenant("Far on")  # no partition for these: they go to the default
        self.check(t)
        self.assertEqual(db.one("everward_gateway", "SELECT everward.maintain()"), "4")
        db.sql("postgres", "SELECT setval('everward.change_id', 45000000)")
        t.patient()
        self.check(t)
        self.assertNotEqual(db.one("postgres", "SELECT count(*) FROM everward.change_p4"), "0")


if __name__ == "__main__":
    unittest.main()
