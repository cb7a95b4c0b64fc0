"""A private PostgreSQL for tests: its own folder, its own port, gone when the test is.

    cluster = pg.Cluster()
    cluster.start()
    db = cluster.create("ward1")               # a database with schema/central applied, in order
    db.sql("everward_admin", "SELECT 1")       # -> [["1"]]; NULL is None; an SQL error is pg.SqlError with .sqlstate
    with db.session("everward_app") as s:      # one connection kept open, for what runs side by side
        s.sql("BEGIN")
    cluster.stop()

Everything goes through psql: no driver is needed. Run by root, the server runs as user postgres.
"""

import atexit
import glob
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MIGRATIONS = os.path.join(ROOT, "schema", "central")
FIELD = "\x1f"
NULL = "\x02NULL\x02"
ERROR = re.compile(r"^(?:psql:[^\n]*?)?(?:ERROR|FATAL):  ([0-9A-Z]{5}): (.*)$", re.M)
WAIT_S = 30


class SqlError(Exception):
    def __init__(self, sqlstate, message, text=""):
        super().__init__("%s: %s" % (sqlstate, message))
        self.sqlstate = sqlstate
        self.message = message
        self.text = text


def bindir():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda p: int(p.split("/")[4]))
    if found:
        return os.path.dirname(found[-1])
    return subprocess.run(["pg_config", "--bindir"], check=True, capture_output=True, text=True).stdout.strip()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def as_server_user(command):
    return ["runuser", "-u", "postgres", "--"] + command if os.geteuid() == 0 else command


def raise_error(stderr):
    found = ERROR.search(stderr)
    if found:
        raise SqlError(found.group(1), found.group(2), stderr)
    raise SqlError("?????", stderr.strip())


def parse(text):
    return [[None if f == NULL else f for f in line.split(FIELD)] for line in text.split("\n") if line != ""]


class Cluster:
    def __init__(self, folder=None, port=None, options=None):
        self.folder = folder or tempfile.mkdtemp(prefix="ew-pg-", dir="/tmp")
        self.port = port or free_port()
        self.data = os.path.join(self.folder, "data")
        self.options = {"listen_addresses": "127.0.0.1", "fsync": "off", "max_connections": "60", "shared_buffers": "64MB"}
        self.options.update(options or {})

    def start(self):
        os.makedirs(self.folder, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            os.chmod(self.folder, 0o711)  # the gateway goes to the socket without capabilities
        if not os.path.exists(self.data):
            self._run(["initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-N"])
        atexit.register(self.stop)  # a module whose set-up fails is never torn down
        settings = "".join(" -c %s=%s" % o for o in self.options.items())
        self._run(["pg_ctl", "-D", self.data, "-w", "-l", os.path.join(self.folder, "log"),
                   "-o", "-p %d -k %s%s" % (self.port, self.folder, settings), "start"])
        return self

    def stop(self, keep=False):
        atexit.unregister(self.stop)
        if os.path.exists(os.path.join(self.data, "postmaster.pid")):
            self._run(["pg_ctl", "-D", self.data, "-m", "immediate" if not keep else "fast", "-w", "stop"])
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, command):
        command = as_server_user([os.path.join(bindir(), command[0])] + command[1:])
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                              cwd="/")
        if done.returncode != 0:
            raise RuntimeError("%s: %s" % (" ".join(command), done.stderr))

    def create(self, name, migrate=True):
        db = Database(self, name)
        Database(self, "postgres").sql("postgres", "CREATE DATABASE %s" % name)
        if migrate:
            db.migrate()
        return db


