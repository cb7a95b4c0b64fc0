"""The whole journey in one folder: PostgreSQL, a gateway, and nodes of one or several tenants, for tests.

    with stack.Stack() as s:                      # centre up, nothing enrolled yet
        s.tenant("Lakeside")                      # with a site and a member of staff who may write
        a = s.node("Alder", "Lakeside")           # enrolled with a real invite, started, filled
        a.tablet().create("patient", {...})       # through the ward's API (packaging/demolib/client.py)
        a.wait(lambda st: st["pending"] == 0)     # the fields of `everward status --json`
        a.kill(); a.start(); a.link("down")
        s.gateway.stop(signal.SIGKILL); s.gateway.start()

Everything is taken down and removed at the end, whatever happened. EVERWARD_BUILD names the build folder.
"""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import gateway_client as gc
import pg

sys.path.insert(1, os.path.join(gc.ROOT, "packaging"))
from demolib.client import ApiError, Tablet  # noqa: E402  (the same tablet as the demo's)

EVERWARD = os.path.join(gc.BUILD, "node", "everward")
USER, PASSWORD, ROLES = "nadia.berg", "a password for tests", "doctor,nurse,charge_nurse"
WAIT_S = 30


def built():
    return os.access(EVERWARD, os.X_OK) and os.access(gc.PROGRAM, os.X_OK)


