"""The gateway's contract with nodes: every refusal leaves nothing behind, every repetition changes nothing. On a real
PostgreSQL, over real TLS, against the real program."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest
import uuid

import gateway_client as gc
import pg

cluster = db = gw = folder = None
PATIENT = {"family_name": "Roe", "given_names": "Jane"}


def setUpModule():
    global cluster, db, gw, folder
    folder = tempfile.mkdtemp(prefix="ew-gw-", dir="/tmp")
    cluster = pg.Cluster().start()
    db = cluster.create("gateway", migrate=False)
    gw = gc.Gateway(folder, db)
    gw.cli("migrate")
    for t in ("Alder", "Birch"):
        gw.cli("tenant", "add", t)
        gw.cli("site", "add", "North", "--tenant", t)
    gw.start()


def tearDownModule():
    ended = gw.stop() if gw is not None else 0
    said = open(gw.log_path).read()[-6000:] if gw is not None and ended != 0 else ""
    cluster.stop()
    shutil.rmtree(folder, ignore_errors=True)
    assert ended == 0, "the gateway ended with %s: %s" % (ended, said)


def new_node(tenant="Alder", name="node", gateway=None):
    node = gc.Node(gateway or gw, name)
    status, reply = node.enrol(gw.cli("node", "invite", name, "--tenant", tenant, "--site", "North"))
    assert status == 200, reply
    return node


def count(table, where="true"):
    return int(db.one("postgres", "SELECT count(*) FROM %s WHERE %s" % (table, where)))


def row(text):
    return db.sql("postgres", text)[-1]


def state():
    return (count("ward.patient"), count("everward.change"), count("everward.receipt"), count("everward.conflict"))


class Case(unittest.TestCase):
    maxDiff = 2000

    def ok(self, answer, outcomes=None):
        status, reply = answer
        self.assertEqual(status, 200, reply)
        if outcomes is not None:
            self.assertEqual([(o["seq"], o["outcome"]) for o in reply["outcomes"]], outcomes, reply)
        return reply

    def refused(self, answer, status, code):
        self.assertEqual((answer[0], answer[1].get("code")), (status, code), answer[1])
        return answer[1]

    def unchanged(self, before):
        self.assertEqual(state(), before)


class Push(Case):
    def test_a_push_sent_twice_is_applied_once(self):
        n = new_node()
        after, data = n.body([n.insert("patient", PATIENT)])
        first = self.ok(n.send(data), [])
        before = state()
        again = self.ok(n.send(data), [])
        self.assertEqual((first["last_seq"], first["chain"]), (1, after))
        self.assertEqual(again, first)
        self.unchanged(before)

    def test_a_repetition_gives_the_stored_outcomes(self):
        n = new_node()
        lines = [n.insert("patient", PATIENT), n.insert("nonsense", {})]
        _, data = n.body(lines)
        first = self.ok(n.send(data), [(2, "quarantined")])
        self.assertEqual(self.ok(n.send(data)), first)

    def test_of_a_partly_known_push_only_the_rest_is_applied(self):
        n = new_node()
        lines = [n.insert("patient", PATIENT) for _ in range(4)]
        self.ok(n.copy().push(lines[:2]))
        before = count("ward.patient")
        reply = self.ok(n.push(lines), [])
        self.assertEqual(reply["last_seq"], 4)
        self.assertEqual(count("ward.patient"), before + 2)

    def test_a_gap_is_refused_with_the_number_expected(self):
        n = new_node()
        n.line("i", "patient", str(uuid.uuid4()), 0, PATIENT)
        before = state()
        reply = self.refused(n.push([n.insert("patient", PATIENT)], chain="0" * 64), 409, "gap")
        self.assertEqual(reply["expected"], 1)
        self.unchanged(before)

    def test_another_history_under_the_same_numbers_is_refused(self):
        n = new_node()
        clone = n.copy()
        self.ok(n.push([n.insert("patient", PATIENT)]))
        before = state()
        self.refused(clone.push([clone.insert("patient", PATIENT)]), 409, "chain_differs")
        other = n.copy()
        self.refused(other.push([other.insert("patient", PATIENT)], chain="11" * 32), 409, "chain_differs")
        self.unchanged(before)

    def test_forgeries_and_damage_are_refused_whole(self):
        n = new_node()
        other = new_node("Birch")
        line = n.insert("patient", PATIENT)
        before = state()
        self.refused(n.push([line], flags="s"), 400, "bad_signature")
        self.refused(n.push([line], flags="c"), 400, "bad_chain")
        self.refused(n.push([line], flags="n"), 400, "bad_count")
        self.refused(n.push([line], flags="f"), 400, "unsupported_format")
        self.refused(n.push([line], flags="z"), 400, "bad_frame")
        self.refused(n.push([line], sk=other.secret_key), 400, "bad_signature")
        self.refused(n.push([line], tenant=other.tenant), 403, "wrong_node")
        self.refused(n.push([line], node=other.node), 403, "wrong_node")
        self.refused(n.push([line], inc=2), 409, "wrong_incarnation")
        self.refused(n.push([line + " "]), 400, "bad_line")
        self.refused(n.push([line.replace('"op":"i"', '"op":"x"')]), 400, "bad_line")
        self.refused(n.push([line.replace('"seq":1', '"seq":2')], first=1), 400, "bad_line")
        self.unchanged(before)
        self.ok(n.push([line]), [])

    def test_what_a_node_holds_is_quarantined_unseen_and_the_rest_goes_in(self):
        n = new_node()
        p, q = str(uuid.uuid4()), str(uuid.uuid4())
        self.ok(n.push([n.insert("patient", PATIENT, row=p)]), [])
        lines = [n.insert("patient", PATIENT, row=q), n.line("u", "patient", p, 1, {"phone": "1"}), n.insert("patient", PATIENT),
                 n.line("u", "patient", p, 1, {"city": "Moss"})]
        before = state()
        for bad in ("7", "{}", "[3]", "[3,1,9,1]", "[1,1]", "[3,3]", "[3,0]", "[3,1,3,1]", "[5,1,3,1]", "[3,1.5]", '["3",1]', "[3,null]",
                    "[1e300,1]", "[-3,1]", "[9007199254740993,1]"):
            self.refused(n.push(lines, held=bad), 400, "bad_line")
        self.unchanged(before)
        reply = self.ok(n.push(lines, held="[3,1]"), [(3, "quarantined"), (5, "quarantined")])
        self.assertEqual([o["reason"] for o in reply["outcomes"]], ["held behind seq 1", "held behind seq 3"])
        self.assertEqual(row("SELECT phone, city, rev FROM ward.patient WHERE id = '%s'" % p), [None, None, "1"])
        self.assertEqual(count("ward.patient", "id = '%s'" % q), 1)
        self.ok(n.push([n.line("u", "patient", p, 1, {"phone": "1"})]), [])  # written again
        many = [n.insert("patient", PATIENT) for _ in range(5000)]
        all_held = ",".join("%d,%d" % (n.seq - 4999 + i, 3) for i in range(5000))
        self.assertEqual(len(self.ok(n.push(many, held="[%s]" % all_held))["outcomes"]), 5000)

    def test_a_cut_off_body_at_any_byte_is_refused(self):
        n = new_node()
        _, data = n.body([n.insert("patient", PATIENT) for _ in range(3)])
        before = state()
        for length in list(range(0, len(data), 37)) + [len(data) - 1]:
            status, reply = n.send(data[:length])
            self.assertEqual(status, 400, (length, reply))
        self.unchanged(before)
        self.ok(n.send(data), [])

    def test_limits_are_held(self):
        n = new_node()
        before = state()
        self.refused(n.push([n.insert("patient", PATIENT) for _ in range(5001)]), 413, "too_large")
        n = new_node()
        bomb = gc.client(["pack"], b"\n" * (33 * 1024 * 1024))
        self.refused(n.send(bomb), 413, "too_large")
        n = new_node()
        self.refused(n.push([n.insert("note", {"body": "x" * (257 * 1024)})]), 400, "bad_line")
        try:
            self.assertEqual(n.request("POST", "/sync/v1/push", os.urandom(5 * 1024 * 1024))[0], 413)
        except OSError:
            pass  # it may hang up on whoever goes on sending
        self.unchanged(before)

    def test_a_change_that_does_not_fit_is_quarantined_and_the_rest_goes_through(self):
        n = new_node()
        p = str(uuid.uuid4())
        lines = [n.insert("patient", PATIENT, row=p),
                 n.insert("unheard_of", {"a": "b"}),
                 n.insert("patient", {"shoe_size": "44"}),
                 n.insert("lab_result", {"patient_id": p}),
                 n.insert("conflict", {"table_name": "patient", "row_id": p, "columns": "[]", "state": "open"}),
                 n.insert("observation", {"patient_id": p, "code": "8867-4", "value_decimal": "72"})]
        reply = self.ok(n.push(lines), [(2, "quarantined"), (3, "quarantined"), (4, "quarantined"), (5, "quarantined")])
        self.assertTrue(all(o["reason"] for o in reply["outcomes"]))
        self.assertEqual(count("ward.observation", "patient_id = '%s'" % p), 1)

    def test_a_poison_change_is_found_among_good_ones_and_holds_its_row_alone(self):
        n = new_node()
        rows = [str(uuid.uuid4()) for _ in range(40)]
        orphan = str(uuid.uuid4())
        lines = [n.insert("patient", PATIENT, row=r) for r in rows]
        lines.insert(17, n.insert("observation", {"patient_id": str(uuid.uuid4()), "code": "8867-4"}, row=orphan))
        # numbers follow the order of making, so make anew in order
        n.seq, made = 0, []
        for l in lines:
            c = json.loads(l)
            made.append(n.line(c["op"], c["t"], c["id"], 0, c["c"]))
        bad = n.seq
        made.append(n.line("u", "patient", rows[3], 0, {"phone": "1"}))
        reply = self.ok(n.push(made), [(18, "quarantined")])
        self.assertEqual(reply["outcomes"][0]["sqlstate"], "23503")
        self.assertNotIn("Key (", json.dumps(reply))
        self.assertEqual(count("ward.patient", "id IN ('%s')" % "','".join(rows)), 40)
        self.assertEqual(row("SELECT phone, rev FROM ward.patient WHERE id = '%s'" % rows[3]), ["1", "2"])
        self.assertEqual(bad, 41)

    def test_what_follows_a_quarantined_change_on_its_row_is_held(self):
        n = new_node()
        p = str(uuid.uuid4())
        lines = [n.insert("encounter", {"patient_id": str(uuid.uuid4()), "status": "planned"}, row=p),
                 n.line("u", "encounter", p, 0, {"status": "arrived"}), n.insert("patient", PATIENT)]
        reply = self.ok(n.push(lines), [(1, "quarantined"), (2, "quarantined")])
        self.assertEqual(reply["outcomes"][1]["reason"], "held behind seq 1")

    def test_every_value_arrives_as_it_was_written(self):
        n = new_node()
        p = str(uuid.uuid4())
        o = str(uuid.uuid4())
        odd = 'a "quoted", (back\\slash)\n\ttab é 漢 😀 {x} $1 \'; --'
        self.ok(n.push([n.insert("patient", {"family_name": odd, "birth_date": "2024-02"}, row=p),
                        n.insert("observation", {"patient_id": p, "code": "1", "value_decimal": "7.10", "value_json": '{"a": 1.50}',
                                                 "effective_at": "2024-02-29T08:00:00.000+02:00"}, row=o)]), [])
        _, lines = n.feed(0)
        rows = {r[2][0]: r[2] for r in lines if isinstance(r, list)}
        self.assertEqual(rows[p][4], odd)
        self.assertIn("7.10", rows[o])
        self.assertIn('{"a": 1.50}', rows[o])
        self.assertIn("2024-02-29T08:00:00.000+02:00", rows[o])
        self.assertIn("live", rows[o])  # the column's default, though the node did not set it

    def test_the_same_fact_twice_is_a_duplicate_and_a_rewritten_one_quarantined(self):
        n, m = new_node(), new_node()
        p, o = str(uuid.uuid4()), str(uuid.uuid4())
        self.ok(n.push([n.insert("patient", PATIENT, row=p), n.insert("observation", {"patient_id": p, "code": "1"}, row=o)]))
        self.ok(m.push([m.insert("observation", {"patient_id": p, "code": "1"}, row=o)]), [(1, "duplicate")])
        self.ok(m.push([m.insert("observation", {"patient_id": p, "code": "2"}, row=o)]), [(2, "quarantined")])
        self.ok(m.push([m.line("u", "observation", o, 1, {"code": "3"})]), [(3, "quarantined")])
        self.assertEqual(row("SELECT code, rev FROM ward.observation WHERE id = '%s'" % o), ["1", "1"])

    def test_two_updates_of_one_row_in_a_push_are_two_revisions(self):
        n = new_node()
        p = str(uuid.uuid4())
        self.ok(n.push([n.insert("patient", PATIENT, row=p)]))
        self.ok(n.push([n.line("u", "patient", p, 1, {"family_name": "Doe"}), n.line("u", "patient", p, 1, {"birth_date": "2000-01-01"}),
                        n.line("u", "patient", p, 1, {"phone": "2"})]), [])
        self.assertEqual(row("SELECT family_name, given_names, birth_date, phone, rev FROM ward.patient WHERE id = '%s'" % p),
                         ["Doe", "Jane", "2000-01-01", "2", "4"])

    def test_a_deleted_row_is_gone_and_its_return_goes_on(self):
        n = new_node()
        t = str(uuid.uuid4())
        self.ok(n.push([n.insert("task", {"description": "a"}, row=t)]), [])
        self.ok(n.push([n.line("d", "task", t, 1, {})]), [])
        self.ok(n.push([n.line("d", "patient", str(uuid.uuid4()), 1, {})]), [(3, "quarantined")])
        self.assertEqual(count("ward.task", "id = '%s'" % t), 0)
        self.ok(n.push([n.insert("task", {"description": "b"}, row=t)]), [])
        self.assertEqual(row("SELECT rev FROM ward.task WHERE id = '%s'" % t), ["3"])

    def test_the_writer_stands_beside_each_change(self):
        n = new_node()
        who = [str(uuid.uuid4()) for _ in range(2)]
        rows = [str(uuid.uuid4()) for _ in range(3)]
        self.ok(n.push([n.insert("patient", PATIENT, row=rows[0], actor=who[0]), n.insert("patient", PATIENT, row=rows[1], actor=who[1]),
                        n.insert("patient", PATIENT, row=rows[2])]), [])
        got = db.sql("postgres", "SELECT row_id, actor, origin_node FROM everward.change WHERE row_id IN ('%s')" % "','".join(rows))
        self.assertEqual(sorted(got), sorted([rows[i], who[i] if i < 2 else None, n.node] for i in range(3)))


class Merge(Case):
    def two(self):
        n, m = new_node(), new_node(name="other")
        p = str(uuid.uuid4())
        self.ok(n.push([n.insert("patient", dict(PATIENT, phone="0"), row=p)]))
        return n, m, p

    def conflicts(self, row):
        return db.sql("postgres", "SELECT id, columns, base::text, live::text, incoming::text, base_rev, live_rev, live_node, incoming_node,"
                      " decide_role, state, patient_id, class FROM everward.conflict WHERE row_id = '%s' ORDER BY columns" % row)

    def test_other_columns_merge(self):
        n, m, p = self.two()
        self.ok(n.push([n.line("u", "patient", p, 1, {"phone": "1"})]), [])
        self.ok(m.push([m.line("u", "patient", p, 1, {"email": "e"})]), [(1, "merged")])
        self.assertEqual(row("SELECT phone, email, rev FROM ward.patient WHERE id = '%s'" % p), ["1", "e", "3"])
        self.assertEqual(self.conflicts(p), [])

    def test_one_field_changed_by_two_makes_one_conflict_and_the_live_value_stays(self):
        n, m, p = self.two()
        self.ok(n.push([n.line("u", "patient", p, 1, {"phone": "1"})]), [])
        _, data = m.body([m.line("u", "patient", p, 1, {"phone": "2", "email": "e"})])
        reply = self.ok(m.send(data), [(1, "contested")])
        self.assertEqual(self.ok(m.send(data)), reply)
        self.assertEqual(row("SELECT phone, email, rev FROM ward.patient WHERE id = '%s'" % p), ["1", "e", "3"])
        c = self.conflicts(p)
        self.assertEqual(len(c), 1)
        self.assertEqual(c[0], [reply["outcomes"][0]["conflict"], '["phone"]', '{"phone":"0"}', '{"phone":"1"}', '{"phone":"2"}', "1", "2",
                                n.node, m.node, "charge_nurse", "open", p, "field"])

    def test_identity_is_contested_as_a_group_and_the_registrar_decides(self):
        n, m, p = self.two()
        db.sql("postgres", "SET ROLE everward_app; RESET ROLE; UPDATE ward.patient SET birth_date = '2001-01-01' WHERE id = '%s'" % p)
        self.ok(m.push([m.line("u", "patient", p, 1, {"family_name": "Smith"})]), [(1, "contested")])
        c = self.conflicts(p)
        self.assertEqual(len(c), 1)
        self.assertEqual(c[0][9], "registrar")
        self.assertEqual(json.loads(c[0][4])["family_name"], "Smith")

    def test_its_own_earlier_changes_are_not_a_conflict(self):
        n, m, p = self.two()
        self.ok(n.push([n.line("u", "patient", p, 1, {"family_name": "A"})]), [])
        self.ok(n.push([n.line("u", "patient", p, 1, {"birth_date": "2000-01-02"})]), [])
        self.assertEqual(row("SELECT family_name, birth_date FROM ward.patient WHERE id = '%s'" % p), ["A", "2000-01-02"])

    def test_a_delete_against_a_change_is_contested(self):
        n, m = new_node(), new_node()
        t = str(uuid.uuid4())
        self.ok(n.push([n.insert("task", {"description": "a"}, row=t)]))
        self.ok(n.push([n.line("u", "task", t, 1, {"description": "b"})]), [])
        self.ok(m.push([m.line("d", "task", t, 1, {})]), [(1, "contested")])
        self.assertEqual(count("ward.task", "id = '%s'" % t), 1)
        self.assertEqual(self.conflicts(t)[0][4], None)
        self.ok(n.push([n.line("d", "task", t, 2, {})]), [])
        self.ok(m.push([m.line("u", "task", t, 2, {"note": "x"})]), [(2, "contested")])

    def test_a_resolution_closes_its_conflict_and_another_opens_a_new_one(self):
        n, m, p = self.two()
        self.ok(n.push([n.line("u", "patient", p, 1, {"phone": "1"})]), [])
        reply = self.ok(m.push([m.line("u", "patient", p, 1, {"phone": "2"})]), [(1, "contested")])
        c = reply["outcomes"][0]["conflict"]
        who = str(uuid.uuid4())
        r = [str(uuid.uuid4()) for _ in range(3)]
        self.ok(n.push([n.insert("conflict_resolution", {"conflict_id": c, "choice": "live"}, row=r[0], actor=who)]), [])
        self.assertEqual(row("SELECT state, resolved_by, resolution_id FROM everward.conflict WHERE id = '%s'" % c),
                         ["resolved", who, r[0]])
        self.ok(m.push([m.insert("conflict_resolution", {"conflict_id": c, "choice": "live"}, row=r[1])]), [])
        self.assertEqual(len(self.conflicts(p)), 1)
        self.ok(m.push([m.insert("conflict_resolution", {"conflict_id": c, "choice": "incoming"}, row=r[2])]), [])
        opened = [x for x in self.conflicts(p) if x[10] == "open"]
        self.assertEqual(len(opened), 1)
        self.assertEqual((opened[0][3], opened[0][4]), ('{"phone":"1"}', '{"phone":"2"}'))


class Feed(Case):
    def test_cuts_follow_one_another_and_name_the_push_that_made_them(self):
        n = new_node()
        start = n.hello()[1]["head"]
        self.ok(n.push([n.insert("patient", PATIENT)]))
        self.ok(n.push([n.insert("audit_event", {"action": "read"})]))
        _, lines = n.feed(start)
        self.assertEqual([l["cut"] for l in lines if "cut" in l], list(range(start + 1, lines[-1]["done"] + 1)))
        mine = [l for l in lines if isinstance(l, dict) and l.get("node") == n.node]
        self.assertEqual([(l["inc"], l["seq"]) for l in mine], [(1, 1), (1, 2)])
        self.assertNotIn("audit_event", [l[0] for l in lines if isinstance(l, list)])

    def test_another_tenants_rows_never_come(self):
        n, other = new_node(), new_node("Birch")
        self.ok(other.push([other.insert("patient", {"family_name": "Secret"})]))
        _, lines = n.feed(0)
        self.assertTrue(all(r[2][1] == n.tenant for r in lines if isinstance(r, list)))
        page = gc.unpack(n.request("GET", "/sync/v1/bootstrap?table=patient")[1])
        self.assertTrue(all(r[1] == n.tenant for r in page[1:-1]))

    def test_a_long_poll_wakes_for_a_plain_update_within_a_quarter_second(self):
        n = new_node()
        p = str(uuid.uuid4())
        self.ok(n.push([n.insert("patient", PATIENT, row=p)]))
        after = n.feed(0)[1][-1]["done"]
        got = {}

        def poll():
            got["answer"] = n.feed(after, 20)
            got["at"] = time.monotonic()
        with db.session("everward_app") as s:
            thread = threading.Thread(target=poll)
            thread.start()
            time.sleep(0.5)
            s.sql("BEGIN; SET LOCAL everward.tenant_id = '%s'; UPDATE ward.patient SET phone = '9' WHERE id = '%s'" % (n.tenant, p))
            s.sql("COMMIT")
            written = time.monotonic()
            thread.join(25)
        self.assertIn([True], [[r[2][0] == p] for r in got["answer"][1] if isinstance(r, list)])
        limit = 0.25 + (0.25 if "asan" in gc.BUILD else 0)  # unpacking starts another program
        self.assertLess(got["at"] - written, limit)

    def test_a_poll_of_a_node_revoked_meanwhile_takes_no_news_from_the_others(self):
        n, gone, author = new_node(), new_node(), new_node()
        after = n.feed(n.hello()[1]["head"])[1][-1]["done"]
        got, threads = {}, []
        waiting = gw.metrics()["feed_waiting"]
        for i, node in enumerate((n, gone)):  # the last to come is asked first
            node.current_token()
            threads.append(threading.Thread(target=lambda node=node: got.__setitem__(node, node.feed(after, 8)), daemon=True))
            threads[-1].start()
            end = time.monotonic() + 5
            while gw.metrics()["feed_waiting"] < waiting + i + 1 and time.monotonic() < end:
                time.sleep(0.01)
        self.assertEqual(gw.metrics()["feed_waiting"], waiting + 2)
        gw.cli("node", "revoke", gone.node, "--tenant", "Alder")
        p = str(uuid.uuid4())
        self.ok(author.push([author.insert("patient", PATIENT, row=p)]))
        for t in threads:
            t.join(30)
        self.assertEqual(got[gone][0], 403)
        self.assertIn(p, [r[2][0] for r in got[n][1] if isinstance(r, list)])

    def test_a_poll_without_news_ends_in_time(self):
        n = new_node()
        after = n.hello()[1]["head"]
        t0 = time.monotonic()
        status, lines = n.feed(after, 1)
        self.assertEqual((status, len(lines), lines[-1]), (200, 2, {"done": after, "more": False}))
        self.assertTrue(0.8 < time.monotonic() - t0 < 3)

    def test_a_cursor_beyond_the_head_is_told(self):
        n = new_node()
        self.assertEqual(n.feed(10 ** 9)[1]["code"], "ahead")
        self.assertEqual(n.feed(-1)[1]["code"], "bad_query")

    def test_many_pollers_of_a_tenant_are_all_woken(self):
        nodes = [new_node() for _ in range(8)]
        after = nodes[0].hello()[1]["head"]
        after = nodes[0].feed(after)[1][-1]["done"]
        got = [None] * 8

        def poll(i):
            got[i] = nodes[i].feed(after, 15)[1][-1]["done"]
        threads = [threading.Thread(target=poll, args=(i,)) for i in range(8)]
        for t in threads:
            t.start()
        time.sleep(0.7)
        writer = new_node()
        self.ok(writer.push([writer.insert("patient", PATIENT)]))
        for t in threads:
            t.join(20)
        self.assertTrue(all(g is not None and g > after for g in got), got)


class Fill(Case):
    def test_pages_give_each_row_once_in_order(self):
        n = new_node("Birch")
        self.ok(n.push([n.insert("task", {"description": str(i)}) for i in range(25)]))
        after, seen = "", []
        while after is not None:
            lines = gc.unpack(n.request("GET", "/sync/v1/bootstrap?table=task&limit=7&after=" + after)[1])
            self.assertEqual(lines[-1]["rows"], len(lines) - 2)
            seen += [r[0] for r in lines[1:-1]]
            after = lines[-1]["next"]
        self.assertEqual(seen, [r[0] for r in db.sql("postgres", "SELECT id FROM ward.task WHERE tenant_id = '%s' ORDER BY id" % n.tenant)])
        some = gc.unpack(n.request("GET", "/sync/v1/bootstrap?table=task&from=%s&to=%s" % (seen[3], seen[6]))[1])
        self.assertEqual([r[0] for r in some[1:-1]], seen[3:6])

    def test_digests_are_the_sum_over_the_images(self):
        import hashlib
        n = new_node()
        p = str(uuid.uuid4())
        self.ok(n.push([n.insert("patient", PATIENT, row=p)]))
        image = row("SELECT image FROM everward.change WHERE row_id = '%s'" % p)[0]
        high = str(uuid.UUID(int=uuid.UUID(p).int + 1))
        status, data = n.request("POST", "/sync/v1/verify", json.dumps({"format": "everward-verify/1", "ranges": [
            {"table": "patient", "from": p, "to": high}, {"table": "task", "from": high, "to": high}]}))
        reply = json.loads(data)
        self.assertEqual(reply["digests"][0], {"table": "patient", "from": p, "to": high, "rows": 1,
                                               "digest": hashlib.sha256(image.encode()).hexdigest()[:16]})
        self.assertEqual((reply["digests"][1]["rows"], reply["digests"][1]["digest"]), (0, "0" * 16))

    def test_what_is_not_given_out_is_not(self):
        n = new_node()
        for path, status in (("bootstrap?table=audit_event", 404), ("bootstrap?table=pg_class", 404), ("bootstrap?table=patient&after=x", 400)):
            self.assertEqual(n.request("GET", "/sync/v1/" + path)[0], status, path)

    def test_the_catalog_is_told_once(self):
        n = new_node()
        status, data = n.request("GET", "/sync/v1/catalog")
        self.assertEqual((status, json.loads(data)["format"]), (200, "everward-catalog/1"))
        self.assertEqual(n.request("GET", "/sync/v1/catalog", headers={"If-None-Match": n.headers["ETag"]})[0], 304)

    def test_a_table_put_under_sync_while_running_is_taken_at_once(self):
        n = new_node()
        db.sql("postgres", """CREATE TABLE public.bowl (id uuid, tenant_id uuid NOT NULL, size text, PRIMARY KEY (tenant_id, id));
            ALTER TABLE bowl ENABLE ROW LEVEL SECURITY; ALTER TABLE bowl FORCE ROW LEVEL SECURITY;
            CREATE POLICY tenant ON bowl USING (tenant_id = (SELECT everward.tenant())) WITH CHECK (tenant_id = (SELECT everward.tenant()));
            SELECT everward.enable_sync('public.bowl', 'field')""")
        self.ok(n.push([n.insert("bowl", {"size": "L"})]), [])
        db.sql("postgres", "ALTER TABLE public.bowl DROP COLUMN size; SELECT everward.refresh_sync('public.bowl')")
        self.ok(n.push([n.insert("bowl", {"size": "L"})]), [(2, "quarantined")])
        self.assertEqual(n.request("GET", "/sync/v1/bootstrap?table=bowl")[0], 200)
        db.sql("postgres", "SELECT everward.disable_sync('public.bowl')")
        self.ok(n.push([n.insert("bowl", {})]), [(3, "quarantined")])


class Identity(Case):
    def test_an_invite_is_used_once_but_a_lost_reply_may_be_repeated(self):
        invite = gw.cli("node", "invite", "--tenant", "Alder", "--site", "North")
        n = gc.Node(gw)
        first = n.enrol(invite)
        self.assertEqual(n.enrol(invite), first)
        self.assertEqual(gc.Node(gw).enrol(invite)[1]["code"], "invite_used")
        self.assertEqual(gc.Node(gw).enrol("x:x:x:x:AAAA")[1]["code"], "invite_unknown")
        db.sql("postgres", "UPDATE everward.invite SET expires_at = now() - interval '1 s' WHERE node_id = '%s'" % n.node)
        self.assertEqual(n.enrol(invite)[1]["code"], "invite_expired")

    def test_tokens_that_are_not_this_nodes_are_refused(self):
        n, other = new_node(), new_node("Birch")
        bad = {"expired": n.token(life=60, age=600), "of the future": n.token(age=-900), "for someone else": n.token(audience="elsewhere"),
               "signed by another": n.token(sk=other.secret_key), "with another's ticket": n.token(ticket=other.ticket),
               "for another tenant": n.token(tenant=other.tenant), "of an unknown node": n.token(node=str(uuid.uuid4())),
               "garbage": "a.b.c", "empty": " "}
        for what, token in bad.items():
            status, data = n.request("GET", "/sync/v1/catalog", token=token)
            self.assertEqual((status, json.loads(data)["code"]), (401, "unauthorized"), what)
        c = gw.connect()
        c.request("GET", "/sync/v1/feed?after=0")
        self.assertEqual(c.getresponse().status, 401)
        c.close()

    def test_a_revoked_node_is_refused_at_once_and_nothing_of_it_is_taken(self):
        n = new_node(name="leaver")
        self.ok(n.push([n.insert("patient", PATIENT)]))
        gw.cli("node", "revoke", n.node, "--tenant", "Alder")
        before = state()
        self.refused(n.push([n.insert("patient", PATIENT)]), 403, "revoked")
        self.assertEqual(n.feed(0)[0], 403)
        self.unchanged(before)

    def test_hello_tells_receipt_and_outcomes_and_begins_a_new_life(self):
        n = new_node()
        status, first = n.hello()
        self.assertEqual((status, first["receipt"]["last_seq"]), (200, 0))
        self.ok(n.push([n.insert("patient", PATIENT), n.insert("nonsense", {})]))
        reply = n.hello()[1]
        self.assertEqual((reply["receipt"]["last_seq"], reply["receipt"]["chain"]), (2, n.chain))
        self.assertEqual([o["seq"] for o in reply["outcomes"]], [2])
        self.assertEqual(n.hello(acked=2)[1]["outcomes"], [])
        for life in (2, 3):
            self.assertEqual(n.hello(inc=life)[1]["code"], "wrong_incarnation", "a greeting begins none: rejoin does")
        ask = {"format": "everward-rejoin/1", "inc": 1, "after": 2, "link": n.chain[:16], "next": 2}
        for _ in range(2):  # a lost reply costs one more request
            status, data = n.request("POST", "/sync/v1/rejoin", json.dumps(ask))
            self.assertEqual((status, json.loads(data)), (200, {"format": "everward-rejoin/1", "inc": 2, "after": 2}))
        self.assertEqual(n.hello(inc=1)[1]["code"], "wrong_incarnation")
        n.inc, n.chain = 2, "-"  # numbers go on, the chain begins anew
        self.assertEqual(n.hello(acked=2)[1]["receipt"]["last_seq"], 2)
        self.ok(n.push([n.insert("patient", PATIENT)]), [])

    def test_the_ca_is_given_to_anyone(self):
        self.assertEqual(gw.get("/sync/v1/ca"), (200, open(gw.ca, "rb").read()))


class Trouble(Case):
    def test_killed_between_commit_and_reply_nothing_is_done_twice(self):
        for delay in (0.0, 0.002, 0.005, 0.01, 0.02, 0.05):
            g = gc.Gateway(folder, db, name="victim").start()
            n = new_node(gateway=g)
            after, data = n.body([n.insert("patient", PATIENT) for _ in range(300)])
            n.current_token()
            n.connection = g.connect()
            n.connection.request("POST", "/sync/v1/push", data, headers={"Authorization": "Bearer " + n.token_text})
            time.sleep(delay)
            g.stop(signal.SIGKILL)
            n.close()
            n.gateway = gw
            reply = self.ok(n.send(data), [])
            self.assertEqual((reply["last_seq"], reply["chain"]), (300, after))
            self.assertEqual(count("everward.change", "origin_node = '%s'" % n.node), 300)

    def test_two_gateways_take_one_nodes_pushes_without_doubling(self):
        other = gc.Gateway(folder, db, name="second").start()
        try:
            n = new_node()
            lines = [n.insert("patient", PATIENT) for _ in range(200)]
            after, data = n.body(lines)
            twins = [n.copy(), n.copy()]
            twins[1].gateway = other
            got = [None, None]

            def run(i):
                got[i] = twins[i].send(data)
            threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
            for t in threads:
                t.start()
            for t in threads:
                t.join(30)
            self.assertEqual([g[0] for g in got], [200, 200], got)
            self.assertEqual(got[0][1], got[1][1])
            self.assertEqual(count("everward.change", "origin_node = '%s'" % n.node), 200)
        finally:
            self.assertEqual(other.stop(), 0, open(other.log_path).read()[-4000:])

    def test_while_the_database_is_away_it_says_so_and_comes_back_by_itself(self):
        n = new_node()
        self.ok(n.push([n.insert("patient", PATIENT)]))
        line = n.insert("patient", PATIENT)
        cluster.stop(keep=True)
        try:
            deadline = time.time() + 20
            while True:
                status, reply = n.copy().push([line])
                if status == 503 or time.time() > deadline:
                    break
            self.assertEqual((status, reply["code"]), (503, "database_away"))
            self.assertEqual(gw.get("/readyz")[0], 503)
            self.assertEqual(gw.get("/healthz")[0], 200)
        finally:
            cluster.start()
        deadline = time.time() + 20
        while gw.get("/readyz")[0] != 200 and time.time() < deadline:
            time.sleep(0.1)
        self.ok(n.push([line]), [])
        after = n.hello()[1]["head"]
        t0 = time.monotonic()
        writer = new_node()
        self.ok(writer.push([writer.insert("patient", PATIENT)]))
        self.assertGreater(n.feed(after, 20)[1][-1]["done"], after)
        self.assertLess(time.monotonic() - t0, 5)

    def test_told_to_end_it_finishes_what_is_under_way(self):
        g = gc.Gateway(folder, db, name="ending").start()
        n = new_node(gateway=g)
        after = n.hello()[1]["head"]
        after = n.feed(after)[1][-1]["done"]
        got = {}
        thread = threading.Thread(target=lambda: got.update(answer=n.feed(after, 50)))
        thread.start()
        time.sleep(0.5)
        self.assertEqual(g.stop(), 0, open(g.log_path).read()[-4000:])
        thread.join(10)
        self.assertEqual(got["answer"][0], 200)

    def test_hung_up_it_reads_its_certificate_anew(self):
        g = gc.Gateway(folder, db, name="renewed").start()
        try:
            def serial():
                c = g.connect()
                c.connect()
                found = c.sock.getpeercert()["serialNumber"]
                c.close()
                return found
            before = serial()
            g.cli("ca", "make", "--dir", os.path.dirname(g.ca), "--name", "127.0.0.1,localhost")
            g.process.send_signal(signal.SIGHUP)
            time.sleep(0.5)
            self.assertNotEqual(serial(), before)
        finally:
            g.stop()

    def test_garbage_on_the_port_disturbs_nobody(self):
        import socket
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(4000), b""):
            with socket.create_connection(("127.0.0.1", gw.port)) as s:
                s.sendall(garbage)
        self.assertEqual(gw.get("/healthz")[0], 200)


@unittest.skipUnless(shutil.which("pgbouncer") or os.path.exists("/usr/sbin/pgbouncer"), "pgbouncer is not installed")
class Pooler(Case):
    """PgBouncer in transaction mode with one server connection: whatever a session kept would be seen by the next transaction."""

    def setUp(self):
        self.port = pg.free_port()
        place = os.path.join(folder, "bouncer")
        os.makedirs(place)
        with open(os.path.join(place, "users"), "w") as f:
            f.write('"everward_gateway" ""\n')
        with open(os.path.join(place, "ini"), "w") as f:
            f.write("[databases]\n%s = host=127.0.0.1 port=%d\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\n"
                    "unix_socket_dir =\nauth_type = trust\nauth_file = %s/users\npool_mode = transaction\ndefault_pool_size = 1\n"
                    "logfile = %s/log\n" % (db.name, cluster.port, self.port, place, place))
        os.chmod(folder, 0o755)
        if os.geteuid() == 0:
            shutil.chown(place, "postgres")
        self.bouncer = subprocess.Popen([shutil.which("pgbouncer") or "/usr/sbin/pgbouncer", "-q"] +
                                        (["-u", "postgres"] if os.geteuid() == 0 else []) + [os.path.join(place, "ini")])
        self.addCleanup(self.end)
        self.gw = gc.Gateway(folder, db, name="behind")
        with open(self.gw.config) as f:
            text = f.read()
        direct = db.dsn("everward_gateway")
        behind = db.dsn("everward_gateway", "127.0.0.1").replace("port=%d" % cluster.port, "port=%d" % self.port)
        with open(self.gw.config, "w") as f:
            f.write(text.replace("dsn = " + direct, "dsn = %s\nlisten_dsn = %s" % (behind, direct), 1))
        self.gw.start()
        deadline = time.time() + 10
        while self.gw.get("/readyz")[0] != 200:
            self.assertLess(time.time(), deadline, open(os.path.join(place, "log")).read())
            time.sleep(0.1)

    def end(self):
        self.gw.stop()
        self.bouncer.terminate()
        self.bouncer.wait(10)

    def test_everything_works_behind_a_pooler_and_tenants_stay_apart(self):
        nodes = [new_node(t, gateway=self.gw) for t in ("Alder", "Birch")]
        poison = str(uuid.uuid4())
        for n in nodes * 3:
            self.ok(n.push([n.insert("patient", {"family_name": n.tenant})]), [])
            p = n.insert("patient", {"family_name": n.tenant})
            self.ok(n.push([p, n.insert("observation", {"patient_id": poison, "code": "x"})]), [(n.seq, "quarantined")])
        for n in nodes:
            _, lines = n.feed(0)
            self.assertEqual({r[2][1] for r in lines if isinstance(r, list)}, {n.tenant})
            page = gc.unpack(n.request("GET", "/sync/v1/bootstrap?table=patient")[1])
            self.assertEqual({r[1] for r in page[1:-1]}, {n.tenant})
        after = nodes[0].hello()[1]["head"]
        writer = new_node()
        threading.Timer(0.5, lambda: writer.push([writer.insert("patient", PATIENT)])).start()
        self.assertGreater(nodes[0].feed(after, 10)[1][-1]["done"], after)


class Commands(Case):
    def test_a_wrong_command_says_what_to_do(self):
        for args, code in ((["nonsense"], 64), (["tenant", "add"], 64), (["site", "add", "x", "--tenant", "Nobody"], 77),
                           (["tenant", "add", "Alder"], 77), (["tenant", "list", "--what"], 64),
                           (["staff", "add", "--tenant", "Alder"], 64)):
            done = gw.run(*args)
            self.assertEqual(done.returncode, code, (args, done.stderr))
            self.assertTrue(done.stderr)
        done = subprocess.run([gc.PROGRAM, "--config", "/nowhere.conf", "status"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 78)
        done = gw.run("status", env=dict(os.environ, EVERWARD_DATABASE_ADMIN_DSN="host=/nowhere user=x"))
        self.assertEqual(done.returncode, 69)
        self.assertEqual(gw.run("serve", "--help").returncode, 0)

    def test_migrate_again_changes_nothing(self):
        self.assertNotIn("applied", gw.cli("migrate"))

    def test_staff_may_log_in_and_their_verifier_reaches_the_nodes(self):
        password = os.path.join(folder, "password")
        with open(password, "w") as f:
            f.write(gc.PASSWORD + "\n")
        staff = gw.cli("staff", "add", "--tenant", "Alder", "--username", "ann", "--name", "Ann Mary Lee", "--role", "nurse,doctor",
                       "--password-file", password)
        self.assertEqual(gw.run("staff", "add", "--tenant", "Alder", "--username", "bo", "--name", "Bo", "--role", "wizard",
                                "--password-file", password).returncode, 77)
        listed = {s["username"]: s for s in json.loads(gw.cli("staff", "list", "--tenant", "Alder", "--json"))}
        self.assertEqual((listed["ann"]["roles"], listed["ann"]["name"]), ("doctor,nurse", "Ann Mary Lee"))
        self.assertNotIn("bo", listed)
        n = new_node()
        rows = gc.unpack(n.request("GET", "/sync/v1/bootstrap?table=staff&from=" + staff)[1])
        self.assertTrue(any(v is not None and v.startswith("$argon2id$") for v in rows[1]))
        gw.cli("staff", "passwd", "--tenant", "Alder", "--username", "ann", "--password-file", "-", input="another password\n")

    def test_lists_read_as_json(self):
        self.assertIn("Alder", [t["name"] for t in json.loads(gw.cli("tenant", "list", "--json"))])
        self.assertTrue(json.loads(gw.cli("status", "--json")))
        n = new_node(name="listed")
        self.assertIn(n.node, [x["node_id"] for x in json.loads(gw.cli("node", "list", "--tenant", "Alder", "--json"))])
        self.assertIn("default", gw.cli("config", "show", "--origin"))


if __name__ == "__main__":
    unittest.main()
