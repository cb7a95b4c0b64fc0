"""The hospital's identity provider (tests/oidc, the npm package oidc-provider) at the node: access tokens on the ward's API, and logging in there
by authorization code with PKCE, by a client that follows redirects as a browser does.

Real programs: the provider over TLS, everward, everward-gateway, PostgreSQL."""

import base64
import http.client
import http.cookies
import json
import os
import ssl
import time
import unittest
import urllib.parse

import stack
from oidc_provider import Provider

LAKESIDE, HILLCREST = "Lakeside", "Hillcrest"
COOL_DOWN_S = 5.5
s = provider = node = None


def setUpModule():
    global s, provider, node
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()
    tls = os.path.join(s.folder, "idp")
    s.gateway.cli("ca", "make", "--dir", tls, "--name", "127.0.0.1")
    provider = Provider(os.path.join(tls, "server.crt"), os.path.join(tls, "server.key"), os.path.join(tls, "ca.crt"))
    s.tenant(LAKESIDE)
    s.tenant(HILLCREST)
    for username, role in (("ivar", "it_support"), ("gone", "nurse")):
        s.gateway.cli("staff", "add", "--tenant", LAKESIDE, "--username", username, "--name", username.title() + " Ek", "--role", role,
                      "--password-file", "-", input=stack.PASSWORD + "\n")
    for client, tenant in (("nadia", LAKESIDE), ("ivar", LAKESIDE), ("gone", LAKESIDE), ("nobody", LAKESIDE), ("wrong-tenant", HILLCREST),
                           ("no-uuid", None), ("other-audience", LAKESIDE), ("es", LAKESIDE), ("ed", LAKESIDE)):
        provider.clients[client] = {"secret": "s" * 40, "tenant": s.tenants[tenant] if tenant else "Lakeside"}
    provider.clients["es"]["alg"], provider.clients["ed"]["alg"] = "ES256", "EdDSA"
    provider.clients["other-audience"]["audience"] = "somebody-else"
    for subject, username in (("nadia", stack.USER), ("ivar", "ivar"), ("gone", "gone"), ("es", stack.USER), ("ed", stack.USER),
                              ("wrong-tenant", stack.USER), ("other-audience", stack.USER), ("no-uuid", stack.USER)):
        link(username, subject)
    node = s.new_node("Alder", LAKESIDE)
    secret = os.path.join(s.folder, "client-secret")
    with open(secret, "w", encoding="utf-8") as f:
        f.write("p" * 40 + "\n")
    callback = "https://127.0.0.1:%d/auth/oidc/callback" % node.port
    provider.clients["ward"] = {"secret": "p" * 40, "redirect": callback}
    provider.people = {"hanna": s.tenants[LAKESIDE], "stranger": s.tenants[LAKESIDE], "far": s.tenants[HILLCREST]}
    s.gateway.cli("staff", "add", "--tenant", LAKESIDE, "--username", "hanna", "--name", "Hanna Ek", "--role", "nurse", "--password-file", "-",
                  input=stack.PASSWORD + "\n")
    link("hanna", "hanna")
    link("hanna", "far")
    provider.start()
    node.configure("[oidc]\nissuer = %s\nca = %s\nclient_id = ward\nclient_secret_file = %s\nredirect_uri = %s\n"
                   % (provider.issuer, provider.ca, secret, callback))
    node.setup()
    node.start()
    node.wait_current()


def tearDownModule():
    if provider is not None:
        provider.stop()
    if s is not None:
        s.stop()


def link(username, subject):
    s.gateway.cli("staff", "link", "--tenant", LAKESIDE, "--username", username, "--subject", subject, "--issuer", provider.issuer)


def ask(token, path="/api/v1/session", method="GET", body=None, **headers):
    context = ssl.create_default_context(cafile=os.path.join(node.state, "tls", "ca.crt"))
    c = http.client.HTTPSConnection("127.0.0.1", node.port, context=context, timeout=20)
    if body is not None:
        headers["Content-Type"] = "application/json"
    c.request(method, path, None if body is None else json.dumps(body), {"Authorization": "Bearer " + token, **headers})
    r = c.getresponse()
    text = r.read()
    c.close()
    return r.status, json.loads(text) if text else {}