class Node:
    """One clinic's box: its folder, its configuration, its daemon."""

    def __init__(self, stack, name, tenant):
        self.stack, self.name, self.tenant, self.program = stack, name, tenant, EVERWARD
        self.folder = os.path.join(stack.folder, name)
        self.state = os.path.join(self.folder, "state")
        self.config = os.path.join(self.folder, "everward.conf")
        self.log_path = os.path.join(self.folder, "log")
        self.port = pg.free_port()
        self.process = self.one_tablet = None
        os.makedirs(self.folder)
        self.configure()

    def configure(self, more=""):
        with open(self.config, "w", encoding="utf-8") as f:
            f.write("[node]\nstate_dir = %s\nexport_dirs = %s\n[api]\naddress = 127.0.0.1\nport = %d\n%s"
                    % (self.state, self.folder, self.port, more))

    def run(self, *words, timeout=60):
        return subprocess.run([self.program, *words, "--config", self.config], capture_output=True, text=True, timeout=timeout)

    def command(self, *words):
        done = self.run(*words)
        if done.returncode != 0:
            raise RuntimeError("%s: everward %s: exit %d: %s" % (self.name, " ".join(words), done.returncode, done.stderr))
        return done.stdout

    def store_sql(self, text):
        """SQL in its store while it does not run."""
        done = subprocess.run([os.path.join(gc.BUILD, "tests", "store_sql"), self.state, text], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError("store_sql: " + done.stderr)
        return done.stdout.strip()

    def invite(self):
        return self.stack.gateway.cli("node", "invite", self.name, "--tenant", self.tenant, "--site", "North")

    def setup(self, invite=None):
        return self.command("setup", invite or self.invite(), "--name", self.name, "--host", "127.0.0.1,localhost")

    def serve(self, env=None):
        """Starts it without waiting."""
        with open(self.log_path, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen([self.program, "serve", "--config", self.config], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env={**os.environ, **(env or {})})

    def start(self):
        self.serve()
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            if self.run("status", "--json").returncode in (0, 1, 2):
                return self
            if self.process.poll() is not None:
                raise RuntimeError("%s ended with %d:\n%s" % (self.name, self.process.returncode, self.log()[-3000:]))
            time.sleep(0.02)
        raise RuntimeError("%s does not answer:\n%s" % (self.name, self.log()[-3000:]))

    def stop(self, sig=signal.SIGTERM):
        """Its exit code; None if it did not run. sig None: it was told before."""
        if self.process is None:
            return None
        if self.process.poll() is None and sig is not None:
            self.process.send_signal(sig)
        code = self.process.wait(30)
        if self.one_tablet is not None and self.one_tablet.connection is not None:
            self.one_tablet.connection.close()
        self.process = self.one_tablet = None
        return code

    def kill(self):
        self.stop(signal.SIGKILL)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def status(self):
        done = self.run("status", "--json")
        return json.loads(done.stdout) if done.stdout else {}

    def wait(self, good, seconds=WAIT_S):
        end = time.monotonic() + seconds
        while True:
            status = self.status()
            if status and good(status):
                return status
            if time.monotonic() > end:
                raise TimeoutError("%s: not within %s s; status %s; log:\n%s" % (self.name, seconds, status, self.log()[-3000:]))
            time.sleep(0.02)

    def wait_state(self, state, seconds=WAIT_S):
        return self.wait(lambda s: s["state"] == state, seconds)

    def wait_current(self, seconds=WAIT_S):
        return self.wait(lambda s: s["state"] == "current" and s["pending"] == 0, seconds)

    def link(self, direction):
        self.command("link", direction)

    def verify(self):
        end = time.monotonic() + 60
        while True:  # 75: the node compares by itself just now, as it does after a fill
            done = self.run("verify", "--json")
            if done.returncode != 75 or time.monotonic() > end:
                break
            time.sleep(0.1)
        if done.returncode != 0:
            raise RuntimeError("%s: everward verify: exit %d: %s" % (self.name, done.returncode, done.stderr))
        return json.loads(done.stdout)

    def new_tablet(self):
        return Tablet("127.0.0.1", self.port, os.path.join(self.state, "tls", "ca.crt"), USER, PASSWORD)

    def tablet(self):
        """The ward's own, logged in; anew after the node has been away."""
        if self.one_tablet is None or self.one_tablet.connection is None:
            self.one_tablet = self.new_tablet()
        return self.one_tablet


class Stack:
    def __init__(self, options=None):
        self.folder = tempfile.mkdtemp(prefix="ew-stack-", dir="/tmp")
        self.cluster = pg.Cluster(options=options)
        self.gateway = None
        self.tenants, self.nodes = {}, {}

    def start(self):
        atexit.register(self.stop)  # a module whose set-up fails is never torn down
        self.cluster.start()
        self.db = self.cluster.create("everward", migrate=False)
        self.gateway = gc.Gateway(self.folder, self.db)
        self.gateway.cli("migrate")
        self.gateway.start()
        return self

    def tenant(self, name):
        """A tenant with one site and one member of staff; its id."""
        if name not in self.tenants:
            self.gateway.cli("tenant", "add", name)
            self.gateway.cli("site", "add", "North", "--tenant", name)
            self.gateway.cli("staff", "add", "--tenant", name, "--username", USER, "--name", "Nadia Berg", "--role", ROLES,
                             "--password-file", "-", input=PASSWORD + "\n")
            self.tenants[name] = self.db.one("postgres", "SELECT tenant_id FROM everward.tenant WHERE name = '%s'" % name)
        return self.tenants[name]

    def new_node(self, name, tenant):
        """A folder and a configuration; not enrolled."""
        if name in self.nodes:
            raise ValueError("this stack has a node %s already: name it otherwise, tests of one file share a stack" % name)
        self.tenant(tenant)
        self.nodes[name] = Node(self, name, tenant)
        return self.nodes[name]

    def node(self, name, tenant):
        n = self.new_node(name, tenant)
        n.setup()
        n.start()
        n.wait_current()
        return n

    def training(self, name, more=""):
        """A training node, running; its password as n.password. No tenant of this centre has it."""
        n = self.nodes[name] = Node(self, name, None)
        n.configure(more)
        n.password = n.command("training", "--host", "127.0.0.1,localhost").split("only now: ")[1].split()[0]
        return n.start()

    def as_app(self, tenant, text):
        """SQL of another application at the centre, in one transaction of the tenant."""
        return self.db.sql("everward_app", "BEGIN; SET LOCAL everward.tenant_id = '%s'; %s; COMMIT;"
                           % (self.tenants[tenant], text.strip().rstrip(";")))

    def stop(self):
        atexit.unregister(self.stop)
        ended = {}
        for n in self.nodes.values():
            if n.process is not None:
                n.process.send_signal(signal.SIGTERM)
        for n in self.nodes.values():
            code = n.stop(None)  # it has its signal: a second one would cut the end short
            if code not in (None, 0):
                ended[n.name] = "exit %d: %s" % (code, n.log()[-4000:])
        if self.gateway is not None and self.gateway.process is not None:
            self.gateway.stop()
        self.cluster.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        if ended:
            raise AssertionError("nodes did not end well: %s" % ended)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
