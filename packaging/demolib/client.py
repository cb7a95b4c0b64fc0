"""
packaging/demolib/client.py - a tablet: keeps one TLS connection to a node, logs in, reads and writes through the local API.
"""
import http.client
import json
import ssl
import time
import uuid

TIMEOUT_S = 30


class ApiError(Exception):
    def __init__(self, status, problem):
        super().__init__(f"HTTP {status}: {problem.get('code', '')} {problem.get('detail', '')}".strip())
        self.status = status
        self.problem = problem


class Tablet:
    def __init__(self, host, port, ca, name=None, password=None):
        self.host, self.port, self.ca = host, port, ca
        self.context = ssl.create_default_context(cafile=ca)
        self.connection = None
        self.token = None
        self.user = (name, password)
        if name:
            self.login()

    def login(self):
        """A node that has just started says 503 for a moment: nothing was done, so it is asked again."""
        name, password = self.user
        end = time.monotonic() + TIMEOUT_S
        while True:
            try:
                self.token = self.request("POST", "/api/v1/session", {"name": name, "password": password})[0]["token"]
                return
            except ApiError as e:
                if e.status != 503 or time.monotonic() > end:
                    raise
            time.sleep(0.05)

    def request(self, method, path, body=None, headers=None):
        """One request; the reply's JSON and headers. The connection is opened anew if the node has closed it."""
        send = {"Accept": "application/json", **(headers or {})}
        if self.token:
            send["Authorization"] = f"Bearer {self.token}"
        data = None
        if body is not None:
            data = json.dumps(body, ensure_ascii=False).encode()
            send["Content-Type"] = "application/json"
        if self.connection is None:
            self.connection = http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT_S, context=self.context)
        try:
            self.connection.request(method, path, data, send)
            reply = self.connection.getresponse()
            text = reply.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            self.connection = None
            raise
        answer = json.loads(text) if text else {}
        if reply.status >= 400:
            raise ApiError(reply.status, answer)
        return answer, reply.headers

    def get(self, path):
        return self.request("GET", path)[0]

    def create(self, table, values, row_id=None, key=None):
        """Returns the row only when the node has answered: from then on it must never be lost."""
        body = dict(values)
        if row_id:
            body["id"] = row_id
        return self.request("POST", f"/api/v1/{table}", body, {"Idempotency-Key": key or str(uuid.uuid4())})[0]

    def change(self, table, row_id, values):
        _, headers = self.request("GET", f"/api/v1/{table}/{row_id}")
        return self.request("PATCH", f"/api/v1/{table}/{row_id}", values, {"If-Match": headers["ETag"]})[0]

    def all(self, table, **filters):
        """Every row of a table, page by page."""
        query = "&".join([f"{k}={v}" for k, v in filters.items()] + ["limit=1000"])
        after = ""
        while True:
            page = self.get(f"/api/v1/{table}?{query}{after}")
            yield from page["items"]
            if not page.get("next"):
                return
            after = f"&after={page['next']}"

    def wait_for(self, path, seconds, good=lambda row: True):
        """Seconds until the row is there and good."""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            try:
                row = self.get(path)
                if good(row):
                    return time.monotonic() - started
            except ApiError as e:
                if e.status != 404:
                    raise
            time.sleep(0.005)
        raise TimeoutError(f"{path} did not come within {seconds} s")
