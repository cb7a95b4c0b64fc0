"""Somebody in the gateway's place, with its certificate, answers a node with what it must never take.

Real programs: everward, everward-gateway, PostgreSQL, an HTTPS relay between them (relay.py). After each attack: the node runs, its ward
reads and writes, nothing of another tenant is in it, what waited still waits; and as soon as the gateway is itself again all of it
arrives, once. Before the attacks the relay listens: nothing of another tenant was in what an honest gateway said."""

import json
import os
import re
import sys
import unittest
import uuid

for part in ("integration", "fault"):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), part))
import canaries  # noqa: E402
import gateway_client as gc  # noqa: E402
import line  # noqa: E402
import relay  # noqa: E402
import stack  # noqa: E402
from demolib.client import ApiError, Tablet  # noqa: E402
from test_hostile_node import readable  # noqa: E402

LAKESIDE, VICTIM = "Lakeside", "Victim"
BOMB_BYTES = 200 * 1024 * 1024
s = between = node = planted = None
attacks = 0


def setUpModule():
    global s, between, node, planted
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()
    s.tenant(VICTIM)
    planted = canaries.Foreign(s.db, s.tenants[VICTIM]).fill(1).collect()
    between = relay.Relay(s.gateway, os.path.join(s.folder, "tls")).start()
    between.keep = True
    node = fresh("Alder")
    node.start()
    node.wait_current()
    node.tablet().create("patient", {"family_name": "Own"})
    node.wait_current()
    node.verify()
    between.keep = False


def tearDownModule():
    s.stop()
    between.stop()
    print("attacks of a hostile gateway: %d" % attacks)


def fresh(name):
    n = s.new_node(name, LAKESIDE)
    n.setup(line.through(n.invite(), between))
    return n


# ---- what is altered ---------------------------------------------------------------------------------------------------------

def lines(path, change):
    """Alters the lines of a 200 to this path; change gets and gives a list of JSON values."""
    def tamper(ask, answer):
        if not ask.path.startswith("/sync/v1/" + path) or answer.status != 200:
            return answer
        packed = answer.body[:4] == b"\x28\xb5\x2f\xfd"
        plain = gc.client(["unpack"], answer.body) if packed else answer.body
        before = [json.loads(x) for x in plain.decode().split("\n") if x]
        after = change([json.loads(json.dumps(x)) for x in before])
        if after == before:
            return answer
        text = b"".join(json.dumps(x, separators=(",", ":")).encode() + b"\n" for x in after)
        return answer._replace(body=gc.client(["pack"], text) if packed else text)
    return tamper


def bytes_of(path, body, status=200, **headers):
    """Instead of any answer to this path."""
    def tamper(ask, answer):
        if not ask.path.startswith("/sync/v1/" + path):
            return answer
        return relay.Answer(status, {"Content-Type": "text/html", **{k.replace("_", "-"): v for k, v in headers.items()}}, body)
    return tamper


def rows(change):
    """Alters each row line of a feed or page that has any."""
    return lambda all_lines: [change(x) if isinstance(x, list) else x for x in all_lines]


def image(row):
    return row[2] if isinstance(row[-1], list) else row


def foreign_row(row):
    fields = image(row)
    fields[1] = s.tenants[VICTIM]
    fields[3:] = [canaries.mark() if isinstance(f, str) and f.isalpha() else f for f in fields[3:]]
    return row


def with_field(n, value):
    def change(row):
        image(row)[n] = value
        return row
    return change


def member(where, name, value):
    """One member of the objects that have `where`."""
    def change(all_lines):
        for x in all_lines:
            if isinstance(x, dict) and where in x:
                x[name] = value(x[name]) if callable(value) else value
        return all_lines
    return change


def has_rows(change):
    return lambda all_lines: change(all_lines) if any(isinstance(x, list) for x in all_lines) else all_lines


def bomb():
    return gc.client(["pack"], b" " * BOMB_BYTES)


def receipt(**changes):
    def change(all_lines):
        for x in all_lines:
            at = x.get("receipt", x)
            for name, value in changes.items():
                at[name] = value(at[name]) if callable(value) else value
        return all_lines
    return change