def until(good, what, seconds=20):
    end = time.monotonic() + seconds
    while not good():
        if time.monotonic() > end:
            raise AssertionError("not within %d s: %s" % (seconds, what))
        time.sleep(0.2)


class Tokens(unittest.TestCase):
    def setUp(self):
        """The node knows the keys of the provider as it runs now (a test may have rotated them)."""
        until(lambda: ask(provider.token("nadia"))[0] == 200, "the new keys were fetched")

    def test_a_token_of_each_algorithm_is_the_person_that_the_centre_has_linked_with_its_roles(self):
        for client in ("nadia", "es", "ed"):
            status, body = ask(provider.token(client))
            self.assertEqual(status, 200, body)
            self.assertEqual((body["staff"]["username"], set(body["roles"])), (stack.USER, set(stack.ROLES.split(","))), client)
            self.assertNotIn("token", body)
        self.assertEqual(ask(provider.token("ivar"))[1]["roles"], ["it_support"])

    def test_a_person_by_token_may_what_their_roles_may_and_no_more(self):
        patient = {"family_name": "Token", "given_names": "Tora"}
        status, body = ask(provider.token("nadia"), "/api/v1/patient", "POST", patient, **{"Idempotency-Key": "by-token-1"})
        self.assertEqual(status, 201, body)
        self.assertEqual(ask(provider.token("nadia"), "/api/v1/patient/" + body["id"])[0], 200)
        self.assertEqual(ask(provider.token("ivar"), "/api/v1/patient/" + body["id"])[1]["code"], "not_permitted")
        self.assertEqual(ask(provider.token("ivar"), "/api/v1/users")[0], 200)
        self.assertEqual(ask(provider.token("nadia"), "/api/v1/staff_account")[0], 403)

    def test_bad_tokens_are_refused_with_the_reason(self):
        good = provider.token("nadia")
        head, claims, sig = good.split(".")
        forged = json.loads(base64.urlsafe_b64decode(claims + "=="))
        forged["sub"] = "ivar"
        none = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).decode().rstrip("=")
        hmac = base64.urlsafe_b64encode(json.dumps({"alg": "HS256"}).encode()).decode().rstrip("=")
        swapped = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode().rstrip("=")
        for token, why in (("x.y", "three parts"), (".".join((head, swapped, sig)), "signature"), (".".join((none, claims, "")), "RS256"),
                           (".".join((hmac, claims, sig)), "RS256"), (provider.token("no-uuid"), "tenant"), (provider.token("wrong-tenant"), "tenant"),
                           (provider.token("other-audience"), "audience")):
            status, body = ask(token)
            self.assertEqual((status, body["code"]), (401, "invalid_token"), body)
            self.assertIn(why, body["detail"])
        self.assertEqual(ask("A" * 43)[1]["code"], "not_logged_in")

    def test_who_is_not_linked_or_has_left_is_refused_alike(self):
        for client in ("nobody", "gone"):
            if client == "gone":
                self.assertEqual(ask(provider.token(client))[0], 200)
                s.as_app(LAKESIDE, "UPDATE ward.staff SET active = false WHERE username = 'gone'")
            status, body = ask(provider.token(client))
            self.assertEqual((status, body["code"]), (403, "not_permitted"), body)
            self.assertIn("nobody who may work here", body["detail"])

    def test_a_token_already_let_in_is_out_when_its_person_leaves_or_its_link_goes(self):
        token = provider.token("ivar")
        self.assertEqual(ask(token)[0], 200)
        s.as_app(LAKESIDE, "UPDATE ward.staff SET active = false WHERE username = 'ivar'")
        until(lambda: ask(token)[0] == 403, "out by the staff list")
        s.as_app(LAKESIDE, "UPDATE ward.staff SET active = true WHERE username = 'ivar'")
        until(lambda: ask(token)[0] == 200, "back by the staff list")
        s.gateway.cli("staff", "unlink", "--tenant", LAKESIDE, "--username", "ivar")
        until(lambda: ask(token)[0] == 403, "out without a link")
        link("ivar", "ivar")
        until(lambda: ask(token)[0] == 200, "back with a link")

    def test_new_keys_are_fetched_and_old_tokens_go(self):
        old = provider.token("ed")
        provider.restart()
        time.sleep(COOL_DOWN_S)
        self.assertEqual(ask(provider.token("nadia"))[0], 200)
        self.assertEqual(ask(old)[0], 401)

    def test_while_the_provider_and_the_centre_are_away_known_keys_serve_also_after_a_restart(self):
        token = provider.token("nadia")
        provider.stop()
        node.link("down")
        try:
            self.assertEqual(ask(token)[0], 200)
            node.stop()
            node.start()
            until(lambda: ask(token)[0] != 503, "the node is ready")
            status, body = ask(token)
            self.assertEqual((status, body.get("staff", {}).get("username")), (200, stack.USER), body)
        finally:
            node.link("up")
            provider.start()
            time.sleep(COOL_DOWN_S)

    def test_unknown_keys_do_not_make_the_node_hammer_the_provider(self):
        head = base64.urlsafe_b64encode(b'{"alg":"RS256","kid":"nobodys"}').decode().rstrip("=")
        before = node.log().count("issuer_keys")
        for _ in range(30):
            self.assertEqual(ask(head + ".e30.AAAA")[0], 401)
        self.assertLessEqual(node.log().count("issuer_keys"), before + 1)

    def test_a_token_of_a_provider_whose_clock_is_late_has_expired(self):
        for ahead, good in (("-2h", False), ("+2h", True)):
            provider.restart(ahead)
            time.sleep(COOL_DOWN_S)
            try:
                status, body = ask(provider.token("nadia"))
                self.assertEqual(status, 200 if good else 401, body)
                if not good:
                    self.assertIn("expired", body["detail"])
            finally:
                provider.restart()
                time.sleep(COOL_DOWN_S)

    def test_no_token_stands_in_the_log_and_the_audit_trail_names_the_person(self):
        token = provider.token("nadia")
        self.assertEqual(ask(token)[0], 200)
        self.assertNotIn(token.split(".")[1][:40], node.log())
        self.assertNotIn(token.split(".")[2][:40], node.log())


