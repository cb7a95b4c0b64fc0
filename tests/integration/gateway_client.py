"""A small client of the sync protocol and a runner of the real gateway, for tests.

    gw = Gateway(folder, db)            # writes a configuration, makes a CA
    gw.start(); gw.cli("tenant", "add", "Alder")
    node = Node(gw); node.enrol(invite) # keys, ticket, token
    status, reply = node.push([node.insert("patient", {"family_name": "Roe"})])

Crypto and zstd are done by build/.../tests/push_client; EVERWARD_BUILD names the build folder.
"""

import base64
import hashlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import time
import uuid

import pg

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("EVERWARD_BUILD") or os.path.join(ROOT, "build", "asan")
PROGRAM = os.path.join(BUILD, "sync", "gateway", "everward-gateway")
CLIENT = os.path.join(BUILD, "tests", "push_client")
PASSWORD = "correct horse"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def client(args, data=b""):
    done = subprocess.run([CLIENT] + args, input=data, capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.decode())
    return done.stdout


def unpack(data):
    return [json.loads(line) for line in client(["unpack"], data).decode().split("\n") if line]


class Gateway:
    def __init__(self, folder, db, name="gw", more=""):
        self.folder = os.path.join(folder, name)
        os.makedirs(self.folder, exist_ok=True)
        self.db, self.program = db, PROGRAM
        self.port = pg.free_port()
        self.config = os.path.join(self.folder, "gateway.conf")
        tls = os.path.join(folder, "tls")
        self.ca = os.path.join(tls, "ca.crt")
        self.process = None
        with open(self.config, "w") as f:
            f.write("[gateway]\naddress = 127.0.0.1\nport = %d\n[database]\ndsn = %s\nadmin_dsn = %s\nmigrate_dsn = %s\n"
                    "[tls]\ncertificate = %s/server.crt\nkey = %s/server.key\nca = %s\n%s\n"
                    % (self.port, db.dsn("everward_gateway"), db.dsn("everward_admin"), db.dsn("postgres"), tls, tls, self.ca, more))
        if not os.path.exists(self.ca):
            self.cli("ca", "make", "--dir", tls, "--name", "127.0.0.1,localhost")
        self.log_path = os.path.join(self.folder, "log")

    def run(self, *args, **more):
        return subprocess.run([self.program, "--config", self.config] + list(args), capture_output=True, text=True, **more)

    def cli(self, *args, **more):
        done = self.run(*args, **more)
        if done.returncode != 0:
            raise RuntimeError("%s: %s" % (" ".join(args), done.stderr))
        return done.stdout.strip()

    def serve(self, env=None):
        """Starts it without waiting."""
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen([self.program, "--config", self.config, "serve"], stderr=log,
                                            env=dict(os.environ, **(env or {})))

    def start(self, env=None):
        self.serve(env)
        for _ in range(200):
            try:
                if self.get("/healthz")[0] == 200:
                    return self
            except OSError:
                pass
            if self.process.poll() is not None:
                raise RuntimeError("the gateway ended: " + open(self.log_path).read()[-2000:])
            time.sleep(0.05)
        raise RuntimeError("the gateway does not answer")

    def stop(self, sig=signal.SIGTERM, wait=True):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(sig)
        if wait and self.process is not None:
            return self.process.wait(20)

    def connect(self, timeout=30):
        context = ssl.create_default_context(cafile=self.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=timeout)

    def get(self, path):
        c = self.connect()
        try:
            c.request("GET", path)
            r = c.getresponse()
            return r.status, r.read()
        finally:
            c.close()

    def metrics(self):
        text = self.get("/metrics")[1].decode()
        return {line.split()[0][len("everward_gateway_"):]: int(line.split()[1])
                for line in text.split("\n") if line and line[0] != "#"}