def catalog(change):
    """A greeting that tells of a new catalog, and that catalog."""
    told, given = lines("hello", member("head", "catalog", 10 ** 6)), lines("catalog", change)

    def tamper(ask, answer):
        if ask.path.startswith("/sync/v1/catalog"):
            answer = given(ask, answer)
            return answer._replace(headers={k: v for k, v in answer.headers.items() if k.lower() != "etag"})
        return told(ask, answer)
    return tamper


def table(**changes):
    def change(all_lines):
        all_lines[0]["version"] = 10 ** 6
        for t in all_lines[0]["tables"]:
            if t["name"] == "patient":
                t.update({k: v(t[k]) if callable(v) else v for k, v in changes.items()})
        return all_lines
    return change


HTML = b"<html><title>Welcome to Guest Wi-Fi</title>Accept the terms</html>"
FEED = {
    "rows_of_another_tenant": lines("feed", rows(foreign_row)),
    "a_feed_of_another_tenant": lines("feed", has_rows(member("format", "tenant", lambda _: s.tenants[VICTIM]))),
    "a_feed_of_another_life": lines("feed", has_rows(member("format", "timeline", lambda _: str(uuid.uuid4())))),
    "a_feed_that_begins_elsewhere": lines("feed", has_rows(member("format", "after", lambda n: n + 1))),
    "a_cut_left_out": lines("feed", has_rows(lambda x: member("end", "end", lambda n: n + 1)(member("cut", "cut", lambda n: n + 1)(x)))),
    "a_cut_without_its_end": lines("feed", has_rows(lambda x: [y for y in x if not (isinstance(y, dict) and "end" in y)])),
    "a_feed_without_its_last_line": lines("feed", has_rows(lambda x: x[:-1])),
    "a_row_left_out": lines("feed", has_rows(lambda x: [y for y in x if not isinstance(y, list)])),
    "a_row_before_its_cut": lines("feed", has_rows(lambda x: [x[0], next(y for y in x if isinstance(y, list))] + x[1:])),
    "a_table_that_is_none_of_the_catalog": lines("feed", rows(lambda r: ["sqlite_master"] + r[1:])),
    "a_table_of_the_nodes_own": lines("feed", rows(lambda r: ["_outbox"] + r[1:])),
    "a_deed_that_is_none": lines("feed", rows(lambda r: [r[0], "x", r[2]])),
    "an_id_that_is_none": lines("feed", rows(with_field(0, "' OR 1=1 --"))),
    "a_revision_that_is_none": lines("feed", rows(with_field(2, "-1"))),
    "numbers_for_texts": lines("feed", rows(with_field(3, 7))),
    "more_columns_than_there_are": lines("feed", rows(lambda r: [r[0], r[1], r[2] + ["x"] * 500])),
    "half_a_frame": lambda ask, answer: answer._replace(body=answer.body[:len(answer.body) // 2]) if "/feed" in ask.path else answer,
    "a_frame_of_blanks_without_end": lambda ask, answer: answer._replace(body=bomb()) if "/feed" in ask.path else answer,
}
ANY = {
    "a_guest_networks_page": bytes_of("", HTML),
    "nothing_at_all": bytes_of("", b""),
    "json_that_is_deep": bytes_of("", b"[" * 100000),
    "json_that_says_a_thing_twice": bytes_of("hello", b'{"tenant":"x","tenant":"y"}'),
    "not_authorised": bytes_of("", b"{}", 401),
    "forbidden": bytes_of("", b"{}", 403),
    "gone": bytes_of("", b"{}", 410),
    "a_redirect": bytes_of("", b"", 302, Location="https://127.0.0.1:1/sync/v1/hello"),
    "come_again_in_a_hundred_years": bytes_of("", b"{}", 503, Retry_After="3153600000"),
    "a_header_without_end": bytes_of("", b"{}", 200, X_Long="x" * 400_000),
    "a_dropped_connection": lambda ask, answer: None,
}
PUSH = {
    "a_receipt_for_more_than_was_sent": lines("push", receipt(last_seq=lambda n: n + 5)),
    "a_receipt_for_less": lines("push", receipt(last_seq=lambda n: n - 1)),
    "a_receipt_of_another_chain": lines("push", receipt(chain="ab" * 32)),
    "a_receipt_of_another_incarnation": lines("push", receipt(inc=99)),
    "a_receipt_without_a_chain": lines("push", receipt(chain=None)),
    "outcomes_of_what_was_not_sent": lines("push", receipt(outcomes=[{"seq": 10 ** 9, "outcome": "quarantined", "reason": "x"}])),
    "outcomes_that_are_none": lines("push", receipt(outcomes=[{"seq": 1, "outcome": "forgotten"}])),
    "a_receipt_in_html": bytes_of("push", HTML),
}
HELLO = {
    "a_greeting_with_a_receipt_beyond_our_log": lines("hello", receipt(last_seq=lambda n: n + 7)),
    "a_greeting_with_another_chain": lines("hello", receipt(chain="cd" * 32)),
    "a_greeting_to_another_incarnation": lines("hello", receipt(inc=3)),
    "a_greeting_with_a_head_behind_us": lines("hello", member("head", "head", 0)),
    "a_greeting_without_a_timeline": lines("hello", member("head", "timeline", "forever")),
    "a_greeting_with_numbers_beyond_all_measure": lines("hello", member("head", "head", 2 ** 70)),
}
CATALOG = {
    "a_catalog_without_tables": catalog(lambda x: [{**x[0], "version": 10 ** 6, "tables": []}]),
    "a_table_with_a_name_that_is_sql": catalog(table(name='patient"; DROP TABLE _outbox; --')),
    "a_table_named_like_the_nodes_own": catalog(table(name="_outbox")),
    "a_column_twice": catalog(table(columns=lambda c: c + [dict(c[-1])])),
    "a_table_without_its_id": catalog(table(columns=lambda c: c[1:])),
    "a_column_of_no_known_type": catalog(table(columns=lambda c: c[:-1] + [{**c[-1], "type": "money'--"}])),
    "an_index_on_nothing": catalog(table(indexes=[["no such column"]])),
}


# ---- what must hold ----------------------------------------------------------------------------------------------------------

def at_node():
    reply = node.tablet().get("/api/v1/patient?limit=500")
    return {(p["id"], p["family_name"]) for p in reply["items"]}


def at_centre():
    return {tuple(r) for r in s.db.sql("postgres", "SELECT id, family_name FROM ward.patient WHERE tenant_id = '%s'" % s.tenants[LAKESIDE])}


class Attacked(unittest.TestCase):
    def tearDown(self):
        between.tamper = None

    def attack(self, tamper):
        """Something waits here and something is new there while the gateway lies."""
        global attacks
        node.link("down")
        waits = node.tablet().create("patient", {"family_name": "Here"})["id"]
        s.as_app(LAKESIDE, "INSERT INTO ward.patient (id, tenant_id, family_name) VALUES ('%s', '%s', 'There')" % (uuid.uuid4(), s.tenants[LAKESIDE]))
        held, read = at_node(), len(node.log())
        between.altered, between.tamper = 0, tamper
        node.link("up")
        node.wait(lambda _: between.altered > 0 and re.search("sync_failed|fence", node.log()[read:]))
        attacks += 1
        self.assertIsNone(node.process.poll())
        self.assertEqual(at_node() - held - at_centre(), set())
        self.assertLessEqual(held, at_node())
        self.assertEqual(node.tablet().get("/api/v1/patient/" + waits)["family_name"], "Here")
        node.tablet().create("patient", {"family_name": "Meanwhile"})
        self.assertEqual(canaries.MARK.findall(node.log()[read:]), [])
        return waits

    def heals(self, waits):
        between.tamper = None
        node.link("down")
        node.link("up")
        node.wait_current()
        self.assertEqual(at_node(), at_centre())
        self.assertEqual(s.db.one("postgres", "SELECT count(*) FROM everward.change WHERE row_id = '%s'" % waits), "1")
        self.assertEqual(node.status()["quarantined"], 0)


class HostileGateway(Attacked):
    """One test for each of the cases above."""


def add(kind, name, tamper):
    def test(self):
        self.heals(self.attack(tamper))
    setattr(HostileGateway, "test_%s_%s" % (kind, name), test)


for kind, cases in (("feed", FEED), ("any", ANY), ("push", PUSH), ("hello", HELLO), ("catalog", CATALOG)):
    for name, tamper in cases.items():
        add(kind, name, tamper)


class Lies(Attacked):
    """What can't be told from the truth is taken, and goes again with the next greeting of the true gateway."""

    def test_a_catalog_of_a_million_versions_ahead(self):
        between.altered, between.tamper = 0, catalog(table())
        node.link("down")
        node.link("up")
        node.wait(lambda _: between.altered > 1)
        node.wait_state("current")
        self.heals(node.tablet().create("patient", {"family_name": "Here"})["id"])
        self.assertEqual(node.status()["catalog_version"], int(s.db.one("postgres", "SELECT version FROM everward.catalog_state")))


class Line(unittest.TestCase):
    """`everward link test`, and the console's button, say at which step the way to the centre breaks."""

    def setUp(self):
        node.link("up")
        node.wait_current()

    def step(self):
        done = node.run("link", "test", "--json")
        said = json.loads(done.stdout)
        self.assertEqual(done.returncode, 0 if said["good"] else 1)
        return said["step"]

    def test_each_step_is_named(self):
        tls = os.path.join(s.folder, "tls")
        self.assertEqual(self.step(), "good")
        try:
            between.tamper = bytes_of("standing", b"{}", 403)
            self.assertEqual(self.step(), "refused")
            between.tamper = bytes_of("standing", HTML, 502)
            self.assertEqual(self.step(), "answer")
            between.tamper = lambda ask, answer: None
            self.assertEqual(self.step(), "answer")
            between.tamper = None
            s.gateway.cli("ca", "make", "--dir", os.path.join(s.folder, "others"), "--name", "127.0.0.1,localhost")
            between.serve_as(os.path.join(s.folder, "others"))
            self.assertEqual(self.step(), "certificate")
        finally:
            between.tamper = None
            between.serve_as(tls)
        self.assertEqual(self.step(), "good")
        node.link("down")
        self.assertEqual(self.step(), "closed")

    def test_it_is_for_who_looks_after_the_node(self):
        s.gateway.cli("staff", "add", "--tenant", LAKESIDE, "--username", "ivo", "--name", "Ivo Lund", "--role", "it_support", "--password-file", "-",
                      input=stack.PASSWORD + "\n")
        with self.assertRaises(ApiError) as refused:
            node.tablet().request("POST", "/api/v1/sync/test", {})
        self.assertEqual((refused.exception.status, refused.exception.problem["code"]), (403, "not_permitted"))
        node.link("down")  # the next greeting brings the staff list
        node.link("up")
        node.wait(lambda _: json.loads(node.command("users", "list", "--json"))[-1:] and "ivo" in node.command("users", "list", "--json"))
        ivo = Tablet("127.0.0.1", node.port, os.path.join(node.state, "tls", "ca.crt"), "ivo", stack.PASSWORD)
        said = ivo.request("POST", "/api/v1/sync/test", {})[0]
        ivo.connection.close()
        self.assertTrue(said["good"], said)
        self.assertLessEqual(said["connection_ms"], said["certificate_ms"])
        self.assertLessEqual(said["certificate_ms"], said["answer_ms"])


class Fill(unittest.TestCase):
    def test_a_first_fill_with_rows_of_another_tenant_is_refused_whole(self):
        n = fresh("Birch")
        between.altered, between.tamper = 0, lines("bootstrap", rows(foreign_row))
        n.start()
        n.wait(lambda _: between.altered > 0 and "sync_failed" in n.log())
        self.assertEqual(n.run("status", "--json").returncode, 2, n.status())
        self.assertEqual(canaries.MARK.findall(n.log()), [])
        between.tamper = None
        n.link("down")
        n.link("up")
        n.wait_current()


class Honest(unittest.TestCase):
    def test_nothing_of_another_tenant_was_in_what_the_node_was_given(self):
        self.assertGreater(len(planted.marks), 50)
        self.assertGreater(len(between.seen), 10)
        for path, body in between.seen:
            self.assertEqual(planted.found_in(readable(body)), set(), path)


if __name__ == "__main__":
    unittest.main()
