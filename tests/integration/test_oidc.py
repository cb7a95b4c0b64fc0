"""Access tokens of a certified identity provider (tests/oidc, the npm package oidc-provider) at the gateway, link by link:
token -> claims -> person -> sealed tenant -> row security.

Real programs: the provider over TLS, everward-gateway, PostgreSQL."""

import base64
import json
import os
import time
import unittest

import gateway_client as gc
import stack
from oidc_provider import Provider

LAKESIDE, HILLCREST = "Lakeside", "Hillcrest"
s = provider = None


def setUpModule():
    global s, provider
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()
    tls = os.path.join(s.folder, "idp")
    s.gateway.cli("ca", "make", "--dir", tls, "--name", "127.0.0.1")
    provider = Provider(os.path.join(tls, "server.crt"), os.path.join(tls, "server.key"), os.path.join(tls, "ca.crt"))
    for name in (LAKESIDE, HILLCREST):
        s.tenant(name)
        s.gateway.cli("staff", "add", "--tenant", name, "--username", "ivar", "--name", "Ivar IT", "--role", "it_support",
                      "--password-file", "-", input="a password for tests\n")
    for client, tenant in (("ivar", LAKESIDE), ("nadia", LAKESIDE), ("cedric", HILLCREST), ("nobody", LAKESIDE), ("wrong-tenant", HILLCREST),
                           ("no-uuid", None), ("other-audience", LAKESIDE), ("es", LAKESIDE), ("ed", LAKESIDE)):
        provider.clients[client] = {"secret": "s" * 40, "tenant": s.tenants[tenant] if tenant else "Lakeside"}
    provider.clients["es"]["alg"], provider.clients["ed"]["alg"] = "ES256", "EdDSA"
    provider.clients["other-audience"]["audience"] = "somebody-else"
    for subject, username, tenant in (("ivar", "ivar", LAKESIDE), ("nadia", stack.USER, LAKESIDE), ("cedric", "ivar", HILLCREST), ("es", "ivar", LAKESIDE),
                                      ("ed", "ivar", LAKESIDE), ("wrong-tenant", "ivar", LAKESIDE), ("other-audience", "ivar", LAKESIDE)):
        s.gateway.cli("staff", "link", "--tenant", tenant, "--username", username, "--subject", subject, "--issuer", provider.issuer)
    provider.start()
    with open(s.gateway.config, "a", encoding="utf-8") as f:
        f.write("[oidc]\nissuer = %s\nca = %s\n" % (provider.issuer, provider.ca))
    s.gateway.stop()
    s.gateway.start()
    s.node("Alder", LAKESIDE)
    s.node("Cedar", HILLCREST)


def tearDownModule():
    if provider is not None:
        provider.stop()
    s.stop()


def ask(token, path="/api/v1/fleet"):
    c = s.gateway.connect()
    c.request("GET", path, headers={"Authorization": "Bearer " + token} if token else {})
    r = c.getresponse()
    body = json.loads(r.read())
    c.close()
    return r.status, body


def gateway_log():
    with open(s.gateway.log_path, encoding="utf-8") as f:
        return f.read()


