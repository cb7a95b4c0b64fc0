"""A certified identity provider (tests/oidc, the npm package oidc-provider), for tests of gateway and node."""

import base64
import http.client
import json
import os
import shutil
import ssl
import subprocess
import urllib.parse

import gateway_client as gc
import pg

OIDC = os.path.join(gc.ROOT, "tests", "oidc")
FAKETIME = "/usr/lib/%s-linux-gnu/faketime/libfaketime.so.1" % os.uname().machine


def modules():
    """The provider's packages, as the lock file pins them."""
    folder = os.path.join(gc.BUILD, "oidc")
    lock = os.path.join(OIDC, "package-lock.json")
    done = os.path.join(folder, "node_modules", ".package-lock.json")
    if not os.path.exists(done) or os.path.getmtime(done) < os.path.getmtime(lock):
        os.makedirs(folder, exist_ok=True)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(os.path.join(OIDC, name), folder)
        subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=folder, check=True, capture_output=True, timeout=300)
    return os.path.join(folder, "node_modules")


class Provider:
    def __init__(self, cert, key, ca):
        self.port, self.cert, self.key, self.ca, self.process = pg.free_port(), cert, key, ca, None
        self.issuer = "https://127.0.0.1:%d" % self.port
        self.clients, self.people, self.algs, self.life = {}, {}, ["RS256", "ES256", "EdDSA"], 300

    def start(self, ahead=None):
        options = {"issuer": self.issuer, "port": self.port, "cert": self.cert, "key": self.key, "modules": modules(),
                   "algs": self.algs, "clients": self.clients, "people": self.people, "life": self.life}
        clock = {"LD_PRELOAD": FAKETIME, "FAKETIME": ahead, "FAKETIME_DONT_FAKE_MONOTONIC": "1"} if ahead else {}
        self.process = subprocess.Popen(["node", os.path.join(OIDC, "provider.mjs"), json.dumps(options)],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                        env={**os.environ, **clock})
        if "ready" not in self.process.stdout.readline():
            raise RuntimeError("the provider does not start")
        return self

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    def restart(self, ahead=None):
        """With new keys."""
        self.stop()
        self.start(ahead)

    def token(self, client):
        context = ssl.create_default_context(cafile=self.ca)
        c = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=20)
        basic = base64.b64encode(("%s:%s" % (client, self.clients[client]["secret"])).encode()).decode()
        c.request("POST", "/token", urllib.parse.urlencode({"grant_type": "client_credentials"}),
                  {"Content-Type": "application/x-www-form-urlencoded", "Authorization": "Basic " + basic})
        answer = json.loads(c.getresponse().read())
        c.close()
        return answer["access_token"]
