"""The fleet page at the gateway: a link opens one browser once, a session sees its own tenant's nodes and no other's.

Real programs: everward-gateway, PostgreSQL, TLS."""

import base64
import json
import os
import shutil
import tempfile
import unittest

import gateway_client as gc
import pg

folder = cluster = db = gw = None
nodes = {}


def setUpModule():
    global folder, cluster, db, gw
    if not os.access(gc.PROGRAM, os.X_OK):
        raise unittest.SkipTest("everward-gateway is not built")
    folder = tempfile.mkdtemp(prefix="ew-fleet-", dir="/tmp")
    cluster = pg.Cluster().start()
    db = cluster.create("everward", migrate=False)
    gw = gc.Gateway(folder, db)
    gw.cli("migrate")
    gw.start()
    for tenant, name in (("Lakeside", "Alder"), ("Lakeside", "Birch"), ("Hillcrest", "Cedar")):
        if not any(t == tenant for t, _ in nodes):
            gw.cli("tenant", "add", tenant)
            gw.cli("site", "add", "North", "--tenant", tenant)
        node = nodes[tenant, name] = gc.Node(gw, name)
        status, reply = node.enrol(gw.cli("node", "invite", name, "--tenant", tenant, "--site", "North"))
        assert status == 200, reply


def tearDownModule():
    for node in nodes.values():
        node.close()
    if gw is not None:
        gw.stop()
    if cluster is not None:
        cluster.stop()
    shutil.rmtree(folder, ignore_errors=True)


def ask(method, path, body=None, cookie=None, headers=None):
    c = gw.connect()
    head = dict(headers or {})
    if cookie:
        head["Cookie"] = "a=b; __Host-everward-fleet=" + cookie
    c.request(method, path, None if body is None else json.dumps(body), head)
    r = c.getresponse()
    data = r.read()
    c.close()
    return r, (json.loads(data) if data[:1] == b"{" else data)


def link(tenant):
    place, word = gw.cli("fleet", "open", "--tenant", tenant).strip().split("#")
    assert place.endswith("/fleet"), place
    return word


def opened(word):
    r, body = ask("POST", "/fleet/v1/session", {"link": word})
    assert r.status == 204, body
    return r.getheader("Set-Cookie").split(";")[0].split("=", 1)[1]