class Browser:
    """Follows redirects between node and provider with each one's cookies."""

    def __init__(self):
        self.jars, self.seen = {}, []

    def get(self, url, form=None, **headers):
        """One request: status, headers, text."""
        at = urllib.parse.urlsplit(url)
        ca = provider.ca if at.port == provider.port else os.path.join(node.state, "tls", "ca.crt")
        c = http.client.HTTPSConnection(at.hostname, at.port, context=ssl.create_default_context(cafile=ca), timeout=20)
        jar = self.jars.setdefault(at.port, {})
        headers["Cookie"] = "; ".join("%s=%s" % pair for pair in jar.items())
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        c.request("GET" if form is None else "POST", at.path + ("?" + at.query if at.query else ""),
                  None if form is None else urllib.parse.urlencode(form), headers)
        r = c.getresponse()
        text = r.read().decode()
        for line in r.headers.get_all("Set-Cookie") or ():
            for name, morsel in http.cookies.SimpleCookie(line).items():
                if morsel["max-age"] == "0" or "1970" in morsel["expires"]:
                    jar.pop(name, None)
                else:
                    jar[name] = morsel.value
        c.close()
        self.seen.append((url, r.status, r.headers))
        return r.status, r.headers, text

    def follow(self, url, form=None, stop="/auth/oidc/callback"):
        """Until something is shown, or the next address has stop in it: that address or the text."""
        while True:
            status, headers, text = self.get(url, form)
            if status not in (302, 303):
                return url, text
            form, url = None, urllib.parse.urljoin(url, headers["Location"])
            if stop in url:
                return url, None

    def at_provider(self):
        return self.follow(base() + "/auth/oidc/start")

    def come_back(self, account):
        """The callback's address, not yet asked for."""
        url, text = self.at_provider()
        assert "<form" in text, text
        return self.follow(url, {"login": account})[0]

    def sign_in(self, account):
        """Where the callback leads to."""
        return self.get(self.come_back(account))[1]["Location"]

    def session(self):
        return json.loads(self.get(base() + "/api/v1/session")[2])