class Node:
    """What a real node keeps: key, ticket, log position. gateway may be replaced at any time."""

    def __init__(self, gateway, name="node"):
        self.gateway = gateway
        self.name = name
        self.public_key, self.secret_key = client(["key"]).decode().split()
        self.ticket = os.urandom(32)
        self.inc = 1
        self.seq = 0
        self.chain = "-"
        self.catalog = 1
        self.token_text = None
        self.connection = None

    def copy(self):
        other = Node.__new__(Node)
        other.__dict__.update(self.__dict__)
        other.connection = None
        return other

    def token(self, **changed):
        v = dict(sk=self.secret_key, node=self.node, tenant=self.tenant, ticket=self.ticket,
                 audience="everward-gateway", life=300, age=0)
        v.update(changed)
        return client(["token", v["sk"], v["node"], v["tenant"], b64(v["ticket"]), v["audience"], str(v["life"]),
                       str(v["age"])]).decode()

    def request(self, method, path, body=None, token=None, headers=None, timeout=60):
        h = {"Authorization": "Bearer " + (token or self.current_token())}
        h.update(headers or {})
        for attempt in range(2):
            if self.connection is None:
                self.connection = self.gateway.connect(timeout)
            try:
                self.connection.request(method, path, body=body, headers=h)
                r = self.connection.getresponse()
                data = r.read()
                self.headers = r.headers
                if r.will_close:
                    self.close()
                return r.status, data
            except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError):
                self.close()
                if attempt == 1:
                    raise

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def current_token(self):
        if self.token_text is None or time.time() - self.token_at > 200:
            self.token_text = self.token()
            self.token_at = time.time()
        return self.token_text

    def enrol(self, invite):
        token = invite.split(":")[-1]
        body = json.dumps({"format": "everward-enrol/1", "token": token, "public_key": self.public_key, "name": self.name,
                           "ticket_hash": hashlib.sha256(self.ticket).hexdigest()})
        c = self.gateway.connect()
        c.request("POST", "/sync/v1/enrol", body=body)
        r = c.getresponse()
        data = json.loads(r.read())
        c.close()
        if r.status == 200:
            self.tenant, self.node, self.site = data["tenant"], data["node"], data["site"]
        return r.status, data

    def line(self, op, table, row, base, columns, actor=None, txn=None):
        """The next change of the log, as its canonical line; the caller pushes it."""
        self.seq += 1
        change = {"seq": self.seq, "txn": txn or self.seq, "op": op, "t": table, "id": row, "base": base, "c": columns,
                  "actor": actor, "device": "test", "at": "2026-11-23T06:00:00.123Z", "clock": "ok"}
        return json.dumps(change, separators=(",", ":"), ensure_ascii=False)

    def insert(self, table, columns, row=None, **more):
        return self.line("i", table, row or str(uuid.uuid4()), 0, columns, **more)

    def body(self, lines, first=None, chain=None, flags="-", held=None, **changed):
        """held: JSON of the header's member, without spaces."""
        v = dict(tenant=self.tenant, node=self.node, inc=self.inc, sk=self.secret_key)
        v.update(changed)
        first = first or json.loads(lines[0])["seq"]
        catalog = "%d%s" % (self.catalog, "" if held is None else ',"held":' + held)
        head = "%s %s %d %s %d %s %s %s\n" % (v["tenant"], v["node"], v["inc"], catalog, first, chain or self.chain, v["sk"],
                                              flags)
        out = client(["push"], (head + "".join(l + "\n" for l in lines)).encode())
        after, data = out.split(b"\n", 1)
        return after.decode(), data

    def send(self, data, **more):
        status, reply = self.request("POST", "/sync/v1/push", data, headers={"Content-Encoding": "zstd"}, **more)
        return status, json.loads(reply)

    def push(self, lines, flags="-", **changed):
        after, data = self.body(lines, flags=flags, **changed)
        status, reply = self.send(data)
        if status == 200:
            self.chain = after
        return status, reply

    def feed(self, after, wait=0):
        status, data = self.request("GET", "/sync/v1/feed?after=%d&wait=%d" % (after, wait))
        return status, unpack(data) if status == 200 else json.loads(data)

    def hello(self, cursor=0, acked=0, inc=None):
        body = json.dumps({"format": "everward-hello/1", "inc": inc or self.inc, "last_seq": self.seq, "acked_seq": acked,
                           "chain": "", "cursor": cursor, "catalog": self.catalog, "timeline": None, "version": "test"})
        status, data = self.request("POST", "/sync/v1/hello", body)
        return status, json.loads(data)
