"""The hospital's identity provider (tests/oidc, the npm package oidc-provider) at the node: access tokens on the ward's API.

Real programs: the provider over TLS, everward, everward-gateway, PostgreSQL."""

import base64
import http.client
import json
import os
import ssl
import time
import unittest

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
    provider.start()
    node = s.new_node("Alder", LAKESIDE)
    node.configure("[oidc]\nissuer = %s\nca = %s\n" % (provider.issuer, provider.ca))
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


if __name__ == "__main__":
    unittest.main()
