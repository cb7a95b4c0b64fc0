"""A node with a valid key of one tenant attacks the gateway for another tenant's data, at every endpoint.

Real programs: everward-gateway, PostgreSQL. The other tenant is full of canaries (canaries.py); none may come in a reply, a header, a log
line or a metric, and nothing of it may change. Whether it exists at all must not show: the same requests about its ids and about ids that
are nowhere give the same bytes."""

import base64
import glob
import json
import os
import re
import shutil
import sys
import tempfile
import time
import unittest
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integration"))
import canaries  # noqa: E402
import gateway_client as gc  # noqa: E402
import pg  # noqa: E402

ROUTES = re.compile(r'\{"(GET|POST|PUT|PATCH|DELETE)",\s*"(/[^"]*)"')
folder = cluster = db = gw = None
victim = thief = None
planted = None
everybody = []
sent = 0


def enrolled(tenant, name):
    gw.cli("tenant", "add", tenant)
    gw.cli("site", "add", "North", "--tenant", tenant)
    node = gc.Node(gw, name)
    everybody.append(node)
    status, reply = node.enrol(gw.cli("node", "invite", name, "--tenant", tenant, "--site", "North"))
    assert status == 200, reply
    node.catalog = json.loads(node.request("GET", "/sync/v1/catalog")[1])["version"]
    return node


def setUpModule():
    global folder, cluster, db, gw, victim, thief, planted
    if not os.access(gc.PROGRAM, os.X_OK):
        raise unittest.SkipTest("everward-gateway is not built")
    folder = tempfile.mkdtemp(prefix="ew-isolation-", dir="/tmp")
    cluster = pg.Cluster().start()
    db = cluster.create("everward", migrate=False)
    gw = gc.Gateway(folder, db, more="[log]\nlevel = debug\n")
    gw.cli("migrate")
    gw.start()
    thief = enrolled("Thief", "Thorn")
    victim = enrolled("Victim", "Velvet")
    patient = victim.insert("patient", {"family_name": canaries.mark(), "given_names": canaries.mark(), "active": "t"})
    status, reply = victim.push([patient])
    assert status == 200, reply
    planted = canaries.Foreign(db, victim.tenant).fill(1).collect()


def tearDownModule():
    if gw is not None:
        gw.stop()
    for node in everybody:
        node.close()
    cluster.stop()
    shutil.rmtree(folder, ignore_errors=True)
    print("hostile requests: %d" % sent)


def routes():
    found = set()
    for path in glob.glob(os.path.join(gc.ROOT, "sync", "gateway", "*.c")):
        with open(path, encoding="utf-8") as f:
            found.update(ROUTES.findall(f.read()))
    return found