class Database:
    def __init__(self, cluster, name):
        self.cluster = cluster
        self.name = name

    def dsn(self, role, host=None):
        return "host=%s port=%d dbname=%s user=%s" % (host or self.cluster.folder, self.cluster.port, self.name, role)

    def psql(self, role, *more):
        return [os.path.join(bindir(), "psql"), "-X", "-q", "-A", "-t", "-F", FIELD, "-P", "null=" + NULL, "-v", "ON_ERROR_STOP=1",
                "-v", "VERBOSITY=verbose", "-d", self.dsn(role)] + list(more)

    def sql(self, role, text):
        """Runs a script on a connection of its own; the rows of all its queries."""
        done = subprocess.run(self.psql(role, "-f", "-"), input=text, capture_output=True, text=True)
        if done.returncode != 0:
            raise_error(done.stderr)
        return parse(done.stdout)

    def one(self, role, text):
        return self.sql(role, text)[-1][0]

    def start_sql(self, role, text):
        """The same without waiting; .finish() gives the rows."""
        return Running(subprocess.Popen(self.psql(role, "-f", "-"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True), text)

    def session(self, role):
        return Session(self.psql(role))

    def migrate(self, upto=None):
        for path in sorted(glob.glob(os.path.join(MIGRATIONS, "[0-9]*.sql"))):
            if upto and os.path.basename(path) > upto:
                break
            done = subprocess.run(self.psql("postgres", "-1", "-f", path), capture_output=True, text=True)
            if done.returncode != 0:
                raise_error(done.stderr)

    def wait_blocked(self, count=1):
        """Until so many connections of this database wait for a lock."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            if int(self.one("postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                            "AND wait_event_type = 'Lock'")) >= count:
                return
            time.sleep(0.02)
        raise TimeoutError("nobody waits for a lock")

    def add_tenant(self, name):
        return Tenant(self, name)


class Running:
    def __init__(self, process, text):
        self.process = process
        process.stdin.write(text)
        process.stdin.close()
        process.stdin = None

    def finish(self):
        out, err = self.process.communicate(timeout=60)
        if self.process.returncode != 0:
            raise_error(err)
        return parse(out)


class Session:
    """One connection. An error does not end it (the transaction is then aborted, as PostgreSQL has it)."""

    def __init__(self, command):
        command = [c if c != "ON_ERROR_STOP=1" else "ON_ERROR_STOP=0" for c in command]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, bufsize=1)
        self.lines = queue.Queue()
        self.count = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def send(self, text):
        self.count += 1
        self.process.stdin.write("%s;\n\\echo \x01%d\n" % (text.strip().rstrip(";"), self.count))
        self.process.stdin.flush()

    def receive(self, timeout=WAIT_S):
        got = []
        end = time.monotonic() + timeout
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise TimeoutError("no answer within %s s" % timeout)
            if line is None:
                raise_error("".join(got))
            if line == "\x01%d\n" % self.count:
                break
            got.append(line)
        text = "".join(got)
        if ERROR.search(text):
            raise_error(text)
        return parse(text)

    def sql(self, text):
        self.send(text)
        return self.receive()

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGKILL)
                self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Tenant:
    """A tenant with a site and one enrolled node, made the way an operator and a node make them."""

    def __init__(self, db, name):
        self.db = db
        self.name = name
        self.id = db.one("everward_admin", "SELECT everward.add_tenant('%s')" % name)
        self.site = db.one("everward_admin", "SELECT everward.add_site('%s', 'Site of %s')" % (self.id, name))
        self.ticket = "ticket of " + name
        self.node = self.enrol("node of " + name, self.ticket)

    def invite(self, token, ttl="24 hours", node_name=""):
        self.db.sql("everward_admin", "SELECT everward.add_invite('%s', '%s', '%s', sha256('%s'), '%s')"
                    % (self.id, self.site, node_name, token, ttl))

    def enrol(self, name, ticket):
        token = "token of " + name
        self.invite(token, node_name=name)
        return self.db.one("everward_gateway", "SELECT node_id FROM everward.enrol('%s', sha256('key of %s'), '%s', sha256('%s'))"
                           % (token, name, name, ticket))

    def enter(self):
        return "SELECT FROM everward.enter_node('%s', '%s');" % (self.node, self.ticket)

    def as_node(self, text):
        """In one transaction of the gateway, entered for this tenant's node."""
        return self.db.sql("everward_gateway", "BEGIN; %s %s; COMMIT;" % (self.enter(), text.strip().rstrip(";")))

    def as_app(self, text):
        return self.db.sql("everward_app", "BEGIN; SET LOCAL everward.tenant_id = '%s'; %s; COMMIT;"
                           % (self.id, text.strip().rstrip(";")))

    def patient(self, name="Test"):
        return self.as_app("INSERT INTO ward.patient (id, tenant_id, family_name) VALUES (gen_random_uuid(), '%s', '%s') RETURNING id"
                           % (self.id, name))[0][0]

    def changes(self, row=None):
        """(table, op, rev, cols, txn) of the log, oldest first; of one row if given."""
        return self.db.sql("postgres", "SELECT s.name, c.op, c.rev, c.cols, c.txn FROM everward.change c "
                           "JOIN everward.sync_table s USING (tbl) WHERE c.tenant_id = '%s' %s ORDER BY c.id"
                           % (self.id, "AND c.row_id = '%s'" % row if row else ""))

    def sequence(self):
        return int(self.as_node("SELECT everward.sequence_feed()")[-1][0])