class Tokens(unittest.TestCase):
    def setUp(self):
        """The gateway knows the keys of the provider as it runs now (a test may have rotated them)."""
        end = time.monotonic() + 15
        while ask(provider.token("ivar"))[0] != 200:
            self.assertLess(time.monotonic(), end, "the new keys were not fetched")
            time.sleep(0.5)

    def names(self, token):
        status, body = ask(token)
        self.assertEqual(status, 200, body)
        return [n["name"] for n in body["nodes"]]

    def test_a_token_of_each_algorithm_shows_the_tenants_own_nodes_and_no_others(self):
        for client in ("ivar", "es", "ed"):
            self.assertEqual(self.names(provider.token(client)), ["Alder"], client)
        status, body = ask(provider.token("cedric"))
        self.assertEqual(([n["name"] for n in body["nodes"]], body["tenant_id"]), (["Cedar"], s.tenants[HILLCREST]))
        self.assertNotIn(s.tenants[LAKESIDE], json.dumps(body))

    def test_a_node_is_shown_with_what_it_has_and_lacks(self):
        node = ask(provider.token("ivar"))[1]["nodes"][0]
        self.assertEqual((node["site"], node["status"], node["incarnation"]), ("North", "enrolled", 1))
        self.assertEqual(set(node), {"node_id", "name", "site", "status", "incarnation", "enrolled_at", "last_seen_at", "program_version",
                                     "acked_cut", "behind", "last_seq"})

    def test_who_is_not_the_tenants_own_is_refused_alike(self):
        answers = set()
        for client in ("nobody", "wrong-tenant"):
            status, body = ask(provider.token(client))
            self.assertEqual((status, body["code"]), (403, "not_permitted"), client)
            answers.add(body["detail"])
        self.assertEqual(len(answers), 1)

    def test_a_role_decides(self):
        status, body = ask(provider.token("nadia"))
        self.assertEqual((status, body["code"]), (403, "not_permitted"))
        self.assertIn("it_support", body["detail"])

    def test_bad_tokens_are_refused_with_the_reason(self):
        good = provider.token("ivar")
        head, claims, sig = good.split(".")
        forged = json.loads(base64.urlsafe_b64decode(claims + "=="))
        forged["tenant"] = s.tenants[HILLCREST]
        none = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).decode().rstrip("=")
        swapped = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode().rstrip("=")
        for token, why in ((None, "bearer token"), ("x", "three parts"), (".".join((head, swapped, sig)), "signature"), (".".join((none, claims, "")), "RS256"),
                           (".".join((head, claims, sig[:-8] + "AAAAAAAA")), "signature"), (provider.token("no-uuid"), "tenant"),
                           (provider.token("other-audience"), "audience"), ("A" * 9000, "longer")):
            status, body = ask(token)
            self.assertEqual((status, body["code"]), (401, "unauthorized"), body)
            self.assertIn(why, body["detail"])

    def test_a_token_does_not_open_the_sync_routes_nor_a_nodes_token_the_fleet(self):
        status, body = ask(provider.token("ivar"), "/sync/v1/catalog")
        self.assertEqual((status, body["code"]), (401, "unauthorized"))
        node = gc.Node(s.gateway)
        s.tenant("Marsh")
        node.enrol(s.gateway.cli("node", "invite", "Elm", "--tenant", "Marsh", "--site", "North"))
        self.assertEqual(ask(node.token())[0], 401)

    def test_who_leaves_or_is_unlinked_is_out_at_once_whatever_the_token_says(self):
        token = provider.token("ivar")
        self.assertEqual(ask(token)[0], 200)
        s.as_app(LAKESIDE, "UPDATE ward.staff SET active = false WHERE username = 'ivar'")
        try:
            self.assertEqual(ask(token)[0], 403)
        finally:
            s.as_app(LAKESIDE, "UPDATE ward.staff SET active = true WHERE username = 'ivar'")
        self.assertEqual(ask(token)[0], 200)
        s.gateway.cli("staff", "unlink", "--tenant", LAKESIDE, "--username", "ivar")
        try:
            self.assertEqual(ask(token)[0], 403)
        finally:
            for subject in ("ivar", "es", "ed", "wrong-tenant", "other-audience"):
                s.gateway.cli("staff", "link", "--tenant", LAKESIDE, "--username", "ivar", "--subject", subject, "--issuer", provider.issuer)

    def test_new_keys_are_fetched_and_old_tokens_go(self):
        old = provider.token("ivar")
        self.assertEqual(ask(old)[0], 200)
        provider.restart()
        time.sleep(5.5)  # the cool-down of a fetch before
        self.assertEqual(self.names(provider.token("ivar")), ["Alder"])
        self.assertEqual(ask(old)[0], 401)

    def test_while_the_provider_is_away_its_known_keys_serve(self):
        token = provider.token("ivar")
        self.assertEqual(ask(token)[0], 200)
        provider.stop()
        try:
            self.assertEqual(self.names(token), ["Alder"])
        finally:
            provider.start()

    def test_unknown_keys_do_not_make_the_gateway_hammer_the_provider(self):
        head = base64.urlsafe_b64encode(b'{"alg":"RS256","kid":"nobodys"}').decode().rstrip("=")
        before = gateway_log().count("issuer_keys")
        for _ in range(40):
            self.assertEqual(ask(head + ".e30.AAAA")[0], 401)
        self.assertLessEqual(gateway_log().count("issuer_keys"), before + 1)

    def test_a_provider_whose_clock_is_wrong_lets_nobody_in_before_or_after_the_time(self):
        for ahead, why in (("-2h", "expired"), ("+2h", None)):
            provider.restart(ahead)
            time.sleep(5.5)  # the cool-down of the fetch before
            try:
                status, body = ask(provider.token("ivar"))
                if why is None:  # it says no nbf: its tokens hold, for too long by its own clock
                    self.assertEqual(status, 200, body)
                else:
                    self.assertEqual(status, 401, body)
                    self.assertIn(why, body["detail"])
            finally:
                provider.restart()

    def test_no_token_stands_in_the_log(self):
        token = provider.token("ivar")
        ask(token)
        log = gateway_log()
        self.assertNotIn(token.split(".")[1][:40], log)


if __name__ == "__main__":
    unittest.main()
