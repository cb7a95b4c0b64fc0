"""The fleet page in Chromium, from a real gateway and PostgreSQL; the nodes are clients of the test."""

import json
import os
import subprocess
import unittest

import e2e_fixture as e2e
import gateway_client as gc
import stack


class World(e2e.World):
    def __init__(self):  # pylint: disable=super-init-not-called
        e2e.modules()
        os.makedirs(e2e.ARTEFACTS, exist_ok=True)
        self.process, self.nodes, self.clients = None, {}, []
        self.stack = s = stack.Stack().start()
        try:
            for tenant, name in ((e2e.TENANT, "Alder"), (e2e.TENANT, "Birch"), ("Hillcrest", "Cedar")):
                s.tenant(tenant)
                node = gc.Node(s.gateway, name)
                self.clients.append(node)
                status, reply = node.enrol(s.gateway.cli("node", "invite", name, "--tenant", tenant, "--site", "North"))
                assert status == 200, reply
                node.hello()
                told = {"pending": 37, "oldest_pending_s": 7200, "clock_offset_ms": 95000} if name == "Birch" else {"pending": 0, "clock_offset_ms": 20}
                status, reply = node.request("POST", "/sync/v1/report", json.dumps({
                    "format": "everward-report/1", "attention": False, "quarantined": 0, "disk_bytes": 64 * 2 ** 30, "disk_free_bytes": 40 * 2 ** 30, **told}))
                assert status == 200, reply
            s.db.sql("postgres", "UPDATE everward.node SET acked_cut = (SELECT max(head) FROM everward.feed_head),"
                     " last_seen_at = now() + interval '1 hour' WHERE name = 'Alder'")  # heard from as long as the test runs
            s.db.sql("postgres", "UPDATE everward.node SET last_seen_at = now() - interval '3 days' WHERE name = 'Birch'")
            self.process = subprocess.Popen(["node", os.path.join(e2e.HERE, "driver.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                            cwd=e2e.HERE)
            self.tell({"scenarios": "fleet.mjs", "artefacts": e2e.ARTEFACTS, "cas": [s.gateway.ca],
                       "nodes": {"gateway": "https://127.0.0.1:%d" % s.gateway.port}})
            self.listen()
        except BaseException:
            self.close()
            raise

    def do_link(self):  # pylint: disable=arguments-differ
        return self.stack.gateway.cli("fleet", "open", "--tenant", e2e.TENANT).strip()

    def do_gateway(self, up):
        (self.stack.gateway.start if up else self.stack.gateway.stop)()

    def close(self):
        for node in self.clients:
            node.close()
        super().close()


class Fleet(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if e2e.missing():
            raise unittest.SkipTest(e2e.missing())
        cls.world = World()

    @classmethod
    def tearDownClass(cls):
        cls.world.close()

    def test_1_a_link_opens_one_browser_once(self):
        self.world.run("aLinkOpensOneBrowserOnce")

    def test_2_the_page_is_legible(self):
        self.world.run("thePageIsLegible")

    def test_3_a_gateway_that_is_gone_is_said(self):
        self.world.run("aGatewayThatIsGoneIsSaid")


if __name__ == "__main__":
    unittest.main()