def base():
    return "https://127.0.0.1:%d" % node.port


def login_by_password(name):
    context = ssl.create_default_context(cafile=os.path.join(node.state, "tls", "ca.crt"))
    c = http.client.HTTPSConnection("127.0.0.1", node.port, context=context, timeout=20)
    c.request("POST", "/api/v1/session", json.dumps({"name": name, "password": stack.PASSWORD}), {"Content-Type": "application/json"})
    r = c.getresponse()
    body = json.loads(r.read())
    c.close()
    return r.status, body


def add_staff(name):
    s.gateway.cli("staff", "add", "--tenant", LAKESIDE, "--username", name, "--name", "Of the agency", "--role", "nurse", "--password-file", "-",
                  input=stack.PASSWORD + "\n")


def refusals():
    report = json.loads(node.command("audit", "report", "action", "login", "--json"))
    return [e for e in report if "provider let nobody in" in e["detail"]]


def offer():
    return json.loads(Browser().get(base() + "/auth/oidc")[2])


class Login(unittest.TestCase):
    def setUp(self):
        until(lambda: offer() == {"configured": True, "reachable": True}, "the provider is known to be there", 45)

    def test_a_person_signs_in_at_the_provider_and_has_an_ordinary_session(self):
        b = Browser()
        self.assertEqual(b.sign_in("hanna"), "/")
        self.assertEqual((b.session()["staff"]["username"], b.session()["roles"]), ("hanna", ["nurse"]))
        start = next(h["Location"] for u, _, h in b.seen if u.endswith("/start"))
        asked = urllib.parse.parse_qs(urllib.parse.urlsplit(start).query)
        self.assertEqual((asked["code_challenge_method"], asked["response_type"], asked["prompt"]), (["S256"], ["code"], ["login"]))
        self.assertEqual(asked["redirect_uri"], [base() + "/auth/oidc/callback"])
        self.assertEqual(len({asked[k][0] for k in ("state", "nonce", "code_challenge")}), 3)
        back = b.seen[-3]
        self.assertIn("/auth/oidc/callback", back[0])
        cookies = "\n".join(back[2].get_all("Set-Cookie"))
        self.assertRegex(cookies, "__Host-everward=[^;]{43}; Path=/; Secure; HttpOnly; SameSite=Strict")
        self.assertEqual(back[2]["Referrer-Policy"], "no-referrer")

    def test_nothing_of_a_login_stands_in_the_log(self):
        b = Browser()
        back = b.come_back("hanna")
        b.get(back)
        q = urllib.parse.parse_qs(urllib.parse.urlsplit(back).query)
        for secret in (q["code"][0], q["state"][0], b.jars[node.port]["__Host-everward"], "p" * 40):
            self.assertNotIn(secret, node.log())

    def test_an_answer_is_good_once_and_in_its_own_browser_only(self):
        b = Browser()
        back = b.come_back("hanna")
        other = Browser()
        self.assertEqual(other.get(back)[1]["Location"], "/#/signin/failed")
        thief = Browser()
        thief.at_provider()  # has a login of its own under way
        self.assertEqual(thief.get(back)[1]["Location"], "/#/signin/failed")
        self.assertEqual(b.get(back)[1]["Location"], "/")
        self.assertEqual(b.get(back)[1]["Location"], "/#/signin/failed")
        self.assertNotIn("staff", other.session())
        self.assertNotIn("staff", thief.session())

    def test_a_changed_state_or_code_or_issuer_logs_nobody_in(self):
        for part, value, to in (("state", "A" * 43, "failed"), ("code", "A" * 43, "failed"), ("iss", "https://evil.example", "failed"), ("code", "", "failed"),
                                ("code", "A" * 3000, "failed"), ("error", "access_denied", "refused")):
            b = Browser()
            back = urllib.parse.urlsplit(b.come_back("hanna"))
            q = {k: v[0] for k, v in urllib.parse.parse_qs(back.query).items()}
            q[part] = value
            where = b.get(urllib.parse.urlunsplit(back._replace(query=urllib.parse.urlencode(q))))[1]["Location"]
            self.assertEqual(where, "/#/signin/" + to, part)
            self.assertNotIn("staff", b.session())

    def test_an_address_in_the_question_leads_nowhere_else(self):
        b = Browser()
        for path in ("/auth/oidc/start?redirect_uri=https://evil.example&next=//evil.example", "/auth/oidc/callback?state=x&code=y&next=//evil.example"):
            where = b.get(base() + path)[1]["Location"]
            self.assertTrue(where.startswith(provider.issuer + "/") or where == "/#/signin/failed", where)
            self.assertNotIn("evil", where)

    def test_whom_the_provider_or_the_tenant_does_not_know_is_refused(self):
        for account in ("nobody-there", "stranger", "far"):
            b = Browser()
            self.assertEqual(b.sign_in(account), "/#/signin/refused", account)
            self.assertNotIn("staff", b.session())

    def test_who_may_not_work_here_any_more_is_refused(self):
        s.as_app(LAKESIDE, "UPDATE ward.staff SET active = false WHERE username = 'hanna'")
        try:
            self.assertEqual(Browser().sign_in("hanna"), "/#/signin/refused")
        finally:
            s.as_app(LAKESIDE, "UPDATE ward.staff SET active = true WHERE username = 'hanna'")
            until(lambda: Browser().sign_in("hanna") == "/", "back")

    def test_a_session_ends_when_its_persons_link_goes_also_over_a_restart(self):
        b = Browser()
        add_staff("locum")
        until(lambda: login_by_password("locum")[0] == 200, "the staff list has come")
        by_password = login_by_password("locum")[1]["token"]
        self.assertEqual(b.sign_in("hanna"), "/")
        self.assertEqual(b.session()["staff"]["username"], "hanna")
        node.kill()  # what is known of the session comes from the store
        node.start()
        self.assertEqual(b.session()["staff"]["username"], "hanna")
        s.gateway.cli("staff", "unlink", "--tenant", LAKESIDE, "--username", "hanna")
        try:
            until(lambda: "staff" not in b.session(), "out without a link", 45)
            self.assertEqual(ask(by_password)[0], 200)
        finally:
            link("hanna", "hanna")
            until(lambda: offer()["reachable"] and Browser().sign_in("hanna") == "/", "back with a link", 45)

    def test_who_gives_up_at_the_provider_stands_in_the_trail(self):
        b = Browser()
        url, text = b.at_provider()
        self.assertIn("<form", text)
        state = urllib.parse.parse_qs(urllib.parse.urlsplit(next(h["Location"] for u, _, h in b.seen if u.endswith("/start"))).query)["state"][0]
        before = len(refusals())
        back = base() + "/auth/oidc/callback?" + urllib.parse.urlencode({"error": "access_denied", "state": state})
        self.assertEqual(b.get(back)[1]["Location"], "/#/signin/refused")
        until(lambda: len(refusals()) == before + 1, "written down", 45)
        self.assertEqual(b.get(back)[1]["Location"], "/#/signin/failed")
        self.assertEqual(len(refusals()), before + 1, "what belongs to no login says nothing")

    def test_another_site_begins_no_login(self):
        self.assertEqual(Browser().get(base() + "/auth/oidc/start", **{"Sec-Fetch-Site": "cross-site"})[0], 403)

    def test_who_has_an_account_uses_a_password_only_while_the_provider_is_away(self):
        status, body = login_by_password("hanna")
        self.assertEqual((status, body.get("code")), (403, "hospital_account"), body)
        provider.stop()
        try:
            time.sleep(COOL_DOWN_S)
            self.assertEqual(Browser().get(base() + "/auth/oidc/start")[1]["Location"], "/#/signin/away")
            self.assertFalse(offer()["reachable"])
            begun = time.monotonic()
            self.assertEqual(login_by_password("hanna")[0], 200)
            self.assertLess(time.monotonic() - begun, 5)
        finally:
            provider.start()

    def test_who_has_no_account_logs_in_by_password_at_any_time(self):
        add_staff("agency")
        until(lambda: login_by_password("agency")[0] == 200, "the staff list has come")


if __name__ == "__main__":
    unittest.main()
