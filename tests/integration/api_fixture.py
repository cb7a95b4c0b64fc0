"""The real API on a real store, with a centre made of files: for test_api*.py.

    node = Node()                       # a folder, a store filled with staff, roles, patients; api_server runs
    ann = node.login("ann")             # -> Client with a session
    ann.post("observation", {...})      # -> Reply: .status .json .headers
    node.feed([("u", "staff", {...})])  # what the centre sends
    node.kill(); node.start()           # power cut
    node.close()
"""

import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("EVERWARD_BUILD", os.path.join(ROOT, "build", "dev"))
SERVER = os.path.join(BUILD, "tests", "api_server")
CATALOG = os.path.join(ROOT, "tests", "golden", "catalog.json")
TENANT = "a0" + "0" * 6 + "-0000-0000-0000-000000000000"
SITE = "a1" + "0" * 6 + "-0000-0000-0000-000000000000"
TIMELINE = "01" + "0" * 6 + "-0000-0000-0000-000000000000"
PASSWORD = "correct horse battery"
TIMEOUT_S = 30

with open(CATALOG, encoding="utf-8") as _f:
    CATALOG_DOC = json.load(_f)
TABLES = {t["name"]: t for t in CATALOG_DOC["tables"]}


def row_id(n):
    return f"0192f0e8-0000-7000-8000-{n:012x}"


ANN, BOB, EVE, ZOE, DORA, PAT, OTHER, ORDER, SLOT = (row_id(n) for n in range(1, 10))
CONFLICT = row_id(100)
IVO, PIA, OTTO, WARD, BED = (row_id(n) for n in range(10, 15))

ROLES = {
    "nurse": {"read": "patient allergy condition medication_order order_event dose_slot medication_administration observation note "
                      "task encounter bed_stay location staff patient_identifier conflict conflict_resolution",
              "create": "observation note task allergy medication_administration", "update": "task note patient", "delete": "task"},
    "doctor": {"read": "*", "create": "*", "update": "*", "delete": "*", "resolve": "*"},
    "registrar": {"read": "patient conflict", "resolve": "conflict"},
    "it_support": {"read": "device login", "create": "device", "update": "device login", "delete": "device"},
    "porter": {"read": "patient:ward observation:ward bed_stay:ward note:ward location", "create": "observation:ward break_glass",
               "update": "patient:ward"},
    "privacy_officer": {"read": "break_glass", "update": "break_glass"},
}
STAFF = {  # name: id, role, active
    "ann": (ANN, "nurse"), "bob": (BOB, "doctor"), "Zo\u00eb": (ZOE, "nurse"), "dora": (DORA, "registrar"), "eve": (EVE, "nurse"), "ivo": (IVO, "it_support"),
    "pia": (PIA, "porter"), "otto": (OTTO, "privacy_officer")}


def have_server():
    return os.access(SERVER, os.X_OK)