def readable(data, decode=True):
    """All that could be read out of a reply: unpacked, and what is in base64 within it."""
    if data[:4] == b"\x28\xb5\x2f\xfd":
        data = gc.client(["unpack"], data)
    text = data.decode("utf-8", "replace")
    for word in re.findall(r"[A-Za-z0-9_-]{40,}", text) if decode else []:
        word = word[:len(word) // 4 * 4]
        text += base64.urlsafe_b64decode(word).decode("utf-8", "replace")
    return text


class Target:
    """What the attacks name: of the victim, or of nobody."""

    def __init__(self, real):
        def of(query):
            return db.one("postgres", query % victim.tenant) if real else str(uuid.uuid4())
        self.tenant = victim.tenant if real else str(uuid.uuid4())
        self.node = victim.node if real else str(uuid.uuid4())
        self.rows = {t: of("SELECT id FROM %s WHERE tenant_id = '%%s' LIMIT 1" % t)
                     for t in planted.tables if t.startswith("ward.") and t != "ward.role_permission"}
        self.staff = self.rows["ward.staff"]
        self.conflict = of("SELECT id FROM everward.conflict WHERE tenant_id = '%s' LIMIT 1")
        self.alert = of("SELECT id FROM everward.alert WHERE tenant_id = '%s' LIMIT 1")


def json_body(**members):
    return json.dumps(members)


def audit_body(node_id):
    return json_body(format="everward-audit/1", node=node_id, life=1, first=1, last=0, before="0" * 64, chain="0" * 64, head=0, head_chain="0" * 64)


def attacks(t):
    """(method, path, body, token's claims or None for the thief's own, headers): each endpoint in many ways."""
    tokens = [None, {"tenant": t.tenant}, {"node": t.node}, {"tenant": t.tenant, "node": t.node}, {"audience": "everward"}]
    names = [t.tenant, t.node, t.staff, t.conflict, t.rows["ward.patient"]]
    headers = [{}, {"X-Tenant": t.tenant, "X-Tenant-Id": t.tenant, "X-Forwarded-User": t.node, "Cookie": "tenant=%s; __Host-everward-fleet=%s" % (t.tenant, gc.b64(uuid.UUID(t.tenant).bytes + b"\x07" * 32))}]
    tables = [k.split(".")[1] for k in t.rows] + ["conflict", "alert", "ward.patient", "everward.node", "pg_authid", "patient;--", "'"]
    plain = []
    for table in tables:
        for after in ("", "&after=" + t.rows["ward.patient"], "&from=%s&to=%s" % (t.rows["ward.patient"], "f" * 8 + t.rows["ward.patient"][8:]),
                      "&tenant=" + t.tenant, "&after=' OR true --"):
            plain.append(("GET", "/sync/v1/bootstrap?limit=5000&table=%s%s" % (table.replace(" ", "%20"), after.replace(" ", "%20").replace("'", "%27")), None))
    for after in (0, 1, 2, 10, 2 ** 40, -1):
        plain.append(("GET", "/sync/v1/feed?after=%d&wait=0&tenant=%s" % (after, t.tenant), None))
    for name in names:
        plain.append(("GET", "/sync/v1/standing?staff=" + name, None))
        plain.append(("POST", "/sync/v1/verify", json_body(format="everward-verify/1", ranges=[
            {"table": table.split(".")[-1], "from": name, "to": None} for table in sorted(t.rows)])))
        plain.append(("POST", "/sync/v1/lineage", json_body(format="everward-lineage/1", inc=1, after=0, node=name, tenant=t.tenant)))
        plain.append(("POST", "/sync/v1/rejoin", json_body(format="everward-rejoin/1", inc=1, after=1, next=2, link="0" * 16, node=name)))
        plain.append(("POST", "/sync/v1/report", json_body(format="everward-report/1", attention=True, pending=1, quarantined=0, node=name, tenant=t.tenant)))
        plain.append(("POST", "/sync/v1/numbers", json_body(format="everward-numbers/1", inc=1, block=1, size=100, node=name, tenant=t.tenant)))
        plain.append(("POST", "/sync/v1/hello", json_body(format="everward-hello/1", inc=1, last_seq=0, acked_seq=0, chain="", cursor=0, catalog=1,
                                                          timeline=None, version=name, node=name, tenant=t.tenant)))
        plain.append(("POST", "/sync/v1/escrow", json_body(format="everward-escrow/1", node=name, tenant=t.tenant)))
        plain.append(("POST", "/sync/v1/audit", audit_body(name)))
        plain.append(("POST", "/sync/v1/enrol", json_body(format="everward-enrol/1", token=gc.b64(name.encode()), public_key=gc.b64(b"k" * 32), name="x",
                                                          ticket_hash="0" * 64)))
        plain.append(("POST", "/sync/v1/rotate", json_body(format="everward-rotate/1", last_seq=0, node=name, tenant=t.tenant,
                                                           public_key=gc.b64(b"k" * 32), sig=gc.b64(b"s" * 64), next_sig=gc.b64(b"s" * 64))))
        plain.append(("POST", "/sync/v1/readmit", json_body(format="everward-readmit/1", token=gc.b64(name.encode()), node=name, last_seq=0,
                                                            public_key=gc.b64(b"k" * 32), ticket_hash="0" * 64, sig=gc.b64(b"s" * 64),
                                                            next_sig=gc.b64(b"s" * 64))))
        plain.append(("GET", "/sync/v1/catalog?tenant=" + name, None))
        plain.append(("GET", "/api/v1/fleet?tenant=" + name, None))
        plain.append(("GET", "/fleet/v1/nodes?tenant=" + name, None))
        plain.append(("POST", "/fleet/v1/session", json_body(link=gc.b64(uuid.UUID(name).bytes + b"l" * 32), tenant=t.tenant)))
        plain.append(("DELETE", "/fleet/v1/session?tenant=" + name, None))
        plain.append(("GET", "/fleet?tenant=" + name, None))
        plain.append(("GET", "/fleet/{file}?node=" + name, None))
        plain.append(("GET", "/metrics?tenant=" + name, None))
        plain.append(("GET", "/healthz?" + name, None))
        plain.append(("GET", "/readyz?" + name, None))
        plain.append(("GET", "/sync/v1/ca?node=" + name, None))
    for method, path, body in plain:
        for claims in tokens:
            for more in headers if claims is None else headers[:1]:
                yield method, path, body, claims, more


def pushes(t, node):
    """Bodies of the thief's own, well signed, that name rows, parents, people and tenants of the target."""
    for table, row in sorted(t.rows.items()):
        name = table.split(".")[1]
        for op, columns in (("i", {"family_name": "x"} if name == "patient" else {"patient_id": t.rows["ward.patient"]}), ("u", {"tenant_id": t.tenant}),
                            ("u", {"status": "final"}), ("d", {})):
            yield [node.line(op, name, row, 1 if op != "i" else 0, columns, actor=t.staff)], {}
    own = str(uuid.uuid4())
    yield [node.line("i", "note", own, 0, {"patient_id": t.rows["ward.patient"], "kind": "progress", "body": "x"})], {}
    yield [node.line("i", "conflict_resolution", str(uuid.uuid4()), 0, {"conflict_id": t.conflict, "choice": "live"})], {}
    yield [node.line("i", "alert_ack", str(uuid.uuid4()), 0, {"alert_id": t.alert})], {}
    yield [node.line("i", "patient", own, 0, {"family_name": "x", "tenant_id": t.tenant})], {}
    yield [node.line("i", "patient", own, 0, {"family_name": "x"})], {"tenant": t.tenant}
    yield [node.line("i", "patient", own, 0, {"family_name": "x"})], {"node": t.node}


class Case(unittest.TestCase):
    made = {}

    def token(self, node, claims):
        """Each is good for five minutes, and making one is a program's start."""
        key = (node.node, *sorted(claims.items()))
        at, token = self.made.get(key, (0, None))
        if token is None or time.monotonic() - at > 120:
            token = node.token(**claims)
            self.made[key] = time.monotonic(), token
        return token

    def send(self, node, method, path, body, claims, headers):
        global sent
        sent += 1
        token = None if claims is None else self.token(node, claims)
        if path == "/sync/v1/audit":
            body = gc.client(["pack"], body.encode())
        return node.request(method, path, body, token=token, headers=headers)

    def attack(self, node, target):
        """Each request with its answer, as bytes."""
        for method, path, body, claims, headers in attacks(target):
            status, data = self.send(node, method, path, body, claims, headers)
            yield "%s %s %s %s" % (method, path, body, claims), status, data, str(sorted(node.headers.items()))
        for lines, changed in pushes(target, node):
            seq, chain = node.seq, node.chain
            after, data = node.body(lines, **changed)
            global sent
            sent += 1
            status, reply = node.request("POST", "/sync/v1/push", data, headers={"Content-Encoding": "zstd"})
            if status == 200:
                node.chain = after
            else:
                node.seq, node.chain = seq - len(lines), chain
            yield "push %s %s" % (lines, changed), status, reply, str(sorted(node.headers.items()))


class Hostile(Case):
    def test_every_endpoint_is_attacked(self):
        attacked = {(m, p.split("?")[0]) for m, p, *_ in attacks(Target(True))} | {("POST", "/sync/v1/push")}
        self.assertEqual(routes() - attacked, set(), "a route that no attack names: add it to attacks()")

    def test_no_canary_comes_out_and_nothing_of_the_victim_changes(self):
        before = planted.dump()
        for what, status, data, headers in self.attack(thief, Target(True)):
            text = readable(data) + headers
            self.assertEqual(planted.found_in(text, what), set(), what)
            self.assertLess(status, 500, "%s: %s" % (what, text[:300]))
        self.assertEqual(planted.dump(), before)
        with open(gw.log_path, encoding="utf-8", errors="replace") as f:
            self.assertEqual(canaries.MARK.findall(f.read()), [])
        self.assertEqual(canaries.MARK.findall(gw.get("/metrics")[1].decode()), [])
        self.assertGreater(sent, 700)

    def test_the_feeds_numbers_do_not_tell_how_much_others_write(self):
        """A tenant's transactions came with numbers of the whole database's: the gaps between them were the others' writes."""
        node = enrolled("Wren", "Wren-node")
        for others in (0, 9):
            for _ in range(others):
                self.assertEqual(victim.push([victim.insert("patient", {"family_name": canaries.mark()})])[0], 200)
            self.assertEqual(node.push([node.insert("patient", {"family_name": "Own"})])[0], 200)
        cuts = [[line["txn"] for line in node.feed(n)[1] if "txn" in line][:1] for n in (0, 1) if node.feed(n)[0] == 200]
        self.assertEqual(cuts, [[1], []] if len(cuts[1]) == 0 else [[1], [1]])

    def test_that_a_tenant_exists_does_not_show(self):
        """Two thieves alike: one names what the victim has, the other what nobody has. Same answers."""
        one, other = enrolled("Rook", "Rook-node"), enrolled("Jackdaw", "Jackdaw-node")
        real, none = Target(True), Target(False)

        def plain(node, target, text):
            for word, stands in [(node.tenant, "OWN"), (node.node, "SELF"), (target.tenant, "T"), (target.node, "N"), (target.conflict, "C"), (target.alert, "A"),
                                 *[(i, "R-" + t) for t, i in target.rows.items()]]:
                text = text.replace(word, "<%s>" % stands)
            text = re.sub(r"(?m)^(everward_gateway_\w+(?:\{[^}]*\})?) \d+$", r"\1 _", text)  # counters of all that was asked
            text = re.sub(r'[0-9a-f]{8}-[0-9a-f]{16,}|"instance":"[^"]*"', "<request>", text)
            text = re.sub(r'"(request_id|now|at|key|timeline|chain|digest|head|conflict|recovery_key|next)":\s*("[^"]*"|\d+)', r'"\1":_', text)
            text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>", text)
            text = re.sub(r"\('(Date|Content-Length|X-Request-Id)', '[^']*'\)", "", text)
            return "\n".join(sorted(text.split("\n")))  # rows come in the order of their ids, which are chance

        first = [(what, s, plain(one, real, readable(d, False) + h)) for what, s, d, h in self.attack(one, real)]
        second = [(what, s, plain(other, none, readable(d, False) + h)) for what, s, d, h in self.attack(other, none)]
        self.assertEqual(len(first), len(second))
        for (what, s1, text1), (_, s2, text2) in zip(first, second):
            self.assertEqual((s1, text1), (s2, text2), what)


if __name__ == "__main__":
    unittest.main()
