"""Logging in with the hospital's account in Chromium, through the provider's own page; and the test on /trust."""

import os
import subprocess
import time
import unittest

import e2e_fixture as e2e
import stack
from oidc_provider import Provider


class World(e2e.World):
    """One node, and an identity provider that it knows."""

    def __init__(self):  # pylint: disable=super-init-not-called
        e2e.modules()
        os.makedirs(e2e.ARTEFACTS, exist_ok=True)
        self.process = self.provider = None
        self.stack = s = stack.Stack().start()
        try:
            tenant = s.tenant(e2e.TENANT)
            tls = os.path.join(s.folder, "idp")
            s.gateway.cli("ca", "make", "--dir", tls, "--name", "127.0.0.1")
            self.provider = p = Provider(*(os.path.join(tls, n) for n in ("server.crt", "server.key", "ca.crt")))
            node = s.new_node("Alder", e2e.TENANT)
            self.nodes = {"Alder": node}
            callback = f"https://127.0.0.1:{node.port}/auth/oidc/callback"
            secret = os.path.join(s.folder, "client-secret")
            with open(secret, "w", encoding="utf-8") as f:
                f.write("p" * 40 + "\n")
            p.clients["ward"] = {"secret": "p" * 40, "redirect": callback}
            p.people = {"nadia": tenant, "stranger": tenant}
            s.gateway.cli("staff", "link", "--tenant", e2e.TENANT, "--username", stack.USER, "--subject", "nadia", "--issuer", p.issuer)
            p.start()
            node.configure(f"[oidc]\nissuer = {p.issuer}\nca = {p.ca}\nclient_id = ward\nclient_secret_file = {secret}\nredirect_uri = {callback}\n")
            node.setup()
            node.start()
            node.wait_current()
            self.process = subprocess.Popen(["node", os.path.join(e2e.HERE, "driver.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                            cwd=e2e.HERE)
            self.tell({"scenarios": "signin.mjs", "artefacts": e2e.ARTEFACTS, "user": stack.USER, "password": stack.PASSWORD,
                       "cas": [os.path.join(node.state, "tls", "ca.crt"), p.ca], "nodes": {"Alder": f"https://127.0.0.1:{node.port}"}})
            self.listen()
        except BaseException:
            self.close()
            raise

    def do_provider(self, up):
        """Gone, and known to be gone."""
        if up:
            self.provider.start()
            return
        self.provider.stop()
        tablet_ca = os.path.join(self.nodes["Alder"].state, "tls", "ca.crt")
        end = time.monotonic() + 60
        address = f"https://127.0.0.1:{self.nodes['Alder'].port}/auth/oidc"  # beginning a login makes the node look
        while b'"reachable":true' in subprocess.run(["curl", "-s", "--cacert", tablet_ca, address + "/start", address],
                                                    capture_output=True, check=True).stdout:
            if time.monotonic() > end:
                raise TimeoutError("the node does not notice that the provider is gone")
            time.sleep(0.5)

    def close(self):
        if self.provider is not None:
            self.provider.stop()
        super().close()


class SignIn(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if e2e.missing():
            raise unittest.SkipTest(e2e.missing())
        cls.world = World()

    @classmethod
    def tearDownClass(cls):
        cls.world.close()

    def test_1_one_signs_in_at_the_hospitals_page(self):
        self.world.run("oneSignsInAtTheHospitalsPage")

    def test_2_who_is_refused_is_told_and_offered_no_other_way(self):
        self.world.run("whoIsRefusedIsToldAndOfferedNoOtherWay")

    def test_3_a_device_with_the_ca_trusts_the_node(self):
        self.world.run("aDeviceWithTheCaTrustsTheNode")

    def test_4_a_device_without_the_ca_is_told_so(self):
        self.world.run("aDeviceWithoutTheCaIsToldSo")

    def test_5_without_the_provider_the_password_is_offered(self):
        self.world.run("withoutTheProviderThePasswordIsOffered")


if __name__ == "__main__":
    unittest.main()