def verifier(password=PASSWORD):
    return subprocess.run([SERVER, "hash", password], capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def image(table, row):
    """A row as the array that travels."""
    columns = TABLES[table]["columns"]
    unknown = set(row) - {c["name"] for c in columns} - {"id", "rev"}
    assert not unknown, (table, unknown)
    return [row["id"], TENANT, str(row.get("rev", 1))] + [row.get(c["name"]) for c in columns]


def permissions():
    n = 1000
    for role, actions in ROLES.items():
        tables = {}
        for action, names in actions.items():
            for name in names.split():
                name, _, scope = name.partition(":")
                tables.setdefault(name, []).append(f"{action}:{scope}" if scope else action)
        for name, words in tables.items():
            n += 1
            yield {"id": row_id(n), "role": role, "table_name": name, "actions": " ".join(words)}


def base_rows():
    secret = verifier()
    rows = {name: [] for name in TABLES}
    rows["role_permission"] = list(permissions())
    for n, (name, (staff, role)) in enumerate(STAFF.items()):
        rows["staff"].append({"id": staff, "username": name, "given_names": name.title(), "family_name": "Berg",
                              "active": "f" if name == "eve" else "t", "verifier": secret, "badge": "4711"})
        rows["staff_role"].append({"id": row_id(2000 + n), "staff_id": staff, "role": role,
                                   "location_id": WARD if name == "pia" else None})
    rows["patient"] = [{"id": PAT, "family_name": "Adeyemi", "given_names": "Ola", "sex": "female", "active": "t", "rev": 3,
                        "birth_date": "1984-02", "phone": "111"},
                       {"id": OTHER, "family_name": "Braun", "given_names": "Uwe", "active": "t"}]
    rows["location"] = [{"id": WARD, "kind": "ward", "name": "Ward 1", "active": "t"},
                        {"id": BED, "kind": "bed", "name": "Bed 1", "parent_id": WARD, "active": "t"}]
    rows["bed_stay"] = [{"id": row_id(16), "patient_id": PAT, "location_id": BED, "status": "active"}]
    rows["medication_order"] = [{"id": ORDER, "patient_id": PAT, "status": "active", "display": "Heparin", "dose_quantity": "7.50",
                                 "dose_unit": "mg", "recorded_at": "2026-01-01T00:00:00Z"}]
    rows["conflict"] = [{"id": CONFLICT, "table_name": "patient", "row_id": PAT, "columns": "[\"phone\"]", "class": "field",
                         "rule": "FIELD_LIVE_STAYS", "base": "{\"phone\": \"000\"}", "live": "{\"phone\": \"111\"}",
                         "incoming": "{\"phone\": \"222\"}", "live_rev": "3", "base_rev": "1", "live_by": ANN, "incoming_by": BOB,
                         "decide_role": "registrar", "state": "open", "patient_id": PAT}]
    return rows


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        kind = headers.get("Content-Type", "")
        self.json = json.loads(body) if body and "json" in kind else None

    @property
    def code(self):
        return self.json["code"] if self.json else None

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


class Client:
    """One TLS connection to the node; opened anew where the node has closed it."""

    def __init__(self, node, token=None):
        self.node, self.token, self.connection = node, token, None

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def send(self, method, path, body=None, headers=None, raw=None):
        send = dict(headers or {})
        if self.token and "Authorization" not in send:
            send["Authorization"] = f"Bearer {self.token}"
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            send.setdefault("Content-Type", "application/json")
        for attempt in (1, 2):
            if self.connection is None:
                self.connection = http.client.HTTPSConnection("localhost", self.node.port, timeout=TIMEOUT_S, context=self.node.context)
            try:
                try:
                    self.connection.request(method, path, data, send)
                except OSError:
                    if data is None or len(data) < 100_000:
                        raise
                    # A body that is too large is answered before it has all been sent.
                reply = self.connection.getresponse()
                return Reply(reply.status, reply.headers, reply.read())
            except (http.client.HTTPException, OSError):
                self.close()
                if attempt == 2:
                    raise

    def get(self, path, **headers):
        return self.send("GET", path if path.startswith("/") else f"/api/v1/{path}", headers=headers)

    def post(self, path, body, key=None, **headers):
        return self.send("POST", f"/api/v1/{path}", body, {"Idempotency-Key": key or str(uuid.uuid4()), **headers})

    def patch(self, path, body, etag, **headers):
        return self.send("PATCH", f"/api/v1/{path}", body, {"If-Match": etag, **headers})

    def delete(self, path, etag):
        return self.send("DELETE", f"/api/v1/{path}", headers={"If-Match": etag})


class Node:
    def __init__(self, rows=None, env=None):
        self.folder = tempfile.mkdtemp(prefix="ew-api-", dir="/tmp")
        self.env = env or {}
        self.cut = 0
        self.process = None
        os.mkdir(os.path.join(self.folder, "pages"))
        for name, items in (rows or base_rows()).items():
            with open(os.path.join(self.folder, "pages", name), "w", encoding="utf-8") as f:
                head = {"format": "everward-page/1", "tenant": TENANT, "table": name, "catalog": CATALOG_DOC["version"], "head": 0}
                items = sorted(items, key=lambda r: r["id"])
                print(json.dumps(head, separators=(",", ":")), file=f)
                for row in items:
                    print(json.dumps(image(name, row), separators=(",", ":")), file=f)
                print(json.dumps({"rows": len(items), "next": None}, separators=(",", ":")), file=f)
        self.start()

    def start(self):
        log = open(os.path.join(self.folder, "log"), "ab")
        self.process = subprocess.Popen([SERVER, "serve", self.folder, CATALOG], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=log, env={**os.environ, **self.env}, text=True)
        log.close()
        first = self.process.stdout.readline()
        if not first.strip().isdigit():
            raise RuntimeError("api_server did not start: " + self.log())
        self.port = int(first)
        self.context = ssl.create_default_context(cafile=os.path.join(self.folder, "ca.pem"))
        deadline = time.monotonic() + TIMEOUT_S
        probe = Client(self)
        while probe.get("/readyz").status != 200:
            if time.monotonic() > deadline:
                raise RuntimeError("the node did not get ready: " + self.log())
            time.sleep(0.01)
        probe.close()

    def log(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def feed(self, changes):
        """changes: (op, table, row). What the ward reads next has them."""
        self.cut += 1
        path = os.path.join(self.folder, "feed")
        lines = [{"format": "everward-feed/1", "tenant": TENANT, "timeline": TIMELINE, "catalog": CATALOG_DOC["version"],
                  "after": self.cut - 1, "head": self.cut}, {"cut": self.cut},
                 {"txn": self.cut, "at": "2026-11-23T06:00:00.123Z"}]
        lines += [[table, op, image(table, row)] for op, table, row in changes]
        lines += [{"end": self.cut, "changes": len(changes)}, {"done": self.cut, "more": False}]
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(json.dumps(x, separators=(",", ":")) + "\n" for x in lines)
        print(f"feed {path}", file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        if answer != "ok":
            raise RuntimeError(f"feed: {answer}")

    def clock(self, seconds):
        """The node's wall clock is that far ahead of ours from now on (until it is started again)."""
        print(f"clock {seconds}", file=self.process.stdin, flush=True)
        if self.process.stdout.readline().strip() != "ok":
            raise RuntimeError("the clock did not move")

    def client(self):
        return Client(self)

    def login(self, name, password=PASSWORD):
        client = Client(self)
        reply = client.send("POST", "/api/v1/session", {"name": name, "password": password})
        if reply.status != 200:
            raise RuntimeError(f"login: {reply}")
        client.token = reply.json["token"]
        return client

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(TIMEOUT_S)
        self.process.stdin.close()
        self.process.stdout.close()

    def stop(self):
        """In order; the exit code says whether everything was given back."""
        print("stop", file=self.process.stdin, flush=True)
        code = self.process.wait(TIMEOUT_S)
        self.process.stdin.close()
        self.process.stdout.close()
        return code

    def close(self):
        if self.process.poll() is None:
            try:
                self.stop()
            except (subprocess.TimeoutExpired, OSError):
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Events(threading.Thread):
    """Reads an event stream into a list of (id, event, data)."""

    def __init__(self, client, query="", last_id=None):
        super().__init__(daemon=True)
        self.seen, self.arrived, self.ended = [], threading.Condition(), False
        headers = {"Authorization": f"Bearer {client.token}"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        self.connection = http.client.HTTPSConnection("localhost", client.node.port, timeout=TIMEOUT_S, context=client.node.context)
        self.connection.request("GET", f"/api/v1/events{query}", headers=headers)
        self.socket = self.connection.sock
        self.reply = self.connection.getresponse()
        if self.reply.status == 200:
            self.start()
            self.wait(lambda e: e[1] == "status")

    def run(self):
        ident, event, data = None, None, []
        try:
            for line in self.reply:
                text = line.decode().rstrip("\n")
                if text.startswith("id: "):
                    ident = text[4:]
                elif text.startswith("event: "):
                    event = text[7:]
                elif text.startswith("data: "):
                    data.append(text[6:])
                elif text == "" and data:
                    with self.arrived:
                        self.seen.append((ident, event, json.loads("\n".join(data))))
                        self.arrived.notify_all()
                    event, data = None, []
        except (OSError, http.client.HTTPException, ValueError, AttributeError):  # closed by us meanwhile
            pass
        with self.arrived:
            self.ended = True
            self.arrived.notify_all()

    def wait(self, good, seconds=10):
        def find():
            return next((e for e in self.seen if good(e)), None)
        with self.arrived:
            self.arrived.wait_for(lambda: find() or self.ended, seconds)
            return find()

    def close(self):
        """The reader sits in a read and holds its lock: the socket ends first."""
        if self.socket:
            try:
                self.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        if self.is_alive():
            self.join(TIMEOUT_S)
        self.connection.close()