class Fleet(unittest.TestCase):
    def refused(self, method, path, code, body=None, cookie=None, headers=None, status=401):
        r, reply = ask(method, path, body, cookie, headers)
        self.assertEqual((r.status, r.getheader("Content-Type"), reply["code"]), (status, "application/problem+json", code), reply)
        self.assertIsNone(r.getheader("Set-Cookie"))
        return reply

    def test_a_link_opens_once_and_its_session_sees_its_own_tenants_nodes(self):
        word = link("Lakeside")
        cookie = opened(word)
        _, page = ask("GET", "/fleet/v1/nodes", cookie=cookie)
        self.assertEqual((page["tenant"], [n["name"] for n in page["nodes"]]), ("Lakeside", ["Alder", "Birch"]))
        self.assertNotIn("Cedar", json.dumps(page))
        self.assertNotIn(nodes["Hillcrest", "Cedar"].tenant, json.dumps(page))
        self.assertIn("used", self.refused("POST", "/fleet/v1/session", "unauthorized", {"link": word})["detail"])
        _, other = ask("GET", "/fleet/v1/nodes", cookie=opened(link("Hillcrest")))
        self.assertEqual([n["name"] for n in other["nodes"]], ["Cedar"])

    def test_the_cookie_is_for_this_host_this_site_and_no_script(self):
        r, _ = ask("POST", "/fleet/v1/session", {"link": link("Lakeside")})
        words = [w.strip() for w in r.getheader("Set-Cookie").split(";")]
        self.assertTrue(words[0].startswith("__Host-everward-fleet="), words[0][:24])
        self.assertLessEqual({"Path=/", "Secure", "HttpOnly", "SameSite=Strict"}, set(words))

    def test_a_session_or_link_turned_to_another_tenant_opens_nothing(self):
        cookie = opened(link("Lakeside"))
        foreign = bytes.fromhex(nodes["Hillcrest", "Cedar"].tenant.replace("-", ""))

        def turned(word):
            return base64.urlsafe_b64encode(foreign + base64.urlsafe_b64decode(word)[16:]).decode()

        self.refused("GET", "/fleet/v1/nodes", "unauthorized", cookie=turned(cookie))
        self.refused("DELETE", "/fleet/v1/session", "unauthorized", cookie=turned(cookie))
        self.refused("POST", "/fleet/v1/session", "unauthorized", {"link": turned(link("Lakeside"))})
        self.assertEqual(ask("GET", "/fleet/v1/nodes", cookie=cookie)[0].status, 200)

    def test_what_is_no_key_is_refused(self):
        self.refused("GET", "/fleet/v1/nodes", "unauthorized")
        for bad in ("", "x", "A" * 63, "A" * 64, "A" * 65, "!" * 64, "A" * 4000):
            self.refused("GET", "/fleet/v1/nodes", "unauthorized", cookie=bad)
            if len(bad) < 100:
                self.refused("POST", "/fleet/v1/session", "unauthorized", {"link": bad})
        self.refused("POST", "/fleet/v1/session", "bad_body", {"other": 1}, status=400)
        self.refused("GET", "/fleet/v1/nodes", "unauthorized", headers={"Authorization": "Bearer x"})
        self.refused("GET", "/fleet/v1/nodes", "unauthorized", headers={"Authorization": "Bearer " + nodes["Lakeside", "Alder"].token()})

    def test_another_page_cannot_open_or_close_a_session(self):
        cookie = opened(link("Lakeside"))
        word = link("Lakeside")
        cross = {"Sec-Fetch-Site": "cross-site"}
        self.refused("DELETE", "/fleet/v1/session", "unauthorized", cookie=cookie, headers=cross)
        self.refused("POST", "/fleet/v1/session", "bad_body", {"link": word}, headers=cross, status=400)
        self.assertEqual(ask("GET", "/fleet/v1/nodes", cookie=cookie)[0].status, 200)
        opened(word)

    def test_closing_ends_it_and_so_does_the_operator_and_time(self):
        one, two, three = opened(link("Lakeside")), opened(link("Lakeside")), opened(link("Hillcrest"))
        self.assertEqual(ask("DELETE", "/fleet/v1/session", cookie=one)[0].status, 204)
        self.refused("GET", "/fleet/v1/nodes", "unauthorized", cookie=one)
        self.assertEqual(ask("GET", "/fleet/v1/nodes", cookie=two)[0].status, 200)
        unused = link("Lakeside")
        gw.cli("fleet", "close", "--tenant", "Lakeside")
        self.refused("GET", "/fleet/v1/nodes", "unauthorized", cookie=two)
        self.refused("POST", "/fleet/v1/session", "unauthorized", {"link": unused})
        self.assertEqual(ask("GET", "/fleet/v1/nodes", cookie=three)[0].status, 200)
        old = link("Hillcrest")
        db.sql("postgres", "UPDATE everward.fleet_session SET expires_at = now() - interval '1 second', link_expires_at = now() - interval '1 second'")
        self.refused("GET", "/fleet/v1/nodes", "unauthorized", cookie=three)
        self.refused("POST", "/fleet/v1/session", "unauthorized", {"link": old})

    def test_neither_link_nor_session_is_kept_as_it_is(self):
        word = link("Lakeside")
        cookie = opened(word)
        kept = "".join(str(r) for r in db.sql("postgres", "SELECT link_hash, session_hash FROM everward.fleet_session"))
        with open(gw.log_path, encoding="utf-8") as f:
            kept += f.read()
        for secret in (word, cookie):
            self.assertNotIn(secret, kept)
            self.assertNotIn(base64.urlsafe_b64decode(secret)[16:].hex(), kept)

    def test_a_silent_node_shows_as_silent_since_when_and_one_that_lags_how_far(self):
        alder, birch = nodes["Lakeside", "Alder"], nodes["Lakeside", "Birch"]
        status, reply = alder.push([alder.insert("patient", {"family_name": "Okoro", "given_names": "Ada", "active": "t"})])
        self.assertEqual(status, 200, reply)
        head = json.loads(alder.hello()[1])["head"] if isinstance(alder.hello()[1], bytes) else alder.hello()[1]["head"]
        alder.hello(cursor=head)
        birch.hello(cursor=0)
        db.sql("postgres", "UPDATE everward.node SET last_seen_at = now() - interval '3 days' WHERE name = 'Birch'")
        _, page = ask("GET", "/fleet/v1/nodes", cookie=opened(link("Lakeside")))
        by = {n["name"]: n for n in page["nodes"]}
        self.assertEqual((by["Birch"]["state"], by["Birch"]["behind"]), ("silent", head))
        self.assertIsNotNone(by["Birch"]["behind_since"])
        self.assertEqual((by["Alder"]["state"], by["Alder"]["behind"], by["Alder"]["last_seq"]), ("current", 0, 1))
        self.assertNotIn("Okoro", json.dumps(page))

    def report(self, node, status=200, **told):
        body = {"format": "everward-report/1", "attention": False, "pending": 0, "oldest_pending_s": None, "quarantined": 0, **told}
        got, data = node.request("POST", "/sync/v1/report", json.dumps(body))
        self.assertEqual(got, status, data)
        return json.loads(data)

    def test_what_a_node_says_of_itself_is_shown_to_its_own_tenant(self):
        alder, cookie = nodes["Lakeside", "Alder"], opened(link("Lakeside"))
        alder.hello(cursor=json.loads(alder.hello()[1])["head"] if isinstance(alder.hello()[1], bytes) else alder.hello()[1]["head"])
        self.report(alder, pending=37, oldest_pending_s=5400, quarantined=2, clock_offset_ms=-7000, disk_bytes=2 ** 40, disk_free_bytes=2 ** 30, attention=True)
        n = next(n for n in ask("GET", "/fleet/v1/nodes", cookie=cookie)[1]["nodes"] if n["name"] == "Alder")
        self.assertEqual(n["state"], "attention")
        age = n["report"].pop("oldest_pending_at")
        self.assertEqual(db.one("postgres", "SELECT round(extract(epoch FROM now() - '%s'::timestamptz) / 60)" % age), "90")
        self.assertEqual(n["report"], {"attention": True, "pending": 37, "quarantined": 2, "clock_offset_ms": -7000, "disk_bytes": 2 ** 40,
                                       "disk_free_bytes": 2 ** 30})
        self.report(alder)
        n = next(n for n in ask("GET", "/fleet/v1/nodes", cookie=cookie)[1]["nodes"] if n["name"] == "Alder")
        self.assertEqual((n["state"], n["report"]["pending"], n["report"]["oldest_pending_at"], n["report"]["disk_bytes"]), ("current", 0, None, None))
        self.assertNotIn('"report":{', json.dumps(ask("GET", "/fleet/v1/nodes", cookie=opened(link("Hillcrest")))[1]).replace(" ", ""))

    def test_a_report_that_is_none_is_refused_and_changes_nothing(self):
        birch = nodes["Lakeside", "Birch"]
        before = db.sql("postgres", "SELECT * FROM everward.node_report ORDER BY node_id")
        for bad in ({"pending": -1}, {"pending": None}, {"pending": "seven"}, {"pending": 1.5}, {"pending": 2 ** 60}, {"attention": 1}, {"oldest_pending_s": 10 ** 12},
                    {"clock_offset_ms": 10 ** 15}, {"disk_bytes": -1}, {"quarantined": []}):
            self.assertEqual(self.report(birch, 400, **bad)["code"], "bad_body", bad)
        self.assertEqual(self.report(birch, 400, format="everward-report/9")["code"], "unsupported_format")
        self.assertEqual(birch.request("POST", "/sync/v1/report", b"{")[0], 400)
        self.assertEqual(birch.request("POST", "/sync/v1/report", b"x" * 10 ** 6)[0], 413)
        self.assertEqual(db.sql("postgres", "SELECT * FROM everward.node_report ORDER BY node_id"), before)

    def test_the_page_may_load_nothing_from_elsewhere(self):
        r, body = ask("GET", "/fleet")
        self.assertEqual(r.status, 200)
        self.assertIn("default-src 'none'", r.getheader("Content-Security-Policy"))
        self.assertNotIn("unsafe", r.getheader("Content-Security-Policy"))
        self.assertNotIn(b"http", body)
        for name in ("fleet.js", "strings.js", "fleet.css", "app.css", "preact.js", "icon.svg"):
            self.assertEqual(ask("GET", "/fleet/" + name)[0].status, 200, name)
        self.refused("GET", "/fleet/nothing.js", "not_found", status=404)


if __name__ == "__main__":
    unittest.main()
