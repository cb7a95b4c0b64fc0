"""
packaging/demolib/stack.py - a private PostgreSQL, a gateway and nodes in one folder, started and stopped as a whole.

Used by the demo, the benches and the integration tests. Everything listens on 127.0.0.1 only. Each process has a pid file
and a log in the folder; stop() ends exactly those.
"""
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time

START_S = 60
STOP_S = 20


class StackError(Exception):
    """Something did not start; the message says what and where its log is."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _postgres_bin():
    base = "/usr/lib/postgresql"
    versions = sorted((v for v in os.listdir(base) if v.isdigit()), key=int) if os.path.isdir(base) else []
    if not versions:
        raise StackError("PostgreSQL is not installed: run packaging/install-deps run")
    return os.path.join(base, versions[-1], "bin")


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Process:
    """A daemon of ours with pid file and log; survives the script that started it."""

    def __init__(self, folder, name):
        self.name = name
        self.pid_file = os.path.join(folder, f"{name}.pid")
        self.log = os.path.join(folder, f"{name}.log")

    @property
    def pid(self):
        try:
            with open(self.pid_file, encoding="ascii") as f:
                pid = int(f.read())
            return pid if _alive(pid) else None
        except (OSError, ValueError):
            return None

    def start(self, command, env=None):
        with open(self.log, "ab") as log:
            p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                 env={**os.environ, **(env or {})})
        with open(self.pid_file, "w", encoding="ascii") as f:
            f.write(str(p.pid))
        self.popen = p

    def signal(self, number):
        if self.pid:
            os.kill(self.pid, number)

    def wait_gone(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if getattr(self, "popen", None):
                self.popen.poll()
            if not self.pid:
                return True
            time.sleep(0.02)
        return False

    def kill(self):
        self.signal(signal.SIGKILL)
        self.wait_gone(STOP_S)

    def stop(self):
        self.signal(signal.SIGTERM)
        if not self.wait_gone(STOP_S):
            self.kill()

    def tail(self, lines=15):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                return "".join(f.readlines()[-lines:])
        except OSError:
            return ""


class Postgres:
    """A cluster of our own. initdb refuses root, so as root it belongs to the user postgres."""

    def __init__(self, folder, port, password, settings=()):
        self.bin = _postgres_bin()
        self.port = port
        self.password = password
        self.settings = list(settings)
        self.as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        self.data = os.path.join(folder, "postgres")
        if self.as_user and not self._reachable(folder):
            self.data = "/var/tmp/everward-" + folder.strip("/").replace("/", "-")

    def _reachable(self, folder):
        """Can the user postgres walk down to the folder? /root, for one, is closed to it."""
        os.makedirs(folder, exist_ok=True)
        return subprocess.run([*self.as_user, "test", "-x", folder], check=False, cwd="/").returncode == 0

    def _run(self, *command):
        p = subprocess.run([*self.as_user, *command], capture_output=True, text=True, check=False, cwd="/")
        if p.returncode != 0:
            raise StackError(f"{os.path.basename(command[0])}: {p.stdout}{p.stderr}".strip())

    def create(self):
        os.makedirs(self.data, mode=0o700, exist_ok=True)
        if self.as_user:
            owner = pwd.getpwnam("postgres")
            os.chown(self.data, owner.pw_uid, owner.pw_gid)
        if os.path.exists(os.path.join(self.data, "PG_VERSION")):
            return
        secret = os.path.join(self.data, "..", f".pw-{secrets.token_hex(4)}")
        with open(secret, "w", encoding="ascii") as f:
            f.write(self.password)
        os.chmod(secret, 0o644 if self.as_user else 0o600)
        try:
            self._run(os.path.join(self.bin, "initdb"), "-D", self.data, "-U", "postgres", "-A", "scram-sha-256",
                      f"--pwfile={secret}", "-E", "UTF8", "--locale=C.UTF-8")
        finally:
            os.unlink(secret)

    def start(self):
        options = [f"-p {self.port}", "-c listen_addresses=127.0.0.1", "-c unix_socket_directories=''",
                   "-c max_connections=100", "-c shared_buffers=256MB", "-c max_wal_size=2GB", *self.settings]
        self._run(os.path.join(self.bin, "pg_ctl"), "-D", self.data, "-w", "-t", str(START_S), "-l",
                  os.path.join(self.data, "log"), "-o", " ".join(options), "start")

    def running(self):
        return os.path.exists(os.path.join(self.data, "PG_VERSION")) and subprocess.run(
            [*self.as_user, os.path.join(self.bin, "pg_ctl"), "-D", self.data, "status"], check=False, cwd="/",
            capture_output=True).returncode == 0

    def stop(self, mode="fast"):
        if self.running():
            self._run(os.path.join(self.bin, "pg_ctl"), "-D", self.data, "-w", "-m", mode, "stop")

    def remove(self):
        shutil.rmtree(self.data, ignore_errors=True)

    def dsn(self, user="postgres", password=None, database="everward"):
        return (f"host=127.0.0.1 port={self.port} user={user} password={password or self.password} "
                f"dbname={database}")

    def sql(self, text, user="postgres", password=None, database="everward"):
        """Runs SQL through psql; rows as lists of text, None for null."""
        env = {**os.environ, "PGPASSWORD": password or self.password}
        p = subprocess.run([os.path.join(self.bin, "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-F", "\x1f", "-R",
                            "\x1e", "-P", "null=\x1d", "-h", "127.0.0.1", "-p", str(self.port), "-U", user, "-d", database],
                           input=text, capture_output=True, text=True, check=False, env=env)
        if p.returncode != 0:
            raise StackError(p.stderr.strip())
        out = p.stdout.rstrip("\n").rstrip("\x1e")
        return [[None if c == "\x1d" else c for c in row.lstrip("\n").split("\x1f")] for row in out.split("\x1e")] if out else []


class Stack:
    """Everything in one folder. The object can be made again over a folder that exists."""

    def __init__(self, folder, build):
        self.folder = os.path.abspath(folder)
        self.build = os.path.abspath(build)
        self.everward = os.path.join(self.build, "node", "everward")
        self.gateway_program = os.path.join(self.build, "sync", "gateway", "everward-gateway")
        os.makedirs(self.folder, mode=0o755, exist_ok=True)
        self.file = os.path.join(self.folder, "stack.json")
        self.facts = self._load()
        self.postgres = Postgres(self.folder, self.facts["postgres_port"], self.facts["passwords"]["postgres"])
        self.gateway = Process(self.folder, "gateway")
        self.nodes = {name: Process(self.folder, f"node-{name}") for name in self.facts["nodes"]}

    def _load(self):
        if os.path.exists(self.file):
            with open(self.file, encoding="utf-8") as f:
                return json.load(f)
        roles = ("postgres", "everward_admin", "everward_gateway", "everward_app")
        return {"postgres_port": free_port(), "gateway_port": free_port(), "nodes": {}, "tenants": {}, "migrated": False,
                "passwords": {r: secrets.token_hex(12) for r in roles}}

    def save(self):
        with open(self.file + ".new", "w", encoding="utf-8") as f:
            json.dump(self.facts, f, indent=1)
        os.chmod(self.file + ".new", 0o600)
        os.replace(self.file + ".new", self.file)

    # the centre

    @property
    def gateway_config(self):
        return os.path.join(self.folder, "gateway.conf")

    @property
    def gateway_url(self):
        return f"https://127.0.0.1:{self.facts['gateway_port']}"

    @property
    def gateway_ca(self):
        return os.path.join(self.folder, "gateway-tls", "ca.crt")

    def dsn(self, role):
        return self.postgres.dsn(role, self.facts["passwords"][role])

    def sql(self, text, role="postgres", tenant=None):
        if tenant:
            text = f"BEGIN; SET LOCAL everward.tenant_id = '{tenant}'; {text}; COMMIT;"
        return self.postgres.sql(text, role, self.facts["passwords"][role])

    def command(self, program, *args, check=True, text_in=None):
        p = subprocess.run([program, *args], input=text_in, stdin=None if text_in else subprocess.DEVNULL,
                           capture_output=True, text=True, check=False)
        if check and p.returncode != 0:
            raise StackError(f"{os.path.basename(program)} {' '.join(args)}: exit {p.returncode}\n{p.stdout}{p.stderr}")
        return p

    def gateway_command(self, *args, **kw):
        return self.command(self.gateway_program, *args, "--config", self.gateway_config, **kw)

    def start_centre(self):
        self.postgres.create()
        if not self.postgres.running():
            self.postgres.start()
        if not self.facts["migrated"]:
            self._migrate()
        self.start_gateway()

    def _migrate(self):
        if not self.postgres.sql("SELECT 1 FROM pg_database WHERE datname = 'everward'", database="postgres"):
            self.postgres.sql("CREATE DATABASE everward", database="postgres")
        self._write_gateway_config()
        if not os.path.exists(self.gateway_ca):
            self.command(self.gateway_program, "ca", "make", "--dir", os.path.dirname(self.gateway_ca), "--name", "127.0.0.1,localhost")
        self.gateway_command("migrate")
        for role in ("everward_admin", "everward_gateway", "everward_app"):
            self.postgres.sql(f"ALTER ROLE {role} PASSWORD '{self.facts['passwords'][role]}'")
        self.facts["migrated"] = True
        self.save()

    def _write_gateway_config(self):
        tls = os.path.dirname(self.gateway_ca)
        with open(self.gateway_config, "w", encoding="utf-8") as f:
            f.write(f"[gateway]\naddress = 127.0.0.1\nport = {self.facts['gateway_port']}\n\n"
                    f"[database]\ndsn = {self.dsn('everward_gateway')}\nadmin_dsn = {self.dsn('postgres')}\n\n"
                    f"[tls]\ncertificate = {tls}/server.crt\nkey = {tls}/server.key\nca = {tls}/ca.crt\n")
        os.chmod(self.gateway_config, 0o600)

    def start_gateway(self):
        if not self.gateway.pid:
            self.gateway.start([self.gateway_program, "serve", "--config", self.gateway_config])
        self.wait_port(self.facts["gateway_port"], self.gateway)

    def wait_port(self, port, process):
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            with socket.socket() as s:
                s.settimeout(1)
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if getattr(process, "popen", None) and process.popen.poll() is not None:
                break
            time.sleep(0.02)
        raise StackError(f"{process.name} did not start; its log {process.log} ends:\n{process.tail()}")

    def add_tenant(self, name):
        if name not in self.facts["tenants"]:
            out = json.loads(self.gateway_command("tenant", "add", name, "--json").stdout)
            self.facts["tenants"][name] = out["tenant_id"]
            self.save()
        return self.facts["tenants"][name]

    def add_site(self, tenant, name):
        self.gateway_command("site", "add", name, "--tenant", tenant)

    def add_staff(self, tenant, username, name, roles, password):
        self.gateway_command("staff", "add", "--tenant", tenant, "--username", username, "--name", name, "--role", roles,
                             "--password-file", "-", text_in=password + "\n")

    # the nodes

    def node_config(self, name):
        return os.path.join(self.folder, f"node-{name}.conf")

    def add_node(self, name, tenant, site):
        if name in self.facts["nodes"]:
            return
        port = free_port()
        state = os.path.join(self.folder, f"node-{name}")
        with open(self.node_config(name), "w", encoding="utf-8") as f:
            f.write(f"[node]\nstate_dir = {state}\n\n[api]\naddress = 127.0.0.1\nport = {port}\n\n"
                    f"[keys]\nsource = file\nkey_file = {state}/wrapping.key\n")
        invite = self.gateway_command("node", "invite", "--tenant", tenant, "--site", site, "--name", name).stdout.strip()
        self.command(self.everward, "setup", invite, "--config", self.node_config(name), "--name", name, "--host",
                     "127.0.0.1,localhost")
        self.facts["nodes"][name] = {"port": port, "tenant": tenant, "state": state}
        self.nodes[name] = Process(self.folder, f"node-{name}")
        self.save()

    def node_url(self, name):
        return f"https://127.0.0.1:{self.facts['nodes'][name]['port']}"

    def node_ca(self, name):
        return os.path.join(self.facts["nodes"][name]["state"], "tls", "ca.crt")

    def start_node(self, name):
        process = self.nodes[name]
        if not process.pid:
            process.start([self.everward, "serve", "--config", self.node_config(name)])
        self.wait_port(self.facts["nodes"][name]["port"], process)
        self.wait_status(name, lambda s: s.get("since"), START_S, "its state")

    def node_command(self, name, *args, **kw):
        return self.command(self.everward, *args, "--config", self.node_config(name), **kw)

    def node_status(self, name):
        return json.loads(self.node_command(name, "status", "--json", check=False).stdout or "{}")

    def wait_status(self, name, good, seconds, what):
        end = time.monotonic() + seconds
        status = {}
        while time.monotonic() < end:
            status = self.node_status(name)
            if good(status):
                return status
            time.sleep(0.05)
        raise StackError(f"{name}: {what} did not come within {seconds} s; status: {json.dumps(status)}")

    def wait_current(self, name, seconds=120):
        return self.wait_status(name, lambda s: s.get("state") == "current" and s.get("pending") == 0, seconds, "\"current\"")

    def start(self):
        self.start_centre()
        for name in self.nodes:
            self.start_node(name)

    def stop(self):
        for process in self.nodes.values():
            process.signal(signal.SIGTERM)
        for process in self.nodes.values():
            process.stop()
        self.gateway.stop()
        self.postgres.stop()

    def remove(self):
        self.stop()
        self.postgres.remove()
        shutil.rmtree(self.folder, ignore_errors=True)
